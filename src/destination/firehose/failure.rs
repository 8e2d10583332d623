//! Why a call failed, in words: what the service said, or what happened on the way to it.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_firehose::config::http::HttpResponse;
use aws_sdk_firehose::error::{ProvideErrorMetadata, SdkError};

use super::super::classify::{self, is_retryable};
use super::super::{CallError, ServiceError};
use super::clock::Clocks;
use super::credentials::Unavailable;

/// Codes of calls that may have been refused for their date. The SDK, too, counts refused access among them.
const FOR_THE_DATE: [&str; 6] = [
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "RequestTimeTooSkewed",
    "RequestExpired",
    "AccessDeniedException",
    "AccessDenied",
];

/// What a failed call says: the service's code where it answered, else what happened on the way.
pub(super) fn call_error<E>(error: &SdkError<E, HttpResponse>) -> CallError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::ServiceError(context) => {
            let status = context.raw().status().as_u16();
            let meta = context.err().meta();
            let code = meta
                .code()
                .map_or_else(|| format!("HTTP{status}"), str::to_owned);
            let message = meta.message().map_or_else(
                || format!("the service answered with HTTP status {status}"),
                |message| without_quote(message).to_owned(),
            );
            // The next call is dated by the clock of this answer.
            let clocks = refused_for_the_date(context.raw(), &code);
            let message = match clocks.and_then(|clocks| clocks.wrong()) {
                Some(skew) => format!("this device's clock is {skew}: {message}"),
                None => message,
            };
            CallError {
                retryable: status >= 500 || is_retryable(&code) || clocks.is_some(),
                error: ServiceError::new(code, message),
            }
        }
        SdkError::TimeoutError(_) => on_the_way("Timeout", error),
        SdkError::DispatchFailure(_) => on_the_way("ConnectionError", error),
        SdkError::ResponseError(context) => {
            let mut failure = on_the_way("UnreadableResponse", error);
            let status = context.raw().status().as_u16();
            let told = match status {
                300..=399 => "it points elsewhere, and records are sent nowhere else",
                _ if failure.error.message == NOTHING_SAID => "the answer says nothing more",
                _ => &*failure.error.message,
            };
            failure.error.message = format!("HTTP status {status}: {told}");
            failure
        }
        // No usable endpoint: nothing was sent and nothing is wrong with the record.
        _ => on_the_way("RequestNotSent", error),
    }
}

/// What the clocks showed, where a call may have been refused for its date.
fn refused_for_the_date<'a>(answer: &'a HttpResponse, code: &str) -> Option<&'a Clocks> {
    let clocks = answer.extension::<Clocks>();
    clocks.filter(|clocks| clocks.is_misdated() && FOR_THE_DATE.contains(&code))
}

/// Whether other credentials may help this call. One that was refused for its date says nothing about them.
pub(super) fn are_credentials_refused<E: ProvideErrorMetadata>(
    error: &SdkError<E, HttpResponse>,
) -> bool {
    let SdkError::ServiceError(context) = error else {
        return false;
    };
    context.err().code().is_some_and(|code| {
        classify::are_credentials_refused(code)
            && refused_for_the_date(context.raw(), code).is_none()
    })
}

/// A message up to where it quotes the call. Where a signature does not fit, the service tells what it was made
/// of, session token included, and messages go to the log, the page and every app.
fn without_quote(message: &str) -> &str {
    let end = message.find(['\n', '\r']).unwrap_or(message.len());
    let quote = message.find("The Canonical String").unwrap_or(end);
    message[..end.min(quote)].trim_end()
}

/// What the SDK makes of an answer that names no error.
const NOTHING_SAID: &str = "unhandled error: Error";

/// How the TLS library begins to say what is wrong with a certificate.
const CERTIFICATE_REFUSED: &str = "invalid peer certificate";

