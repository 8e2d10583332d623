//! When records leave, how many at most, and what happens where too many come.

use crate::parameters::parameter::{DefaultValue, PLAIN, Parameter};
use crate::parameters::topic::Topic;

pub(in crate::parameters) const PUBLISH_WHEN_FULL: Parameter = Parameter {
    env: "PUBLISH_WHEN_FULL",
    flag: "publish-when-full",
    topic: Topic::Pace,
    value_name: "BOOL",
    default: DefaultValue::Value("true"),
    valid: "true or false",
    example: "false",
    help: "Send early as soon as a full batch waits: 500 records or 4 MiB, or with RECORD_AGGREGATION one \
           Firehose record that is full. With false, records leave on the interval only.",
    ..PLAIN
};

pub(in crate::parameters) const WHEN_FULL: Parameter = Parameter {
    env: "WHEN_FULL",
    flag: "when-full",
    topic: Topic::Pace,
    value_name: "POLICY",
    default: DefaultValue::Value("reject"),
    valid: "reject, wait or drop-oldest",
    example: "wait",
    help: "What happens to a record that finds the queue full. reject: it fails, as with the Greengrass \
           connector. wait: the connector stops acknowledging, so the broker holds what follows. \
           drop-oldest: the oldest waiting record fails instead. Each failure has its status.",
    ..PLAIN
};

pub(in crate::parameters) const MAX_RECORDS_PER_SECOND: Parameter = Parameter {
    env: "MAX_RECORDS_PER_SECOND",
    flag: "max-records-per-second",
    topic: Topic::Pace,
    value_name: "RECORDS",
    default: DefaultValue::Value("0"),
    valid: "a whole number, 0 to 4294967295; 0 is unlimited",
    example: "1000",
    help: "How many records one delivery stream is sent per second at most. With RECORD_AGGREGATION those \
           that records are joined into are counted.",
    ..PLAIN
};

pub(in crate::parameters) const MAX_BYTES_PER_SECOND: Parameter = Parameter {
    env: "MAX_BYTES_PER_SECOND",
    flag: "max-bytes-per-second",
    topic: Topic::Pace,
    value_name: "BYTES",
    default: DefaultValue::Value("0"),
    valid: "a whole number, 0 to 4294967295; 0 is unlimited",
    example: "1048576",
    help: "How many bytes of records one delivery stream is sent per second at most, to spare a slow or \
           metered link. They are counted before RECORD_COMPRESSION.",
    ..PLAIN
};

pub(in crate::parameters) const MAX_REQUESTS_PER_SECOND: Parameter = Parameter {
    env: "MAX_REQUESTS_PER_SECOND",
    flag: "max-requests-per-second",
    topic: Topic::Pace,
    value_name: "CALLS",
    default: DefaultValue::Value("0"),
    valid: "a whole number, 0 to 4294967295; 0 is unlimited",
    example: "10",
    help: "How many calls are made for one delivery stream per second at most.",
    ..PLAIN
};

pub(in crate::parameters) const RECORD_MAX_AGE: Parameter = Parameter {
    env: "RECORD_MAX_AGE",
    flag: "record-max-age",
    topic: Topic::Pace,
    value_name: "SECONDS",
    default: DefaultValue::Value("0"),
    valid: "a whole number of seconds, 0 to 31536000 (a year); 0 keeps trying",
    example: "86400",
    help: "How long delivery of a record is tried. One that is older and still undelivered fails with \
           the code Expired.",
    ..PLAIN
};
