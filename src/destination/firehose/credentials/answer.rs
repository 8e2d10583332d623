//! What AWS IoT's credentials provider answers: credentials, or why there are none. Pure.

use std::fmt;
use std::time::SystemTime;

use aws_sdk_firehose::config::Credentials;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use serde::Deserialize;

use super::https::Answer;
use super::{Unavailable, by_our_clock};
use crate::arn::quoted;
use crate::parameters::IotParameters;

/// How much of a refusal is shown.
const SHOWN_CHARS: usize = 200;

/// An answer with credentials.
#[derive(Deserialize)]
struct Granted {
    credentials: Fields,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
    /// As ISO 8601 has it.
    expiration: String,
}

/// An answer without.
#[derive(Deserialize)]
struct Refused {
    #[serde(alias = "Message")]
    message: String,
}

/// Reads an answer that came at this time.
///
/// # Errors
/// Why there are no credentials in it. Nothing of an answer with credentials is quoted.
pub(super) fn credentials(
    iot: &IotParameters,
    answer: &Answer,
    now: SystemTime,
) -> Result<Credentials, Unavailable> {
    if answer.status != 200 {
        return Err(refusal(iot, answer));
    }
    let granted = serde_json::from_slice(&answer.body).ok();
    let found = granted.and_then(|Granted { credentials }| {
        let end = DateTime::from_str(&credentials.expiration, Format::DateTime).ok()?;
        let end = by_our_clock(SystemTime::try_from(end).ok()?, answer.date, now);
        let is_whole = ![&credentials.access_key_id, &credentials.secret_access_key]
            .iter()
            .any(|field| field.is_empty());
        is_whole.then(|| {
            Credentials::new(
                credentials.access_key_id,
                credentials.secret_access_key,
                Some(credentials.session_token),
                Some(end),
                "AwsIot",
            )
        })
    });
    found.ok_or_else(|| {
        let words = "answered with HTTP status 200, but not with credentials as AWS IoT gives them";
        unavailable(iot, "IotAnswerUnreadable", words)
    })
}

/// Source of what AWS IoT says: the developer notes of awslabs' session helper for its credentials provider, which
/// tried each combination.
fn refusal(iot: &IotParameters, answer: &Answer) -> Unavailable {
    let status = answer.status;
    let Ok(Refused { message }) = serde_json::from_slice(&answer.body) else {
        let code = if status >= 500 {
            "IotUnreachable"
        } else {
            "IotAnswerUnreadable"
        };
        return unavailable(
            iot,
            code,
            format_args!("answered with HTTP status {status}"),
        );
    };
    let lower = message.to_ascii_lowercase();
    let code = match status {
        403 if lower.contains("thing name") => "IotThingRefused",
        403 if lower.contains("certificate") => "IotCertificateRefused",
        403 => "IotAccessDenied",
        404 if lower.contains("role alias") => "IotRoleAliasNotFound",
        400 if lower.contains("role") || lower.contains("duration") => "IotRoleRefused",
        429 | 500.. => "IotUnreachable",
        _ => "IotAnswerUnreadable",
    };
    let message = quoted(&message, SHOWN_CHARS);
    let (alias, thing) = (&iot.role_alias, iot.thing_name.as_deref());
    let thing = match (code, thing) {
        ("IotThingRefused", Some(thing)) => format!(" and thing {thing}"),
        _ => String::new(),
    };
    let words = format_args!("refuses role alias {alias}{thing}: HTTP status {status}, {message}");
    unavailable(iot, code, words)
}

