//! The process: its end, its log, what it tells of itself.

use crate::parameters::parameter::{DefaultValue, PLAIN, Parameter};
use crate::parameters::topic::Topic;

pub(in crate::parameters) const SHUTDOWN_TIMEOUT: Parameter = Parameter {
    env: "SHUTDOWN_TIMEOUT",
    flag: "shutdown-timeout",
    topic: Topic::Operation,
    value_name: "SECONDS",
    default: DefaultValue::Value("10"),
    valid: "a whole number of seconds, 0 to 3600",
    example: "30",
    help: "How long a stop may take to send what waits. What is left then fails with the code \
           ConnectorStopped. Keep it below the time that the service manager allows.",
    ..PLAIN
};

pub(in crate::parameters) const STATUS_MAX_BYTES: Parameter = Parameter {
    env: "STATUS_MAX_BYTES",
    flag: "status-max-bytes",
    topic: Topic::Operation,
    value_name: "BYTES",
    default: DefaultValue::Value("120000"),
    valid: "a whole number of bytes, 4096 to 16777216",
    example: "8192",
    help: "The most bytes one status document has; what would be longer is published as several. The \
           default stays below the 128 KiB where AWS IoT Core and the Greengrass broker stop.",
    ..PLAIN
};

pub(in crate::parameters) const HTTP_LISTEN: Parameter = Parameter {
    env: "HTTP_LISTEN",
    flag: "http-listen",
    topic: Topic::Operation,
    value_name: "ADDRESS:PORT",
    default: DefaultValue::Unset,
    valid: "an IP address and a port, 127.0.0.1:9477 or [::]:9477 for example",
    example: "127.0.0.1:9477",
    help: "Where the page (/), metrics for Prometheus (/metrics) and readiness (/readyz) are served. They show what \
           happens and take no orders; whoever reaches the address may look, so outside the loopback keep it to a network \
           that you trust.",
    ..PLAIN
};

pub(in crate::parameters) const HTTP_ALLOWED_HOSTS: Parameter = Parameter {
    env: "HTTP_ALLOWED_HOSTS",
    flag: "http-allowed-hosts",
    topic: Topic::Operation,
    value_name: "HOST,...",
    default: DefaultValue::Unset,
    valid: "names or addresses of this device with commas between, without ports",
    example: "gateway.local,192.168.1.20",
    help: "The names by which others reach HTTP_LISTEN. Requests that name another host are refused, so that a web page of \
           somebody else cannot read this device through a browser; the loopback's names and the address in HTTP_LISTEN are \
           allowed always.",
    ..PLAIN
};

pub(in crate::parameters) const CONNECTOR_STATUS_INTERVAL: Parameter = Parameter {
    env: "CONNECTOR_STATUS_INTERVAL",
    flag: "connector-status-interval",
    topic: Topic::Operation,
    value_name: "SECONDS",
    default: DefaultValue::Value("0"),
    valid: "a whole number of seconds, 0 to 86400",
    example: "60",
    help: "How often the connector publishes its own figures, retained, on TOPIC_PREFIX/connector/status (in a \
           SHARED_SUBSCRIPTION_GROUP, on …/status/<client id>); 0: never. The broker publishes {\"state\":\"offline\"} there by \
           itself when the connector is gone.",
    ..PLAIN
};

pub(in crate::parameters) const LOG_FORMAT: Parameter = Parameter {
    env: "LOG_FORMAT",
    flag: "log-format",
    topic: Topic::Operation,
    value_name: "FORMAT",
    default: DefaultValue::Value("text"),
    valid: "text or json",
    example: "json",
    help: "How log lines look: for a person or for a program. RUST_LOG says which lines there are.",
    ..PLAIN
};
