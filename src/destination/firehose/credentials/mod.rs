//! Where credentials come from, and who keeps them: `iot` asks AWS IoT for some with the device's certificate
//! (`https` is its way there, `answer` what it says), `chain` looks where every SDK looks (`instance` says whether
//! that includes the instance, `profile` what is wrong with a profile), `role` assumes a role with what these have (`client` asks for both), and `keeper` holds
//! what was found and renews it ahead of need.

mod answer;
mod chain;
mod client;
mod https;
mod instance;
mod iot;
mod keeper;
mod profile;
mod role;

use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_firehose::config::http::HttpResponse;
use aws_sdk_firehose::config::{Credentials, SharedCredentialsProvider};
use aws_sdk_firehose::error::SdkError;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;

use super::ServiceError;
use super::failure::{call_error, causes};
use crate::parameters::IdentityParameters;
use chain::Chain;
use iot::DeviceCertificate;
pub(super) use keeper::Keeper;
use role::AssumedRole;

/// The longest answer that is read. Credentials are 2 kB.
const ANSWER_MAX_BYTES: usize = 64 * 1024;

/// By how much the clocks may differ before that of whoever gave credentials is believed. Its date counts whole seconds.
const SKEW_MAX: Duration = Duration::from_secs(60);

/// Why one of the providers here has no credentials.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unavailable(pub ServiceError);

impl Unavailable {
    /// With a code that [advice](crate::telemetry::advice) knows.
    fn new(code: &str, message: String) -> Self {
        Unavailable(ServiceError::new(code, message))
    }
}

/// Who provides credentials.
#[derive(Debug)]
pub(super) struct Source {
    /// Finds them anew each time it is asked.
    pub provider: SharedCredentialsProvider,
    /// Where they come from, for a person; `None` for the SDK's chain, which tells with each.
    pub name: Option<String>,
}

/// Who provides credentials to a device with this identity. `sdk` is the configuration of all clients.
pub(super) async fn source(identity: &IdentityParameters, sdk: &SdkConfig) -> Source {
    let base = match &identity.iot {
        Some(iot) => Source {
            name: Some(format!(
                "the device's certificate (AWS IoT role alias {})",
                iot.role_alias
            )),
            provider: SharedCredentialsProvider::new(DeviceCertificate::new(iot.clone())),
        },
        None => Source {
            provider: SharedCredentialsProvider::new(Chain::new(sdk)),
            name: None,
        },
    };
    let Some(role) = &identity.role else {
        return base;
    };
    let by = base.name.map(|name| format!(", assumed with {name}"));
    Source {
        name: Some(format!("the role {}{}", role.arn, by.unwrap_or_default())),
        provider: SharedCredentialsProvider::new(AssumedRole::new(role, base.provider, sdk).await),
    }
}

/// An end that was told by another clock, by ours where that shows something else: what counts is the time that is
/// left.
fn by_our_clock(end: SystemTime, theirs: Option<SystemTime>, ours: SystemTime) -> SystemTime {
    let Some(theirs) = theirs else { return end };
    let skew = match ours.duration_since(theirs) {
        Ok(ahead) => ahead,
        Err(behind) => behind.duration(),
    };
    if skew <= SKEW_MAX {
        return end;
    }
    let left = end.duration_since(theirs).unwrap_or_default();
    ours.checked_add(left).unwrap_or(end)
}

/// Credentials of a service whose clock showed this when it gave them.
fn that_end_by_our_clock(mut found: Credentials, theirs: Option<SystemTime>) -> Credentials {
    if let Some(end) = found.expiry_mut() {
        *end = by_our_clock(*end, theirs, SystemTime::now());
    }
    found
}

/// What the Security Token Service said, or what happened on the way to it, where that is why there are none.
fn sts_error(error: &CredentialsError) -> Option<ServiceError> {
    type Failed<E> = SdkError<E, HttpResponse>;
    causes(error).find_map(|cause| {
        let role = cause.downcast_ref::<Failed<AssumeRoleError>>();
        let token = cause.downcast_ref::<Failed<AssumeRoleWithWebIdentityError>>();
        let said = role.map(call_error).or_else(|| token.map(call_error))?;
        Some(said.error)
    })
}
