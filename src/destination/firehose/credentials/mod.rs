//! Where credentials come from, and who keeps them: `iot` asks AWS IoT for some with the device's certificate
//! (`https` is its way there, `answer` what it says), `chain` looks where every SDK looks (`instance` says whether
//! that includes the instance), `role` assumes a role with what these have, and `keeper` holds what was found and
//! renews it ahead of need.

mod answer;
mod chain;
mod https;
mod instance;
mod iot;
mod keeper;
mod role;

use aws_config::SdkConfig;
use aws_sdk_firehose::config::SharedCredentialsProvider;

use super::ServiceError;
use crate::parameters::IdentityParameters;
use chain::Chain;
use iot::DeviceCertificate;
pub(super) use keeper::Keeper;
use role::AssumedRole;

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
