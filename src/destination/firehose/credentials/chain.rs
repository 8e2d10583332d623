//! Where every SDK looks for credentials: the environment, a profile, a web identity token, the container or
//! Greengrass, the instance; in that order, which is the AWS SDK's.
//!
//! The SDK's own chain reads the files of profiles once in its life, asks for an instance on every machine, and through
//! a proxy if there is one. So its links are made anew each time here, the last one only where there can be an instance,
//! and the last two with a client that uses no proxy.

use std::time::Duration;

use aws_config::ecs::EcsCredentialsProvider;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::web_identity_token::WebIdentityTokenCredentialsProvider;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future::ProvideCredentials as Provided;
use aws_sdk_firehose::config::{Credentials, ProvideCredentials};

use super::super::failure::in_one_line;
use super::client::CredentialsClient;
use super::{Unavailable, instance, profile, sts_error, that_end_by_our_clock};
use crate::parameters::is_set;

/// How long a connection of one of the links may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a service is asked in one search: once more where the clock is wrong, as a call is dated by the answer to the
/// one before, and the links do not outlive a search.
const ATTEMPTS: u32 = 2;

/// The chain.
#[derive(Debug)]
pub(super) struct Chain {
    /// Whose region and endpoints the links have.
    sdk: SdkConfig,
    /// Calls the Security Token Service.
    services: CredentialsClient,
    /// Asks the container, Greengrass and the instance.
    beside: CredentialsClient,
}

impl Chain {
    /// Whose links call services as clients of this configuration do.
    pub fn new(sdk: &SdkConfig) -> Self {
        Chain {
            sdk: sdk.clone(),
            services: CredentialsClient::through_proxies(),
            beside: CredentialsClient::direct(),
        }
    }

    /// What the links that ask with this client have in common. It reads the files of profiles once, so it is made for
    /// each search.
    fn configuration(&self, client: &CredentialsClient) -> ProviderConfig {
        let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT);
        ProviderConfig::without_region()
            .with_region(self.sdk.region().cloned())
            .with_use_fips(self.sdk.use_fips())
            .with_use_dual_stack(self.sdk.use_dual_stack())
            .with_behavior_version(Some(BehaviorVersion::latest()))
            .with_retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .with_timeout_config(timeouts.build())
            .with_http_client(client.clone())
    }

    fn container(&self) -> EcsCredentialsProvider {
        let configuration = self.configuration(&self.beside);
        let builder = EcsCredentialsProvider::builder();
        builder.configure(&configuration).build()
    }

    fn instance(&self) -> ImdsCredentialsProvider {
        let configuration = self.configuration(&self.beside);
        let builder = ImdsCredentialsProvider::builder();
        builder.configure(&configuration).build()
    }

    async fn find(&self) -> Result<Credentials, CredentialsError> {
        let environment = EnvironmentVariableCredentialsProvider::new();
        if let Some(found) = asked(&environment, "the environment").await? {
            return Ok(found);
        }
        // That of a search before says nothing of this one.
        self.services.take_date();
        let common = self.configuration(&self.services);
        let of_profile = ProfileFileCredentialsProvider::builder()
            .configure(&common)
            // What `credential_source` may name.
            .with_custom_provider("EcsContainer", self.container())
            .with_custom_provider("Ec2InstanceMetadata", self.instance());
        if let Some(found) = asked(&of_profile.build(), PROFILE).await? {
            return Ok(that_end_by_our_clock(found, self.services.take_date()));
        }
        if let Some(fault) = profile::fault() {
            let unavailable = unavailable("CredentialsFailed", PROFILE, &fault);
            return Err(CredentialsError::provider_error(unavailable));
        }
        if is_set(TOKEN_FILE) {
            let token = WebIdentityTokenCredentialsProvider::builder().configure(&common);
            if let Some(found) = asked(&token.build(), "the web identity token").await? {
                return Ok(that_end_by_our_clock(found, self.services.take_date()));
            }
        }
        if CONTAINER_URIS.into_iter().any(is_set)
            && let Some(found) = asked(&self.container(), CONTAINER).await?
        {
            return Ok(found);
        }
        if instance::can_answer()
            && let Some(found) = asked(&self.instance(), "the instance").await?
        {
            return Ok(found);
        }
        Err(CredentialsError::not_loaded_no_source())
    }
}

impl ProvideCredentials for Chain {
    fn provide_credentials<'a>(&'a self) -> Provided<'a>
    where
        Self: 'a,
    {
        Provided::new(self.find())
    }
}

/// The link that reads files.
const PROFILE: &str = "the profile";

/// The link that asks whatever one of [`CONTAINER_URIS`] names.
const CONTAINER: &str = "the container or Greengrass";

/// Variables without which a link is not set up. The SDK takes those that are set to nothing for set.
const TOKEN_FILE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
const CONTAINER_URIS: [&str; 2] = [
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
];

/// Features of the SDK that are left out here, with what of a profile needs them.
const LEFT_OUT: [(&str, &str); 3] = [
    ("credentials-process", "credential_process"),
    ("credentials-login", "login_session"),
    ("sso", "sso_session or sso_start_url"),
];

/// What a link has; `None` where it is not set up.
async fn asked(
    link: &impl ProvideCredentials,
    name: &str,
) -> Result<Option<Credentials>, CredentialsError> {
    match link.provide_credentials().await {
        Ok(found) => Ok(Some(found)),
        Err(CredentialsError::CredentialsNotLoaded(_)) => Ok(None),
        Err(error) => Err(CredentialsError::provider_error(in_words(name, &error))),
    }
}

fn in_words(link: &str, error: &CredentialsError) -> Unavailable {
    let words = match sts_error(error) {
        Some(error) => error.to_string(),
        None => of_a_profile(in_one_line(error)),
    };
    // The SDK gives no kinds of errors, so its words have to tell: `…: StatusCode(403)`.
    let status = words
        .rsplit_once("HTTP credential provider: StatusCode(")
        .and_then(|(_, status)| status.strip_suffix(')'));
    let (code, words) = match status {
        Some(status) => (
            "ContainerCredentialsRefused",
            format!("it answered with HTTP status {status}"),
        ),
        None if link == CONTAINER => ("ContainerCredentialsFailed", words),
        None => ("CredentialsFailed", words),
    };
    unavailable(code, link, &words)
}

fn unavailable(code: &str, link: &str, words: &str) -> Unavailable {
    let message = format!("the AWS credentials could not be loaded from {link}: {words}");
    Unavailable::new(code, message)
}

/// How the SDK begins to name a feature that is left out.
const NEEDS_FEATURE: &str = "requires following cargo feature(s) enabled: ";

/// What the SDK says, or in words for a person what a profile has that is not known here.
fn of_a_profile(words: String) -> String {
    let feature = words.split_once(NEEDS_FEATURE).map(|(_, feature)| feature);
    let left_out = feature.and_then(|feature| {
        let mut left_out = LEFT_OUT.into_iter();
        left_out.find(|(name, _)| feature.starts_with(name))
    });
    match left_out {
        Some((_, keys)) => format!(
            "it has {keys}, which kinesis-edge does not know; give it keys, or a role_arn with its source, or unset \
             AWS_PROFILE"
        ),
        None => words,
    }
}
