//! A role that is assumed with credentials that are had otherwise, for streams of another account.

use std::error::Error;

use aws_config::SdkConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future::ProvideCredentials as Provided;
use aws_sdk_firehose::config::{ProvideCredentials, SharedCredentialsProvider};

use super::super::failure::{causes, in_one_line, no_credentials};
use super::client::CredentialsClient;
use super::{Unavailable, sts_error, that_end_by_our_clock};
use crate::parameters::RoleParameters;

/// Assumes a role each time it is asked.
#[derive(Debug)]
pub(super) struct AssumedRole {
    arn: String,
    /// Has the date of the answer.
    client: CredentialsClient,
    /// Calls the Security Token Service.
    provider: AssumeRoleProvider,
}

impl AssumedRole {
    /// With the credentials of `base`, in the region of `sdk`.
    pub async fn new(
        role: &RoleParameters,
        base: SharedCredentialsProvider,
        sdk: &SdkConfig,
    ) -> Self {
        let client = CredentialsClient::through_proxies();
        let sdk = sdk.to_builder().http_client(client.clone()).build();
        let mut builder = AssumeRoleProvider::builder(&role.arn)
            .session_name(&role.session_name)
            .configure(&sdk);
        if let Some(id) = &role.external_id {
            builder = builder.external_id(id);
        }
        AssumedRole {
            arn: role.arn.clone(),
            client,
            provider: builder.build_from_provider(base).await,
        }
    }
}

impl ProvideCredentials for AssumedRole {
    fn provide_credentials<'a>(&'a self) -> Provided<'a>
    where
        Self: 'a,
    {
        Provided::new(async {
            let found = self.provider.provide_credentials().await;
            let date = self.client.take_date();
            match found {
                Ok(found) => Ok(that_end_by_our_clock(found, date)),
                Err(error) => Err(CredentialsError::provider_error(in_words(
                    &self.arn, &error,
                ))),
            }
        })
    }
}

fn in_words(arn: &str, error: &CredentialsError) -> Unavailable {
    // The credentials that were to assume it come with an error of their own.
    let base = causes(error).skip(1).find_map(<dyn Error>::downcast_ref);
    if let Some(base) = base {
        return Unavailable(no_credentials(base));
    }
    let (code, words) = match sts_error(error) {
        Some(refused) if refused.code.starts_with("AccessDenied") => {
            ("AssumeRoleRefused", refused.to_string())
        }
        Some(failed) => ("AssumeRoleFailed", failed.to_string()),
        None => ("AssumeRoleFailed", in_one_line(error)),
    };
    let message = format!("the role {arn} cannot be assumed: {words}");
    Unavailable::new(code, message)
}
