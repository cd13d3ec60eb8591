//! The order that the events of an answer must keep (chat.proto).

use proto::{
    inference::v1::{ChatEvent, chat_event::Event},
    reason,
};
use tonic::{Code, Status};

/// How far an answer has come.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    Nothing,
    Started,
    Output,
    Finished,
    Usage,
}

/// Follows the events of one answer.
#[derive(Debug, Default)]
pub(super) struct Order {
    place: Place,
    sequence: u64,
}

impl Order {
    /// Refuses an event that is out of place.
    pub(super) fn accept(&mut self, event: &ChatEvent) -> Result<(), Status> {
        let next = match (&event.event, self.place) {
            (Some(Event::Started(_)), Place::Nothing) => Place::Started,
            (Some(Event::Finished(_)), Place::Started | Place::Output) => Place::Finished,
            (Some(Event::Usage(_)), Place::Finished) => Place::Usage,
            (
                Some(
                    Event::Text(_)
                    | Event::Reasoning(_)
                    | Event::ToolCallStarted(_)
                    | Event::ToolCallDelta(_),
                ),
                Place::Started | Place::Output,
            ) => Place::Output,
            _ => return Err(broken("an event is out of order")),
        };
        if event.sequence != self.sequence {
            return Err(broken("an event is missing"));
        }
        (self.place, self.sequence) = (next, self.sequence + 1);
        Ok(())
    }

    /// Refuses an end before the answer's own.
    pub(super) fn end(&self) -> Result<(), Status> {
        match self.place {
            Place::Finished | Place::Usage => Ok(()),
            Place::Nothing | Place::Started | Place::Output => Err(proto::status(
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
        let mut order = Order::default();
        for (sequence, event) in (0..).zip(events) {
            order.accept(&ChatEvent { sequence, event: Some(event.clone()) })?;
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
    fn a_gap_and_an_empty_event_are_refused() {
        let mut order = Order::default();
        let gap = ChatEvent { sequence: 1, event: Some(started()) };
        assert!(order.accept(&gap).is_err());
        assert!(order.accept(&ChatEvent { sequence: 0, event: None }).is_err());
    }
}
