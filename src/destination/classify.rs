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

/// Codes of a service that does not take the credentials of a call: they have ended, or were withdrawn or changed.
/// Others may be there by now.
const CREDENTIALS_REFUSED: [&str; 6] = [
    "ExpiredTokenException",
    "ExpiredToken",
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
];

/// Whether other credentials may help a call that failed with this code.
pub(super) fn are_credentials_refused(code: &str) -> bool {
    CREDENTIALS_REFUSED.contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_credentials_may_mend_is_no_fault_of_the_record() {
        assert!(CREDENTIALS_REFUSED.into_iter().all(is_retryable));
        assert!(!are_credentials_refused("AccessDeniedException"));
    }

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
