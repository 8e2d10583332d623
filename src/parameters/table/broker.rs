//! The way to the broker, and the topics there.

use crate::parameters::parameter::{DefaultValue, PLAIN, Parameter, Secrecy};
use crate::parameters::topic::Topic;

pub(in crate::parameters) const MQTT_URL: Parameter = Parameter {
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

pub(in crate::parameters) const MQTT_CLIENT_ID: Parameter = Parameter {
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

pub(in crate::parameters) const MQTT_VERSION: Parameter = Parameter {
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

pub(in crate::parameters) const MQTT_USERNAME: Parameter = Parameter {
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

pub(in crate::parameters) const MQTT_PASSWORD: Parameter = Parameter {
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

pub(in crate::parameters) const MQTT_PASSWORD_FILE: Parameter = Parameter {
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

pub(in crate::parameters) const MQTT_CA_FILE: Parameter = Parameter {
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

pub(in crate::parameters) const MQTT_CERT_FILE: Parameter = Parameter {
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

pub(in crate::parameters) const MQTT_KEY_FILE: Parameter = Parameter {
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

pub(in crate::parameters) const TOPIC_PREFIX: Parameter = Parameter {
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

pub(in crate::parameters) const SHARED_SUBSCRIPTION_GROUP: Parameter = Parameter {
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
