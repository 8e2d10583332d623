//! From a topic and a payload to a [`Request`] or a [`Rejection`]: what the contract calls input
//! data. Pure: no I/O, no clock, nothing kept between calls. The JSON is read once, and a record
//! that needs no unescaping is borrowed from the payload, never copied here.

mod json;
mod topics;

use std::borrow::Cow;

use crate::code::Code;
use crate::json_text;
pub use topics::{Input, Topics};

/// The largest record that Firehose takes, in bytes before base64 (PutRecord API reference:
/// 1,000 KiB).
pub const RECORD_MAX_BYTES: usize = 1_024_000;

/// How much of an over-long id a rejection repeats, so that a person can tell which one it was.
const ID_EXCERPT_BYTES: usize = 64;

/// What a local app asked for: one record for one stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The stream the app names, not validated yet; `None` means the default stream.
    pub stream: Option<Cow<'a, str>>,
    /// What maps the status back to the request; empty where the app gave none.
    pub id: Cow<'a, str>,
    /// The record, byte for byte as Firehose is to receive it.
    pub data: Cow<'a, [u8]>,
}

/// A request that never became a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The id of the request as far as it could be read, else empty.
    pub id: String,
    /// Which of our codes the status carries.
    pub code: Code,
    /// What is wrong and what would be right, for a person.
    pub message: String,
    /// The stream that the request named, of a record that is too large: the record may be kept.
    pub stream: Option<String>,
}

impl Rejection {
    fn invalid(id: impl Into<String>, message: impl Into<String>) -> Self {
        Rejection {
            id: id.into(),
            code: Code::InvalidRequest,
            message: message.into(),
            stream: None,
        }
    }
}

/// Turns what arrives into requests.
#[derive(Debug, Clone)]
pub struct Decoder {
    /// Tells JSON input from binary input.
    topics: Topics,
    /// Longest id, in bytes of its JSON form, whose status still fits one status document.
    id_max_bytes: usize,
}

impl Decoder {
    /// A decoder for the topics given. `status_max_bytes` bounds a status document; an id may
    /// take half of one, which leaves the other half for the record id or the error.
    pub fn new(topics: Topics, status_max_bytes: usize) -> Self {
        Decoder {
            topics,
            id_max_bytes: status_max_bytes / 2,
        }
    }

    /// Decodes one message. `None`: the topic is none of ours.
    pub fn decode<'a>(
        &self,
        topic: &'a str,
        payload: &'a [u8],
    ) -> Option<Result<Request<'a>, Rejection>> {
        let decoded = match self.topics.input(topic)? {
            Input::Json => json::decode(payload),
            Input::Binary { id } => Ok(Request {
                stream: None,
                id: Cow::Borrowed(id),
                data: Cow::Borrowed(payload),
            }),
        };
        Some(decoded.and_then(|request| self.check(request)))
    }

    /// The rejection for a message too large to be received at all: only its topic is known.
    /// `None`: the topic is none of ours.
    pub fn reject_oversize(&self, topic: &str, packet_bytes: usize) -> Option<Rejection> {
        let id = match self.topics.input(topic)? {
            Input::Json => "",
            Input::Binary { id } => id,
        };
        Some(Rejection {
            id: self.shown_id(id),
            code: Code::RecordTooLarge,
            message: format!(
                "the message is {packet_bytes} bytes long; a record is at most {RECORD_MAX_BYTES} bytes"
            ),
            stream: None,
        })
    }

    fn check<'a>(&self, request: Request<'a>) -> Result<Request<'a>, Rejection> {
        if !self.fits_status(&request.id) {
            return Err(Rejection::invalid(
                excerpt(&request.id),
                format!(
                    "the id is {} bytes long; its status would not fit a status document, of which an id may take {} bytes (STATUS_MAX_BYTES / 2)",
                    request.id.len(),
                    self.id_max_bytes
                ),
            ));
        }
        if request.data.len() > RECORD_MAX_BYTES {
            return Err(Rejection {
                id: request.id.into_owned(),
                code: Code::RecordTooLarge,
                message: format!(
                    "the record is {} bytes long; a record is at most {RECORD_MAX_BYTES} bytes",
                    request.data.len()
                ),
                stream: request.stream.map(Cow::into_owned),
            });
        }
        Ok(request)
    }

    /// A byte takes at most six in JSON (`\u00XX`), so most ids need no exact count.
    fn fits_status(&self, id: &str) -> bool {
        id.len() * 6 <= self.id_max_bytes || json_text::escaped_bytes(id) <= self.id_max_bytes
    }

    fn shown_id(&self, id: &str) -> String {
        if self.fits_status(id) {
            id.to_owned()
        } else {
            excerpt(id)
        }
    }
}

