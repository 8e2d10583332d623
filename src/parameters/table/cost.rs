//! What a Firehose record holds, and so what it costs.

use crate::parameters::parameter::{DefaultValue, PLAIN, Parameter};
use crate::parameters::topic::Topic;

pub(in crate::parameters) const RECORD_ENVELOPE: Parameter = Parameter {
    env: "RECORD_ENVELOPE",
    flag: "record-envelope",
    topic: Topic::Cost,
    value_name: "BOOL",
    default: DefaultValue::Value("false"),
    valid: "true or false",
    example: "true",
    help: "Wrap each record in a JSON object with a unique sequence, its topic and the time it was \
           received, so that whoever reads the records can remove duplicates.",
    ..PLAIN
};

pub(in crate::parameters) const RECORD_DELIMITER: Parameter = Parameter {
    env: "RECORD_DELIMITER",
    flag: "record-delimiter",
    topic: Topic::Cost,
    valid: "text that stands for 1 to 16 bytes; \\n, \\r, \\t, \\0, \\\\ and \\xHH in it stand for one byte each",
    example: "\\n",
    help: "What is put behind each record, so that records can be told apart where they stand one behind \
           the other: \\n makes a line of each. Without it nothing is put there, but with \
           RECORD_AGGREGATION it is \\n.",
    ..PLAIN
};

pub(in crate::parameters) const RECORD_AGGREGATION: Parameter = Parameter {
    env: "RECORD_AGGREGATION",
    flag: "record-aggregation",
    topic: Topic::Cost,
    value_name: "HOW",
    default: DefaultValue::Value("none"),
    valid: "none or delimited; delimited not with PUBLISH_INTERVAL=0 or CONNECTOR_VERSION=1",
    example: "delimited",
    help: "Whether the records of a batch are joined, each with its delimiter, into few Firehose records. \
           Firehose bills each rounded up to 5 KB, so joined small records cost a fraction.",
    ..PLAIN
};

pub(in crate::parameters) const AGGREGATION_MAX_BYTES: Parameter = Parameter {
    env: "AGGREGATION_MAX_BYTES",
    flag: "aggregation-max-bytes",
    topic: Topic::Cost,
    value_name: "BYTES",
    default: DefaultValue::Derived("102400, with RECORD_COMPRESSION 512000"),
    valid: "a whole number of bytes, 5120 to 1024000, best a multiple of 5120; only with \
            RECORD_AGGREGATION=delimited",
    example: "51200",
    help: "How large joined records become at most, before they are compressed. They are cut where rounding \
           up to 5 KB wastes the least, between half of this and all of it. A larger record goes by itself.",
    ..PLAIN
};

pub(in crate::parameters) const RECORD_COMPRESSION: Parameter = Parameter {
    env: "RECORD_COMPRESSION",
    flag: "record-compression",
    topic: Topic::Cost,
    value_name: "HOW",
    default: DefaultValue::Value("none"),
    valid: "none, gzip or zstd; gzip and zstd only with RECORD_AGGREGATION=delimited",
    example: "gzip",
    help: "How joined records are compressed. Each becomes a gzip member or a zstd frame, and S3 objects \
           of them are read as one. A record with its delimiter may then have 1020000 bytes.",
    ..PLAIN
};
