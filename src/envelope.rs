//! The envelope of a record: a JSON object around it that tells it from a copy of it. It is put on once,
//! when the record is taken in, so that whatever is queued, sent again or stored is the same byte for
//! byte. Pure: the clock and the randomness of a run come in as arguments.

use std::time::SystemTime;

use base64::display::Base64Display;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD};
use serde::{Serialize, Serializer};
use tokio::time::Instant;

use crate::json_text::escaped_bytes;
use crate::request::RECORD_MAX_BYTES;
use crate::utc::{Utc, unix_ms};

/// Digits of a record's number, so that sequences of one run sort as text. They last for 300 years at a
/// million records per second.
const NUMBER_DIGITS: usize = 16;

/// Bytes of a [`Utc`] as text.
const TIME_BYTES: usize = 24;

/// A record that is too large with its envelope on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the record is {record_bytes} bytes long, and {wrapped_bytes} bytes in its envelope (RECORD_ENVELOPE); a record \
     in its envelope is at most {RECORD_MAX_BYTES} bytes"
)]
pub struct TooLarge {
    /// As it came, in bytes.
    pub record_bytes: usize,
    /// As it would be sent, in bytes.
    pub wrapped_bytes: usize,
}

/// Puts records into envelopes.
#[derive(Debug)]
pub struct Envelope {
    /// What sequences of this run begin with: the client id, the start of the run in Unix milliseconds,
    /// and a random number, since client ids can be alike and clocks can show the same time twice.
    run: String,
    /// Bytes of an envelope in JSON that differ neither by its topic nor by its record.
    fixed_bytes: usize,
    /// The number of the next record.
    next: u64,
    /// What the clock showed when the run started. It is not asked again: one that jumps would disorder
    /// the records.
    started: SystemTime,
    /// The same moment, as what has passed since is measured.
    started_at: Instant,
}

/// What an envelope is in JSON, in this order. The record is in one of its last two fields.
#[derive(Serialize)]
struct Wrapped<'a> {
    sequence: &'a str,
    topic: &'a str,
    #[serde(serialize_with = "as_text")]
    received: Utc,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_base64")]
    data_base64: Option<&'a [u8]>,
}

impl Envelope {
    /// Envelopes of one run of the connector: `client_id` at the broker, `random` unlike that of any
    /// other run, and one moment on both clocks.
    pub fn new(client_id: &str, random: u64, started: SystemTime, started_at: Instant) -> Self {
        let run = format!("{client_id}-{}-{random:016x}", unix_ms(started));
        let form = r#"{"sequence":"-","topic":"","received":"","id":"","":""}"#;
        Envelope {
            fixed_bytes: form.len() + escaped_bytes(&run) + NUMBER_DIGITS + TIME_BYTES,
            run,
            next: 0,
            started,
            started_at,
        }
    }

    /// The record in an envelope of its own. `topic` is where it was received, `now` is when, `id` is that
    /// of its request, empty where it has none.
    ///
    /// # Errors
    /// Where it would then be larger than Firehose takes.
    pub fn wrap(
        &mut self,
        topic: &str,
        id: &str,
        record: &[u8],
        now: Instant,
    ) -> Result<Vec<u8>, TooLarge> {
        let text = std::str::from_utf8(record).ok();
        let record_field_bytes = match text {
            Some(text) => "data".len() + escaped_bytes(text),
            None => "data_base64".len() + record.len().div_ceil(3) * 4,
        };
        let wrapped_bytes =
            self.fixed_bytes + escaped_bytes(topic) + escaped_bytes(id) + record_field_bytes;
        if wrapped_bytes > RECORD_MAX_BYTES {
            return Err(TooLarge {
                record_bytes: record.len(),
                wrapped_bytes,
            });
        }
        let mut wrapped = Vec::with_capacity(wrapped_bytes);
        let written = serde_json::to_writer(
            &mut wrapped,
            &Wrapped {
                sequence: &self.next_sequence(),
                topic,
                received: self.time(now),
                id,
                data: text,
                data_base64: text.is_none().then_some(record),
            },
        );
        debug_assert!(written.is_ok() && wrapped.len() == wrapped_bytes);
        Ok(wrapped)
    }

