//! The events of an answer, gathered into one message.

use proto::inference::v1::{
    ChatEvent, ChatResponse, ContentPart, Message, Role, ToolCall, chat_event::Event, content_part::Part,
};
use tonic::Status;

use super::order::broken;

/// An answer that is not complete yet.
pub(super) struct Gather {
    response: ChatResponse,
    text: String,
    tool_calls: Vec<ToolCall>,
    /// Bytes that may still come.
    room: usize,
}

impl Gather {
    /// Gathers at most `room` bytes.
    pub(super) fn new(room: usize) -> Self {
        Self { response: ChatResponse::default(), text: String::new(), tool_calls: Vec::new(), room }
    }

    /// Adds the next event.
    pub(super) fn add(&mut self, event: ChatEvent) -> Result<(), Status> {
        match event.event {
            Some(Event::Started(started)) => {
                (self.response.request_id, self.response.model) = (started.request_id, started.model);
            }
            Some(Event::Text(delta)) => append(&mut self.text, &delta.text, &mut self.room)?,
            Some(Event::Reasoning(delta)) => {
                append(&mut self.response.reasoning, &delta.text, &mut self.room)?;
            }
            Some(Event::ToolCallStarted(call)) => self.tool_call(call.index, call.id, call.name)?,
            Some(Event::ToolCallDelta(delta)) => {
                let call = usize::try_from(delta.index).ok().and_then(|at| self.tool_calls.get_mut(at));
                let call = call.ok_or_else(|| broken("a tool call has no beginning"))?;
                append(&mut call.arguments, &delta.arguments, &mut self.room)?;
            }
            Some(Event::Finished(finished)) => self.response.finish_reason = finished.reason,
            Some(Event::Usage(usage)) => self.response.usage = Some(usage),
            None => return Err(broken("an event is empty")),
        }
        Ok(())
    }

    fn tool_call(&mut self, index: u32, id: String, name: String) -> Result<(), Status> {
        if usize::try_from(index) != Ok(self.tool_calls.len()) {
            return Err(broken("tool calls are not numbered from 0"));
        }
        // What a call weighs, even one without arguments.
        spend(&mut self.room, size_of::<ToolCall>() + id.len() + name.len())?;
        self.tool_calls.push(ToolCall { id, name, arguments: String::new() });
        Ok(())
    }

    /// The whole answer.
    pub(super) fn finish(self) -> ChatResponse {
        let content = if self.text.is_empty() {
            Vec::new()
        } else {
            vec![ContentPart { part: Some(Part::Text(self.text)) }]
        };
        let role = Role::Assistant.into();
        let message = Message { role, content, tool_calls: self.tool_calls, ..Message::default() };
        ChatResponse { message: Some(message), ..self.response }
    }
}

fn append(to: &mut String, piece: &str, room: &mut usize) -> Result<(), Status> {
    spend(room, piece.len())?;
    to.push_str(piece);
    Ok(())
}

fn spend(room: &mut usize, bytes: usize) -> Result<(), Status> {
    *room = room.checked_sub(bytes).ok_or_else(|| broken("it is larger than the limit"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proto::inference::v1::{TextDelta, ToolCallDelta, ToolCallStarted};

    use super::*;

    fn gather(room: usize, events: impl IntoIterator<Item = Event>) -> Result<ChatResponse, Status> {
        let mut gather = Gather::new(room);
        for event in events {
            gather.add(ChatEvent { sequence: 0, event: Some(event) })?;
        }
        Ok(gather.finish())
    }

    fn text(text: &str) -> Event {
        Event::Text(TextDelta { text: text.into() })
    }

    fn call(index: u32) -> Event {
        Event::ToolCallStarted(ToolCallStarted { index, id: "i".into(), name: "f".into() })
    }

    fn arguments(index: u32, arguments: &str) -> Event {
        Event::ToolCallDelta(ToolCallDelta { index, arguments: arguments.into() })
    }

    #[test]
    fn pieces_become_one_message() {
        let events = [text("a"), text("b"), call(0), arguments(0, "{"), call(1), arguments(0, "}")];
        let message = gather(1000, events).unwrap().message.unwrap();
        assert_eq!(message.content[0].part, Some(Part::Text("ab".into())));
        assert_eq!((message.tool_calls[0].arguments.as_str(), message.tool_calls.len()), ("{}", 2));
    }

    #[test]
    fn an_endless_answer_is_cut() {
        assert!(gather(3, [text("abc")]).is_ok());
        assert!(gather(3, [text("ab"), text("cd")]).is_err());
        assert!(gather(1000, (0..100).map(call)).is_err());
    }

    #[test]
    fn tool_calls_are_numbered_and_begin() {
        assert!(gather(1000, [call(1)]).is_err());
        assert!(gather(1000, [arguments(0, "{}")]).is_err());
    }
}
