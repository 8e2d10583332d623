//! `kinesis-edge run`: the connector.

use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgMatches, Command};
use kinesis_edge::connector::Connector;
use kinesis_edge::destination::{Firehose, FirehoseSettings};
use kinesis_edge::parameters;
use kinesis_edge::telemetry::{self, Exports, Server, ServiceManager};

use super::{exit_code, report, signals, unusable};

/// How long an end is put off that another start may mend, where a service manager makes one: at once, and each with its
/// lines, they would fill the log.
const PUT_OFF: Duration = Duration::from_secs(30);

const EXAMPLES: &str = "\
Examples:
  DEFAULT_DELIVERY_STREAM_ARN=arn:aws:firehose:eu-west-1:123456789012:deliverystream/telemetry kinesis-edge run
  kinesis-edge run --config /etc/kinesis-edge/kinesis-edge.toml
  kinesis-edge run --config kinesis-edge.toml --publish-interval 1 --log-format json";

pub fn command() -> Command {
    Command::new("run")
        .about("Runs the connector")
        .long_about(
            "Runs the connector until SIGTERM or SIGINT. Each parameter is a flag, the environment \
             variable of the same name, or a line of the file that --config names; the first of these wins, and \
             empty means unset. `kinesis-edge config` shows which values hold. Credentials of AWS come from the \
             device's certificate (IOT_CREDENTIAL_ENDPOINT), or else, like its endpoints, from where the AWS SDKs look for \
             them: AWS_* variables, profiles, the container or instance. RUST_LOG filters the log (for example RUST_LOG=debug).\n\n\
             Exit status: 0 when nothing was lost at the stop, 1 when records or statuses were, or when a file or \
             directory that the configuration names cannot be used now, 2 for a faulty configuration.",
        )
        .args(parameters::args())
        .after_long_help(EXAMPLES)
}

pub async fn execute(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let stop = signals::stop_requested()?;
    let parameters = match parameters::load(matches) {
        Ok(parameters) => parameters,
        Err(faults) if faults.may_pass() => {
            report(&faults);
            until_it_may_have_passed(stop).await;
            return Ok(ExitCode::FAILURE);
        }
        Err(faults) => return Ok(report(&faults)),
    };
    let mut exports = Exports::from_environment(&parameters.mqtt.client_id);
    telemetry::init_logs_with_exports(parameters.log_format, &exports);
    let destination = Firehose::new(FirehoseSettings {
        region: parameters.default_delivery_stream_arn.region().to_owned(),
        identity: parameters.identity.clone(),
        ..FirehoseSettings::default()
    })
    .await;
    let credentials = destination.clone();
    let connector =
        match Connector::new(&parameters, destination, ServiceManager::from_environment()) {
            Ok(connector) => connector,
            Err(error) => {
                let status = unusable(&error);
                until_it_may_have_passed(stop).await;
                return Ok(status);
            }
        };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        stream = %parameters.default_delivery_stream_arn,
        topic_prefix = parameters.topic_prefix,
        publish_interval_s = parameters.publish_interval.as_secs(),
        connector_version = parameters.connector_version.number(),
        "starting"
    );
    // The first call may be hours away: whoever has just set this up wants to know now.
    tokio::spawn(async move {
        if let Err(error) = credentials.check_credentials().await {
            tracing::warn!(
                error.code = %error.code,
                error.message = %error.message,
                "records cannot be delivered yet; they are kept until they can"
            );
        }
    });
    let http = parameters.http.as_ref();
    let _server = http.map(|http| Server::start(http, connector.observer()));
    exports.start(connector.observer());
    let leftover = tokio::spawn(connector.run(stop)).await?;
    exports.stop().await;
    Ok(exit_code(leftover))
}

/// Waits, where another start follows, before an end for a reason that may be gone then.
async fn until_it_may_have_passed(stop: impl Future<Output = ()>) {
    if ServiceManager::is_there() {
        tokio::select! {
            () = tokio::time::sleep(PUT_OFF) => {}
            () = stop => {}
        }
    }
}