    fn next_sequence(&mut self) -> String {
        let number = self.next;
        self.next += 1;
        format!("{}-{number:0NUMBER_DIGITS$}", self.run)
    }

    fn time(&self, now: Instant) -> Utc {
        let elapsed = now.saturating_duration_since(self.started_at);
        self.started
            .checked_add(elapsed)
            .unwrap_or(self.started)
            .into()
    }
}

fn as_text<S: Serializer>(time: &Utc, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

fn as_base64<S: Serializer>(record: &Option<&[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
    let record = record.unwrap_or_default();
    serializer.collect_str(&Base64Display::<GeneralPurpose>::new(record, &STANDARD))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::{Duration, UNIX_EPOCH};

    use base64::Engine;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const TOPIC: &str = "kinesisfirehose/message";

    /// 2026-11-21 01:02:03.456 UTC.
    const STARTED_MS: u64 = 1_795_222_923_456;

    fn started() -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(STARTED_MS)
    }

    fn envelope(client_id: &str) -> (Envelope, Instant) {
        let now = Instant::now();
        (Envelope::new(client_id, 0x2a, started(), now), now)
    }

    fn wrap(topic: &str, record: &[u8]) -> Result<Vec<u8>, TooLarge> {
        let (mut envelope, now) = envelope("press-7");
        envelope.wrap(topic, "1", record, now)
    }

    fn sequence(wrapped: &[u8]) -> String {
        let value: Value = serde_json::from_slice(wrapped).unwrap();
        value["sequence"].as_str().unwrap().to_owned()
    }

    /// The record that an envelope holds.
    fn unwrapped(value: &Value) -> Vec<u8> {
        assert_eq!(value.as_object().unwrap().len(), 5, "{value}");
        match (value["data"].as_str(), value["data_base64"].as_str()) {
            (Some(text), None) => text.as_bytes().to_vec(),
            (None, Some(text)) => STANDARD.decode(text).unwrap(),
            _ => panic!("{value}"),
        }
    }

    #[test]
    fn an_envelope_reads_like_this() {
        let (mut envelope, now) = envelope("press-7");
        let mut text = |topic: &str, record: &[u8], after_ms| {
            let now = now + Duration::from_millis(after_ms);
            String::from_utf8(envelope.wrap(topic, "1", record, now).unwrap()).unwrap()
        };
        assert_eq!(
            text(TOPIC, b"{\"n\": \"\xc3\xbc\"}\n", 0),
            r#"{"sequence":"press-7-1795222923456-000000000000002a-0000000000000000","topic":"kinesisfirehose/message","received":"2026-11-21T01:02:03.456Z","id":"1","data":"{\"n\": \"ü\"}\n"}"#
        );
        assert_eq!(
            text(
                "kinesisfirehose/message/binary/a/\"1\"",
                b"\xff\x00\x01\x02",
                90_061_001
            ),
            r#"{"sequence":"press-7-1795222923456-000000000000002a-0000000000000001","topic":"kinesisfirehose/message/binary/a/\"1\"","received":"2026-11-22T02:03:04.457Z","id":"1","data_base64":"/wABAg=="}"#
        );
        assert!(text(TOPIC, b"", 0).ends_with(r#","data":""}"#));
    }

    proptest! {
        #[test]
        fn every_record_comes_out_as_it_went_in(
            record in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..300),
                "(.|[\u{0}-\u{1f}\"\\\\ü€😀\u{2028}]){0,100}".prop_map(String::into_bytes),
            ],
            topic in "(.|[\"\\\\\u{1}ü/]){0,40}",
            id in "(.|[\"\\\\\u{1}ü/]){0,40}",
            client_id in "[ -~ü\"]{1,30}",
        ) {
            let (mut envelope, now) = envelope(&client_id);
            let wrapped = envelope.wrap(&topic, &id, &record, now).unwrap();
            // No more memory than it says: this is what the queue holds.
            prop_assert_eq!(wrapped.len(), wrapped.capacity());
            let value: Value = serde_json::from_slice(&wrapped).unwrap();
            prop_assert_eq!(unwrapped(&value), &record[..]);
            prop_assert_eq!(value["data"].is_string(), std::str::from_utf8(&record).is_ok());
            prop_assert_eq!(value["topic"].as_str(), Some(&*topic));
            prop_assert_eq!(value["id"].as_str(), Some(&*id));
            prop_assert!(value["sequence"].as_str().unwrap().starts_with(&client_id));
        }
    }

    #[test]
    fn sequences_are_unique_and_sort_by_arrival() {
        let (mut envelope, now) = envelope("press-7");
        let mut sequences = Vec::new();
        for first in [0, 95, 9_999_999_999_998] {
            envelope.next = first;
            for _ in 0..10 {
                // The same record at the same moment is another record all the same.
                sequences.push(sequence(&envelope.wrap(TOPIC, "", b"1", now).unwrap()));
            }
        }
        assert!(sequences.is_sorted());
        let again = |client_id, random, after_ms| {
            let started = started() + Duration::from_millis(after_ms);
            let mut envelope = Envelope::new(client_id, random, started, now);
            sequence(&envelope.wrap(TOPIC, "", b"1", now).unwrap())
        };
        // Another device; another start; a start at the same time, as clocks that are not set show.
        sequences.push(again("press-8", 0x2a, 0));
        sequences.push(again("press-7", 0x2a, 1));
        sequences.push(again("press-7", 0x2b, 0));
        let unique: BTreeSet<_> = sequences.iter().collect();
        assert_eq!(unique.len(), sequences.len());
    }

    #[test]
    fn the_limit_holds_for_the_envelope_and_is_exact() {
        let around = wrap(TOPIC, b"").unwrap().len();
        let largest = vec![b'x'; RECORD_MAX_BYTES - around];
        assert_eq!(wrap(TOPIC, &largest).unwrap().len(), RECORD_MAX_BYTES);
        let larger = [&largest[..], b"x"].concat();
        let too_large = wrap(TOPIC, &larger).unwrap_err();
        assert_eq!(
            too_large,
            TooLarge {
                record_bytes: larger.len(),
                wrapped_bytes: RECORD_MAX_BYTES + 1
            }
        );
        let message = too_large.to_string();
        for part in ["RECORD_ENVELOPE", "1024001", "1024000"] {
            assert!(message.contains(part), "{message}");
        }
        // What counts is the JSON: an escaped byte takes more room than it had, base64 a third more.
        let escaped = [&largest[1..], b"\n"].concat();
        assert!(wrap(TOPIC, &escaped).is_err());
        let around = wrap(TOPIC, &[0xff]).unwrap().len() - 4;
        let binary = vec![0xff; (RECORD_MAX_BYTES - around) / 4 * 3];
        assert!(wrap(TOPIC, &binary).is_ok());
        assert!(wrap(TOPIC, &[&binary[..], &[0xff]].concat()).is_err());
        assert!(wrap(&format!("{TOPIC}/longer"), &largest).is_err());
    }

    #[test]
    fn a_strange_clock_makes_no_strange_envelope() {
        let now = Instant::now();
        for (started, time) in [
            (
                UNIX_EPOCH - Duration::from_secs(5),
                "1970-01-01T00:00:00.000Z",
            ),
            (
                UNIX_EPOCH + Duration::from_secs(1 << 50),
                "9999-12-31T23:59:59.999Z",
            ),
        ] {
            let mut envelope = Envelope::new("c", 0, started, now);
            let wrapped = envelope.wrap(TOPIC, "", b"1", now).unwrap();
            let value: Value = serde_json::from_slice(&wrapped).unwrap();
            assert_eq!(value["received"], time);
        }
        // A moment before the start, as a timer that fired late may give.
        let (mut envelope, now) = envelope("c");
        let wrapped = envelope.wrap(TOPIC, "", b"1", now - Duration::from_secs(1));
        let value: Value = serde_json::from_slice(&wrapped.unwrap()).unwrap();
        assert_eq!(value["received"], "2026-11-21T01:02:03.456Z");
    }
}
