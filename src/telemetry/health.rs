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
        let is_long = |since| {
            let long = snapshot.now.duration_since(since).unwrap_or_default();
            long >= FAILING_MAX
        };
        // Of other streams a mistyped ARN must not count against the device for ever.
        let counts = *place == 0 || stream.queued > 0;
        counts
            && stream
                .trouble
                .as_ref()
                .is_some_and(|trouble| is_long(trouble.since))
    });
    match failing {
        None => Ok(format!(
            "no stream has failed for {} s or longer",
            FAILING_MAX.as_secs()
        )),
        Some((_, StreamSnapshot { arn, trouble, .. })) => {
            let (code, message, since) = trouble.as_ref().map_or_else(
                || ("", "", snapshot.now),
                |trouble| (&trouble.code, &trouble.message, trouble.since),
            );
            let long = snapshot.now.duration_since(since).unwrap_or_default();
            Err(format!(
                "calls to {arn} have failed for {} s, last with {code}: {message}",
                long.as_secs()
            ))
        }
    }
}

fn queue(snapshot: &Snapshot) -> Result<String, String> {
    let bound = snapshot.facts.queue_size;
    let full = snapshot
        .streams
        .iter()
        .find(|stream| stream.queued >= bound);
    if let Some(stream) = full {
        return Err(format!(
            "the queue of {} is full: it holds {} records (DELIVERY_STREAM_QUEUE_SIZE)",
            stream.arn, stream.queued
        ));
    }
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
