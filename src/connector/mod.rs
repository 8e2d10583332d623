//! Wiring and lifetime: what is made from the parameters, and how it starts, runs, drains and
//! stops. One task owns the MQTT session and intake; each stream has a worker task.

mod burial;
mod own_status;
mod run;
mod surroundings;
mod workers;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;

use crate::blocking::Blocking;
use crate::delivery::{
    Deadline, Joining, NEARLY_FULL_BATCH_BYTES, PARALLEL_CALLS, WorkerContext, WorkerSettings,
    full_batch_records,
};
use crate::destination::Destination;
use crate::envelope::Envelope;
use crate::files::{DirectoryError, Files};
use crate::intake::{Acceptance, Intake, IntakeSettings};
use crate::ledger::Ledger;
use crate::memory::{LEFT_TO_RECORDS_BYTES, MemoryPlan};
use crate::mqtt::{
    Credentials, Protocol, ProtocolChoice, Session, SessionSettings, Will, client_config,
    host_and_port,
};
use crate::parameters::{MqttParameters, MqttVersion, Parameters};
use crate::queue::MemoryBudget;
use crate::queue::disk::{Clock, DiskQueue, DiskQueueSettings, Recovery};
use crate::request::{Decoder, RECORD_MAX_BYTES, Topics};
use crate::status::{Publisher, PublisherSettings, Shape};
use crate::telemetry::{Facts, OFFLINE, Observer, ServiceManager, Started};
use crate::tls::{TlsError, TlsFiles};
use burial::Burial;
use own_status::OwnStatus;
pub use surroundings::Surroundings;
use workers::Workers;

/// Messages that an MQTT 5 broker may have under way to us un-acknowledged: enough for a few
/// reads' worth, so that the broker does not wait for us, and few enough to hold.
const RECEIVE_MAXIMUM: u16 = 1000;

/// Longest silence towards the broker, in seconds.
const KEEP_ALIVE_SECONDS: u16 = 30;

