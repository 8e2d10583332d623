//! What a person can do about an error code of the service, or of the way to it.

/// What to do, in a sentence or two.
pub fn advice(code: &str) -> &'static str {
    match code {
        "ResourceNotFoundException" => {
            "There is no stream of this name in this account and region. Create it, or correct the ARN."
        }
        "AccessDeniedException" => {
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
            "AWS does not know these credentials. Check the key, its region and its partition."
        }
        "NoCredentials" => {
            "No credentials were found. kinesis-edge check says where they were looked for."
        }
        "ServiceUnavailableException" | "ThrottlingException" | "LimitExceededException" => {
            "More comes than the stream's quota allows. It is sent again by itself; if it stays so, ask for a higher quota, or join records with RECORD_AGGREGATION."
        }
        "InternalFailure" | "InternalServerError" | "InternalServerException" => {
            "AWS has a fault of its own. It is sent again by itself."
        }
        "Timeout" | "ConnectionError" | "RequestNotSent" | "UnreadableResponse" => {
            "Firehose cannot be reached from here. Check the network, name resolution, a proxy or firewall. It is sent again by itself."
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
        _ => {
            "The message says what the service answered; kinesis-edge check looks at the whole way."
        }
    }
}
