//! Every parameter of the program, and the only code that reads the environment.
//!
//! A parameter is a flag, else an environment variable, else a line of the configuration file, else its
//! default; empty means unset, in flags as well. Whitespace is never trimmed: a value that has some is
//! probably quoted wrongly, and says so. All faults of a configuration are reported together. The parts:
//! `table` says what there is, in the groups of `topic`, each a `parameter`; `sources` where a value comes
//! from, with `file` for the configuration file; `read` how a value is read; `effective` which values hold;
//! `mqtt` and `mqtt_url` know the broker's side, `calls` what decides which calls are made, `disk` knows the
//! directories, `share` the group of connectors, `identity` who the device is towards AWS, `aggregation`
//! what a Firehose record holds, `fault` says what is wrong.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgMatches};

use crate::aggregate::Aggregation;
use crate::arn::{AllowedStreams, DeliveryStreamArn, Partitions};
use crate::delimiter::Delimiter;
use crate::memory::LEAST_MEMORY_SIZE_KB;
use read::{Noted, Reader, boolean, mqtt_string, one_of, whole_number};
use sources::Sources;

mod aggregation;
mod calls;
mod disk;
mod effective;
mod fault;
mod file;
mod http;
mod identity;
mod mqtt;
mod mqtt_url;
mod parameter;
mod read;
mod share;
mod sources;
mod table;
#[cfg(test)]
mod tests;
mod topic;

pub use calls::{CallParameters, args_calls, load_calls};
pub use effective::{Effective, load_effective};
pub use fault::{Fault, Faults};
pub use file::Place;
pub use http::HttpParameters;
pub use identity::{IdentityParameters, IotParameters, RoleParameters};
pub use mqtt::{MqttParameters, MqttVersion, Secret};
pub use parameter::{DefaultValue, Parameter, Secrecy};
pub use read::{Lookup, NotText};
pub use sources::{Origin, config_file};
pub use table::PARAMETERS;
pub use topic::Topic;

/// The least and the most records of a queue. The least is the contract's; the most is chosen here, since
/// the contract's pattern has no end and memory does.
const QUEUE_SIZES: RangeInclusive<u64> = 2_000..=100_000_000;

/// The longest topic prefix, in bytes. Chosen here: AWS IoT Core takes topics of 256 bytes, and the ids of
/// binary requests need some of them.
const MAX_TOPIC_PREFIX_BYTES: usize = 200;

/// Everything `run` and `local` can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Where records go whose request names no stream.
    pub default_delivery_stream_arn: DeliveryStreamArn,
    /// Which streams a request may name; the default stream is of one of them.
    pub partitions: Partitions,
    /// Those of them that it may, beside the default stream; none allows all.
    pub allowed_streams: Option<AllowedStreams>,
    /// Records one stream holds at most, waiting and in flight.
    pub queue_size: usize,
    /// How often batches leave. Zero: no batches, each record at once.
    pub publish_interval: Duration,
    /// What the whole program may use, in bytes.
    pub memory_size_bytes: usize,
    /// Whose behaviour to show.
    pub connector_version: ConnectorVersion,
    /// The way to the broker.
    pub mqtt: MqttParameters,
    /// Who the device is towards AWS.
    pub identity: IdentityParameters,
    /// What the three topics hang under; without slashes at its ends.
    pub topic_prefix: String,
    /// With whom the broker's messages are shared; none has them all. With a group and a
    /// `connector_status_interval`, the client id can be the end of a topic.
    pub shared_subscription_group: Option<String>,
    /// Whether a full batch leaves before its interval is over.
    pub publish_when_full: bool,
    /// Who loses when a queue is full.
    pub when_full: WhenFull,
    /// What one stream may be sent per second.
    pub rate_limits: RateLimits,
    /// When to give a record up; none keeps trying.
    pub record_max_age: Option<Duration>,
    /// The directory of the queue on disk; none keeps the queue in memory. Its parent existed at start;
    /// it may itself have to be created.
    pub queue_dir: Option<PathBuf>,
    /// What the files of `queue_dir` may take together, in bytes.
    pub queue_dir_max_bytes: u64,
    /// How long a group of records may stay open for more before it is written and synced.
    pub commit_interval: Duration,
    /// Where records are kept that failed for a reason an operator can mend; none keeps none. As
    /// `queue_dir`, and apart from it.
    pub dead_letter_dir: Option<PathBuf>,
    /// What the files of `dead_letter_dir` may take together, in bytes.
    pub dead_letter_max_bytes: u64,
    /// Whether each record is wrapped in a JSON object that tells it from a copy of it.
    pub record_envelope: bool,
    /// What stands behind each record; always something where there is `aggregation`.
    pub record_delimiter: Option<Delimiter>,
    /// How records are joined; none sends each as a Firehose record of its own.
    pub aggregation: Option<Aggregation>,
    /// How long a stop may drain.
    pub shutdown_timeout: Duration,
    /// Where a status document is split, in bytes.
    pub status_max_bytes: usize,
    /// Where metrics and the page are served; none serves nothing.
    pub http: Option<HttpParameters>,
    /// How often the connector publishes its own figures; none publishes none.
    pub connector_status_interval: Option<Duration>,
    /// How log lines look.
    pub log_format: LogFormat,
}

