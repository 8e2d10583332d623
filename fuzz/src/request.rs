//! A message as any app may publish it: a request or a rejection, with the record as it was published and a
//! status that is JSON.

use std::time::SystemTime;

use kinesis_edge::envelope::Envelope;
use kinesis_edge::request::{Decoder, RECORD_MAX_BYTES, Rejection, Request, Topics};
use kinesis_edge::status::{DocumentBuilder, Shape, Verdict};
use serde_json::Value;
use tokio::time::Instant;

/// The least `STATUS_MAX_BYTES`: what does not fit shows soonest.
const STATUS_MAX_BYTES: usize = 4_096;

/// Decodes the bytes as the payload of a JSON request, as a record as it is, and as a topic.
pub fn check(bytes: &[u8]) {
    let topics = Topics::new("kinesisfirehose");
    let decoder = Decoder::new(topics.clone());
    let decoded = decoder.decode(topics.message(), bytes);
    let decoded = decoded.expect("the topic is ours");
    agrees_with_reference(bytes, &decoded);
    can_be_answered(&decoded);

    let text = String::from_utf8_lossy(bytes);
    let topic = topics.binary(&text);
    let decoded = decoder.decode(&topic, bytes).expect("the topic is ours");
    if let Ok(request) = &decoded {
        assert_eq!(&*request.data, bytes);
        assert!(request.stream.is_none());
        is_the_id(&request.id, &text);
    }
    can_be_answered(&decoded);
    if let Some(rejection) = decoder.reject_oversize(&topic, 7_000_000) {
        can_be_answered(&Err(rejection));
    }
    if let Some(decoded) = decoder.decode(&text, bytes) {
        can_be_answered(&decoded);
    }
}

/// Compares with what a general reader of JSON makes of the payload. It knows fewer payloads than the contract:
/// it minds nesting and half surrogates where nobody looks.
fn agrees_with_reference(payload: &[u8], decoded: &Result<Request<'_>, Rejection>) {
    let Ok(value) = serde_json::from_slice::<Value>(payload) else {
        return;
    };
    let request = value.get("request").filter(|request| request.is_object());
    let data = request.and_then(|request| request.get("data"));
    let data = data.filter(|data| !data.is_null());
    let stream = request.and_then(|request| request.get("delivery_stream_arn"));
    let id = match value.get("id") {
        None | Some(Value::Null) => Some(String::new()),
        Some(Value::String(id)) => Some(id.clone()),
        Some(Value::Number(id)) => Some(id.to_string()),
        Some(_) => None,
    };
    let has_stream = stream.is_none_or(|stream| stream.is_string() || stream.is_null());
    let expected = data.filter(|_| has_stream && value.is_object()).zip(id);
    match (decoded, expected) {
        (Ok(request), Some((data, id))) => {
            match data {
                Value::String(text) => assert_eq!(&*request.data, text.as_bytes()),
                other => {
                    let sent: Value = serde_json::from_slice(&request.data).expect("JSON text");
                    assert_eq!(&sent, other);
                }
            }
            assert_eq!(request.stream.as_deref(), stream.and_then(Value::as_str));
            // A number's text is the one that was published; another reader may write it differently.
            if value["id"].is_string() {
                is_the_id(&request.id, &id);
            }
        }
        (Err(_), None) => {}
        (Ok(request), None) => panic!("accepted: {request:?}"),
        (Err(rejection), Some(_)) => panic!("rejected: {rejection:?}"),
    }
}

/// An id is the one that was given; of a very long one the beginning.
fn is_the_id(id: &str, given: &str) {
    let cut = id.strip_suffix('…');
    let is_cut = cut.is_some_and(|cut| given.len() > cut.len() && given.starts_with(cut));
    assert!(id == given || is_cut, "{id:?} of {given:?}");
}

/// Whatever becomes of it, there is a status for it, in both shapes; and an envelope, for a record.
fn can_be_answered(decoded: &Result<Request<'_>, Rejection>) {
    let record_id = "i".repeat(220);
    let (id, verdict) = match decoded {
        Ok(request) => {
            assert!(request.data.len() <= RECORD_MAX_BYTES);
            can_be_wrapped(request);
            let success = Verdict::Success {
                record_id: &record_id,
            };
            (&*request.id, success)
        }
        Err(rejection) => {
            let (code, message) = (rejection.code.as_str(), rejection.message.as_str());
            (&*rejection.id, Verdict::Fail { code, message })
        }
    };
    for shape in [Shape::List, Shape::Single] {
        let mut builder = DocumentBuilder::new(shape, STATUS_MAX_BYTES, 1);
        builder.add(id, verdict);
        let documents = builder.finish();
        assert_eq!(documents.len(), 1);
        let json = &documents[0].json;
        assert!(json.len() <= STATUS_MAX_BYTES, "{} bytes", json.len());
        let document: Value = serde_json::from_slice(json).expect("a status is JSON");
        let shown = match shape {
            Shape::List => &document["response"][0]["id"],
            Shape::Single => &document["id"],
        };
        assert_eq!(shown.as_str(), Some(id));
    }
}

fn can_be_wrapped(request: &Request<'_>) {
    let now = Instant::now();
    let mut envelope = Envelope::new("client", 1, SystemTime::UNIX_EPOCH, now);
    let topic = "kinesisfirehose/message";
    let Ok(wrapped) = envelope.wrap(topic, &request.id, &request.data, now) else {
        return;
    };
    let wrapped: Value = serde_json::from_slice(&wrapped).expect("an envelope is JSON");
    if let Ok(text) = std::str::from_utf8(&request.data) {
        assert_eq!(wrapped["data"].as_str(), Some(text));
    }
}