/// Why a connector cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// The TLS files for the broker cannot be used.
    #[error("the TLS files for the broker cannot be used: {0}")]
    Tls(#[from] TlsError),
    /// The directory of the queue cannot be used.
    #[error("the queue directory (QUEUE_DIR) {0}")]
    QueueDir(DirectoryError),
    /// The directory of the dead letters cannot be used.
    #[error("the directory of dead letters (DEAD_LETTER_DIR) {0}")]
    DeadLetterDir(DirectoryError),
    /// The queue cannot be read.
    #[error("the queue in {path} cannot be read: {source}")]
    Queue {
        /// Its directory.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

/// The connector, made and not started.
pub struct Connector<D> {
    /// The way in, and out for statuses.
    session: Session,
    /// Makes records of messages.
    intake: Intake,
    /// Where records are held, unless that is memory.
    disk: Option<DiskQueue>,
    /// Statuses that wait for the session.
    statuses: Publisher,
    /// Where statuses are published.
    status_topic: Arc<str>,
    /// What is published of the connector itself.
    own_status: OwnStatus,
    /// Rung by workers when a queue got room.
    room: Arc<Notify>,
    /// Tells workers when the time to stop is over.
    deadline: watch::Sender<Deadline>,
    /// The streams' workers.
    workers: Workers<D>,
    /// Takes records to the dead letters that are too large.
    burial: Burial,
    /// How long a stop may drain.
    shutdown_timeout: Duration,
    /// Looks at all of it.
    observer: Observer,
    /// Told that the connector is ready, lives, and stops.
    service_manager: ServiceManager,
}

/// What a stop left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leftover {
    /// Records that ended as `ConnectorStopped`.
    pub records: usize,
    /// Records that are kept on disk and sent after the next start.
    pub kept: usize,
    /// Status documents that the broker did not take any more.
    pub documents: usize,
    /// Statuses that were dropped since the start, while the broker was away or took none. They are past; what is
    /// left at the stop does not count them.
    pub dropped_statuses: usize,
    /// Whether it stopped because of a fault of ours, which a start may mend.
    pub fault: bool,
}

impl Leftover {
    /// Whether the stop lost nothing: what was held is delivered or failed, and reported, or is kept on disk.
    pub fn is_nothing(self) -> bool {
        self.records == 0 && self.documents == 0 && !self.fault
    }
}

impl<D: Destination> Connector<D> {
    /// A connector as the parameters say.
    ///
    /// # Errors
    /// Where the TLS files or the queue directory cannot be used.
    pub fn new(
        parameters: &Parameters,
        destination: D,
        service_manager: ServiceManager,
    ) -> Result<Self, ConnectorError> {
        let surroundings = Surroundings::of_the_system(parameters, destination)?;
        Self::assemble(parameters, surroundings, service_manager)
    }

    /// The same in any surroundings.
    ///
    /// # Errors
    /// Where the TLS files or the queue's files cannot be used.
    pub fn assemble(
        parameters: &Parameters,
        surroundings: Surroundings<D>,
        service_manager: ServiceManager,
    ) -> Result<Self, ConnectorError> {
        let Surroundings {
            destination,
            dial,
            queue_files,
            dead_letters,
            blocking,
            wall_clock,
            random,
        } = surroundings;
        let topics = topics(parameters);
        let settings = SessionSettings {
            will: will(parameters, &topics),
            former_filters: topics.former_filters(),
            ..session_settings(&parameters.mqtt, topics.filters())?
        };
        let session = Session::over(dial, settings);
        let plan = memory_plan(parameters);
        let batches = parameters.connector_version.batches();
        let budget = MemoryBudget::keeping(plan.queues_bytes, plan.default_stream_bytes());
        let settings = PublisherSettings {
            shape: if batches { Shape::List } else { Shape::Single },
            document_max_bytes: parameters.status_max_bytes,
            backlog_max_bytes: plan.statuses_bytes,
            left_bytes: LEFT_TO_RECORDS_BYTES,
        };
        let statuses = Publisher::new(settings, budget.share());
        let room = Arc::new(Notify::new());
        let started = Instant::now();
        let clock = Clock::new(started, wall_clock);
        let (disk, damaged_places) = match queue_files {
            None => (None, 0),
            Some(files) => open_queue(parameters, files, clock, &blocking, &room)?,
        };
        let joining = parameters.aggregation.map(|aggregation| {
            Joining::new(aggregation, parameters.queue_size, &parameters.rate_limits)
        });
        let ledger = Ledger::default();
        let observed = budget.clone();
        let mut intake = Intake::new(
            Decoder::new(topics.clone()),
            intake_settings(parameters, joining.as_ref()),
            budget,
            disk.clone(),
            statuses.clone(),
            ledger.clone(),
            Instant::now(),
        );
        if parameters.record_envelope {
            let client_id = &parameters.mqtt.client_id;
            intake = intake.with_envelope(Envelope::new(client_id, random, wall_clock, started));
        }
        let expiring = destination.clone();
        let deadline = watch::channel(None).0;
        let observer = Observer {
            facts: Arc::new(facts(parameters, damaged_places)),
            ledger: ledger.clone(),
            streams: intake.open_streams(),
            budget: observed,
            disk: disk.clone(),
            statuses: statuses.clone(),
            session: session.view(),
            dead_letters: dead_letters.clone(),
            credentials_expire: Arc::new(move || expiring.credentials_expire()),
            deadline: deadline.subscribe(),
            started: Started::default(),
        };
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
            joining,
            version_1_messages: !batches,
            parallel_calls: Arc::new(Semaphore::new(PARALLEL_CALLS)),
        };
        Ok(Connector {
            session,
            intake,
            disk,
            burial: Burial::new(dead_letters.clone(), blocking.clone()),
            status_topic: topics.status().into(),
            own_status: OwnStatus::new(
                topics.connector_status(),
                parameters.connector_status_interval,
            ),
            workers: Workers::new(WorkerContext {
                destination,
                statuses: statuses.clone(),
                ledger: ledger.clone(),
                room: Arc::clone(&room),
                deadline: deadline.subscribe(),
                dead_letters,
                blocking,
                settings,
            }),
            statuses,
            room,
            deadline,
            shutdown_timeout: parameters.shutdown_timeout,
            observer,
            service_manager,
        })
    }

    /// Looks at the connector, as long as anybody wants to.
    pub fn observer(&self) -> Observer {
        self.observer.clone()
    }
}

