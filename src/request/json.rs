//! The JSON request of the contract: `{"request": {"data", "delivery_stream_arn"}, "id"}`.
//!
//! One pass: the values of interest are kept as raw slices of the payload, everything else is
//! skipped. A record that is a string without escapes is such a slice; an object, array, number
//! or boolean is its JSON text exactly as published. Nothing recurses, so nesting costs nothing.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{ID_MAX_BYTES, RECORD_MAX_BYTES, Rejection, Request, cut_id};
use crate::code::Code;

/// Decodes the payload of a JSON request.
pub(super) fn decode(payload: &[u8]) -> Result<Request<'_>, Rejection> {
    let envelope: Envelope =
        serde_json::from_slice(payload).map_err(|error| not_json(payload, &error))?;
    let Envelope::Object { request, id } = envelope else {
        return Err(Rejection::invalid(
            "",
            "the message is not a JSON object; it should look like {\"request\": {\"data\": \"…\"}, \"id\": \"…\"}",
        ));
    };
    let id = id_text(id)?;
    match request {
        RequestField::Object { data, stream } => {
            let data = match data {
                None => return Err(Rejection::invalid(id, "\"request\" has no \"data\"")),
                Some(raw) if raw.get() == "null" => {
                    return Err(Rejection::invalid(id, "\"request.data\" is null"));
                }
                Some(raw) if is_surely_too_large(raw.get()) => {
                    return Err(Rejection {
                        id: id.into_owned(),
                        code: Code::RecordTooLarge,
                        message: format!(
                            "the record is over {RECORD_MAX_BYTES} bytes long, the most there may be"
                        ),
                        stream: stream
                            .and_then(|raw| short_string(raw.get()).ok())
                            .map(Cow::into_owned),
                    });
                }
                Some(raw) => match record(raw) {
                    Ok(data) => data,
                    Err(error) => {
                        return Err(Rejection::invalid(id, format!("\"request.data\": {error}")));
                    }
                },
            };
            let stream = match stream.map(RawValue::get) {
                None | Some("null") => None,
                Some(raw) if raw.starts_with('"') => match short_string(raw) {
                    Ok(arn) => Some(arn),
                    Err(error) => {
                        return Err(Rejection::invalid(
                            id,
                            format!("\"request.delivery_stream_arn\": {error}"),
                        ));
                    }
                },
                Some(_) => {
                    return Err(Rejection::invalid(
                        id,
                        "\"request.delivery_stream_arn\" is not a string",
                    ));
                }
            };
            Ok(Request { stream, id, data })
        }
        RequestField::Missing => Err(Rejection::invalid(id, "the message has no \"request\"")),
        RequestField::NotAnObject => Err(Rejection::invalid(
            id,
            "\"request\" is not an object with \"data\" in it",
        )),
    }
}

fn not_json(payload: &[u8], error: &serde_json::Error) -> Rejection {
    if payload.is_empty() {
        return Rejection::invalid(
            "",
            "the message is empty; a JSON object with \"request\" in it is needed",
        );
    }
    Rejection::invalid("", format!("the message is not valid JSON: {error}"))
}

/// Whether a record is too large, as far as that can be told without unescaping it: a message may
/// be six times as long as the record in it, and what is too large is not worth that memory.
fn is_surely_too_large(text: &str) -> bool {
    const QUOTES: usize = 2;
    if text.len() <= RECORD_MAX_BYTES + QUOTES {
        return false;
    }
    if !text.starts_with('"') {
        return true;
    }
    let (mut least_bytes, mut rest) = (0, &text.as_bytes()[1..text.len() - 1]);
    while let Some(&first) = rest.first() {
        // `\uXXXX` gives one byte at least, any other escape exactly one.
        let taken = match (first, rest.get(1)) {
            (b'\\', Some(b'u')) => 6,
            (b'\\', _) => 2,
            _ => 1,
        };
        least_bytes += 1;
        rest = rest.get(taken..).unwrap_or_default();
    }
    least_bytes > RECORD_MAX_BYTES
}

/// A string gives its UTF-8 bytes, everything else its JSON text.
fn record(raw: &RawValue) -> Result<Cow<'_, [u8]>, serde_json::Error> {
    let text = raw.get();
    if !text.starts_with('"') {
        return Ok(Cow::Borrowed(text.as_bytes()));
    }
    Ok(match string(text)? {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    })
}