fn excerpt(id: &str) -> String {
    format!("{}…", json_text::cut(id, ID_EXCERPT_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoder() -> Decoder {
        Decoder::new(Topics::new("kinesisfirehose"), 120_000)
    }

    fn json(payload: &str) -> Result<(Option<String>, String, Vec<u8>), Rejection> {
        decoder()
            .decode("kinesisfirehose/message", payload.as_bytes())
            .unwrap()
            .map(|r| {
                (
                    r.stream.map(Cow::into_owned),
                    r.id.into_owned(),
                    r.data.into_owned(),
                )
            })
    }

    #[test]
    fn binary_payload_is_the_record_and_the_rest_of_the_topic_the_id() {
        let decoder = decoder();
        for (topic, id) in [
            ("kinesisfirehose/message/binary/request123", "request123"),
            ("kinesisfirehose/message/binary/a/b/c/", "a/b/c/"),
            ("kinesisfirehose/message/binary/", ""),
            ("kinesisfirehose/message/binary", ""),
        ] {
            let payload = [0u8, 159, 146, 150];
            let request = decoder.decode(topic, &payload).unwrap().unwrap();
            assert_eq!(request.id, id, "{topic}");
            assert_eq!(request.data, &payload[..]);
            assert_eq!(request.stream, None);
            assert!(matches!(request.data, Cow::Borrowed(_)));
        }
    }

    #[test]
    fn other_topics_are_not_ours() {
        let decoder = decoder();
        for topic in [
            "kinesisfirehose/message/status",
            "kinesisfirehose/message/binaryx",
            "kinesisfirehose/message/",
            "kinesisfirehose",
            "x/kinesisfirehose/message",
            "",
        ] {
            assert!(decoder.decode(topic, b"{}").is_none(), "{topic}");
            assert!(decoder.reject_oversize(topic, 9).is_none(), "{topic}");
        }
    }

    #[test]
    fn record_limit_is_exact() {
        let decoder = decoder();
        let at = vec![b'x'; RECORD_MAX_BYTES];
        let over = vec![b'x'; RECORD_MAX_BYTES + 1];
        let topic = "kinesisfirehose/message/binary/big";
        assert!(decoder.decode(topic, &at).unwrap().is_ok());
        let rejection = decoder.decode(topic, &over).unwrap().unwrap_err();
        assert_eq!(rejection.code, Code::RecordTooLarge);
        assert_eq!(rejection.id, "big");
        assert!(
            rejection.message.contains("1024001"),
            "{}",
            rejection.message
        );
    }

    #[test]
    fn an_id_that_fits_no_status_document_is_rejected_with_its_beginning() {
        let long = "i".repeat(60_001);
        let rejection =
            json(&format!(r#"{{"request":{{"data":"d"}},"id":"{long}"}}"#)).unwrap_err();
        assert_eq!(rejection.code, Code::InvalidRequest);
        assert!(rejection.id.len() < 80 && rejection.id.starts_with("iiii"));
        // The limit counts the JSON form: 10,001 control characters take 60,006 bytes.
        let escaped = "\\u0001".repeat(10_001);
        assert!(json(&format!(r#"{{"request":{{"data":"d"}},"id":"{escaped}"}}"#)).is_err());
        let fits = "i".repeat(60_000);
        assert!(json(&format!(r#"{{"request":{{"data":"d"}},"id":"{fits}"}}"#)).is_ok());
    }

    #[test]
    fn oversize_messages_keep_the_id_of_their_topic() {
        let rejection = decoder()
            .reject_oversize("kinesisfirehose/message/binary/r/1", 7_000_000)
            .unwrap();
        assert_eq!(
            (rejection.id.as_str(), rejection.code),
            ("r/1", Code::RecordTooLarge)
        );
    }
}
