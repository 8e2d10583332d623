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

/// The longest id that comes back whole, in bytes of its JSON form; of a longer one the beginning does. Chosen here,
/// well beyond what anybody needs to tell requests apart. Statuses are reckoned with some hundred bytes each when calls
/// are begun: with ids of 64 KB those of one call would take the place of everybody's.
pub const ID_MAX_BYTES: usize = 1024;

/// What stands behind the beginning of a longer one.
const ID_CUT: &str = "…";

/// What a local app asked for: one record for one stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The stream the app names, not validated yet; `None` means the default stream.
    pub stream: Option<Cow<'a, str>>,
    /// What maps the status back to the request, no longer than [`ID_MAX_BYTES`]; empty where the app gave none.
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
}

impl Decoder {
    /// A decoder for the topics given.
    pub fn new(topics: Topics) -> Self {
        Decoder { topics }
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
                id: cut_id(Cow::Borrowed(id)),
                data: Cow::Borrowed(payload),
            }),
        };
        Some(decoded.and_then(check))
    }

    /// The rejection for a message too large to be received at all: only its topic is known.
    /// `None`: the topic is none of ours.
    pub fn reject_oversize(&self, topic: &str, packet_bytes: usize) -> Option<Rejection> {
        let id = match self.topics.input(topic)? {
            Input::Json => "",
            Input::Binary { id } => id,
        };
        Some(Rejection {
            id: cut_id(Cow::Borrowed(id)).into_owned(),
            code: Code::RecordTooLarge,
            message: format!(
                "the message is {packet_bytes} bytes long; a record is at most {RECORD_MAX_BYTES} bytes"
            ),
            stream: None,
        })
    }
}

fn check(request: Request<'_>) -> Result<Request<'_>, Rejection> {
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

/// The id as it is kept and comes back: one that is too long is cut, and shows it.
fn cut_id(id: Cow<'_, str>) -> Cow<'_, str> {
    if json_text::cut(&id, ID_MAX_BYTES).len() == id.len() {
        return id;
    }
    let beginning = json_text::cut(&id, ID_MAX_BYTES - ID_CUT.len());
    Cow::Owned(format!("{beginning}{ID_CUT}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoder() -> Decoder {
        Decoder::new(Topics::new("kinesisfirehose"))
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
    fn of_an_id_that_is_too_long_the_beginning_is_kept() {
        let id_of = |id: &str| {
            json(&format!(r#"{{"request":{{"data":"d"}},"id":{id}}}"#))
                .unwrap()
                .1
        };
        let quoted = |unit: &str, count: usize| format!("\"{}\"", unit.repeat(count));
        for fits in ["i".repeat(ID_MAX_BYTES), "ü".repeat(ID_MAX_BYTES / 2)] {
            assert_eq!(id_of(&format!("\"{fits}\"")), fits);
        }
        let cut = |beginning: String| format!("{beginning}…");
        assert_eq!(id_of(&quoted("i", ID_MAX_BYTES + 1)), cut("i".repeat(1021)));
        // The limit counts the JSON form: a control character takes six bytes, a quote two.
        assert_eq!(id_of(&quoted("\\u0001", 170)), "\u{1}".repeat(170));
        assert_eq!(id_of(&quoted("\\u0001", 171)), cut("\u{1}".repeat(170)));
        assert_eq!(id_of(&quoted("\\\"", 513)), cut("\"".repeat(510)));
        // Characters stay whole, and so do the escapes of those that take two.
        assert_eq!(id_of(&quoted("ü", 513)), cut("ü".repeat(510)));
        assert_eq!(
            id_of(&quoted(r"\ud83d\ude00", 1_000_000 / 6)),
            cut("😀".repeat(255))
        );
        assert_eq!(id_of(&quoted(r"x\ud83d\ude00", 5_000)).chars().count(), 410);
        assert_eq!(id_of(&quoted("i", 6_000_000)), cut("i".repeat(1021)));
        assert_eq!(id_of(&"7".repeat(2_000)), cut("7".repeat(1021)));
        let topic = format!("kinesisfirehose/message/binary/{}", "b".repeat(60_000));
        let decoder = decoder();
        let request = decoder.decode(&topic, b"d").unwrap().unwrap();
        assert_eq!(request.id, cut("b".repeat(1021)));
        let rejection = decoder.reject_oversize(&topic, 7_000_000).unwrap();
        assert_eq!(rejection.id, cut("b".repeat(1021)));
        let rejection = json(&format!(r#"{{"id":{}}}"#, quoted("i", 60_000))).unwrap_err();
        assert_eq!(rejection.id, cut("i".repeat(1021)));
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
