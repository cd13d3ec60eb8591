//! Prints an answer as it comes, and holds it to the rules of the stream.

use std::io::Write;

use proto::inference::v1::{ChatEvent, FinishReason, StreamChatResponse, Usage, chat_event::Event};
use tonic::Streaming;

use super::{NEXT_EVENT, within};
use crate::{
    failure::Failure,
    table::{self, Output},
};

/// Words go to stdout, reasoning and counts to stderr. A stream that ends
/// without `Finished`, or loses an event, is a failed answer.
pub(super) async fn print(mut events: Streaming<StreamChatResponse>) -> Result<(), Failure> {
    let mut answer = Answer::to(table::stdout(), table::stderr());
    let ended = loop {
        match within(answer.patience(), events.message()).await {
            Ok(Some(response)) => {
                if let Err(failure) = answer.take(response.event) {
                    break Err(failure);
                }
            }
            Ok(None) => break Ok(()),
            Err(failure) => break Err(failure),
        }
    };
    // The answer's own line ends before anything is said about it.
    answer.words.words("\n")?;
    ended.and_then(|()| answer.end())
}

struct Answer<W, A> {
    words: Output<W>,
    aside: Output<A>,
    next: u64,
    finished: Option<FinishReason>,
    usage: Option<Usage>,
}

impl<W: Write, A: Write> Answer<W, A> {
    fn to(words: Output<W>, aside: Output<A>) -> Self {
        Self { words, aside, next: 0, finished: None, usage: None }
    }

    fn patience(&self) -> std::time::Duration {
        if self.next <= 1 { super::FIRST_EVENT } else { NEXT_EVENT }
    }

    fn take(&mut self, event: Option<ChatEvent>) -> Result<(), Failure> {
        let broken = |rule: &str| Failure::Answer(format!("the answer is broken: {rule}"));
        let event = event.ok_or_else(|| broken("a message holds no event"))?;
        if event.sequence != self.next {
            return Err(broken("an event is missing"));
        }
        self.next += 1;
        if event.choice != 0 {
            return Err(broken("it is more than one, which was not asked for"));
        }
        match event.event.ok_or_else(|| broken("an event of an unknown kind"))? {
            Event::Started(_) if event.sequence == 0 => Ok(()),
            _ if event.sequence == 0 => Err(broken("it does not begin with `started`")),
            Event::Usage(usage) => {
                self.usage = Some(usage);
                Ok(())
            }
            _ if self.finished.is_some() => Err(broken("it goes on after its end")),
            Event::Text(delta) => Ok(self.words.words(&delta.text)?),
            Event::Reasoning(delta) => Ok(self.aside.words(&delta.text)?),
            Event::Finished(finished) => {
                self.finished = Some(finished.reason());
                Ok(())
            }
            Event::Started(_) => Err(broken("it begins twice")),
            Event::ToolCallStarted(_) | Event::ToolCallDelta(_) => {
                Err(broken("it calls a tool, none was offered"))
            }
            Event::Logprobs(_) => Err(broken("it tells of probabilities, none were asked for")),
        }
    }

    fn end(&mut self) -> Result<(), Failure> {
        let finished = self.finished.ok_or_else(|| {
            Failure::Answer("the answer broke off: the stream ended without `finished`".to_owned())
        })?;
        if finished == FinishReason::Length {
            writeln!(self.aside, "the answer was cut at the token limit")?;
        }
        if let Some(usage) = self.usage {
            let about = if usage.estimated { "about " } else { "" };
            let (prompt, answer) = (usage.prompt_tokens, usage.completion_tokens);
            writeln!(self.aside, "{about}{prompt} prompt and {answer} answer tokens")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proto::inference::v1::{Finished, Started, TextDelta};

    use super::*;

    fn feed(events: Vec<(u64, Event)>) -> Result<(), Failure> {
        let mut answer = Answer::to(Output::new(Vec::new(), false), Output::new(Vec::new(), false));
        for (sequence, event) in events {
            answer.take(Some(ChatEvent { sequence, choice: 0, event: Some(event) }))?;
        }
        answer.end()
    }

    #[test]
    fn a_model_that_thinks_before_its_first_word_is_waited_for() {
        let mut answer = Answer::to(Output::new(Vec::new(), false), Output::new(Vec::new(), false));
        let text = Event::Text(TextDelta { text: "word".to_owned() });
        for (sequence, event, patience) in [(0, started(), super::super::FIRST_EVENT), (1, text, NEXT_EVENT)]
        {
            answer.take(Some(ChatEvent { sequence, choice: 0, event: Some(event) })).unwrap();
            assert_eq!(answer.patience(), patience);
        }
    }

    fn started() -> Event {
        Event::Started(Started::default())
    }

    fn finished() -> Event {
        Event::Finished(Finished { reason: FinishReason::Stop.into() })
    }

    #[test]
    fn a_whole_answer_passes() {
        let text = Event::Text(TextDelta { text: "word".to_owned() });
        let events = vec![(0, started()), (1, text), (2, finished()), (3, Event::Usage(Usage::default()))];
        assert!(feed(events).is_ok());
    }

    #[test]
    fn what_was_not_asked_for_is_no_answer() {
        let mut answer = Answer::to(Output::new(Vec::new(), false), Output::new(Vec::new(), false));
        answer.take(Some(ChatEvent { event: Some(started()), ..ChatEvent::default() })).unwrap();
        let second = ChatEvent { sequence: 1, choice: 1, event: Some(Event::Text(TextDelta::default())) };
        assert!(answer.take(Some(second)).is_err());
        let logprobs = Event::Logprobs(proto::inference::v1::Logprobs::default());
        assert!(feed(vec![(0, started()), (1, logprobs), (2, finished())]).is_err());
    }

    #[test]
    fn an_answer_that_breaks_the_rules_fails() {
        let text = || Event::Text(TextDelta { text: "word".to_owned() });
        for (what, events) in [
            ("no end", vec![(0, started()), (1, text())]),
            ("a gap", vec![(0, started()), (2, finished())]),
            ("no start", vec![(0, text()), (1, finished())]),
            ("two starts", vec![(0, started()), (1, started()), (2, finished())]),
            ("words after the end", vec![(0, started()), (1, finished()), (2, text())]),
            ("nothing", vec![]),
        ] {
            assert!(feed(events).is_err(), "{what}");
        }
    }
}
