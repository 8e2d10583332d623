//! Which streams requests may name. Pure.

use crate::arn::{AllowedStreams, DeliveryStreamArn, Partitions};
use crate::code::Code;

/// What a request's stream is held against.
#[derive(Debug, Clone)]
pub struct Acceptance {
    /// Where records go whose request names no stream; it may be named, too.
    pub default_stream: DeliveryStreamArn,
    /// Which ARNs are accepted at all.
    pub partitions: Partitions,
    /// Which of them; none allows all.
    pub allowed: Option<AllowedStreams>,
}

impl Acceptance {
    /// The stream of a request.
    ///
    /// # Errors
    /// Our code and what is wrong: no valid ARN, or not one that is allowed.
    pub(super) fn accept(&self, arn: &str) -> Result<DeliveryStreamArn, (Code, String)> {
        let stream = DeliveryStreamArn::parse(arn, &self.partitions)
            .map_err(|error| (Code::InvalidDeliveryStreamArn, error.to_string()))?;
        if self.allows(&stream) {
            return Ok(stream);
        }
        Err((Code::DeliveryStreamNotAllowed, not_allowed(&stream)))
    }

    /// Whether a request may name it.
    pub(super) fn allows(&self, stream: &DeliveryStreamArn) -> bool {
        let is_listed = |allowed: &AllowedStreams| allowed.contain(stream);
        *stream == self.default_stream || self.allowed.as_ref().is_none_or(is_listed)
    }
}

/// What is said of a stream that a request may not name. Of a long name, the status cuts the end.
pub(super) fn not_allowed(stream: &DeliveryStreamArn) -> String {
    format!(
        "requests may name the default stream and those of ALLOWED_DELIVERY_STREAM_ARNS, which {stream} is not among"
    )
}