/// What `send` needs: the broker, the topics, and the shape of the status to wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendParameters {
    /// The way to the broker. Its client id is the connector's own: a second client must not connect
    /// under it as it is, or the broker ends the connector's session.
    pub mqtt: MqttParameters,
    /// What the three topics hang under; without slashes at its ends.
    pub topic_prefix: String,
}

/// What commands need that send records; each field is that of [`Parameters`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendingParameters {
    /// How records are joined.
    pub aggregation: Option<Aggregation>,
    /// Who the device is towards AWS.
    pub identity: IdentityParameters,
}

/// A version of the Greengrass connector, 1 to 5, whose behaviour is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectorVersion(u8);

impl ConnectorVersion {
    /// The version of that number, if there was one.
    pub fn new(number: u8) -> Option<Self> {
        (1..=5)
            .contains(&number)
            .then_some(ConnectorVersion(number))
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// Whether records are sent in batches and answered in lists: from version 2 on.
    pub fn batches(self) -> bool {
        self.0 >= 2
    }

    /// Whether they are with this `PUBLISH_INTERVAL`; otherwise each record has a call of its own.
    pub fn batches_every(self, publish_interval: Duration) -> bool {
        self.batches() && !publish_interval.is_zero()
    }
}

/// What happens to a record that finds the queue full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// It fails: the contract.
    Reject,
    /// It waits at the broker, because the connector stops acknowledging.
    Wait,
    /// It takes the place of the oldest waiting record, which fails.
    DropOldest,
}

/// What one stream may be sent per second; none is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// Records, to stay below the stream's quota.
    pub records_per_second: Option<NonZeroU32>,
    /// Bytes of records, to spare a link.
    pub bytes_per_second: Option<NonZeroU32>,
    /// Calls, to stay below the stream's quota.
    pub requests_per_second: Option<NonZeroU32>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For a person.
    Text,
    /// For a program: one JSON object per line.
    Json,
}

/// The flags of `run`: `--config`, and every parameter.
pub fn args() -> Vec<Arg> {
    with_config(PARAMETERS)
}

/// The flags of `send`: `--config`, and the parameters that [`load_mqtt`] reads.
pub fn args_mqtt() -> Vec<Arg> {
    with_config(PARAMETERS.iter().filter(|parameter| parameter.for_send))
}

/// The flags of `dead-letters`: `--config`, and the parameter that [`load_dead_letter_dir`] reads.
pub fn args_dead_letters() -> Vec<Arg> {
    with_config([&table::DEAD_LETTER_DIR])
}

/// The flags of commands that send records, beside those of where they are: the parameters that
/// [`load_sending`] reads, but those of the broker.
pub fn args_sending() -> Vec<Arg> {
    let records = [
        &table::RECORD_DELIMITER,
        &table::RECORD_AGGREGATION,
        &table::AGGREGATION_MAX_BYTES,
        &table::RECORD_COMPRESSION,
    ];
    let of_identity = |parameter: &&Parameter| parameter.topic == Topic::Identity;
    let identity = PARAMETERS.iter().filter(of_identity);
    identity.chain(records).map(Parameter::arg).collect()
}

/// The flags of `health`: `--config`, and the parameters that [`load_http`] reads.
pub fn args_http() -> Vec<Arg> {
    with_config([&table::HTTP_LISTEN])
}

