//! The table of every parameter: its names, its default, what is valid and what it is for. Flags, help,
//! faults and the README all come from here, so that they cannot disagree.

use clap::{Arg, ValueHint};

use super::topic::Topic;

/// One parameter, as a person reads about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Name of the environment variable: the Greengrass name where the connector had one.
    pub env: &'static str,
    /// Name of the flag without its dashes: the variable in kebab case.
    pub flag: &'static str,
    /// What it is about: help and README stand in groups.
    pub topic: Topic,
    /// What the help calls the value: its kind or its unit.
    pub value_name: &'static str,
    /// What holds when nothing is set.
    pub default: DefaultValue,
    /// What is valid, in words that fit after "valid:".
    pub valid: &'static str,
    /// One valid value that somebody might really want.
    pub example: &'static str,
    /// How much of a value may be shown in a fault.
    pub secrecy: Secrecy,
    /// Whether `send` takes it as well: what it needs to reach the broker and find its topics.
    pub for_send: bool,
    /// What the parameter does and when to change it; the first sentence alone is the short help.
    pub help: &'static str,
}

/// What a parameter is when nothing is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultValue {
    /// There is no default: the program does not start without a value.
    Required,
    /// This value, read by the same rules as one that was given.
    Value(&'static str),
    /// Worked out on the device, as described here.
    Derived(&'static str),
    /// Nothing: what the parameter controls is left out.
    Unset,
}

/// How much of a parameter's value may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrecy {
    /// All of it.
    Open,
    /// All but the password that the URL may hold.
    UrlPassword,
    /// Nothing.
    Secret,
}

impl Parameter {
    /// The default as help and README show it.
    pub fn default_text(&self) -> &'static str {
        match self.default {
            DefaultValue::Required => "required",
            DefaultValue::Value(text) | DefaultValue::Derived(text) => text,
            DefaultValue::Unset => "–",
        }
    }

    /// The flag of this parameter. It takes any text: what is wrong with a value is reported with
    /// all other faults, not by the command line's parser one at a time.
    pub fn arg(&self) -> Arg {
        let env = self.env;
        self.described(
            &format!("[env: {env}] {}", self.default_note()),
            &format!("[env: {env}]\n{}", self.default_note()),
        )
    }

    /// The same for a command that does not read the environment, and may have a default of its own.
    pub fn arg_without_env(&self, default: Option<&str>) -> Arg {
        let default = match default {
            Some(text) => format!("[default: {text}]"),
            None => self.default_note(),
        };
        self.described(&default, &default)
    }

    fn default_note(&self) -> String {
        match self.default {
            DefaultValue::Required => "[required]".to_owned(),
            DefaultValue::Unset => "[default: none]".to_owned(),
            _ => format!("[default: {}]", self.default_text()),
        }
    }

    fn described(&self, short_note: &str, long_note: &str) -> Arg {
        let short = self.help.split_inclusive(". ").next().unwrap_or(self.help);
        let valid = self.valid;
        Arg::new(self.flag)
            .long(self.flag)
            .value_name(self.value_name)
            .value_hint(match self.value_name {
                "FILE" => ValueHint::FilePath,
                "DIR" => ValueHint::DirPath,
                _ => ValueHint::Other,
            })
            .allow_negative_numbers(true)
            .help_heading(self.topic.heading())
            .help(format!("{}\n{short_note}", short.trim_end()))
            .long_help(format!("{}\n\n{long_note}\n[valid: {valid}]", self.help))
    }
}

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

/// What most parameters have in common: shown in faults, and of no use to `send`.
const PLAIN: Parameter = Parameter {
    env: "",
    flag: "",
    topic: Topic::Operation,
    value_name: "TEXT",
    default: DefaultValue::Unset,
    valid: "",
    example: "",
    secrecy: Secrecy::Open,
    for_send: false,
    help: "",
};

