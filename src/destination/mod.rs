//! Where records leave for: the interface every destination has, and Amazon Data Firehose behind
//! it. A destination makes single attempts; when to try again is delivery's business.

mod classify;
mod firehose;

use std::fmt;
use std::future::Future;
use std::time::SystemTime;

use bytes::Bytes;
use bytestring::ByteString;

pub use firehose::{Firehose, FirehoseSettings, FoundCredentials, Greeting, request_body};

use crate::arn::DeliveryStreamArn;
use crate::json_text;

/// Longest message that is kept, in bytes of its JSON form.
const MESSAGE_MAX_BYTES: usize = 500;

/// Longest code that is kept, likewise. Those of AWS have up to some fifty letters.
const CODE_MAX_BYTES: usize = 128;

/// What a service says when something fails, passed through to the status document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceError {
    /// The service's own code where there was an answer, e.g. `ResourceNotFoundException`; else
    /// the kind of trouble on the way, e.g. `Timeout`.
    pub code: String,
    /// For a person.
    pub message: String,
}

impl ServiceError {
    /// An error from its code and message. Of what goes on and on, such as the page of a proxy, the beginning is
    /// kept: there is one of these for each record of a call, and codes are labels of metrics.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        ServiceError {
            code: beginning(code.into(), CODE_MAX_BYTES),
            message: beginning(message.into(), MESSAGE_MAX_BYTES),
        }
    }
}

fn beginning(mut text: String, max_bytes: usize) -> String {
    let length = json_text::cut(&text, max_bytes).len();
    text.truncate(length);
    text.shrink_to_fit();
    text
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

/// What became of one record of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The service has it, under this id. Never sent again.
    Delivered {
        /// The id that the service gave.
        record_id: ByteString,
    },
    /// The service will not take it, now or later.
    Failed(ServiceError),
    /// Not taken, or not known to be: to be sent again.
    Retry(ServiceError),
}

impl Outcome {
    /// What went wrong; `None` where the record was delivered.
    pub fn error(&self) -> Option<&ServiceError> {
        match self {
            Outcome::Delivered { .. } => None,
            Outcome::Failed(error) | Outcome::Retry(error) => Some(error),
        }
    }
}

/// A call that failed as a whole: its error holds for every record in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct CallError {
    /// Whether sending the same again may help.
    pub retryable: bool,
    /// What the service said, or what happened on the way.
    pub error: ServiceError,
}

/// A service that takes records.
pub trait Destination: Clone + Send + Sync + 'static {
    /// Sends records in one call, within the limits of [`crate::batch`]. The outcomes are as many
    /// as the records and in their order.
    fn put_batch(
        &self,
        stream: &DeliveryStreamArn,
        records: Vec<Bytes>,
    ) -> impl Future<Output = Result<Vec<Outcome>, CallError>> + Send;

    /// When the credentials end that it uses; `None` where they do not, or are not known yet.
    fn credentials_expire(&self) -> Option<SystemTime> {
        None
    }

    /// Sends a single record in a call of its own.
    fn put_record(
        &self,
        stream: &DeliveryStreamArn,
        record: Bytes,
    ) -> impl Future<Output = Result<Outcome, CallError>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_goes_on_and_on_the_beginning_is_kept() {
        let error = ServiceError::new("A".repeat(100_000), "b".repeat(100_000));
        assert_eq!(error.code, "A".repeat(CODE_MAX_BYTES));
        assert_eq!(error.message, "b".repeat(MESSAGE_MAX_BYTES));
    }
}
