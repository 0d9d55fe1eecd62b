//! Ids of events: the epoch of the log and the number of a change.

use api::code::Problem;
use uuid::Uuid;

use super::read;
use crate::{db::changes::Log, state::AppState};

/// Where a stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// The epoch of the log.
    pub(super) epoch: Uuid,
    /// Later changes are sent.
    pub(super) number: i64,
    /// The client has given the id of an event that is still known.
    pub(super) resumed: bool,
    /// The client has given another id: events are missing.
    pub(super) reset: bool,
}

/// The start of a stream for a client that has received the event `last`, or none if it is empty.
///
/// # Errors
/// The database failed.
pub(super) async fn start(app: &AppState, last: &str) -> Result<Start, Problem> {
    let log = match read::log(app).await {
        // The pool may hold connections from before a restart of the database.
        Err(error) if error.transient() => read::log(app).await?,
        read => read?,
    };
    Ok(start_in(&log, last))
}

fn start_in(log: &Log, last: &str) -> Start {
    let known = parse(log.epoch, last).filter(|n| (log.pruned..=log.last).contains(n));
    Start {
        epoch: log.epoch,
        number: known.unwrap_or(log.last),
        resumed: known.is_some(),
        reset: known.is_none() && !last.is_empty(),
    }
}

/// The id of a change.
pub(super) fn text(epoch: Uuid, number: i64) -> String {
    format!("{:08x}-{number}", epoch.as_fields().0)
}

/// The number in an id, if the id is one of this epoch.
fn parse(epoch: Uuid, id: &str) -> Option<i64> {
    let (_, number) = id.split_once('-')?;
    let number: i64 = number.parse().ok()?;
    // Only the form in which it was sent.
    (text(epoch, number) == id).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Uuid = Uuid::from_u128(0x1234_5678_0000_0000_0000_0000_0000_0001);
    const LOG: Log = Log { epoch: EPOCH, last: 90, pruned: 40 };

    #[test]
    fn a_stream_continues_after_a_known_id() {
        for number in [40, 41, 90] {
            let start = start_in(&LOG, &text(EPOCH, number));
            assert_eq!((start.number, start.resumed, start.reset), (number, true, false));
        }
        let fresh = start_in(&LOG, "");
        assert_eq!((fresh.number, fresh.resumed, fresh.reset), (90, false, false));
    }

    #[test]
    fn an_id_that_is_too_old_unknown_or_malformed_resets_the_stream() {
        let other = text(Uuid::from_u128(7), 50);
        let long = format!("12345678-{}", "9".repeat(9000));
        for id in [
            text(EPOCH, 39).as_str(),
            text(EPOCH, 91).as_str(),
            text(EPOCH, -1).as_str(),
            "12345678-050",
            "12345678-+50",
            "12345678-",
            "12345678",
            "50",
            "-",
            "end-completed",
            &other,
            &long,
        ] {
            let start = start_in(&LOG, id);
            assert_eq!((start.number, start.resumed, start.reset), (90, false, true), "{id}");
        }
    }
}