/// The flags of `queue`: `--config`, and the parameter that [`load_queue_dir`] reads.
pub fn args_queue() -> Vec<Arg> {
    with_config([&table::QUEUE_DIR])
}

fn with_config<'a>(parameters: impl IntoIterator<Item = &'a Parameter>) -> Vec<Arg> {
    let flags = parameters.into_iter().map(Parameter::arg);
    std::iter::once(file::arg()).chain(flags).collect()
}

/// Reads every parameter from flags, environment and configuration file. A command without some of the
/// flags of [`args`] takes those from the others alone.
pub fn load(matches: &ArgMatches) -> Result<Parameters, Faults> {
    from_sources(matches, |lookup| parse(lookup))
}

/// Reads what `send` needs from the same. Faults of other parameters do not matter to it.
pub fn load_mqtt(matches: &ArgMatches) -> Result<SendParameters, Faults> {
    from_sources(matches, |lookup| parse_mqtt(lookup))
}

/// Reads where the dead letters are from the same; `None` where nothing says so.
pub fn load_dead_letter_dir(matches: &ArgMatches) -> Result<Option<PathBuf>, Faults> {
    load_directory(matches, &table::DEAD_LETTER_DIR)
}

/// Reads where the queue is from the same; `None` where nothing says so.
pub fn load_queue_dir(matches: &ArgMatches) -> Result<Option<PathBuf>, Faults> {
    load_directory(matches, &table::QUEUE_DIR)
}

/// Reads where the HTTP server listens from the same; `None` where there is none.
pub fn load_http(matches: &ArgMatches) -> Result<Option<HttpParameters>, Faults> {
    from_sources(matches, |lookup| {
        let mut reader = Reader::new(lookup);
        let http = http::read(&mut reader);
        reader.finish(http)
    })
}

/// Reads what commands that send records need from the same. They send in batches, whatever the interval is. Of the
/// broker's parameters those count that stand in for one that is not set: `MQTT_CERT_FILE`, `MQTT_KEY_FILE` and
/// `MQTT_CLIENT_ID`.
pub fn load_sending(matches: &ArgMatches) -> Result<SendingParameters, Faults> {
    from_sources(matches, |lookup| {
        let mut reader = Reader::new(lookup);
        let identity = identity::read_alone(&mut reader);
        let records = aggregation::read(&mut reader, aggregation::Rest::NONE);
        let parameters = (|| {
            Ok(SendingParameters {
                aggregation: records?.aggregation,
                identity: identity?,
            })
        })();
        reader.finish(parameters)
    })
}

fn load_directory(
    matches: &ArgMatches,
    directory: &'static Parameter,
) -> Result<Option<PathBuf>, Faults> {
    from_sources(matches, |lookup| {
        let mut reader = Reader::new(lookup);
        let path = reader.optional(directory, disk::directory);
        reader.finish(path)
    })
}

