//! Amazon Data Firehose: PutRecordBatch and PutRecord through the AWS SDK, one client per region.
//! The only room that knows the SDK. Batches bring their request body along and read their answer
//! themselves; a record by itself goes through the SDK as anyone's would.

mod answer;
mod answer_limit;
mod body;
mod carrier;
mod clock;
mod credentials;
mod failure;
mod http_client;
mod probe;

use std::collections::HashMap;
use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_firehose::Client;
use aws_sdk_firehose::config::Credentials;
use aws_sdk_firehose::config::http::HttpResponse;
use aws_sdk_firehose::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_firehose::primitives::Blob;
use aws_sdk_firehose::types::Record;
use aws_smithy_http_client::proxy::ProxyConfig;
use bytes::Bytes;
use tokio::time::Instant;

use answer::outcomes;
use answer_limit::LimitAnswers;
pub use body::request_body;
use carrier::Carrier;
use clock::WatchClock;
use credentials::{Keeper, Source};
use failure::{are_credentials_refused, call_error};
use http_client::http_client;
pub use probe::{FoundCredentials, Greeting};

use super::{CallError, Destination, Outcome, ServiceError};
use crate::arn::DeliveryStreamArn;
use crate::batch;
use crate::parameters::IdentityParameters;

/// Most regions whose clients are kept. There are about as many in the largest partition.
const REGIONS_MAX: usize = 40;

/// How Firehose is reached.
#[derive(Debug, Clone)]
pub struct FirehoseSettings {
    /// How long a TCP and TLS connection may take.
    pub connect_timeout: Duration,
    /// How long a call of no size may take, from its start to the whole answer.
    pub call_timeout: Duration,
    /// The slowest link that is still used, in bytes per second. A call gets the time that all
    /// calls under way take on it, on top of `call_timeout`: 4 MiB pass where 4 kB do.
    pub slowest_link: usize,
    /// The region to ask for credentials in, where a service gives them; each stream's calls go to
    /// the region of its ARN.
    pub region: String,
    /// Who the device is: where credentials come from, if not from where every SDK looks.
    pub identity: IdentityParameters,
    /// A stand-in to talk to, with made-up credentials; `None` for the service itself.
    pub stand_in: Option<String>,
}

impl Default for FirehoseSettings {
    fn default() -> Self {
        FirehoseSettings {
            connect_timeout: Duration::from_secs(10),
            call_timeout: Duration::from_secs(20),
            slowest_link: 16 * 1024,
            region: "us-east-1".to_owned(),
            identity: IdentityParameters::default(),
            stand_in: None,
        }
    }
}

impl FirehoseSettings {
    fn timeout_of(&self, body_bytes: usize) -> Duration {
        self.call_timeout
            + Duration::from_secs_f64(body_bytes as f64 / self.slowest_link.max(1) as f64)
    }
}

/// The Firehose destination. Cheap to clone; clones share their clients.
#[derive(Debug, Clone)]
pub struct Firehose {
    /// Shared by all clones.
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Credentials, HTTP client and endpoints, the same for every region.
    sdk: SdkConfig,
    /// Has the credentials of `sdk`; `None` where they are made up.
    keeper: Option<Keeper>,
    /// Where they come from, where that is known beforehand.
    source: Option<String>,
    /// One client per region, made on first use: the region comes from a stream's ARN.
    clients: Mutex<HashMap<String, Client>>,
    /// Compares clocks at every call.
    clock: WatchClock,
    /// Timeouts.
    settings: FirehoseSettings,
    /// Bytes of all calls under way: they share the link.
    under_way_bytes: AtomicUsize,
}

