//! The answer to PutRecordBatch, read in place: a record id is a slice of it, not a copy. Pure.

use std::borrow::Cow;

use bytes::Bytes;
use bytestring::ByteString;
use serde::Deserialize;

use super::super::classify::is_retryable;
use super::super::{Outcome, ServiceError};

/// What of the answer counts; its sums are no news.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(rename = "RequestResponses", borrow)]
    entries: Option<Vec<Entry<'a>>>,
}

/// What it says of one record.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<'a> {
    #[serde(borrow)]
    record_id: Option<Text<'a>>,
    #[serde(borrow)]
    error_code: Option<Text<'a>>,
    #[serde(borrow)]
    error_message: Option<Text<'a>>,
}

/// Text that is borrowed where no escape stands in it.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The outcomes of `count` records, in the order of the call.
///
/// # Errors
/// Where the answer is not what the service answers.
pub(super) fn outcomes(answer: Bytes, count: usize) -> Result<Vec<Outcome>, AnswerError> {
    let answer = ByteString::try_from(answer).map_err(|_| AnswerError::NotText)?;
    let Answer { entries } = serde_json::from_str(&answer)?;
    let mut entries = entries.unwrap_or_default().into_iter();
    Ok((0..count)
        .map(|_| outcome(&answer, entries.next()))
        .collect())
}

/// An answer that says nothing about the records.
#[derive(Debug, thiserror::Error)]
pub(super) enum AnswerError {
    /// It is not even text.
    #[error("the answer is not UTF-8")]
    NotText,
    /// It is not the JSON that it should be.
    #[error("the answer cannot be read: {0}")]
    Json(#[from] serde_json::Error),
}

/// What an entry says. An entry that is missing, or says neither, leaves the record in the unknown:
/// it is sent again, at the price of a possible duplicate.
fn outcome(answer: &ByteString, entry: Option<Entry<'_>>) -> Outcome {
    let Some(entry) = entry else {
        return Outcome::Retry(ServiceError::new(
            "MissingResponseEntry",
            "the answer has fewer entries than the call had records",
        ));
    };
    match (entry.record_id, entry.error_code) {
        (Some(Text(record_id)), None) => Outcome::Delivered {
            record_id: match record_id {
                Cow::Borrowed(record_id) => answer.slice_ref(record_id),
                Cow::Owned(record_id) => record_id.into(),
            },
        },
        (_, Some(Text(code))) => {
            let retryable = is_retryable(&code);
            let message = entry.error_message.map(|Text(message)| message);
            let error = ServiceError::new(code, message.unwrap_or_default());
            if retryable {
                Outcome::Retry(error)
            } else {
                Outcome::Failed(error)
            }
        }
        (None, None) => Outcome::Retry(ServiceError::new(
            "MissingResponseEntry",
            "the answer names neither a record id nor an error for this record",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(answer: &str, count: usize) -> Vec<Outcome> {
        outcomes(Bytes::copy_from_slice(answer.as_bytes()), count).unwrap()
    }

    #[test]
    fn entries() {
        let found = of(
            r#"{"FailedPutCount":3,"Encrypted":false,"New":[{}],"RequestResponses":[
                {"RecordId":"r"}, {"RecordId":"a\/\u00e9","ErrorCode":null},
                {"ErrorCode":"ServiceUnavailableException","ErrorMessage":"slow"},
                {"RecordId":"r","ErrorCode":"InternalFailure"},
                {"ErrorCode":"InvalidArgumentException","ErrorMessage":null}, {}]}"#,
            7,
        );
        let delivered = |id: &str| Outcome::Delivered {
            record_id: id.into(),
        };
        assert_eq!(found[..2], [delivered("r"), delivered("a/é")]);
        let slow = ServiceError::new("ServiceUnavailableException", "slow");
        assert_eq!(found[2], Outcome::Retry(slow));
        let retry = |outcome: &Outcome| matches!(outcome, Outcome::Retry(_));
        assert!(retry(&found[3]));
        let invalid = ServiceError::new("InvalidArgumentException", "");
        assert_eq!(found[4], Outcome::Failed(invalid));
        // One that says nothing, and one that is missing.
        assert!(found[5..].iter().all(retry));
        assert_eq!(found.len(), 7);
    }

    #[test]
    fn more_entries_than_records_are_ignored() {
        let found = of(
            r#"{"RequestResponses":[{"RecordId":"1"},{"RecordId":"2"}]}"#,
            1,
        );
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn an_answer_without_entries_leaves_all_in_the_unknown() {
        for answer in ["{}", r#"{"RequestResponses":null}"#] {
            let found = of(answer, 2);
            assert!(matches!(found[..], [Outcome::Retry(_), Outcome::Retry(_)]));
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for answer in [
            &b""[..],
            b"<html>",
            b"[]",
            b"{\"RequestResponses\":[1]}",
            b"{\"x\":\"\xff\"}",
        ] {
            assert!(outcomes(Bytes::copy_from_slice(answer), 1).is_err());
        }
    }
}
