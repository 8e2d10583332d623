//! Who the device is towards AWS.

use crate::parameters::parameter::{DefaultValue, PLAIN, Parameter};
use crate::parameters::topic::Topic;

pub(in crate::parameters) const IOT_CREDENTIAL_ENDPOINT: Parameter = Parameter {
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

pub(in crate::parameters) const IOT_ROLE_ALIAS: Parameter = Parameter {
    env: "IOT_ROLE_ALIAS",
    flag: "iot-role-alias",
    topic: Topic::Identity,
    value_name: "NAME",
    valid: "1 to 128 letters, digits and _=,@-; together with IOT_CREDENTIAL_ENDPOINT",
    example: "kinesis-edge",
    help: "The role alias in AWS IoT whose role the credentials are for.",
    ..PLAIN
};

pub(in crate::parameters) const IOT_THING_NAME: Parameter = Parameter {
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

pub(in crate::parameters) const IOT_CERT_FILE: Parameter = Parameter {
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

pub(in crate::parameters) const IOT_KEY_FILE: Parameter = Parameter {
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

pub(in crate::parameters) const IOT_CA_FILE: Parameter = Parameter {
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

pub(in crate::parameters) const ASSUME_ROLE_ARN: Parameter = Parameter {
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

pub(in crate::parameters) const ASSUME_ROLE_EXTERNAL_ID: Parameter = Parameter {
    env: "ASSUME_ROLE_EXTERNAL_ID",
    flag: "assume-role-external-id",
    topic: Topic::Identity,
    value_name: "ID",
    valid: "2 to 1224 letters, digits and _+=,.@:/-; together with ASSUME_ROLE_ARN",
    example: "press-line-3",
    help: "The external id that the role's trust policy asks for, if it does.",
    ..PLAIN
};
