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
            "The signature is not accepted. Check the secret key. A wrong clock of this device is made up for with the next call; set it right all the same."
        }
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "MissingAuthenticationTokenException"
        | "NotAuthorized" => {
            "AWS does not know these credentials. Check the key and its session token, its region and its partition."
        }
        "NoCredentials" => {
            "Credentials come from IOT_CREDENTIAL_ENDPOINT, or else from AWS_ACCESS_KEY_ID and its companions, a profile, a container or Greengrass, or the instance. See whether one of them has any, and whether their provider answers."
        }
        "CredentialsFailed" => {
            "There is something set up that should have credentials, and it does not give them. Mend that, or take it away, so that others are asked."
        }
        "ContainerCredentialsRefused" => {
            "Greengrass's token exchange, or the container's provider, answers and gives no credentials. Where the status is 403 or 404, see AWS_CONTAINER_AUTHORIZATION_TOKEN; otherwise its own log says why: the role alias and the role behind it."
        }
        "ContainerCredentialsFailed" => {
            "Nothing useful answers at AWS_CONTAINER_CREDENTIALS_FULL_URI. Is the Greengrass nucleus, or the agent of the container, running? On nucleus lite its port changes with each start, and then the component has to be started again too."
        }
        "IotAccessDenied" => {
            "The AWS IoT policy of the device's certificate must allow iot:AssumeRoleWithCertificate on the role alias in IOT_ROLE_ALIAS."
        }
        "IotThingRefused" => {
            "The certificate is not attached to the thing in IOT_THING_NAME. Attach it (aws iot attach-thing-principal), correct the name, or leave it out."
        }
        "IotCertificateRefused" => {
            "AWS IoT does not take the certificate in IOT_CERT_FILE. See whether it is active and registered in the account and region of IOT_CREDENTIAL_ENDPOINT, has not expired, and has IOT_KEY_FILE as its key."
        }
        "IotRoleAliasNotFound" => {
            "There is no role alias of this name in the account and region of IOT_CREDENTIAL_ENDPOINT. Create it (aws iot create-role-alias), or correct IOT_ROLE_ALIAS."
        }
        "IotRoleRefused" => {
            "The role behind the role alias must exist, trust credentials.iot.amazonaws.com, and allow sessions as long as the alias asks for."
        }
        "IotUnreachable" => {
            "AWS IoT's credentials provider cannot be reached, or has a fault of its own, which passes. Check IOT_CREDENTIAL_ENDPOINT, the network, name resolution, a proxy or firewall."
        }
        "IotEndpointNotTrusted" => {
            "Check IOT_CA_FILE, or the system's authorities (Amazon Root CA 1 signs this endpoint), whether a proxy opens TLS on the way, and this device's clock."
        }
        "IotAnswerUnreadable" => {
            "What answers is not AWS IoT's credentials provider. See whether IOT_CREDENTIAL_ENDPOINT is what aws iot describe-endpoint --endpoint-type iot:CredentialProvider prints, and whether a portal is on the way."
        }
        "IotFiles" => {
            "Put PEM files there that hold what IOT_CERT_FILE, IOT_KEY_FILE and IOT_CA_FILE are for. They are read again at the next attempt."
        }
        "AssumeRoleRefused" => {
            "The trust policy of the role in ASSUME_ROLE_ARN must name who assumes it, and the external id where it asks for one (ASSUME_ROLE_EXTERNAL_ID); and the credentials that assume it must be allowed sts:AssumeRole on it."
        }
        "AssumeRoleFailed" => {
            "The role in ASSUME_ROLE_ARN is assumed through the Security Token Service of the default stream's region. The message says what it answered, or why it cannot be asked."
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
        "CertificateError" => {
            "The certificate of what answers is not accepted. Is there a proxy that opens TLS? Then its authority must be among the system's. And is this device's clock right?"
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

    /// The page knows by the code that it is the credentials.
    #[test]
    fn the_page_has_every_code_of_credentials() {
        let verdicts = include_str!("page/verdict.js");
        let quoted = regex_lite::Regex::new(r#""(\w+)""#).unwrap();
        let of_credentials = |code: &&str| {
            let kinds = ["Iot", "AssumeRole", "Container", "Credentials", "NoCred"];
            kinds.iter().any(|kind| code.starts_with(kind))
        };
        let codes: std::collections::BTreeSet<_> = quoted
            .captures_iter(include_str!("advice.rs"))
            .filter_map(|found| found.get(1).map(|code| code.as_str()))
            .filter(|code| advice(code).is_some())
            .filter(of_credentials)
            .collect();
        assert!(codes.len() >= 15, "{codes:?}");
        for code in codes {
            assert!(verdicts.contains(&format!("\"{code}\"")), "{code}");
        }
    }
}
