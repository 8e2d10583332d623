//! Questions to AWS that send no record, for whoever wants to know beforehand what a call would meet:
//! which credentials there are, whether the endpoint answers and what its clock shows, and whether it
//! takes the credentials.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use aws_credential_types::credential_feature::AwsCredentialFeature;
use aws_sdk_firehose::config::interceptors::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextMut,
    BeforeTransmitInterceptorContextRef,
};
use aws_sdk_firehose::config::{ConfigBag, Credentials, Intercept, RuntimeComponents};
use aws_sdk_firehose::error::BoxError;

use super::clock::{Clocks, REQUEST_ID};
use super::failure::without_secrets;
use super::{Firehose, made_up_credentials};
use crate::arn::DeliveryStreamArn;
use crate::destination::{CallError, ServiceError};

/// What the service says of a call that it understood and whose content it does not take. It looks at
/// the content only once it knows who calls.
const CONTENT_REFUSED: [&str; 2] = ["InvalidArgumentException", "ValidationException"];

/// Codes of the SDK's side: nothing was answered.
const UNANSWERED: [&str; 4] = [
    "Timeout",
    "ConnectionError",
    "CertificateError",
    "RequestNotSent",
];

/// An access key id is shown with this many characters of each end, if it is longer than both.
const SHOWN_OF_KEY_ID: usize = 4;

/// Credentials, without what is secret about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundCredentials {
    /// Where they come from, for a person: "from …".
    pub source: String,
    /// The access key id, shortened.
    pub access_key_id: String,
    /// When they end; `None` where nobody says so.
    pub expires: Option<SystemTime>,
}

/// What the endpoint of a region said without knowing who asks, or whoever answers in its place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Greeting {
    /// The address that was asked: `https://firehose.REGION.amazonaws.com`, unless another one is configured. Without
    /// user, password and query.
    pub url: String,
    /// The HTTP status of the answer.
    pub status: u16,
    /// Whether it was the service that answered, and not somebody on the way.
    pub is_the_services: bool,
    /// What its clock showed, to the second, and ours when that came.
    pub clocks: Option<(SystemTime, SystemTime)>,
}

impl Firehose {
    /// Looks for credentials, and says where they come from.
    ///
    /// # Errors
    /// What a call would fail with for want of credentials.
    pub async fn find_credentials(&self) -> Result<FoundCredentials, ServiceError> {
        let found = match &self.inner.keeper {
            Some(keeper) => keeper.credentials().await?,
            None => made_up_credentials(),
        };
        let source = self.inner.source.clone();
        Ok(FoundCredentials {
            source: source.unwrap_or_else(|| link(&found).to_owned()),
            access_key_id: shortened(found.access_key_id()),
            expires: found.expiry(),
        })
    }

    /// Asks the endpoint of a stream's region without a signature: what it answers is a refusal, and all
    /// that counts is that it does, and that it is the service.
    ///
    /// # Errors
    /// What happened on the way, with the address that was asked, where that is known.
    pub async fn greet(&self, stream: &DeliveryStreamArn) -> Result<Greeting, (String, CallError)> {
        let watch = Watch::default();
        let answer = self.call_without_records(stream, &watch, false).await;
        let seen = watch.seen();
        match answer {
            Err(error) if UNANSWERED.contains(&error.error.code.as_str()) => Err((seen.url, error)),
            _ => Ok(seen),
        }
    }

    /// Calls PutRecordBatch with an empty list of records, signed. The service refuses that for its
    /// content, once it has taken signature and token.
    ///
    /// # Errors
    /// Whatever else it answers.
    pub async fn knock(&self, stream: &DeliveryStreamArn) -> Result<(), CallError> {
        let watch = Watch::default();
        let answer = self.call_without_records(stream, &watch, true).await;
        match answer {
            Err(refusal) if !CONTENT_REFUSED.contains(&refusal.error.code.as_str()) => Err(refusal),
            _ => Ok(()),
        }
    }

    /// Calls PutRecordBatch with an empty list of records, with the signature of whoever has credentials or
    /// without one.
    async fn call_without_records(
        &self,
        stream: &DeliveryStreamArn,
        watch: &Watch,
        signed: bool,
    ) -> Result<(), CallError> {
        let mut call = self
            .client(stream.region())
            .put_record_batch()
            .delivery_stream_name(stream.stream_name())
            .set_records(Some(Vec::new()))
            .customize()
            .interceptor(watch.clone());
        if !signed {
            // The SDK sends nothing without a signature, so it is taken off behind it.
            let credentials = aws_sdk_firehose::config::Builder::default()
                .credentials_provider(made_up_credentials());
            call = call.config_override(credentials).interceptor(Unsigned);
        }
        let call = call.send();
        self.bounded(stream, 0, call).await.map(drop)
    }
}

/// The link of the SDK's chain, in the words of the README.
fn link(credentials: &Credentials) -> &'static str {
    use AwsCredentialFeature as From;
    let features = credentials.get_property::<Vec<AwsCredentialFeature>>();
    // The last one is the outermost: a profile that assumes a role is a profile.
    match features.and_then(|features| features.last()) {
        Some(From::CredentialsEnvVars) => "the environment",
        Some(From::CredentialsEnvVarsStsWebIdToken | From::CredentialsStsAssumeRoleWebId) => {
            "a web identity token"
        }
        Some(
            From::CredentialsProfile
            | From::CredentialsProfileSourceProfile
            | From::CredentialsProfileNamedProvider
            | From::CredentialsProfileStsWebIdToken
            | From::CredentialsProfileSso
            | From::CredentialsProfileProcess
            | From::CredentialsProfileLogin
            | From::CredentialsProcess
            | From::CredentialsSso
            | From::CredentialsStsAssumeRole,
        ) => "a profile",
        Some(From::CredentialsHttp) => "the container or Greengrass",
        Some(From::CredentialsImds) => "the instance",
        _ => "the SDK's chain",
    }
}

fn shortened(key_id: &str) -> String {
    let characters: Vec<char> = key_id.chars().collect();
    if characters.len() <= 3 * SHOWN_OF_KEY_ID {
        return "…".to_owned();
    }
    let begin: String = characters[..SHOWN_OF_KEY_ID].iter().collect();
    let end: String = characters[characters.len() - SHOWN_OF_KEY_ID..]
        .iter()
        .collect();
    format!("{begin}…{end}")
}

/// Takes the signature off a call.
#[derive(Debug)]
struct Unsigned;

impl Intercept for Unsigned {
    fn name(&self) -> &'static str {
        "Unsigned"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        context.request_mut().headers_mut().remove("authorization");
        Ok(())
    }
}

/// Notes where a call goes and when it was answered.
#[derive(Debug, Clone, Default)]
struct Watch(Arc<Mutex<Greeting>>);

impl Watch {
    fn seen(&self) -> Greeting {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Intercept for Watch {
    fn name(&self) -> &'static str {
        "Watch"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let url = without_secrets(context.request().uri());
        let url = url.trim_end_matches('/').to_owned();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).url = url;
        Ok(())
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        let clocks = response.extension::<Clocks>();
        let mut greeting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        greeting.status = response.status().as_u16();
        greeting.is_the_services = response.headers().contains_key(REQUEST_ID);
        greeting.clocks = clocks.map(|clocks| (clocks.theirs, clocks.ours));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_key_id_the_ends_are_shown_and_of_a_short_one_nothing() {
        assert_eq!(shortened("AKIAABCDEFGHIJKLMNOP"), "AKIA…MNOP");
        assert_eq!(shortened("made-up"), "…");
        assert_eq!(shortened(""), "…");
    }
}