/// The text of a JSON string literal, borrowed where no escape stands in it.
fn string(literal: &str) -> Result<Cow<'_, str>, serde_json::Error> {
    let inner = &literal[1..literal.len() - 1];
    if memchr::memchr(b'\\', inner.as_bytes()).is_some() {
        serde_json::from_str::<String>(literal).map(Cow::Owned)
    } else {
        Ok(Cow::Borrowed(inner))
    }
}

/// The same for an ARN: one with escapes that is far longer than any is not unescaped.
fn short_string(literal: &str) -> Result<Cow<'_, str>, serde_json::Error> {
    const ESCAPED_MAX_BYTES: usize = 1024 * 1024;
    if literal.len() > ESCAPED_MAX_BYTES && literal.contains('\\') {
        return Err(serde::de::Error::custom("it is too long"));
    }
    string(literal)
}

/// As much of the text of a string literal as an id keeps, and more: one that is far longer is not unescaped.
fn beginning_of_string(literal: &str) -> Result<Cow<'_, str>, serde_json::Error> {
    // At the worst twelve bytes of it, two escapes, stand for a character of four.
    const ENOUGH_BYTES: usize = 16 * ID_MAX_BYTES;
    let inner = &literal.as_bytes()[1..literal.len() - 1];
    if inner.len() <= ENOUGH_BYTES {
        return string(literal);
    }
    let mut end = 1;
    while end < ENOUGH_BYTES {
        // An escape of four digits that is the first half of a character goes with the second.
        end += match &literal.as_bytes()[end..] {
            [
                b'\\',
                b'u',
                b'd' | b'D',
                b'8' | b'9' | b'a' | b'b' | b'A' | b'B',
                ..,
            ] => 12,
            [b'\\', b'u', ..] => 6,
            [b'\\', ..] => 2,
            _ => 1,
        };
    }
    let end = literal.floor_char_boundary(end.min(literal.len() - 1));
    string(&format!("{}\"", &literal[..end])).map(|text| Cow::Owned(text.into_owned()))
}

fn id_text(id: Option<&RawValue>) -> Result<Cow<'_, str>, Rejection> {
    let Some(raw) = id.map(RawValue::get) else {
        return Ok(Cow::Borrowed(""));
    };
    match raw.as_bytes().first() {
        Some(b'"') => beginning_of_string(raw)
            .map(cut_id)
            .map_err(|error| Rejection::invalid("", format!("\"id\" cannot be read: {error}"))),
        Some(b'-' | b'0'..=b'9') => Ok(cut_id(Cow::Borrowed(raw))),
        Some(b'n') => Ok(Cow::Borrowed("")),
        _ => Err(Rejection::invalid("", "\"id\" is not a string or a number")),
    }
}

/// The outer object, its values of interest still raw. The last of repeated keys counts, as in
/// the original connector's language.
enum Envelope<'a> {
    Object {
        request: RequestField<'a>,
        id: Option<&'a RawValue>,
    },
    NotAnObject,
}

/// What stands under `request`.
enum RequestField<'a> {
    Missing,
    NotAnObject,
    Object {
        data: Option<&'a RawValue>,
        stream: Option<&'a RawValue>,
    },
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum EnvelopeKey {
    Request,
    Id,
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum RequestKey {
    Data,
    DeliveryStreamArn,
    #[serde(other)]
    Other,
}

/// Implements the visits of everything that is no map, with one answer for all of them: a wrong
/// type is a fault of the request, to be reported with its id, not an end to the parsing.
macro_rules! anything_else {
    ($lifetime:lifetime, $answer:expr) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("any JSON value")
        }
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($answer)
        }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok($answer)
        }
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok($answer)
        }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok($answer)
        }
        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
            Ok($answer)
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($answer)
        }
        fn visit_seq<A: SeqAccess<$lifetime>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            while items.next_element::<IgnoredAny>()?.is_some() {}
            Ok($answer)
        }
    };
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = Envelope<'de>;

    anything_else!('de, Envelope::NotAnObject);

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let (mut request, mut id) = (RequestField::Missing, None);
        while let Some(key) = fields.next_key()? {
            match key {
                EnvelopeKey::Request => request = fields.next_value()?,
                EnvelopeKey::Id => id = Some(fields.next_value()?),
                EnvelopeKey::Other => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Envelope::Object { request, id })
    }
}