fn on_the_way(code: &str, error: &(dyn Error + 'static)) -> CallError {
    let about_credentials = causes(error).find_map(|cause| cause.downcast_ref());
    CallError {
        retryable: true,
        error: match about_credentials {
            Some(error) => no_credentials(error),
            None => {
                // The outermost error only says that it was one.
                let message = in_one_line(error.source().unwrap_or(error));
                // The SDK gives no kinds of errors, so its words have to tell.
                let is_certificates = message.contains(CERTIFICATE_REFUSED);
                let code = if is_certificates {
                    "CertificateError"
                } else {
                    code
                };
                ServiceError::new(code, message)
            }
        },
    }
}

/// What to do where the credentials are missing; what went wrong where they cannot be had.
pub(super) fn no_credentials(error: &CredentialsError) -> ServiceError {
    if let Some(Unavailable(told)) = causes(error).find_map(<dyn Error>::downcast_ref) {
        return told.clone();
    }
    let message = match error {
        CredentialsError::CredentialsNotLoaded(_) => {
            "no AWS credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE \
             with a profile that has them, or IOT_CREDENTIAL_ENDPOINT for those of the device's certificate, or give \
             this machine or container a role"
                .to_owned()
        }
        _ => format!(
            "the AWS credentials could not be loaded: {}",
            in_one_line(error)
        ),
    };
    ServiceError::new("NoCredentials", message)
}

/// An error and what it came from, from the outside in.
pub(super) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// All that an error has to say to a person, as one line of a log.
pub(super) fn in_one_line(error: &(dyn Error + 'static)) -> String {
    let causes: Vec<String> = causes(error).map(ToString::to_string).collect();
    let words = causes.join(": ");
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    without_quoted_url(&words).unwrap_or(words)
}

/// How the SDK begins to quote an endpoint that it cannot use, `AWS_ENDPOINT_URL` as it was set.
const QUOTES_URL: &str = "failed to apply endpoint `";

/// The same words without what may be secret in the URL that they quote; `None` where they quote none.
fn without_quoted_url(words: &str) -> Option<String> {
    let (before, quoting) = words.split_once(QUOTES_URL)?;
    let (url, after) = quoting.rsplit_once('`')?;
    let url = without_secrets(url);
    Some(format!("{before}{QUOTES_URL}{url}`{after}"))
}

/// A URL without what may be secret in it: user, password and query.
pub(super) fn without_secrets(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    // Up to the last one, wherever it is: it need not be a URL that is right.
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    let end = place.find(['?', '#']).unwrap_or(place.len());
    format!("{scheme}{}", &place[..end])
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use aws_sdk_firehose::error::ErrorMetadata;
    use aws_sdk_firehose::operation::put_record_batch::PutRecordBatchError;
    use aws_smithy_types::body::SdkBody;

    use super::*;

    #[test]
    fn what_the_service_quotes_of_a_call_is_left_out() {
        for quoting in [
            "It does not match.\n\nThe Canonical String was\nx-amz-security-token:hidden",
            "It does not match. The Canonical String was x-amz-security-token:hidden",
            "It does not match.",
        ] {
            assert_eq!(without_quote(quoting), "It does not match.");
        }
        assert_eq!(without_quote("It is ü."), "It is ü.");
    }

    /// An answer with this code, to a call that was dated so long ago.
    fn refusal(code: &str, age: Duration) -> SdkError<PutRecordBatchError, HttpResponse> {
        let mut answer = HttpResponse::new(400.try_into().unwrap(), SdkBody::empty());
        let now = SystemTime::now();
        answer.add_extension(Clocks {
            theirs: now,
            ours: now - age,
            dated: Some(now - age),
        });
        let meta = ErrorMetadata::builder().code(code).build();
        SdkError::service_error(PutRecordBatchError::generic(meta), answer)
    }

    #[test]
    fn a_call_that_was_refused_for_its_date_says_nothing_of_its_credentials() {
        let hours = Duration::from_secs(5 * 3600);
        for (code, age, refused) in [
            ("InvalidSignatureException", Duration::ZERO, true),
            ("InvalidSignatureException", hours, false),
            ("ExpiredTokenException", hours, true),
            ("ThrottlingException", Duration::ZERO, false),
        ] {
            let error = refusal(code, age);
            assert_eq!(are_credentials_refused(&error), refused, "{code} {age:?}");
        }
        let unsent = SdkError::<PutRecordBatchError, _>::timeout_error("late");
        assert!(!are_credentials_refused(&unsent));
    }

    #[test]
    fn of_a_url_user_password_and_query_are_left_out() {
        for (url, shown) in [
            ("http://127.0.0.1:80/path", "http://127.0.0.1:80/path"),
            (
                "http://user:hidden@host:80/?token=hidden",
                "http://host:80/",
            ),
            ("http://user:hid/den@host#hidden", "http://host"),
            ("user:hidden@host", "host"),
            ("", ""),
        ] {
            assert_eq!(without_secrets(url), shown);
            let quoting = |url| format!("other: {QUOTES_URL}{url}`: it is no URL");
            assert_eq!(without_quoted_url(&quoting(url)), Some(quoting(shown)));
        }
        assert_eq!(without_quoted_url("nothing is quoted"), None);
    }
}
