//! The part of the Firehose API that the embedded endpoint speaks: requests out of JSON, the
//! documented limits, answers into JSON. Pure. Shapes and limits are those of the Amazon Data
//! Firehose API reference for `PutRecord` and `PutRecordBatch`.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};

/// The most records in one `PutRecordBatch` (API reference, `Records`).
pub const MAX_RECORDS: usize = 500;

/// The largest record before base64, in bytes (API reference, `Record.Data`: 1,000 KiB).
pub const MAX_RECORD_BYTES: usize = 1_024_000;

/// The largest request, in bytes (API reference, "4 MiB for the entire request"). What AWS counts
/// it does not say; this counts the whole HTTP body, base64 and all, which is the strictest
/// reading.
pub const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// The longest stream name (API reference, `DeliveryStreamName`).
const MAX_NAME_BYTES: usize = 64;

/// The two calls the endpoint knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    PutRecord,
    PutRecordBatch,
}

impl Operation {
    /// Reads the `X-Amz-Target` header.
    pub(super) fn from_target(target: Option<&str>) -> Result<Self, Refusal> {
        match target {
            Some("Firehose_20150804.PutRecord") => Ok(Self::PutRecord),
            Some("Firehose_20150804.PutRecordBatch") => Ok(Self::PutRecordBatch),
            _ => Err(Refusal::bad_request(
                "UnknownOperationException",
                "this endpoint answers POST / with X-Amz-Target Firehose_20150804.PutRecord \
                 or Firehose_20150804.PutRecordBatch",
            )),
        }
    }

    /// The name that policies and messages use.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::PutRecord => "PutRecord",
            Self::PutRecordBatch => "PutRecordBatch",
        }
    }
}

/// A request that could be read; whether it keeps to the limits is another question, see
/// [`Call::check`].
#[derive(Debug)]
pub(super) struct Call {
    /// Decides the shape of the answer.
    pub operation: Operation,
    /// A valid stream name: it becomes a folder's name.
    pub stream: String,
    /// The records, out of base64, in order.
    pub records: Vec<Bytes>,
    /// The size of the HTTP body, which the request limit counts.
    pub body_bytes: usize,
}

/// An error answer for a whole call.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// The exception's name as SDKs know it.
    pub code: &'static str,
    /// For the person who reads the log.
    pub message: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    pub(super) fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(super) fn invalid_argument(message: impl Into<String>) -> Self {
        Self::bad_request("InvalidArgumentException", message)
    }

    pub(super) fn unavailable() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE, SLOW_DOWN)
    }

    /// The body that goes with it.
    pub(super) fn body(&self) -> Vec<u8> {
        serde_json::json!({ "__type": self.code, "message": self.message })
            .to_string()
            .into_bytes()
    }
}

/// The code of a record that failed on its own, and of a call that found the service away.
const UNAVAILABLE: &str = "ServiceUnavailableException";

/// What the real service says beside it.
const SLOW_DOWN: &str = "Slow down.";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BatchRequest<'a> {
    /// Optional here so that leaving it out can be answered the way the service does.
    #[serde(borrow)]
    delivery_stream_name: Option<Cow<'a, str>>,
    /// As above.
    #[serde(borrow)]
    records: Option<Vec<RecordShape<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SingleRequest<'a> {
    /// Optional here so that leaving it out can be answered the way the service does.
    #[serde(borrow)]
    delivery_stream_name: Option<Cow<'a, str>>,
    /// As above.
    #[serde(borrow)]
    record: Option<RecordShape<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RecordShape<'a> {
    /// Base64; borrowed from the body where JSON needed no escapes, which is always.
    #[serde(borrow)]
    data: Option<Cow<'a, str>>,
}

impl Call {
    /// Reads the body of a request.
    pub(super) fn parse(operation: Operation, body: &[u8]) -> Result<Self, Refusal> {
        let (name, shapes) = match operation {
            Operation::PutRecord => {
                let request: SingleRequest = from_json(body)?;
                let record = request.record.ok_or_else(|| missing("record"))?;
                (request.delivery_stream_name, vec![record])
            }
            Operation::PutRecordBatch => {
                let request: BatchRequest = from_json(body)?;
                let records = request.records.ok_or_else(|| missing("records"))?;
                (request.delivery_stream_name, records)
            }
        };
        let name = name.ok_or_else(|| missing("deliveryStreamName"))?;
        check_name(&name)?;
        let records = shapes.into_iter().map(decode).collect::<Result<_, _>>()?;
        Ok(Self {
            operation,
            stream: name.into_owned(),
            records,
            body_bytes: body.len(),
        })
    }

