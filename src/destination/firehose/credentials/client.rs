//! The HTTP clients that ask for credentials. Both are the SDK's own, but that an answer is read up to a length only,
//! whoever it is that answers, and that its date is noted. One goes through the proxies of the environment; the other
//! is for who answers on this machine or beside it, where no proxy is asked to go, and none is to see what is said.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use aws_sdk_firehose::config::http::{HttpRequest, HttpResponse};
use aws_sdk_firehose::config::{
    ConfigBag, HttpClient, RuntimeComponents, RuntimeComponentsBuilder, SharedHttpClient,
};
use aws_sdk_firehose::error::BoxError;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};

use super::super::answer_limit::limited;
use super::super::clock::date_of;
use super::super::http_client::http_client;
use super::ANSWER_MAX_BYTES;

/// Asks for credentials. Clones share their connections and what was noted.
#[derive(Debug, Clone)]
pub(super) struct CredentialsClient {
    sdks: SharedHttpClient,
    /// What the clock of whoever answered last showed.
    date: Arc<Mutex<Option<SystemTime>>>,
}

impl CredentialsClient {
    /// One that goes through a proxy where the environment names one.
    pub fn through_proxies() -> Self {
        Self::with(ProxyConfig::from_env())
    }

    /// One that goes through none.
    pub fn direct() -> Self {
        Self::with(ProxyConfig::disabled())
    }

    fn with(proxies: ProxyConfig) -> Self {
        CredentialsClient {
            sdks: http_client(proxies),
            date: Arc::default(),
        }
    }

    /// What the clock of whoever answered last showed, if anybody has since this was asked.
    pub fn take_date(&self) -> Option<SystemTime> {
        let mut date = self.date.lock().unwrap_or_else(PoisonError::into_inner);
        date.take()
    }
}

impl HttpClient for CredentialsClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Connection {
            sdks: self.sdks.http_connector(settings, components),
            date: Arc::clone(&self.date),
        })
    }

    fn validate_base_client_config(
        &self,
        components: &RuntimeComponentsBuilder,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.sdks.validate_base_client_config(components, config)
    }
}

/// Sends a request, and bounds what is answered.
#[derive(Debug)]
struct Connection {
    sdks: SharedHttpConnector,
    date: Arc<Mutex<Option<SystemTime>>>,
}

impl HttpConnector for Connection {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let answer = self.sdks.call(request);
        let date = Arc::clone(&self.date);
        HttpConnectorFuture::new(async move {
            let answer: HttpResponse = answer.await?;
            *date.lock().unwrap_or_else(PoisonError::into_inner) = date_of(&answer);
            Ok(answer.map(|body| limited(body, ANSWER_MAX_BYTES)))
        })
    }
}