fn from_sources<T>(
    matches: &ArgMatches,
    read: impl FnOnce(Lookup<'_>) -> Result<T, Faults>,
) -> Result<T, Faults> {
    Sources::new(matches, &|name| std::env::var_os(name)).read(read)
}

/// Whether a variable says anything that is no parameter, but a library's own.
pub fn is_set(variable: &str) -> bool {
    value_of(variable).is_some()
}

/// What such a variable says, if anything.
pub fn value_of(variable: &str) -> Option<OsString> {
    std::env::var_os(variable).filter(|value| !value.is_empty())
}

/// Reads every parameter from wherever `lookup` finds it. Files that parameters name are tried.
pub fn parse(lookup: Lookup<'_>) -> Result<Parameters, Faults> {
    let mut reader = Reader::new(lookup);
    let parameters = read_all(&mut reader);
    reader.finish(parameters)
}

/// Reads what `send` needs from wherever `lookup` finds it.
pub fn parse_mqtt(lookup: Lookup<'_>) -> Result<SendParameters, Faults> {
    let mut reader = Reader::new(lookup);
    let mqtt = mqtt::read(&mut reader);
    let topic_prefix = reader.value(&table::TOPIC_PREFIX, topic_prefix);
    let parameters = (|| {
        Ok(SendParameters {
            mqtt: mqtt?,
            topic_prefix: topic_prefix?,
        })
    })();
    reader.finish(parameters)
}

/// Reads each parameter, and only then gives up on what could not be read: every fault is noted.
fn read_all(reader: &mut Reader<'_>) -> Result<Parameters, Noted> {
    let streams = calls::streams(reader);
    let queue_size = number(reader, &table::DELIVERY_STREAM_QUEUE_SIZE, QUEUE_SIZES);
    let publish_interval = calls::publish_interval(reader);
    let memory_size_bytes = reader.value(&table::MEMORY_SIZE, memory_size_bytes);
    let connector_version = connector_version(reader);
    let mqtt = mqtt::read(reader);
    let identity = identity(reader, &mqtt);
    let topic_prefix = reader.value(&table::TOPIC_PREFIX, topic_prefix);
    let shared_subscription_group = share::group(reader);
    let publish_when_full = reader.value(&table::PUBLISH_WHEN_FULL, boolean);
    let when_full = reader.value(&table::WHEN_FULL, |text| {
        let words = [
            ("reject", WhenFull::Reject),
            ("wait", WhenFull::Wait),
            ("drop-oldest", WhenFull::DropOldest),
        ];
        one_of(text, &words)
    });
    let records_per_second = rate_limit(reader, &table::MAX_RECORDS_PER_SECOND);
    let bytes_per_second = rate_limit(reader, &table::MAX_BYTES_PER_SECOND);
    let requests_per_second = rate_limit(reader, &table::MAX_REQUESTS_PER_SECOND);
    // A year: beyond it a mistake of units is likelier than a wish.
    let record_max_age = number(reader, &table::RECORD_MAX_AGE, 0..=31_536_000);
    let disk = disk::read(reader, memory_size_bytes.as_ref().ok().copied());
    let record_envelope = reader.value(&table::RECORD_ENVELOPE, boolean);
    let rest = aggregation::Rest {
        no_batches: no_batches(&publish_interval, &connector_version),
        memory_size_bytes: memory_size_bytes.as_ref().ok().copied(),
        on_disk: disk.as_ref().is_ok_and(|disk| disk.queue_dir.is_some()),
    };
    let records = aggregation::read(reader, rest);
    let shutdown_timeout = number(reader, &table::SHUTDOWN_TIMEOUT, 0..=3_600);
    // Below 4 KiB one status might not fit; 16 MiB is past what any broker takes.
    let status_max_bytes = number(reader, &table::STATUS_MAX_BYTES, 4_096..=16_777_216);
    let http = http::read(reader);
    let connector_status_interval = number(reader, &table::CONNECTOR_STATUS_INTERVAL, 0..=86_400);
    let client_id = match (&mqtt, &topic_prefix, &shared_subscription_group) {
        (Ok(mqtt), Ok(prefix), Ok(Some(_))) if !matches!(connector_status_interval, Ok(0)) => {
            share::check_client_id(reader, &mqtt.client_id, prefix)
        }
        _ => Ok(()),
    };
    let log_format = reader.value(&table::LOG_FORMAT, |text| {
        one_of(
            text,
            &[("text", LogFormat::Text), ("json", LogFormat::Json)],
        )
    });
    let (disk, records, ()) = (disk?, records?, client_id?);
    Ok(Parameters {
        default_delivery_stream_arn: streams.default?,
        partitions: streams.partitions?,
        allowed_streams: streams.allowed?,
        // The range ends below what 32 bits hold, as does that of status_max_bytes.
        queue_size: queue_size? as usize,
        publish_interval: Duration::from_secs(publish_interval?),
        memory_size_bytes: memory_size_bytes?,
        connector_version: connector_version?,
        mqtt: mqtt?,
        identity: identity?,
        topic_prefix: topic_prefix?,
        shared_subscription_group: shared_subscription_group?,
        publish_when_full: publish_when_full?,
        when_full: when_full?,
        rate_limits: RateLimits {
            records_per_second: records_per_second?,
            bytes_per_second: bytes_per_second?,
            requests_per_second: requests_per_second?,
        },
        record_max_age: Some(record_max_age?)
            .filter(|age| *age != 0)
            .map(Duration::from_secs),
        queue_dir: disk.queue_dir,
        queue_dir_max_bytes: disk.queue_dir_max_bytes,
        commit_interval: disk.commit_interval,
        dead_letter_dir: disk.dead_letter_dir,
        dead_letter_max_bytes: disk.dead_letter_max_bytes,
        record_envelope: record_envelope?,
        record_delimiter: records.delimiter,
        aggregation: records.aggregation,
        shutdown_timeout: Duration::from_secs(shutdown_timeout?),
        status_max_bytes: status_max_bytes? as usize,
        http: http?,
        connector_status_interval: Some(connector_status_interval?)
            .filter(|seconds| *seconds != 0)
            .map(Duration::from_secs),
        log_format: log_format?,
    })
}

/// Who the device is towards AWS, where the broker's side is read already.
fn identity(
    reader: &mut Reader<'_>,
    mqtt: &Result<MqttParameters, Noted>,
) -> Result<IdentityParameters, Noted> {
    let mqtt = mqtt.as_ref().map_err(|noted| *noted);
    let brokers = identity::BrokersSide {
        files: &|_| mqtt.map(|mqtt| mqtt.cert_file.clone().zip(mqtt.key_file.clone())),
        client_id: &|_| mqtt.map(|mqtt| mqtt.client_id.clone()),
    };
    identity::read(reader, &brokers)
}

fn number(
    reader: &mut Reader<'_>,
    parameter: &Parameter,
    range: RangeInclusive<u64>,
) -> Result<u64, Noted> {
    reader.value(parameter, |text| whole_number(text, range.clone()))
}

fn rate_limit(reader: &mut Reader<'_>, parameter: &Parameter) -> Result<Option<NonZeroU32>, Noted> {
    // The range is that of 32 bits, so nothing is cut off.
    Ok(NonZeroU32::new(
        number(reader, parameter, 0..=u64::from(u32::MAX))? as u32,
    ))
}

fn connector_version(reader: &mut Reader<'_>) -> Result<ConnectorVersion, Noted> {
    let version = number(reader, &table::CONNECTOR_VERSION, 1..=5)?;
    Ok(ConnectorVersion(version as u8))
}

/// Why each record leaves in a call of its own, where it does so.
fn no_batches(
    publish_interval: &Result<u64, Noted>,
    connector_version: &Result<ConnectorVersion, Noted>,
) -> Option<&'static str> {
    let no_interval = publish_interval.as_ref().is_ok_and(|seconds| *seconds == 0);
    let version_1 = connector_version
        .as_ref()
        .is_ok_and(|version| !version.batches());
    match (no_interval, version_1) {
        (true, true) => Some("PUBLISH_INTERVAL is 0, and CONNECTOR_VERSION is 1"),
        (true, false) => Some("PUBLISH_INTERVAL is 0"),
        (false, true) => Some("CONNECTOR_VERSION is 1"),
        (false, false) => None,
    }
}

