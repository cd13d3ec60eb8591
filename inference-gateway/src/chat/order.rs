//! The order that the events of an answer must keep (chat.proto).

use proto::{
    inference::v1::{ChatEvent, chat_event::Event},
    reason,
};
use tonic::{Code, Status};

/// How far an answer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Nothing,
    Started,
    Output,
    /// Some choices are, not all.
    Finishing,
    Finished,
    Usage,
}

/// Follows the events of one answer.
#[derive(Debug)]
pub(super) struct Order {
    place: Place,
    sequence: u64,
    /// How many were asked for.
    choices: u32,
    finished: u32,
}

impl Order {
    pub(super) fn of(choices: u32) -> Self {
        Self { place: Place::Nothing, sequence: 0, choices, finished: 0 }
    }

    /// Refuses an event that is out of place.
    pub(super) fn accept(&mut self, event: &ChatEvent) -> Result<(), Status> {
        let next = match (&event.event, self.place) {
            (Some(Event::Started(_)), Place::Nothing) => Place::Started,
            (Some(Event::Finished(_)), Place::Started | Place::Output | Place::Finishing) => {
                self.finish(event)?
            }
            (Some(Event::Usage(_)), Place::Finished) => Place::Usage,
            (
                Some(
                    Event::Text(_)
                    | Event::Reasoning(_)
                    | Event::ToolCallStarted(_)
                    | Event::ToolCallDelta(_)
                    | Event::Logprobs(_),
                ),
                Place::Started | Place::Output,
            ) if event.choice < self.choices => Place::Output,
            _ => return Err(broken("an event is out of order")),
        };
        if event.sequence != self.sequence {
            return Err(broken("an event is missing"));
        }
        (self.place, self.sequence) = (next, self.sequence + 1);
        Ok(())
    }

    /// Each choice finishes once, in its turn.
    fn finish(&mut self, event: &ChatEvent) -> Result<Place, Status> {
        if event.choice != self.finished {
            return Err(broken("a choice finishes out of order"));
        }
        self.finished += 1;
        Ok(if self.finished == self.choices { Place::Finished } else { Place::Finishing })
    }

    /// Refuses an end before the answer's own.
    pub(super) fn end(&self) -> Result<(), Status> {
        match self.place {
            Place::Finished | Place::Usage => Ok(()),
            Place::Nothing | Place::Started | Place::Output | Place::Finishing => Err(proto::status(
                Code::DataLoss,
                reason::BACKEND_TRUNCATED,
                "the answer ended before its end marker; what came is not complete",
            )),
        }
    }

    /// Whether the backend has said anything yet.
    pub(super) fn has_output(&self) -> bool {
        !matches!(self.place, Place::Nothing | Place::Started)
    }
}

/// The adapter broke its contract.
pub(crate) fn broken(what: &str) -> Status {
    proto::status(
        Code::Internal,
        reason::BACKEND_PROTOCOL,
        format!("the adapter's answer cannot be used: {what}"),
    )
}

#[cfg(test)]
mod tests {
    use proto::inference::v1::{Finished, Started, TextDelta, Usage};

    use super::*;

    fn run(events: &[Event]) -> Result<(), Status> {
        let events: Vec<_> = events.iter().map(|event| (0, event.clone())).collect();
        run_choices(1, &events)
    }

    fn run_choices(choices: u32, events: &[(u32, Event)]) -> Result<(), Status> {
        let mut order = Order::of(choices);
        for (sequence, (choice, event)) in (0..).zip(events) {
            order.accept(&ChatEvent { sequence, choice: *choice, event: Some(event.clone()) })?;
        }
        order.end()
    }

    fn started() -> Event {
        Event::Started(Started::default())
    }

    fn text() -> Event {
        Event::Text(TextDelta::default())
    }

    fn finished() -> Event {
        Event::Finished(Finished::default())
    }

    fn usage() -> Event {
        Event::Usage(Usage::default())
    }

    fn reason(result: Result<(), Status>) -> Option<String> {
        proto::reason_of(&result.unwrap_err())
    }

    #[test]
    fn whole_answers_pass() {
        assert!(run(&[started(), text(), text(), finished(), usage()]).is_ok());
        assert!(run(&[started(), finished()]).is_ok());
    }

    #[test]
    fn an_end_without_its_marker_is_truncation() {
        for events in [&[][..], &[started()], &[started(), text()]] {
            assert_eq!(reason(run(events)).as_deref(), Some("BACKEND_TRUNCATED"));
        }
    }

    #[test]
    fn events_out_of_order_are_refused() {
        let cases: [&[Event]; 7] = [
            &[text()],
            &[finished()],
            &[started(), started()],
            &[started(), usage()],
            &[started(), finished(), text()],
            &[started(), finished(), usage(), usage()],
            &[started(), finished(), finished()],
        ];
        for events in cases {
            assert_eq!(reason(run(events)).as_deref(), Some("BACKEND_PROTOCOL"));
        }
    }

    #[test]
    fn each_choice_finishes_once_and_in_its_turn() {
        let told = |rest: &[(u32, Event)]| {
            let events = [&[(0, started()), (1, text()), (0, text())], rest].concat();
            run_choices(2, &events).map_err(|status| proto::reason_of(&status).unwrap_or_default())
        };
        let (first, second) = ((0, finished()), (1, finished()));
        assert_eq!(told(&[first.clone(), second.clone(), (0, usage())]), Ok(()));
        assert_eq!(told(std::slice::from_ref(&first)), Err("BACKEND_TRUNCATED".to_owned()));
        for rest in [
            &[(2, text())][..],
            std::slice::from_ref(&second),
            &[first.clone(), first.clone()],
            &[first.clone(), (1, text())],
            &[first.clone(), (0, usage())],
            &[first.clone(), second.clone(), (2, finished())],
        ] {
            assert_eq!(told(rest), Err("BACKEND_PROTOCOL".to_owned()), "{rest:?}");
        }
    }

    #[test]
    fn a_gap_and_an_empty_event_are_refused() {
        let mut order = Order::of(1);
        let gap = ChatEvent { sequence: 1, choice: 0, event: Some(started()) };
        assert!(order.accept(&gap).is_err());
        assert!(order.accept(&ChatEvent::default()).is_err());
    }
}
