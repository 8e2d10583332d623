//! What a person can do about an error code of the service, or of the way to it.

/// What to do about a code that says nothing to us.
pub const ELSE: &str =
    "The message says what the service answered; kinesis-edge check looks at the whole way.";

/// What to do, in a sentence or two; `None` where the code says nothing to us.
pub fn advice(code: &str) -> Option<&'static str> {
    Some(match code {
        "ResourceNotFoundException" => {
            "There is no stream of this name in this account and region. Create it, or correct the ARN."
        }
        "AccessDeniedException" | "AccessDenied" => {
            "The credentials are valid and may not do this. Attach the policy that kinesis-edge policy prints."
        }
        "ExpiredTokenException" | "ExpiredToken" | "RequestExpired" => {
            "The credentials have ended. See to whatever renews them on this device, and to its clock."
        }
        "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignatureException"
        | "RequestTimeTooSkewed" => {
            "The signature is not accepted. Check the secret key, and this device's clock: it may be no more than 5 minutes off."
        }
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "MissingAuthenticationTokenException"
        | "NotAuthorized" => {
            "AWS does not know these credentials. Check the key and its session token, its region and its partition."
        }
        "NoCredentials" => {
            "Credentials come from AWS_ACCESS_KEY_ID and its companions, a profile, a container or Greengrass, or the instance. See whether one of them has any, and whether their provider answers."
        }
        "ServiceUnavailableException" | "ThrottlingException" | "LimitExceededException" => {
            "More comes than the stream's quota allows. If it stays so, ask for a higher quota, or join records with RECORD_AGGREGATION."
        }
        "InternalFailure" | "InternalServerError" | "InternalServerException" => {
            "AWS has a fault of its own, which passes."
        }
        "Timeout" | "ConnectionError" | "RequestNotSent" => {
            "Firehose cannot be reached from here. Check the network, name resolution, a proxy or firewall."
        }
        "UnreadableResponse" => {
            "What answers is not Firehose. See whether a portal on the way wants a login, or a proxy does not let this through, and whether AWS_ENDPOINT_URL is right, if it is set."
        }
        "InvalidArgumentException" | "ValidationException" | "SerializationException" => {
            "Firehose does not accept the request. Look at the message; the stream may not take direct puts."
        }
        "InvalidSourceException" => {
            "The stream reads from another source, and takes no records from here. Create one with the source Direct PUT."
        }
        "InvalidKMSResourceException" => {
            "The stream's encryption key cannot be used. See to the key and its permissions in AWS."
        }
        "Expired" => {
            "Records waited longer than RECORD_MAX_AGE. See why they could not be delivered, or allow more."
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_that_cannot_be_loaded_are_not_called_missing() {
        let advice = advice("NoCredentials").unwrap();
        assert!(advice.contains("provider answers"), "{advice}");
        assert!(!advice.contains("found"), "{advice}");
    }
}