/// `MEMORY_SIZE` in bytes. The contract's pattern is any digits, so leading zeros are fine here.
fn memory_size_bytes(text: &str) -> Result<usize, String> {
    let digits = text.trim_start_matches('0');
    let digits = if digits.is_empty() && !text.is_empty() {
        "0"
    } else {
        digits
    };
    let kilobytes = whole_number(digits, 0..=u64::MAX)?;
    if kilobytes < LEAST_MEMORY_SIZE_KB {
        return Err(format!(
            "it is too small to work: the least is {LEAST_MEMORY_SIZE_KB} KB ({} MiB)",
            LEAST_MEMORY_SIZE_KB / 1024
        ));
    }
    kilobytes
        .checked_mul(1024)
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(|| "it is more memory than this machine can address".to_owned())
}

/// A prefix that makes topics every broker takes, and none that mean something else.
fn topic_prefix(text: &str) -> Result<String, String> {
    let prefix = mqtt_string(text, MAX_TOPIC_PREFIX_BYTES)?;
    if prefix.contains(['+', '#']) {
        Err("it has a wildcard in it, and nothing can be published to a topic with one".to_owned())
    } else if prefix.starts_with('/') || prefix.ends_with('/') {
        Err(
            "it begins or ends with \"/\", which would make a topic level without a name"
                .to_owned(),
        )
    } else if prefix.starts_with('$') {
        Err("it begins with \"$\": brokers keep such topics for themselves".to_owned())
    } else {
        Ok(prefix)
    }
}
