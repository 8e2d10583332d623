//! What the Greengrass connector could be told: its streams, and how records are delivered.

use crate::parameters::parameter::{DefaultValue, PLAIN, Parameter};
use crate::parameters::topic::Topic;

pub(in crate::parameters) const DEFAULT_DELIVERY_STREAM_ARN: Parameter = Parameter {
    env: "DEFAULT_DELIVERY_STREAM_ARN",
    flag: "default-delivery-stream-arn",
    topic: Topic::Streams,
    value_name: "ARN",
    default: DefaultValue::Required,
    valid: "arn:aws:firehose:REGION:ACCOUNT:deliverystream/NAME, at most 512 bytes; other partitions \
            than aws where AWS_PARTITIONS names them",
    example: "arn:aws:firehose:us-east-1:123456789012:deliverystream/telemetry",
    help: "The delivery stream that records go to. A JSON request may name another one in \
           request.delivery_stream_arn. The region of each ARN decides which endpoint is called.",
    ..PLAIN
};

pub(in crate::parameters) const DELIVERY_STREAM_QUEUE_SIZE: Parameter = Parameter {
    env: "DELIVERY_STREAM_QUEUE_SIZE",
    flag: "delivery-stream-queue-size",
    topic: Topic::Streams,
    value_name: "RECORDS",
    default: DefaultValue::Value("5000"),
    valid: "a whole number of records, 2000 to 100000000",
    example: "20000",
    help: "How many records of one delivery stream are held at most, waiting and in flight. What \
           happens to the next one is for WHEN_FULL to say; MEMORY_SIZE bounds all streams together.",
    ..PLAIN
};

pub(in crate::parameters) const PUBLISH_INTERVAL: Parameter = Parameter {
    env: "PUBLISH_INTERVAL",
    flag: "publish-interval",
    topic: Topic::Streams,
    value_name: "SECONDS",
    default: DefaultValue::Value("10"),
    valid: "a whole number of seconds, 0 to 900",
    example: "30",
    help: "How often waiting records are sent, in batches. With 0 there are no batches: each record is \
           sent at once, in a call of its own.",
    ..PLAIN
};

pub(in crate::parameters) const MEMORY_SIZE: Parameter = Parameter {
    env: "MEMORY_SIZE",
    flag: "memory-size",
    topic: Topic::Streams,
    value_name: "KB",
    default: DefaultValue::Value("65535"),
    valid: "a whole number of KB (1024 bytes), at least 28672; with QUEUE_DIR at least 32768; with \
            RECORD_COMPRESSION 34816, with both 38912",
    example: "131072",
    help: "How much memory the connector may use. Records that do not fit are treated as WHEN_FULL says, \
           even where their stream's queue has room.",
    ..PLAIN
};

pub(in crate::parameters) const CONNECTOR_VERSION: Parameter = Parameter {
    env: "CONNECTOR_VERSION",
    flag: "connector-version",
    topic: Topic::Streams,
    value_name: "VERSION",
    default: DefaultValue::Value("5"),
    valid: "1, 2, 3, 4 or 5",
    example: "1",
    help: "Behave as this version of the Greengrass connector. Version 1 sends each record by itself and \
           answers each with a status of its own; 2 to 5 send batches and answer in lists.",
    ..PLAIN
};

pub(in crate::parameters) const AWS_PARTITIONS: Parameter = Parameter {
    env: "AWS_PARTITIONS",
    flag: "aws-partitions",
    topic: Topic::Streams,
    value_name: "LIST",
    default: DefaultValue::Value("aws"),
    valid: "a comma-separated list, without spaces, of aws, aws-cn, aws-us-gov, aws-iso, aws-iso-b, \
            aws-iso-e, aws-iso-f, aws-eusc",
    example: "aws,aws-cn",
    help: "The AWS partitions whose delivery streams are accepted, in DEFAULT_DELIVERY_STREAM_ARN and in \
           requests. Set it for China, GovCloud, the isolated regions or the European Sovereign Cloud.",
    ..PLAIN
};

pub(in crate::parameters) const ALLOWED_DELIVERY_STREAM_ARNS: Parameter = Parameter {
    env: "ALLOWED_DELIVERY_STREAM_ARNS",
    flag: "allowed-delivery-stream-arns",
    topic: Topic::Streams,
    value_name: "LIST",
    valid: "a comma-separated list, without spaces, of ARNs as in DEFAULT_DELIVERY_STREAM_ARN; * in the region, \
            the account or the name stands for any characters",
    example: "arn:aws:firehose:us-east-1:123456789012:deliverystream/press-*",
    help: "The delivery streams that requests may name, beside the default stream, which they always may. \
           What names another is rejected. Without a list every stream may be named, as in the Greengrass \
           connector; with the default stream alone in it, no other.",
    ..PLAIN
};
