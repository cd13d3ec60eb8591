//! The events of an answer, gathered into one message.

use proto::inference::v1::{
    Alternative, ChatEvent, ChatResponse, ContentPart, Message, Role, TokenLogprob, ToolCall,
    chat_event::Event, content_part::Part,
};
use tonic::Status;

use super::order::broken;

/// An answer that is not complete yet.
pub(super) struct Gather {
    response: ChatResponse,
    choices: Vec<Choice>,
    /// Bytes that may still come.
    room: usize,
}

#[derive(Default)]
struct Choice {
    text: String,
    reasoning: String,
    tool_calls: Vec<ToolCall>,
    logprobs: Vec<TokenLogprob>,
    finish_reason: i32,
}

impl Gather {
    /// Gathers so many answers to one question, of at most `room` bytes together.
    pub(super) fn new(choices: u32, room: usize) -> Self {
        let choices = (0..choices).map(|_| Choice::default()).collect();
        Self { response: ChatResponse::default(), choices, room }
    }

    /// Adds the next event.
    pub(super) fn add(&mut self, event: ChatEvent) -> Result<(), Status> {
        let choice = usize::try_from(event.choice).ok().and_then(|at| self.choices.get_mut(at));
        let choice = choice.ok_or_else(|| broken("a choice was not asked for"))?;
        match event.event {
            Some(Event::Started(started)) => {
                (self.response.request_id, self.response.model) = (started.request_id, started.model);
            }
            Some(Event::Text(delta)) => append(&mut choice.text, &delta.text, &mut self.room)?,
            Some(Event::Reasoning(delta)) => append(&mut choice.reasoning, &delta.text, &mut self.room)?,
            Some(Event::ToolCallStarted(call)) => {
                // What a call weighs, even one without arguments.
                spend(&mut self.room, size_of::<ToolCall>() + call.id.len() + call.name.len())?;
                choice.tool_call(call.index, call.id, call.name)?;
            }
            Some(Event::ToolCallDelta(delta)) => {
                let call = usize::try_from(delta.index).ok().and_then(|at| choice.tool_calls.get_mut(at));
                let call = call.ok_or_else(|| broken("a tool call has no beginning"))?;
                append(&mut call.arguments, &delta.arguments, &mut self.room)?;
            }
            Some(Event::Logprobs(logprobs)) => {
                spend(&mut self.room, logprobs.tokens.iter().map(weight).sum())?;
                choice.logprobs.extend(logprobs.tokens);
            }
            Some(Event::Finished(finished)) => choice.finish_reason = finished.reason,
            Some(Event::Usage(usage)) => self.response.usage = Some(usage),
            None => return Err(broken("an event is empty")),
        }
        Ok(())
    }

    /// The whole answer.
    pub(super) fn finish(self) -> ChatResponse {
        let mut choices = self.choices.into_iter().map(Choice::finish);
        let first = choices.next().unwrap_or_default();
        ChatResponse {
            message: first.message,
            reasoning: first.reasoning,
            finish_reason: first.finish_reason,
            logprobs: first.logprobs,
            alternatives: choices.collect(),
            ..self.response
        }
    }
}

impl Choice {
    fn tool_call(&mut self, index: u32, id: String, name: String) -> Result<(), Status> {
        if usize::try_from(index) != Ok(self.tool_calls.len()) {
            return Err(broken("tool calls are not numbered from 0"));
        }
        self.tool_calls.push(ToolCall { id, name, arguments: String::new() });
        Ok(())
    }

    fn finish(self) -> Alternative {
        let content = if self.text.is_empty() {
            Vec::new()
        } else {
            vec![ContentPart { part: Some(Part::Text(self.text)) }]
        };
        let role = Role::Assistant.into();
        let message = Message { role, content, tool_calls: self.tool_calls, ..Message::default() };
        let (reasoning, finish_reason, logprobs) = (self.reasoning, self.finish_reason, self.logprobs);
        Alternative { message: Some(message), reasoning, finish_reason, logprobs }
    }
}

/// Bytes that a token's probabilities take.
fn weight(token: &TokenLogprob) -> usize {
    let candidates = token.drawn.iter().chain(&token.top);
    candidates.map(|candidate| size_of_val(candidate) + candidate.text.len() + candidate.utf8.len()).sum()
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
    use proto::inference::v1::{
        FinishReason, Finished, Logprobs, TextDelta, TokenCandidate, ToolCallDelta, ToolCallStarted,
    };

    use super::*;

    fn gather(room: usize, events: impl IntoIterator<Item = Event>) -> Result<ChatResponse, Status> {
        let mut gather = Gather::new(1, room);
        for event in events {
            gather.add(ChatEvent { event: Some(event), ..ChatEvent::default() })?;
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
    fn each_choice_is_gathered_by_itself() {
        let mut gather = Gather::new(2, 1000);
        let finished = Event::Finished(Finished { reason: FinishReason::Length.into() });
        for (choice, event) in [(1, text("b")), (0, text("a")), (1, call(0)), (0, call(0)), (1, finished)] {
            gather.add(ChatEvent { choice, event: Some(event), ..ChatEvent::default() }).unwrap();
        }
        let answer = gather.finish();
        let [other] = answer.alternatives.as_slice() else { panic!() };
        for (message, said) in [(&answer.message, "a"), (&other.message, "b")] {
            let message = message.as_ref().unwrap();
            assert_eq!(message.content[0].part, Some(Part::Text(said.into())));
            assert_eq!(message.tool_calls.len(), 1);
        }
        assert_eq!((answer.finish_reason, other.finish_reason()), (0, FinishReason::Length));
        let beyond = ChatEvent { choice: 2, event: Some(text("c")), ..ChatEvent::default() };
        assert!(Gather::new(2, 1000).add(beyond).is_err());
    }

    #[test]
    fn an_endless_answer_is_cut() {
        assert!(gather(3, [text("abc")]).is_ok());
        assert!(gather(3, [text("ab"), text("cd")]).is_err());
        assert!(gather(1000, (0..100).map(call)).is_err());
        let tokens = vec![TokenLogprob { drawn: Some(TokenCandidate::default()), top: vec![] }; 10];
        let logprobs = || Event::Logprobs(Logprobs { tokens: tokens.clone() });
        assert!(gather(1000, [logprobs()]).is_ok());
        assert!(gather(1000, [logprobs(), logprobs()]).is_err());
    }

    #[test]
    fn tool_calls_are_numbered_and_begin() {
        assert!(gather(1000, [call(1)]).is_err());
        assert!(gather(1000, [arguments(0, "{}")]).is_err());
    }
}
