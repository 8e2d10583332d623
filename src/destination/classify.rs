//! Which errors pass and which stay: whether sending the same again may help.

/// Codes that no repetition mends: the operator or the app must act. The first five are those of
/// the Firehose API; `AccessDeniedException` comes from IAM; the rest say that the request itself
/// is not understood.
const NOT_RETRYABLE: [&str; 11] = [
    "InvalidArgumentException",
    "ResourceNotFoundException",
    "InvalidSourceException",
    "InvalidKMSResourceException",
    "AccessDeniedException",
    "AccessDenied",
    "ValidationException",
    "ValidationError",
    "SerializationException",
    "UnknownOperationException",
    "InvalidAction",
];

/// Whether a record or a call that failed with this code may succeed when sent again. Codes that
/// are not known count as retryable: a record is kept rather than lost on a guess. That holds for
/// everything about credentials and clocks too (expired token, skewed time, a key not yet known
/// everywhere): the record is not at fault.
pub(super) fn is_retryable(code: &str) -> bool {
    !NOT_RETRYABLE.contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides() {
        for code in [
            "ServiceUnavailableException",
            "InternalFailure",
            "ThrottlingException",
            "LimitExceededException",
            "ExpiredTokenException",
            "InvalidSignatureException",
            "UnrecognizedClientException",
            "SomethingNew",
            "",
        ] {
            assert!(is_retryable(code), "{code}");
        }
        for code in NOT_RETRYABLE {
            assert!(!is_retryable(code), "{code}");
        }
    }
}