impl Firehose {
    /// Reads the SDK's configuration: the `AWS_*` variables, profiles, endpoints. Credentials are
    /// looked for at the first call, not here, and from then on they are renewed.
    ///
    /// Retries of the SDK are off: it repeats whole calls from a token bucket that an outage
    /// empties, while delivery repeats exactly what failed, at its own pace.
    pub async fn new(settings: FirehoseSettings) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(settings.connect_timeout)
            .disable_read_timeout()
            .disable_operation_timeout()
            .disable_operation_attempt_timeout()
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            // On links of a few kB/s it takes slow uploads for stalled ones.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            // A region that is given keeps the SDK from asking the instance for one.
            .region(Region::new(settings.region.clone()));
        if let Some(url) = &settings.stand_in {
            loader = loader
                .endpoint_url(url)
                // The SDK's own client would go through a proxy of the environment, and a stand-in is
                // on this machine.
                .http_client(http_client(ProxyConfig::disabled()))
                .credentials_provider(made_up_credentials());
        } else {
            // They are put in below, and kept there.
            loader = loader
                .no_credentials()
                .identity_cache(IdentityCache::no_cache());
        }
        let mut sdk = loader.load().await;
        let (mut keeper, mut source) = (None, None);
        if settings.stand_in.is_none() {
            let Source { provider, name } = credentials::source(&settings.identity, &sdk).await;
            let kept = Keeper::new(provider);
            let builder = sdk.into_builder().credentials_provider(kept.provider());
            sdk = builder.build();
            (keeper, source) = (Some(kept), name);
        }
        Firehose {
            inner: Arc::new(Inner {
                sdk,
                keeper,
                source,
                clients: Mutex::new(HashMap::new()),
                clock: WatchClock::default(),
                settings,
                under_way_bytes: AtomicUsize::new(0),
            }),
        }
    }

    /// Looks for credentials once, for whoever wants to know before the first call.
    ///
    /// # Errors
    /// What a call would fail with for want of credentials.
    pub async fn check_credentials(&self) -> Result<(), ServiceError> {
        match &self.inner.keeper {
            Some(keeper) => keeper.credentials().await.map(drop),
            None => Ok(()),
        }
    }

    fn client(&self, region: &str) -> Client {
        let mut clients = self
            .inner
            .clients
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(region) {
            return client.clone();
        }
        if clients.len() >= REGIONS_MAX {
            // Requests may name regions that do not exist; those that do are soon here again.
            clients.clear();
        }
        let config = aws_sdk_firehose::config::Builder::from(&self.inner.sdk)
            .region(Region::new(region.to_owned()))
            .interceptor(LimitAnswers)
            .interceptor(self.inner.clock.clone())
            .build();
        let client = Client::from_conf(config);
        clients.insert(region.to_owned(), client.clone());
        client
    }

    /// Bounds one call for a stream by what is under way: see [`FirehoseSettings::slowest_link`]. Whoever keeps the
    /// credentials learns what the service says of them.
    async fn bounded<T, E>(
        &self,
        stream: &DeliveryStreamArn,
        body_bytes: usize,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, CallError>
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let (_counted, all_bytes) = UnderWay::start(&self.inner.under_way_bytes, body_bytes);
        let limit = self.inner.settings.timeout_of(all_bytes);
        let began = Instant::now();
        let Ok(answer) = tokio::time::timeout(limit, call).await else {
            return Err(CallError {
                retryable: true,
                error: ServiceError::new(
                    "Timeout",
                    format!("no answer within {:.1} s", limit.as_secs_f64()),
                ),
            });
        };
        if let Some(keeper) = &self.inner.keeper {
            match &answer {
                Ok(_) => keeper.taken(stream, began),
                Err(error) if are_credentials_refused(error) => keeper.refused(stream, began),
                Err(_) => {}
            }
        }
        answer.map_err(|error| call_error(&error))
    }
}

/// Credentials of a stand-in that does not check them.
fn made_up_credentials() -> Credentials {
    Credentials::new(
        "made-up-key",
        "made-up-secret",
        None,
        None,
        "kinesis-edge-local",
    )
}

/// Bytes of a call that is under way, counted while this lives.
struct UnderWay<'a> {
    total: &'a AtomicUsize,
    bytes: usize,
}

impl<'a> UnderWay<'a> {
    /// Counts a call. Gives the bytes of all calls too, itself included.
    fn start(total: &'a AtomicUsize, bytes: usize) -> (Self, usize) {
        let before = total.fetch_add(bytes, Ordering::Relaxed);
        (UnderWay { total, bytes }, before + bytes)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Destination for Firehose {
    async fn put_batch(
        &self,
        stream: &DeliveryStreamArn,
        records: Vec<Bytes>,
    ) -> Result<Vec<Outcome>, CallError> {
        let count = records.len();
        let body = request_body(stream.stream_name(), records);
        let body_bytes = body.len();
        let carrier = Carrier::new(body, count);
        let call = self
            .client(stream.region())
            .put_record_batch()
            .delivery_stream_name(stream.stream_name())
            // The carrier has them.
            .set_records(Some(Vec::new()))
            .customize()
            .interceptor(carrier.clone())
            .send();
        self.bounded(stream, body_bytes, call).await?;
        outcomes(carrier.into_answer(), count).map_err(|error| CallError {
            retryable: true,
            error: ServiceError::new("UnreadableResponse", error.to_string()),
        })
    }

    fn credentials_expire(&self) -> Option<SystemTime> {
        self.inner.keeper.as_ref().and_then(Keeper::expire)
    }

    async fn put_record(
        &self,
        stream: &DeliveryStreamArn,
        data: Bytes,
    ) -> Result<Outcome, CallError> {
        let body_bytes = batch::body_bytes(data.len());
        let call = self
            .client(stream.region())
            .put_record()
            .delivery_stream_name(stream.stream_name())
            .record(record(data)?)
            .send();
        let output = self.bounded(stream, body_bytes, call).await?;
        Ok(single_outcome(output.record_id))
    }
}

/// The SDK's record around the same bytes, not a copy of them.
fn record(data: Bytes) -> Result<Record, CallError> {
    Record::builder()
        .data(Blob::from_maybe_shared(data))
        .build()
        .map_err(|error| CallError {
            retryable: false,
            error: ServiceError::new("InvalidArgumentException", error.to_string()),
        })
}

/// What the answer to PutRecord says. The SDK makes an empty id of one that is missing, and then
/// nothing says that the service has the record.
fn single_outcome(record_id: String) -> Outcome {
    if record_id.is_empty() {
        return Outcome::Retry(ServiceError::new(
            "MissingResponseEntry",
            "the answer names no record id",
        ));
    }
    Outcome::Delivered {
        record_id: record_id.into(),
    }
}

#[cfg(test)]
mod tests;