struct RequestVisitor;

impl<'de> Visitor<'de> for RequestVisitor {
    type Value = RequestField<'de>;

    anything_else!('de, RequestField::NotAnObject);

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let (mut data, mut stream) = (None, None);
        while let Some(key) = fields.next_key()? {
            match key {
                RequestKey::Data => data = Some(fields.next_value()?),
                RequestKey::DeliveryStreamArn => stream = Some(fields.next_value()?),
                RequestKey::Other => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(RequestField::Object { data, stream })
    }
}

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EnvelopeVisitor)
    }
}

impl<'de> Deserialize<'de> for RequestField<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RequestVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ok(payload: &str) -> (Option<String>, String, Vec<u8>) {
        let request = decode(payload.as_bytes()).unwrap_or_else(|r| panic!("{payload}: {r:?}"));
        (
            request.stream.map(Cow::into_owned),
            request.id.into_owned(),
            request.data.into_owned(),
        )
    }

    #[test]
    fn the_contracts_examples() {
        let (stream, id, data) = ok(
            r#"{ "request": { "delivery_stream_arn": "arn:aws:firehose:region:account-id:deliverystream/stream2-name",
                 "data": "Data to send to the delivery stream." }, "id": "request123" }"#,
        );
        assert_eq!(
            stream.as_deref(),
            Some("arn:aws:firehose:region:account-id:deliverystream/stream2-name")
        );
        assert_eq!(id, "request123");
        assert_eq!(data, b"Data to send to the delivery stream.");
        let (stream, id, data) = ok(
            r#"{"request": {"data": "Message from Firehose Connector Test"}, "id" : "req_123"}"#,
        );
        assert_eq!((stream, id.as_str()), (None, "req_123"));
        assert_eq!(data, b"Message from Firehose Connector Test");
    }

    #[test]
    fn every_type_of_data() {
        for (data, record) in [
            (r#""""#, ""),
            (r#""a\n\u00e9\ud83d\ude00\"""#, "a\né😀\""),
            (
                r#"{ "b" : 1,  "a":[ 1.0, 2e3 ] }"#,
                r#"{ "b" : 1,  "a":[ 1.0, 2e3 ] }"#,
            ),
            ("[ ]", "[ ]"),
            ("-0.10e+5", "-0.10e+5"),
            ("12345678901234567890123", "12345678901234567890123"),
            ("true", "true"),
            ("false", "false"),
        ] {
            let (_, _, found) = ok(&format!(r#"{{"request":{{"data": {data} }}}}"#));
            assert_eq!(found, record.as_bytes(), "{data}");
        }
    }

    #[test]
    fn too_large_is_told_without_unescaping() {
        let record = |unit: &str, count: usize| {
            let payload = format!(
                r#"{{"request":{{"data":"{}"}},"id":"7"}}"#,
                unit.repeat(count)
            );
            decode(payload.as_bytes())
                .map(|request| request.data.len())
                .map_err(|r| (r.id, r.code))
        };
        let too_large = || Err(("7".to_owned(), Code::RecordTooLarge));
        for unit in ["x", "\\n", "\\u0001"] {
            assert_eq!(
                record(unit, RECORD_MAX_BYTES),
                Ok(RECORD_MAX_BYTES),
                "{unit}"
            );
            assert_eq!(record(unit, RECORD_MAX_BYTES + 1), too_large(), "{unit}");
        }
        let array = format!(
            r#"{{"request":{{"data":[{}]}},"id":"7"}}"#,
            "1,".repeat(600_000) + "1"
        );
        assert_eq!(
            decode(array.as_bytes()).unwrap_err().code,
            Code::RecordTooLarge
        );
        let id = format!(
            r#"{{"request":{{"data":"d"}},"id":"{}"}}"#,
            "\\u0001".repeat(200_000)
        );
        assert!(decode(id.as_bytes()).unwrap().id.len() <= ID_MAX_BYTES);
    }

    #[test]
    fn a_plain_string_is_borrowed() {
        let payload = br#"{"request":{"data":"plain"},"id":"x"}"#;
        let request = decode(payload).unwrap();
        assert!(matches!(request.data, Cow::Borrowed(b"plain")));
        assert!(matches!(request.id, Cow::Borrowed("x")));
    }

    #[test]
    fn ids() {
        for (id, text) in [
            (r#""a\"b""#, "a\"b"),
            ("17", "17"),
            ("-1.50", "-1.50"),
            ("null", ""),
            (r#""""#, ""),
        ] {
            assert_eq!(
                ok(&format!(r#"{{"id":{id},"request":{{"data":"d"}}}}"#)).1,
                text
            );
        }
        assert_eq!(ok(r#"{"request":{"data":"d"}}"#).1, "");
        for id in ["true", "{}", "[1]"] {
            let rejection = decode(format!(r#"{{"id":{id},"request":{{"data":"d"}}}}"#).as_bytes())
                .unwrap_err();
            assert_eq!(rejection.code, Code::InvalidRequest);
        }
    }

    #[test]
    fn unknown_fields_are_ignored_and_the_last_of_repeated_keys_counts() {
        let (stream, id, data) = ok(r#"{"x":{"request":1},"id":"first","request":{"data":"a"},
               "request":{"y":[[]],"data":"b","data":"c","delivery_stream_arn":null},"id":"last"}"#);
        assert_eq!(
            (stream, id.as_str(), data.as_slice()),
            (None, "last", &b"c"[..])
        );
    }

    #[test]
    fn bad_input_is_rejected_with_its_id_where_that_can_be_read() {
        for (payload, id, part) in [
            ("", "", "empty"),
            ("nonsense", "", "not valid JSON"),
            (r#"{"request":{"data":"d"}} x"#, "", "not valid JSON"),
            (r#"{"request":{"data":"d"}"#, "", "not valid JSON"),
            ("[1,2]", "", "not a JSON object"),
            ("\"text\"", "", "not a JSON object"),
            ("null", "", "not a JSON object"),
            ("3.5", "", "not a JSON object"),
            ("true", "", "not a JSON object"),
            (r#"{"id":"7"}"#, "7", "no \"request\""),
            (r#"{"id":"7","request":null}"#, "7", "not an object"),
            (r#"{"id":"7","request":"d"}"#, "7", "not an object"),
            (r#"{"request":[1],"id":"7"}"#, "7", "not an object"),
            (r#"{"id":"7","request":{}}"#, "7", "no \"data\""),
            (r#"{"id":"7","request":{"data":null}}"#, "7", "null"),
            (r#"{"id":"7","request":{"data":"\ud800"}}"#, "7", "data"),
            (
                r#"{"id":"7","request":{"data":"d","delivery_stream_arn":5}}"#,
                "7",
                "delivery_stream_arn",
            ),
        ] {
            let rejection = decode(payload.as_bytes()).unwrap_err();
            assert_eq!(rejection.code, Code::InvalidRequest, "{payload}");
            assert_eq!(rejection.id, id, "{payload}");
            assert!(
                rejection.message.contains(part),
                "{payload}: {}",
                rejection.message
            );
        }
        assert!(decode(b"{\"request\":{\"data\":\"\xff\xfe\"}}").is_err());
    }

    #[test]
    fn nesting_costs_no_stack() {
        let deep = "[".repeat(500_000);
        assert!(decode(deep.as_bytes()).is_err());
        let closed = format!("{deep}{}", "]".repeat(500_000));
        assert!(decode(closed.as_bytes()).is_err());
        assert_eq!(
            ok(&format!(r#"{{"request":{{"data":{closed}}}}}"#)).2,
            closed.as_bytes()
        );
        assert!(decode(format!(r#"{{"request":{closed}}}"#).as_bytes()).is_err());
        assert!(decode(format!(r#"{{"x":{closed},"request":{{"data":1}}}}"#).as_bytes()).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_rejected(payload in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&payload);
        }

        #[test]
        fn any_string_and_id_come_through(data in ".*", id in ".*", extra in ".*") {
            let payload = serde_json::json!({"request": {"data": data, "z": extra}, "id": id}).to_string();
            let (_, found_id, found) = ok(&payload);
            prop_assert_eq!(found, data.as_bytes());
            prop_assert_eq!(found_id, id);
        }
    }
}