pub(super) const DEFAULT_DELIVERY_STREAM_ARN: Parameter = Parameter {
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

pub(super) const DELIVERY_STREAM_QUEUE_SIZE: Parameter = Parameter {
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

pub(super) const PUBLISH_INTERVAL: Parameter = Parameter {
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

pub(super) const MEMORY_SIZE: Parameter = Parameter {
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

pub(super) const CONNECTOR_VERSION: Parameter = Parameter {
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

pub(super) const AWS_PARTITIONS: Parameter = Parameter {
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

pub(super) const ALLOWED_DELIVERY_STREAM_ARNS: Parameter = Parameter {
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

pub(super) const MQTT_URL: Parameter = Parameter {
    env: "MQTT_URL",
    flag: "mqtt-url",
    topic: Topic::Broker,
    value_name: "URL",
    default: DefaultValue::Value("mqtt://127.0.0.1:1883"),
    valid: "mqtt://[USER[:PASSWORD]@]HOST[:PORT], or the same with mqtts:// for TLS; an IPv6 address in \
            brackets; port 1883 (mqtts: 8883) if not given",
    example: "mqtts://broker.local:8883",
    secrecy: Secrecy::UrlPassword,
    for_send: true,
    help: "The MQTT broker that local apps publish to. Characters of the user and the password that \
           mean something in a URL are written as percent escapes (@ is %40, / is %2F).",
};

pub(super) const MQTT_CLIENT_ID: Parameter = Parameter {
    env: "MQTT_CLIENT_ID",
    flag: "mqtt-client-id",
    topic: Topic::Broker,
    value_name: "ID",
    default: DefaultValue::Derived("kinesis-edge-<host name>"),
    valid: "1 to 65535 bytes of UTF-8 without control characters",
    example: "kinesis-edge-press-7",
    for_send: true,
    help: "The name of the connector's session at the broker. The broker keeps messages for this name \
           while the connector is away, so it must stay the same over restarts, and no other client of \
           the broker may have it.",
    ..PLAIN
};

pub(super) const MQTT_VERSION: Parameter = Parameter {
    env: "MQTT_VERSION",
    flag: "mqtt-version",
    topic: Topic::Broker,
    value_name: "VERSION",
    default: DefaultValue::Value("auto"),
    valid: "auto, 5 or 3.1.1",
    example: "3.1.1",
    for_send: true,
    help: "The version of MQTT to speak. With auto it is 5, or 3.1.1 where the broker refuses 5, as the \
           Greengrass broker does.",
    ..PLAIN
};

pub(super) const MQTT_USERNAME: Parameter = Parameter {
    env: "MQTT_USERNAME",
    flag: "mqtt-username",
    topic: Topic::Broker,
    value_name: "NAME",
    valid: "1 to 65535 bytes of UTF-8 without control characters; not together with another user in \
            MQTT_URL",
    example: "kinesis-edge",
    for_send: true,
    help: "The user name to give to the broker.",
    ..PLAIN
};

pub(super) const MQTT_PASSWORD: Parameter = Parameter {
    env: "MQTT_PASSWORD",
    flag: "mqtt-password",
    topic: Topic::Broker,
    value_name: "PASSWORD",
    valid: "1 to 65535 bytes of UTF-8; needs a user name; not together with MQTT_PASSWORD_FILE or another \
            password in MQTT_URL",
    example: "correct-horse-battery",
    secrecy: Secrecy::Secret,
    for_send: true,
    help: "The password to give to the broker. Other users of the device can see flags in the list of \
           processes: prefer MQTT_PASSWORD_FILE.",
    ..PLAIN
};

pub(super) const MQTT_PASSWORD_FILE: Parameter = Parameter {
    env: "MQTT_PASSWORD_FILE",
    flag: "mqtt-password-file",
    topic: Topic::Broker,
    value_name: "FILE",
    valid: "a readable file that holds 1 to 65535 bytes of UTF-8; needs a user name; not together with \
            MQTT_PASSWORD or another password in MQTT_URL",
    example: "/etc/kinesis-edge/mqtt-password",
    for_send: true,
    help: "A file with the password to give to the broker. One newline at its end is not part of the \
           password. It is read once, at start.",
    ..PLAIN
};

pub(super) const MQTT_CA_FILE: Parameter = Parameter {
    env: "MQTT_CA_FILE",
    flag: "mqtt-ca-file",
    topic: Topic::Broker,
    value_name: "FILE",
    valid: "a readable PEM file; only with mqtts:// in MQTT_URL",
    example: "/etc/kinesis-edge/ca.pem",
    for_send: true,
    help: "The certificates of the authorities that the broker's certificate is checked against. Without \
           it, those of the operating system.",
    ..PLAIN
};

pub(super) const MQTT_CERT_FILE: Parameter = Parameter {
    env: "MQTT_CERT_FILE",
    flag: "mqtt-cert-file",
    topic: Topic::Broker,
    value_name: "FILE",
    valid: "a readable PEM file, together with MQTT_KEY_FILE; only with mqtts:// in MQTT_URL",
    example: "/etc/kinesis-edge/device.pem",
    for_send: true,
    help: "The certificate (and its chain) that this client shows to the broker: mutual TLS, as the \
           Greengrass broker and AWS IoT Core demand.",
    ..PLAIN
};

pub(super) const MQTT_KEY_FILE: Parameter = Parameter {
    env: "MQTT_KEY_FILE",
    flag: "mqtt-key-file",
    topic: Topic::Broker,
    value_name: "FILE",
    valid: "a readable PEM file, together with MQTT_CERT_FILE; only with mqtts:// in MQTT_URL",
    example: "/etc/kinesis-edge/device.key",
    for_send: true,
    help: "The private key of MQTT_CERT_FILE.",
    ..PLAIN
};

pub(super) const TOPIC_PREFIX: Parameter = Parameter {
    env: "TOPIC_PREFIX",
    flag: "topic-prefix",
    topic: Topic::Broker,
    value_name: "TOPIC",
    default: DefaultValue::Value("kinesisfirehose"),
    valid: "1 to 200 bytes of UTF-8 without \"+\", \"#\" and control characters, no \"/\" at either end, \
            no \"$\" at the beginning",
    example: "factory/press-7/firehose",
    for_send: true,
    help: "The topics hang under this one: <prefix>/message, <prefix>/message/binary/# and \
           <prefix>/message/status. The default is what apps of the Greengrass connector publish to.",
    ..PLAIN
};

pub(super) const SHARED_SUBSCRIPTION_GROUP: Parameter = Parameter {
    env: "SHARED_SUBSCRIPTION_GROUP",
    flag: "shared-subscription-group",
    topic: Topic::Broker,
    value_name: "NAME",
    valid: "1 to 100 bytes of UTF-8 without \"/\", \"+\", \"#\" and control characters",
    example: "press-hall",
    help: "Connectors of one group on a broker share its messages: each goes to one of them. They subscribe to \
           $share/<group>/<prefix>/message and the like; each needs an MQTT_CLIENT_ID and a QUEUE_DIR of its own.",
    ..PLAIN
};

pub(super) const IOT_CREDENTIAL_ENDPOINT: Parameter = Parameter {
    env: "IOT_CREDENTIAL_ENDPOINT",
    flag: "iot-credential-endpoint",
    topic: Topic::Identity,
    value_name: "HOST",
    valid: "a host name or address, with :PORT where it is not 443; together with IOT_ROLE_ALIAS and a certificate",
    example: "c2sakl5huz0afv.credentials.iot.eu-west-1.amazonaws.com",
    help: "Where AWS IoT gives credentials for the device's certificate: what `aws iot describe-endpoint \
           --endpoint-type iot:CredentialProvider` prints. With it, credentials come from there alone, \
           whatever else the device has.",
    ..PLAIN
};

pub(super) const IOT_ROLE_ALIAS: Parameter = Parameter {
    env: "IOT_ROLE_ALIAS",
    flag: "iot-role-alias",
    topic: Topic::Identity,
    value_name: "NAME",
    valid: "1 to 128 letters, digits and _=,@-; together with IOT_CREDENTIAL_ENDPOINT",
    example: "kinesis-edge",
    help: "The role alias in AWS IoT whose role the credentials are for.",
    ..PLAIN
};

pub(super) const IOT_THING_NAME: Parameter = Parameter {
    env: "IOT_THING_NAME",
    flag: "iot-thing-name",
    topic: Topic::Identity,
    value_name: "NAME",
    valid: "1 to 128 letters, digits and _:-; together with IOT_CREDENTIAL_ENDPOINT",
    example: "press-7",
    help: "The thing in AWS IoT that the certificate is attached to. Only needed where policies of the role \
           speak of it (credentials-iot:ThingName); AWS IoT then refuses a certificate of another thing.",
    ..PLAIN
};

pub(super) const IOT_CERT_FILE: Parameter = Parameter {
    env: "IOT_CERT_FILE",
    flag: "iot-cert-file",
    topic: Topic::Identity,
    value_name: "FILE",
    default: DefaultValue::Derived("that of MQTT_CERT_FILE"),
    valid: "a readable PEM file, together with IOT_KEY_FILE and IOT_CREDENTIAL_ENDPOINT",
    example: "/etc/kinesis-edge/device.pem",
    help: "The device's certificate (and its chain) for AWS IoT. Read anew each time credentials are asked for.",
    ..PLAIN
};

pub(super) const IOT_KEY_FILE: Parameter = Parameter {
    env: "IOT_KEY_FILE",
    flag: "iot-key-file",
    topic: Topic::Identity,
    value_name: "FILE",
    default: DefaultValue::Derived("that of MQTT_KEY_FILE"),
    valid: "a readable PEM file, together with IOT_CERT_FILE and IOT_CREDENTIAL_ENDPOINT",
    example: "/etc/kinesis-edge/device.key",
    help: "The private key of IOT_CERT_FILE.",
    ..PLAIN
};

pub(super) const IOT_CA_FILE: Parameter = Parameter {
    env: "IOT_CA_FILE",
    flag: "iot-ca-file",
    topic: Topic::Identity,
    value_name: "FILE",
    valid: "a readable PEM file, together with IOT_CREDENTIAL_ENDPOINT",
    example: "/etc/kinesis-edge/AmazonRootCA1.pem",
    help: "The certificates of the authorities that the endpoint's certificate is checked against. Without \
           it, those of the operating system.",
    ..PLAIN
};

pub(super) const ASSUME_ROLE_ARN: Parameter = Parameter {
    env: "ASSUME_ROLE_ARN",
    flag: "assume-role-arn",
    topic: Topic::Identity,
    value_name: "ARN",
    valid: "arn:PARTITION:iam::ACCOUNT:role/NAME",
    example: "arn:aws:iam::123456789012:role/telemetry-writer",
    help: "A role to assume with the credentials that are found, for streams of another account. Its own \
           credentials are used for all streams then.",
    ..PLAIN
};

pub(super) const ASSUME_ROLE_EXTERNAL_ID: Parameter = Parameter {
    env: "ASSUME_ROLE_EXTERNAL_ID",
    flag: "assume-role-external-id",
    topic: Topic::Identity,
    value_name: "ID",
    valid: "2 to 1224 letters, digits and _+=,.@:/-; together with ASSUME_ROLE_ARN",
    example: "press-line-3",
    help: "The external id that the role's trust policy asks for, if it does.",
    ..PLAIN
};

pub(super) const PUBLISH_WHEN_FULL: Parameter = Parameter {
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

pub(super) const WHEN_FULL: Parameter = Parameter {
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

pub(super) const MAX_RECORDS_PER_SECOND: Parameter = Parameter {
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

pub(super) const MAX_BYTES_PER_SECOND: Parameter = Parameter {
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

pub(super) const MAX_REQUESTS_PER_SECOND: Parameter = Parameter {
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

pub(super) const RECORD_MAX_AGE: Parameter = Parameter {
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

pub(super) const QUEUE_DIR: Parameter = Parameter {
    env: "QUEUE_DIR",
    flag: "queue-dir",
    topic: Topic::Queue,
    value_name: "DIR",
    valid: "a directory, or a path whose parent directory exists; neither the same as DEAD_LETTER_DIR, \
            nor in it, nor around it",
    example: "/var/lib/kinesis-edge/queue",
    help: "The directory of the queue on disk: records in it survive a crash and a loss of power, and are \
           acknowledged to the broker only once they are synced. It is created if missing, and is for one \
           process at a time. Without it the queue is in memory.",
    ..PLAIN
};

pub(super) const QUEUE_DIR_MAX_BYTES: Parameter = Parameter {
    env: "QUEUE_DIR_MAX_BYTES",
    flag: "queue-dir-max-bytes",
    topic: Topic::Queue,
    value_name: "BYTES",
    default: DefaultValue::Value("1073741824"),
    valid: "a whole number of bytes, 8388608 (8 MiB) to 1099511627776 (1 TiB)",
    example: "4294967296",
    help: "How much all files in QUEUE_DIR may take together. Records that do not fit are treated as \
           WHEN_FULL says. No effect without QUEUE_DIR.",
    ..PLAIN
};

pub(super) const COMMIT_INTERVAL_MS: Parameter = Parameter {
    env: "COMMIT_INTERVAL_MS",
    flag: "commit-interval-ms",
    topic: Topic::Queue,
    value_name: "MS",
    default: DefaultValue::Value("2"),
    valid: "a whole number of milliseconds, 0 to 1000",
    example: "10",
    help: "How long records are gathered before they are written to QUEUE_DIR and synced together; a full \
           group is written at once. More of it spares the disk and delays acknowledgements. No effect \
           without QUEUE_DIR.",
    ..PLAIN
};

pub(super) const DEAD_LETTER_DIR: Parameter = Parameter {
    env: "DEAD_LETTER_DIR",
    flag: "dead-letter-dir",
    topic: Topic::DeadLetters,
    value_name: "DIR",
    valid: "a directory, or a path whose parent directory exists; neither the same as QUEUE_DIR, nor in \
            it, nor around it",
    example: "/var/lib/kinesis-edge/dead-letters",
    help: "The directory where records are kept that failed for a reason an operator can mend: no such \
           stream, access denied, expired. It is created if missing. Without it such records are gone once \
           their status is published.",
    ..PLAIN
};

pub(super) const DEAD_LETTER_MAX_BYTES: Parameter = Parameter {
    env: "DEAD_LETTER_MAX_BYTES",
    flag: "dead-letter-max-bytes",
    topic: Topic::DeadLetters,
    value_name: "BYTES",
    default: DefaultValue::Value("67108864"),
    valid: "a whole number of bytes, 1048576 (1 MiB) to 1099511627776 (1 TiB)",
    example: "268435456",
    help: "How much all files in DEAD_LETTER_DIR may take together; the oldest records go first. No effect \
           without DEAD_LETTER_DIR.",
    ..PLAIN
};

pub(super) const RECORD_ENVELOPE: Parameter = Parameter {
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

pub(super) const RECORD_DELIMITER: Parameter = Parameter {
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

pub(super) const RECORD_AGGREGATION: Parameter = Parameter {
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

pub(super) const AGGREGATION_MAX_BYTES: Parameter = Parameter {
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

pub(super) const RECORD_COMPRESSION: Parameter = Parameter {
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

pub(super) const SHUTDOWN_TIMEOUT: Parameter = Parameter {
    env: "SHUTDOWN_TIMEOUT",
    flag: "shutdown-timeout",
    value_name: "SECONDS",
    default: DefaultValue::Value("10"),
    valid: "a whole number of seconds, 0 to 3600",
    example: "30",
    help: "How long a stop may take to send what waits. What is left then fails with the code \
           ConnectorStopped. Keep it below the time that the service manager allows.",
    ..PLAIN
};

pub(super) const STATUS_MAX_BYTES: Parameter = Parameter {
    env: "STATUS_MAX_BYTES",
    flag: "status-max-bytes",
    value_name: "BYTES",
    default: DefaultValue::Value("120000"),
    valid: "a whole number of bytes, 4096 to 16777216",
    example: "8192",
    help: "The most bytes one status document has; what would be longer is published as several. The \
           default stays below the 128 KiB where AWS IoT Core and the Greengrass broker stop.",
    ..PLAIN
};

pub(super) const HTTP_LISTEN: Parameter = Parameter {
    env: "HTTP_LISTEN",
    flag: "http-listen",
    value_name: "ADDRESS:PORT",
    default: DefaultValue::Unset,
    valid: "an IP address and a port, 127.0.0.1:9477 or [::]:9477 for example",
    example: "127.0.0.1:9477",
    help: "Where the page (/), metrics for Prometheus (/metrics) and readiness (/readyz) are served. They show what \
           happens and take no orders; whoever reaches the address may look, so outside the loopback keep it to a network \
           that you trust.",
    ..PLAIN
};

pub(super) const HTTP_ALLOWED_HOSTS: Parameter = Parameter {
    env: "HTTP_ALLOWED_HOSTS",
    flag: "http-allowed-hosts",
    value_name: "HOST,...",
    default: DefaultValue::Unset,
    valid: "names or addresses of this device with commas between, without ports",
    example: "gateway.local,192.168.1.20",
    help: "The names by which others reach HTTP_LISTEN. Requests that name another host are refused, so that a web page of \
           somebody else cannot read this device through a browser; the loopback's names and the address in HTTP_LISTEN are \
           allowed always.",
    ..PLAIN
};

pub(super) const CONNECTOR_STATUS_INTERVAL: Parameter = Parameter {
    env: "CONNECTOR_STATUS_INTERVAL",
    flag: "connector-status-interval",
    value_name: "SECONDS",
    default: DefaultValue::Value("0"),
    valid: "a whole number of seconds, 0 to 86400",
    example: "60",
    help: "How often the connector publishes its own figures, retained, on TOPIC_PREFIX/connector/status (in a \
           SHARED_SUBSCRIPTION_GROUP, on …/status/<client id>); 0: never. The broker publishes {\"state\":\"offline\"} there by \
           itself when the connector is gone.",
    ..PLAIN
};

pub(super) const LOG_FORMAT: Parameter = Parameter {
    env: "LOG_FORMAT",
    flag: "log-format",
    value_name: "FORMAT",
    default: DefaultValue::Value("text"),
    valid: "text or json",
    example: "json",
    help: "How log lines look: for a person or for a program. RUST_LOG says which lines there are.",
    ..PLAIN
};
