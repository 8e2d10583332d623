//! Where credentials come from, each from a provider as devices have it: that they are renewed, changed and missed
//! without a restart and without losing a record, and that whoever refuses them is named.

#![cfg(feature = "local")]

#[path = "../common/mod.rs"]
mod common;

mod amazon;
mod asking;
mod found;
mod iot;
mod places;
mod roles;

use common::{ConnectorProcess, Mosquitto, STREAM, eventually};

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

/// Waits until the log says that records are kept for want of credentials.
async fn until_records_wait(connector: &ConnectorProcess) {
    eventually("it says that records wait", || {
        let mut warnings = warnings(connector).into_iter();
        warnings.any(|line| line.contains("are kept and"))
    })
    .await;
}

/// Variables as [`connector_at`] takes them.
fn borrowed<'a>(variables: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    let all = variables.iter();
    all.map(|(name, value)| (*name, value.as_str())).collect()
}
