//! The table of every parameter: its names, its default, what is valid and what it is for. Flags, help,
//! faults and the README all come from here, so that they cannot disagree. A topic has a file, but for what
//! is kept on disk, which shares one.

mod broker;
mod cost;
mod disk;
mod identity;
mod operation;
mod pace;
mod streams;

pub(super) use broker::*;
pub(super) use cost::*;
pub(super) use disk::*;
pub(super) use identity::*;
pub(super) use operation::*;
pub(super) use pace::*;
pub(super) use streams::*;

use super::parameter::Parameter;

/// Every parameter, in the order of the README and of a report of faults.
pub static PARAMETERS: &[Parameter] = &[
    DEFAULT_DELIVERY_STREAM_ARN,
    DELIVERY_STREAM_QUEUE_SIZE,
    PUBLISH_INTERVAL,
    MEMORY_SIZE,
    CONNECTOR_VERSION,
    AWS_PARTITIONS,
    ALLOWED_DELIVERY_STREAM_ARNS,
    MQTT_URL,
    MQTT_CLIENT_ID,
    MQTT_VERSION,
    MQTT_USERNAME,
    MQTT_PASSWORD,
    MQTT_PASSWORD_FILE,
    MQTT_CA_FILE,
    MQTT_CERT_FILE,
    MQTT_KEY_FILE,
    TOPIC_PREFIX,
    SHARED_SUBSCRIPTION_GROUP,
    IOT_CREDENTIAL_ENDPOINT,
    IOT_ROLE_ALIAS,
    IOT_THING_NAME,
    IOT_CERT_FILE,
    IOT_KEY_FILE,
    IOT_CA_FILE,
    ASSUME_ROLE_ARN,
    ASSUME_ROLE_EXTERNAL_ID,
    PUBLISH_WHEN_FULL,
    WHEN_FULL,
    MAX_RECORDS_PER_SECOND,
    MAX_BYTES_PER_SECOND,
    MAX_REQUESTS_PER_SECOND,
    RECORD_MAX_AGE,
    QUEUE_DIR,
    QUEUE_DIR_MAX_BYTES,
    COMMIT_INTERVAL_MS,
    DEAD_LETTER_DIR,
    DEAD_LETTER_MAX_BYTES,
    RECORD_ENVELOPE,
    RECORD_DELIMITER,
    RECORD_AGGREGATION,
    AGGREGATION_MAX_BYTES,
    RECORD_COMPRESSION,
    SHUTDOWN_TIMEOUT,
    STATUS_MAX_BYTES,
    HTTP_LISTEN,
    HTTP_ALLOWED_HOSTS,
    CONNECTOR_STATUS_INTERVAL,
    LOG_FORMAT,
];
