//! Where credentials come from, each from a provider as devices have it: that they are renewed, changed and missed
//! without a restart and without losing a record, and that whoever refuses them is named.

#![cfg(feature = "local")]

#[path = "../common/mod.rs"]
mod common;

mod amazon;
mod found;
mod iot;
mod places;
mod roles;

use common::{ConnectorProcess, Mosquitto, STREAM};

/// The connector with what AWS is at this URL, and with further variables.
fn connector_at(broker: &Mosquitto, aws: &str, more: &[(&str, &str)]) -> ConnectorProcess {
    let mqtt = broker.url();
    let mut variables = vec![
        ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
        ("PUBLISH_INTERVAL", "1"),
        ("SHUTDOWN_TIMEOUT", "1"),
        ("MQTT_URL", &mqtt),
        ("AWS_ENDPOINT_URL", aws),
    ];
    variables.extend_from_slice(more);
    ConnectorProcess::start(&variables)
}

/// Lines of the log that say that something is wrong.
fn warnings(connector: &ConnectorProcess) -> Vec<String> {
    let log = connector.stderr();
    let lines = log.lines().filter(|line| !line.contains(" INFO "));
    lines.map(str::to_owned).collect()
}

/// The same of variables that are owned.
fn borrowed<'a>(variables: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    let all = variables.iter();
    all.map(|(name, value)| (*name, value.as_str())).collect()
}
