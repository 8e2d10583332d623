//! The error codes that are ours: what a status says when the connector itself, not Amazon Data
//! Firehose, ends a request. The original connector's document names none for these cases, so
//! they are defined here and listed in the README. Codes of AWS pass through as they come.

/// Why the connector ended a request without success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// The payload is not a request: not JSON, no `request.data`, a wrong type, an unusable `id`.
    InvalidRequest,
    /// `request.delivery_stream_arn` is not an ARN that this connector can send to.
    InvalidDeliveryStreamArn,
    /// `request.delivery_stream_arn` names a stream that is not among `ALLOWED_DELIVERY_STREAM_ARNS`.
    DeliveryStreamNotAllowed,
    /// The record is larger than Firehose takes (1,024,000 bytes).
    RecordTooLarge,
    /// The queue of the stream holds as many records as it may.
    QueueFull,
    /// All queues together hold as much as the memory size allows.
    MemoryLimitExceeded,
    /// As many streams as the connector serves at a time have records already.
    TooManyStreams,
    /// The record was not delivered within `RECORD_MAX_AGE`.
    Expired,
    /// The record was the oldest of a full queue under `WHEN_FULL=drop-oldest`.
    Dropped,
    /// The connector stopped before the record was known to be delivered.
    ConnectorStopped,
}

/// What a status says of a record with [`Code::Dropped`].
pub const DROPPED_MESSAGE: &str =
    "dropped for a newer record, as the queue was full (WHEN_FULL=drop-oldest)";

impl Code {
    /// Every code, in the order of the README's table.
    pub const ALL: [Code; 10] = [
        Code::InvalidRequest,
        Code::InvalidDeliveryStreamArn,
        Code::DeliveryStreamNotAllowed,
        Code::RecordTooLarge,
        Code::QueueFull,
        Code::MemoryLimitExceeded,
        Code::TooManyStreams,
        Code::Expired,
        Code::Dropped,
        Code::ConnectorStopped,
    ];

    /// The code as it stands in a status document.
    pub const fn as_str(self) -> &'static str {
        match self {
            Code::InvalidRequest => "InvalidRequest",
            Code::InvalidDeliveryStreamArn => "InvalidDeliveryStreamArn",
            Code::DeliveryStreamNotAllowed => "DeliveryStreamNotAllowed",
            Code::RecordTooLarge => "RecordTooLarge",
            Code::QueueFull => "QueueFull",
            Code::MemoryLimitExceeded => "MemoryLimitExceeded",
            Code::TooManyStreams => "TooManyStreams",
            Code::Expired => "Expired",
            Code::Dropped => "Dropped",
            Code::ConnectorStopped => "ConnectorStopped",
        }
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