fn facts(parameters: &Parameters, damaged_places: u64) -> Facts {
    let mqtt = &parameters.mqtt;
    Facts {
        client_id: mqtt.client_id.clone(),
        broker: host_and_port(&mqtt.host, mqtt.port),
        queue_size: parameters.queue_size,
        queue_dir: parameters.queue_dir.clone(),
        dead_letter_dir: parameters.dead_letter_dir.clone(),
        started: Instant::now(),
        damaged_places,
    }
}

fn memory_plan(parameters: &Parameters) -> MemoryPlan {
    let plan = MemoryPlan::of(parameters.memory_size_bytes, parameters.queue_dir.is_some());
    let compression = parameters.aggregation.map(|how| how.compression);
    match compression.flatten() {
        None => plan,
        Some(_) => plan.with_compression(),
    }
}

fn intake_settings(parameters: &Parameters, joining: Option<&Joining>) -> IntakeSettings {
    IntakeSettings {
        acceptance: Acceptance {
            default_stream: parameters.default_delivery_stream_arn.clone(),
            partitions: parameters.partitions,
            allowed: parameters.allowed_streams.clone(),
        },
        queue_size: parameters.queue_size,
        when_full: parameters.when_full,
        full_batch_records: joining.map_or_else(
            || full_batch_records(&parameters.rate_limits),
            |joining| joining.limits().requests,
        ),
        full_batch_bytes: joining.map_or(NEARLY_FULL_BATCH_BYTES, |joining| joining.limits().bytes),
        delimiter: parameters.record_delimiter,
        record_max_bytes: parameters
            .aggregation
            .map_or(RECORD_MAX_BYTES, |how| how.request_max_bytes()),
        keeps_too_large: parameters.dead_letter_dir.is_some(),
    }
}

/// The queue on disk with what it held before, and how many places of it are damaged.
fn open_queue(
    parameters: &Parameters,
    files: Arc<dyn Files>,
    clock: Clock,
    blocking: &Blocking,
    room: &Arc<Notify>,
) -> Result<(Option<DiskQueue>, u64), ConnectorError> {
    let path = parameters.queue_dir.as_deref().unwrap_or(Path::new(""));
    let settings = DiskQueueSettings {
        queue_size: parameters.queue_size,
        max_bytes: parameters.queue_dir_max_bytes,
        commit_interval: parameters.commit_interval,
    };
    let mut progress = |done: u64, all: u64| {
        tracing::info!(bytes = done, of_bytes = all, "reading the queue on disk");
    };
    let room = Arc::clone(room);
    let started = DiskQueue::start(files, settings, blocking, clock, room, &mut progress);
    let (queue, recovery) = started.map_err(|source| ConnectorError::Queue {
        path: path.to_owned(),
        source,
    })?;
    log_recovery(path, &recovery);
    Ok((Some(queue), recovery.damage.places as u64))
}

fn log_recovery(path: &Path, recovery: &Recovery) {
    tracing::info!(
        queue_dir = %path.display(),
        records = recovery.records,
        streams = recovery.streams,
        bytes = recovery.bytes,
        torn_bytes = recovery.damage.torn_bytes,
        "the queue on disk is open"
    );
    if recovery.is_damaged() {
        tracing::error!(
            queue_dir = %path.display(),
            places = recovery.damage.places,
            bytes = recovery.damage.bytes,
            records_without_stream = recovery.nobodys_records,
            missing_files = recovery.missing_segments,
            unusable_files = recovery.unusable_files,
            "parts of the queue on disk are damaged; all that is whole is delivered, and damaged files are set aside"
        );
    }
}

/// The topics of the connector that the parameters describe.
pub fn topics(parameters: &Parameters) -> Topics {
    let topics = Topics::new(&parameters.topic_prefix);
    match &parameters.shared_subscription_group {
        None => topics,
        Some(group) => topics.shared(group, &parameters.mqtt.client_id),
    }
}

/// What the broker is to say when the connection breaks, where the connector publishes its own status.
pub fn will(parameters: &Parameters, topics: &Topics) -> Option<Will> {
    parameters.connector_status_interval.map(|_| Will {
        topic: topics.connector_status().to_owned(),
        payload: OFFLINE.to_owned(),
    })
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
        will: None,
        filters,
        former_filters: Vec::new(),
        receive_maximum: RECEIVE_MAXIMUM,
        keep_alive_seconds: KEEP_ALIVE_SECONDS,
    })
}