fn unavailable(iot: &IotParameters, code: &str, words: impl fmt::Display) -> Unavailable {
    let message = format!("AWS IoT's credentials provider {} {words}", iot.host);
    Unavailable::new(code, message)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::super::SKEW_MAX;
    use super::*;

    /// 2026-11-22T00:00:00Z.
    const MIDNIGHT: Duration = Duration::from_secs(1_795_305_600);

    fn iot() -> IotParameters {
        IotParameters {
            host: "provider".to_owned(),
            port: 443,
            role_alias: "alias-1".to_owned(),
            thing_name: Some("press-7".to_owned()),
            cert_file: "device.pem".into(),
            key_file: "device.key".into(),
            ca_file: None,
        }
    }

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            date: None,
            body: body.as_bytes().to_vec(),
        }
    }

    const GRANTED: &str = r#"{"credentials":{"accessKeyId":"ASIA1","secretAccessKey":"hidden-secret",
        "sessionToken":"hidden-token","expiration":"2026-11-22T01:00:00Z"}}"#;

    #[test]
    fn credentials_and_their_end() {
        let now = UNIX_EPOCH + MIDNIGHT;
        let found = credentials(&iot(), &answer(200, GRANTED), now).unwrap();
        assert_eq!(found.access_key_id(), "ASIA1");
        assert_eq!(found.secret_access_key(), "hidden-secret");
        assert_eq!(found.session_token(), Some("hidden-token"));
        assert_eq!(found.expiry(), Some(now + Duration::from_secs(3600)));
    }

    #[test]
    fn where_our_clock_is_wrong_the_time_that_is_left_counts() {
        let (theirs, hour) = (UNIX_EPOCH + MIDNIGHT, Duration::from_secs(3600));
        let dated = Answer {
            date: Some(theirs),
            ..answer(200, GRANTED)
        };
        for ours in [theirs + 5 * hour, theirs - 5 * hour, UNIX_EPOCH] {
            let found = credentials(&iot(), &dated, ours).unwrap();
            assert_eq!(found.expiry(), Some(ours + hour), "{ours:?}");
        }
        // A few seconds are the way's.
        for ours in [theirs + SKEW_MAX, theirs - SKEW_MAX] {
            let found = credentials(&iot(), &dated, ours).unwrap();
            assert_eq!(found.expiry(), Some(theirs + hour), "{ours:?}");
        }
    }

    #[test]
    fn each_refusal_has_its_code_and_says_what_was_asked_for() {
        for (status, message, code) in [
            (403, "Invalid thing name passed", "IotThingRefused"),
            (403, "Access Denied", "IotAccessDenied"),
            (
                403,
                "Certificate is invalid on this endpoint",
                "IotCertificateRefused",
            ),
            (404, "Role alias does not exist", "IotRoleAliasNotFound"),
            (
                400,
                "Unable to assume the role, or the role to assume does not exist",
                "IotRoleRefused",
            ),
            (
                400,
                "The requested CredentialDurationSeconds exceeds the MaxSessionDuration set for the role",
                "IotRoleRefused",
            ),
            (404, "Not Found", "IotAnswerUnreadable"),
            (429, "Slow down", "IotUnreachable"),
            (500, "Internal failure", "IotUnreachable"),
        ] {
            let body = format!(r#"{{"message":"{message}"}}"#);
            let refused = credentials(&iot(), &answer(status, &body), UNIX_EPOCH);
            let Unavailable(error) = refused.unwrap_err();
            assert_eq!(error.code, code, "{message}");
            for part in ["provider", "alias-1", message, &status.to_string()] {
                assert!(error.message.contains(part), "{part}: {error}");
            }
            let names_thing = error.message.contains("press-7");
            assert_eq!(names_thing, code == "IotThingRefused", "{error}");
            assert!(crate::telemetry::advice(code).is_some(), "{code}");
        }
    }

    #[test]
    fn what_is_no_answer_of_aws_iot_is_told_without_what_is_in_it() {
        for (status, body) in [
            (200, "<html>Welcome! hidden</html>"),
            (200, ""),
            (200, "{}"),
            (200, r#"{"credentials":{"accessKeyId":"hidden"}}"#),
            (200, &GRANTED.replace("ASIA1", "")),
            (200, &GRANTED.replace("2026-11-22T01:00:00Z", "hidden")),
            (200, &GRANTED.replace("\"hidden-secret\"", "7")),
            (302, "<html>hidden</html>"),
            (403, "<html>hidden</html>"),
        ] {
            let refused = credentials(&iot(), &answer(status, body), UNIX_EPOCH);
            let Unavailable(error) = refused.unwrap_err();
            assert_eq!(error.code, "IotAnswerUnreadable", "{body}");
            assert!(error.message.contains(&status.to_string()), "{error}");
            assert!(!error.message.contains("hidden"), "{error}");
        }
        let Unavailable(error) = credentials(&iot(), &answer(503, "busy"), UNIX_EPOCH).unwrap_err();
        assert_eq!(error.code, "IotUnreachable");
    }
}