    /// Holds the call against the documented limits.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        if self.records.is_empty() {
            return Err(violation(
                "records",
                "Member must have length greater than or equal to 1",
            ));
        }
        if self.records.len() > MAX_RECORDS {
            return Err(violation("records", &at_most(MAX_RECORDS)));
        }
        if let Some(place) = self
            .records
            .iter()
            .position(|data| data.len() > MAX_RECORD_BYTES)
        {
            let member = format!("records.{}.member.data", place + 1);
            return Err(violation(&member, &at_most(MAX_RECORD_BYTES)));
        }
        if self.body_bytes > MAX_REQUEST_BYTES {
            Err(too_large())
        } else {
            Ok(())
        }
    }
}

/// What the service says about a request that breaks a constraint. It names the member, counting
/// records from 1.
fn violation(member: &str, constraint: &str) -> Refusal {
    Refusal::invalid_argument(format!(
        "1 validation error detected: Value at '{member}' failed to satisfy constraint: {constraint}"
    ))
}

fn at_most(length: usize) -> String {
    format!("Member must have length less than or equal to {length}")
}

/// The answer to a request over [`MAX_REQUEST_BYTES`].
pub(super) fn too_large() -> Refusal {
    Refusal::invalid_argument("Records size exceeds 4 MB limit")
}

fn from_json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body)
        .map_err(|error| Refusal::bad_request("SerializationException", error.to_string()))
}

fn missing(member: &str) -> Refusal {
    violation(member, "Member must not be null")
}

/// Pattern `[a-zA-Z0-9_.-]{1,64}` of the API reference, without the two names that mean another
/// folder.
fn check_name(name: &str) -> Result<(), Refusal> {
    let letters = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if letters && (1..=MAX_NAME_BYTES).contains(&name.len()) && name != "." && name != ".." {
        return Ok(());
    }
    Err(violation(
        "deliveryStreamName",
        "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]{1,64}",
    ))
}

fn decode(shape: RecordShape<'_>) -> Result<Bytes, Refusal> {
    let data = shape.data.ok_or_else(|| missing("data"))?;
    STANDARD
        .decode(data.as_bytes())
        .map(Bytes::from)
        .map_err(|error| {
            Refusal::bad_request(
                "SerializationException",
                format!("Data is not base64: {error}"),
            )
        })
}

/// What became of one record, in the shape the API gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum RecordAnswer {
    #[serde(rename_all = "PascalCase")]
    Accepted { record_id: String },
    #[serde(rename_all = "PascalCase")]
    Failed {
        error_code: &'static str,
        error_message: &'static str,
    },
}

impl RecordAnswer {
    pub(super) fn failed() -> Self {
        Self::Failed {
            error_code: UNAVAILABLE,
            error_message: SLOW_DOWN,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct BatchAnswer<'a> {
    /// Server-side encryption, which there is none of.
    encrypted: bool,
    /// What a client should look at first: zero means that no entry needs a look.
    failed_put_count: usize,
    /// In the order of the request.
    request_responses: &'a [RecordAnswer],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SingleAnswer<'a> {
    /// As above.
    encrypted: bool,
    /// Left out of an answer that is short on command.
    #[serde(skip_serializing_if = "Option::is_none")]
    record_id: Option<&'a str>,
}

/// The body of an answer about records, or the error that a single failed record is. `answers` may
/// be shorter than the request was.
pub(super) fn answer(operation: Operation, answers: &[RecordAnswer]) -> Result<Vec<u8>, Refusal> {
    let body = match operation {
        Operation::PutRecordBatch => {
            let failed_put_count = answers
                .iter()
                .filter(|answer| matches!(answer, RecordAnswer::Failed { .. }))
                .count();
            serde_json::to_vec(&BatchAnswer {
                encrypted: false,
                failed_put_count,
                request_responses: answers,
            })
        }
        Operation::PutRecord => {
            let record_id = match answers.first() {
                Some(RecordAnswer::Failed { .. }) => return Err(Refusal::unavailable()),
                Some(RecordAnswer::Accepted { record_id }) => Some(record_id.as_str()),
                None => None,
            };
            serde_json::to_vec(&SingleAnswer {
                encrypted: false,
                record_id,
            })
        }
    };
    body.map_err(|error| {
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalFailure",
            error.to_string(),
        )
    })
}

/// Hands out record ids that look like the service's: 220 characters of base64, never the same
/// twice.
#[derive(Debug, Default)]
pub(super) struct RecordIds {
    /// Makes ids differ for certain; the rest of an id is random.
    issued: AtomicU64,
}

impl RecordIds {
    /// Each 64-bit number gives ten characters of six bits.
    const WORDS: usize = 22;

    pub(super) fn next(&self) -> String {
        const LETTERS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let issued = self.issued.fetch_add(1, Ordering::Relaxed);
        let mut id = String::with_capacity(Self::WORDS * 10);
        for word in std::iter::once(issued)
            .chain(std::iter::repeat_with(|| fastrand::u64(..)))
            .take(Self::WORDS)
        {
            id.extend(
                (0..10).map(|place| {
                    char::from(LETTERS[(word >> (6 * place)) as usize % LETTERS.len()])
                }),
            );
        }
        id
    }
}

#[cfg(test)]
mod tests;
