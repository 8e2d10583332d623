//! Whether the connector is ready: each part by itself, with the reason in words.

use std::time::Duration;

use serde::Serialize;

use super::observer::{Snapshot, StreamSnapshot};

/// How long calls of a stream may fail before the connector is not ready any more. Chosen here: longer than a
/// throttled minute's hiccups, shorter than a person's patience.
const FAILING_MAX: Duration = Duration::from_secs(60);

/// Whether it is ready, and each part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Whether all parts are.
    pub ok: bool,
    /// Each part.
    pub parts: Vec<Part>,
}

/// A part of the connector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// `mqtt`, `delivery`, `queue` or `disk`.
    pub name: &'static str,
    /// Whether it is as it should be.
    pub ok: bool,
    /// Why, in words.
    pub reason: String,
}

impl Readiness {
    /// What a snapshot says of it.
    pub fn of(snapshot: &Snapshot) -> Self {
        let parts = vec![
            part("mqtt", mqtt(snapshot)),
            part("delivery", delivery(snapshot)),
            part("queue", queue(snapshot)),
            part("disk", disk(snapshot)),
        ];
        Readiness {
            ok: parts.iter().all(|part| part.ok),
            parts,
        }
    }
}

/// `Err` is what is wrong.
fn part(name: &'static str, state: Result<String, String>) -> Part {
    let ok = state.is_ok();
    Part {
        name,
        ok,
        reason: state.unwrap_or_else(|reason| reason),
    }
}

fn mqtt(snapshot: &Snapshot) -> Result<String, String> {
    let session = &snapshot.session;
    let broker = &snapshot.facts.broker;
    if snapshot.stopping {
        return Err("stopping: what is held is delivered, and nothing more is taken".to_owned());
    }
    if session.subscribed {
        return Ok(format!("subscribed at {broker}"));
    }
    Err(match &session.reason {
        Some(reason) => format!("no connection to {broker}: {reason}"),
        None => format!("connecting to {broker}"),
    })
}

fn delivery(snapshot: &Snapshot) -> Result<String, String> {
    let failing = snapshot.streams.iter().enumerate().find(|(place, stream)| {
        // Of other streams a mistyped ARN must not count against the device for ever.
        let counts = *place == 0 || stream.queued > 0;
        counts
            && stream
                .trouble
                .as_ref()
                .and_then(|trouble| trouble.failing)
                .is_some_and(|failing| failing >= FAILING_MAX)
    });
    match failing {
        None => Ok(format!(
            "no stream has delivered nothing for {} s and tried",
            FAILING_MAX.as_secs()
        )),
        Some((_, StreamSnapshot { arn, trouble, .. })) => {
            let last = trouble.as_ref().map_or_else(String::new, |trouble| {
                let failing = trouble.failing.unwrap_or_default().as_secs();
                let (code, message) = (&trouble.code, &trouble.message);
                format!(" for {failing} s, last with {code}: {message}")
            });
            Err(format!("calls to {arn} have delivered nothing{last}"))
        }
    }
}

fn queue(snapshot: &Snapshot) -> Result<String, String> {
    let full = snapshot.streams.iter().find_map(|stream| {
        let by = stream.full_by?;
        Some((stream, by))
    });
    if let Some((stream, by)) = full {
        return Err(format!(
            "the queue of {} is full: it holds {} records, and {by} allows no more",
            stream.arn, stream.queued
        ));
    }
    let bound = snapshot.facts.queue_size;
    Ok(format!(
        "{} records are held, at most {bound} for each stream",
        snapshot.held
    ))
}

fn disk(snapshot: &Snapshot) -> Result<String, String> {
    match &snapshot.disk {
        None => Ok("the queue is in memory".to_owned()),
        Some(disk) => match &disk.fault {
            Some(fault) => Err(format!("the queue on disk cannot be written: {fault}")),
            None => Ok(format!(
                "{} of {} bytes are used",
                disk.bytes, disk.max_bytes
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Trouble;

    fn trouble(failing: Duration) -> Option<Trouble> {
        Some(Trouble {
            code: "Timeout".to_owned(),
            message: "no answer".to_owned(),
            lasting: failing,
            failing: Some(failing),
            retry_in: None,
        })
    }

    /// What is not as it should be.
    fn unwell(snapshot: &Snapshot) -> Vec<(&'static str, String)> {
        let readiness = Readiness::of(snapshot);
        let parts = readiness.parts.into_iter().filter(|part| !part.ok);
        let unwell: Vec<_> = parts.map(|part| (part.name, part.reason)).collect();
        assert_eq!(readiness.ok, unwell.is_empty());
        unwell
    }

    #[test]
    fn all_is_well() {
        assert_eq!(unwell(&Snapshot::sample()), []);
    }

    #[test]
    fn a_minute_of_failing_calls_is_too_long() {
        let mut snapshot = Snapshot::sample();
        snapshot.streams[0].trouble = trouble(FAILING_MAX - Duration::from_secs(1));
        assert_eq!(unwell(&snapshot), []);
        snapshot.streams[0].trouble = trouble(FAILING_MAX);
        let unwell = unwell(&snapshot);
        assert_eq!((unwell.len(), unwell[0].0), (1, "delivery"));
        for words in ["/default", "60 s", "Timeout", "no answer"] {
            assert!(unwell[0].1.contains(words), "{unwell:?}");
        }
    }

    #[test]
    fn another_stream_counts_while_records_wait_for_it() {
        let mut snapshot = Snapshot::sample();
        snapshot.streams[1].trouble = trouble(2 * FAILING_MAX);
        assert_eq!(unwell(&snapshot), [], "a mistyped ARN, say");
        snapshot.streams[1].queued = 1;
        assert_eq!(unwell(&snapshot)[0].0, "delivery");
    }

    #[test]
    fn a_full_queue_and_a_broker_that_is_away() {
        let mut snapshot = Snapshot::sample();
        snapshot.streams[1].queued = 1107;
        snapshot.streams[1].full_by = Some("MEMORY_SIZE");
        snapshot.session.subscribed = false;
        snapshot.session.reason = Some("connection refused".to_owned());
        let unwell = unwell(&snapshot);
        assert_eq!((unwell[0].0, unwell[1].0), ("mqtt", "queue"));
        assert!(unwell[0].1.contains("connection refused"));
        for words in ["/other", "1107", "MEMORY_SIZE"] {
            assert!(unwell[1].1.contains(words), "{unwell:?}");
        }
    }
}
