//! Wiring and lifetime: what is made from the parameters, and how it starts, runs, drains and
//! stops. One task owns the MQTT session and intake; each stream has a worker task.

mod run;
mod workers;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;

use crate::dead_letters::DeadLetters;
use crate::delivery::{
    Deadline, PARALLEL_CALLS, WorkerContext, WorkerSettings, full_batch_records,
};
use crate::destination::Destination;
use crate::files::DirectoryError;
use crate::intake::{Intake, IntakeSettings};
use crate::memory::MemoryPlan;
use crate::mqtt::{
    Credentials, Protocol, ProtocolChoice, Session, SessionSettings, TlsError, TlsFiles,
    client_config,
};
use crate::parameters::{MqttParameters, MqttVersion, Parameters};
use crate::queue::MemoryBudget;
use crate::request::{Decoder, Topics};
use crate::status::{Publisher, PublisherSettings, Shape};
use crate::telemetry::ServiceManager;
use workers::Workers;

/// Messages that an MQTT 5 broker may have under way to us un-acknowledged: enough for a few
/// reads' worth, so that the broker does not wait for us, and few enough to hold.
const RECEIVE_MAXIMUM: u16 = 1000;

/// Longest silence towards the broker, in seconds.
const KEEP_ALIVE_SECONDS: u16 = 30;

/// The connector, made and not started.
pub struct Connector<D> {
    /// The way in, and out for statuses.
    session: Session,
    /// Makes records of messages.
    intake: Intake,
    /// Statuses that wait for the session.
    statuses: Publisher,
    /// Where statuses are published.
    status_topic: Arc<str>,
    /// Rung by workers when a queue got room.
    room: Arc<Notify>,
    /// Tells workers when the time to stop is over.
    deadline: watch::Sender<Deadline>,
    /// The streams' workers.
    workers: Workers<D>,
    /// How long a stop may drain.
    shutdown_timeout: Duration,
    /// Told that the connector is ready, lives, and stops.
    service_manager: ServiceManager,
}

/// What a stop left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leftover {
    /// Records that ended as `ConnectorStopped`.
    pub records: usize,
    /// Status documents that the broker did not take any more.
    pub documents: usize,
}

impl Leftover {
    /// Whether everything was delivered and reported.
    pub fn is_nothing(self) -> bool {
        self == Leftover::default()
    }
}

impl<D: Destination> Connector<D> {
    /// A connector as the parameters say.
    ///
    /// # Errors
    /// Where the TLS files cannot be used.
    pub fn new(
        parameters: &Parameters,
        destination: D,
        service_manager: ServiceManager,
    ) -> Result<Self, TlsError> {
        let topics = Topics::new(&parameters.topic_prefix);
        let session = Session::new(session_settings(&parameters.mqtt, topics.filters())?);
        let plan = MemoryPlan::of(parameters.memory_size_bytes, parameters.queue_dir.is_some());
        let batches = parameters.connector_version.batches();
        let statuses = Publisher::new(PublisherSettings {
            shape: if batches { Shape::List } else { Shape::Single },
            document_max_bytes: parameters.status_max_bytes,
            backlog_max_bytes: plan.statuses_bytes,
        });
        let intake = Intake::new(
            Decoder::new(topics.clone(), parameters.status_max_bytes),
            IntakeSettings {
                default_stream: parameters.default_delivery_stream_arn.clone(),
                partitions: parameters.partitions,
                queue_size: parameters.queue_size,
                when_full: parameters.when_full,
                full_batch_records: full_batch_records(&parameters.rate_limits),
            },
            MemoryBudget::new(plan.queues_bytes),
            statuses.clone(),
            Instant::now(),
        );
        let room = Arc::new(Notify::new());
        let deadline = watch::channel(None).0;
        let settings = WorkerSettings {
            // Version 1 sends each record at once, whatever the interval says.
            publish_interval: if batches {
                parameters.publish_interval
            } else {
                Duration::ZERO
            },
            publish_when_full: parameters.publish_when_full,
            record_max_age: parameters.record_max_age,
            rate_limits: parameters.rate_limits,
            version_1_messages: !batches,
            parallel_calls: Arc::new(Semaphore::new(PARALLEL_CALLS)),
        };
        Ok(Connector {
            session,
            intake,
            status_topic: topics.status().into(),
            workers: Workers::new(WorkerContext {
                destination,
                statuses: statuses.clone(),
                room: Arc::clone(&room),
                deadline: deadline.subscribe(),
                dead_letters: None,
                settings,
            }),
            statuses,
            room,
            deadline,
            shutdown_timeout: parameters.shutdown_timeout,
            service_manager,
        })
    }

    /// The same with a place for records that fail for good.
    #[must_use]
    pub fn with_dead_letters(mut self, dead_letters: Option<DeadLetters>) -> Self {
        self.workers.set_dead_letters(dead_letters);
        self
    }
}

/// The place for records that fail for good, where the parameters name one.
///
/// # Errors
/// Where the directory cannot be used.
pub fn dead_letters(parameters: &Parameters) -> Result<Option<DeadLetters>, DirectoryError> {
    let directory = parameters.dead_letter_dir.as_deref();
    directory
        .map(|path| DeadLetters::open(path, parameters.dead_letter_max_bytes))
        .transpose()
}

/// How a session with the parameters' broker is made.
///
/// # Errors
/// Where the TLS files cannot be used.
pub fn session_settings(
    mqtt: &MqttParameters,
    filters: Vec<String>,
) -> Result<SessionSettings, TlsError> {
    let files = TlsFiles {
        ca: mqtt.ca_file.clone(),
        client: mqtt.cert_file.clone().zip(mqtt.key_file.clone()),
    };
    if mqtt.tls {
        // Read again at each connect; what is wrong with them is better said at once.
        client_config(&files, mqtt.port)?;
    }
    Ok(SessionSettings {
        host: mqtt.host.clone(),
        port: mqtt.port,
        tls: mqtt.tls.then_some(files),
        client_id: mqtt.client_id.clone(),
        credentials: mqtt.username.clone().map(|username| Credentials {
            username,
            password: mqtt
                .password
                .as_ref()
                .map(|password| password.reveal().to_owned())
                .unwrap_or_default(),
        }),
        protocol: match mqtt.version {
            MqttVersion::Auto => ProtocolChoice::Auto,
            MqttVersion::V5 => ProtocolChoice::Only(Protocol::V5),
            MqttVersion::V311 => ProtocolChoice::Only(Protocol::V311),
        },
        clean: false,
        filters,
        receive_maximum: RECEIVE_MAXIMUM,
        keep_alive_seconds: KEEP_ALIVE_SECONDS,
    })
}
