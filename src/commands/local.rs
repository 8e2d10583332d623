//! `kinesis-edge local`: broker, connector and a Firehose stand-in in one process, so that one
//! command on a fresh machine is enough to see a record through.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, value_parser};
use kinesis_edge::aggregate::Compression;
use kinesis_edge::connector::Connector;
use kinesis_edge::destination::{Firehose, FirehoseSettings};
use kinesis_edge::local::{Broker, Endpoint, EndpointConfig};
use kinesis_edge::parameters::{self, Parameter, Parameters, Topic};
use kinesis_edge::telemetry::{self, Server, ServiceManager};

use super::{exit_code, report, signals, unusable};

/// Where records go whose request names no stream.
const DEFAULT_STREAM: &str = "arn:aws:firehose:us-east-1:123456789012:deliverystream/local";

/// Seconds: whoever tries things does not want to wait for the contract's ten.
const PUBLISH_INTERVAL: &str = "1";

/// The port of MQTT, and the default of `--port`.
const USUAL_PORT: u16 = 1883;

/// Where the page is, unless that is taken.
const HTTP_LISTEN: &str = "127.0.0.1:9477";

pub fn command() -> Command {
    // The broker is in the process, and what is not given stays at its default: an environment set
    // up for `run` does not reach in here. The stand-in takes whatever credentials there are.
    let flags = parameters::PARAMETERS
        .iter()
        .filter(|parameter| !parameter.flag.starts_with("mqtt"))
        .filter(|parameter| parameter.topic != Topic::Identity)
        .map(|parameter| parameter.arg_without_env(own_default(parameter)));
    Command::new("local")
        .about("Runs connector, MQTT broker and a Firehose stand-in in one process, to try things")
        .long_about(
            "Runs the connector with an MQTT broker and a stand-in for Amazon Data Firehose in one \
             process. It listens on this machine only, needs no AWS account, and writes the records it \
             accepts under --data-dir the way Firehose writes to S3. Parameters of `run` can be given as \
             flags; the environment is not read.",
        )
        .arg(
            Arg::new("port")
                .long("port")
                .value_name("PORT")
                .value_parser(value_parser!(u16))
                .default_value("1883")
                .help("Port of the MQTT broker; 0, or 1883 where that is taken, picks a free one"),
        )
        .arg(
            Arg::new("data-dir")
                .long("data-dir")
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .default_value("local-data")
                .help("Where accepted records are written"),
        )
        .args(flags)
}

pub async fn execute(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let broker_address = broker_address(matches);
    let page = page_listener(matches, broker_address);
    let parameters = match parameters(matches, broker_address, page.as_ref()) {
        Ok(parameters) => parameters,
        Err(faults) => return Ok(report(&faults)),
    };
    telemetry::init_logs(parameters.log_format, &["mqtt5"]);
    let stop = signals::stop_requested()?;
    let data_dir = matches
        .get_one::<PathBuf>("data-dir")
        .cloned()
        .unwrap_or_default();
    let broker = Broker::start(broker_address).await?;
    let endpoint = Endpoint::start(EndpointConfig {
        addr: loopback(0),
        storage: Some(data_dir.clone()),
        journal: false,
        streams: None,
    })
    .await?;
    let destination = Firehose::new(FirehoseSettings {
        stand_in: Some(endpoint.url()),
        ..FirehoseSettings::default()
    })
    .await;
    let connector = match Connector::new(&parameters, destination, ServiceManager::none()) {
        Ok(connector) => connector,
        Err(error) => return Ok(unusable(&error)),
    };
    let taken = port_by_default(matches) && broker.addr().port() != USUAL_PORT;
    std::io::stdout().write_all(
        welcome(
            &parameters,
            broker.addr(),
            taken,
            &endpoint.url(),
            &data_dir,
        )
        .as_bytes(),
    )?;
    let http = parameters.http.as_ref();
    let server = match (http, page) {
        (Some(http), Some(page)) => Some(Server::start_on(page, http, connector.observer())?),
        (http, _) => http.map(|http| Server::start(http, connector.observer())),
    };
    let leftover = tokio::spawn(connector.run(stop)).await?;
    drop(server);
    endpoint.stop().await;
    broker.stop().await;
    Ok(exit_code(leftover))
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn port_by_default(matches: &ArgMatches) -> bool {
    matches.value_source("port") == Some(ValueSource::DefaultValue)
}

/// The address asked for; where none was asked for and the usual one is taken, a free one.
fn broker_address(matches: &ArgMatches) -> SocketAddr {
    let asked = loopback(matches.get_one::<u16>("port").copied().unwrap_or(0));
    let free = |address| TcpListener::bind(address).and_then(|listener| listener.local_addr());
    match free(asked) {
        Ok(address) => address,
        Err(_) if port_by_default(matches) => free(loopback(0)).unwrap_or(asked),
        Err(_) => asked,
    }
}

/// Where the page is if nobody says where; if that is taken, at a port that is free. It is kept, so that what else starts
/// just now, as a second `local`, cannot take it.
fn page_listener(matches: &ArgMatches, broker: SocketAddr) -> Option<TcpListener> {
    if given(matches, "http-listen").is_some() {
        return None;
    }
    let free = || TcpListener::bind(loopback(0)).ok();
    let page = TcpListener::bind(HTTP_LISTEN).ok().or_else(free)?;
    // The broker does not listen yet.
    let is_of_broker = page.local_addr().is_ok_and(|address| address == broker);
    if is_of_broker { free() } else { Some(page) }
}

/// What a flag says, where it says something.
fn given<'a>(matches: &'a ArgMatches, flag: &str) -> Option<&'a String> {
    let value = matches.try_get_one::<String>(flag).ok().flatten();
    value.filter(|value| !value.is_empty())
}

/// What holds here where `run` has no default or another one.
fn own_default(parameter: &Parameter) -> Option<&'static str> {
    match parameter.env {
        "DEFAULT_DELIVERY_STREAM_ARN" => Some(DEFAULT_STREAM),
        "PUBLISH_INTERVAL" => Some(PUBLISH_INTERVAL),
        "HTTP_LISTEN" => Some(HTTP_LISTEN),
        _ => None,
    }
}

fn parameters(
    matches: &ArgMatches,
    broker: SocketAddr,
    page: Option<&TcpListener>,
) -> Result<Parameters, parameters::Faults> {
    let page = page.and_then(|page| page.local_addr().ok());
    parameters::parse(&|parameter: &Parameter| {
        let value = match (given(matches, parameter.flag), parameter.env, page) {
            (_, "MQTT_URL", _) => format!("mqtt://{broker}"),
            (Some(value), ..) => value.clone(),
            (_, "HTTP_LISTEN", Some(page)) => page.to_string(),
            _ => own_default(parameter)?.to_owned(),
        };
        Some(Ok(value))
    })
}

/// What a person reads first. `taken` says that the broker had to leave its usual port.
fn welcome(
    parameters: &Parameters,
    broker: SocketAddr,
    taken: bool,
    endpoint: &str,
    data_dir: &Path,
) -> String {
    let (host, port) = (broker.ip(), broker.port());
    let prefix = &parameters.topic_prefix;
    let stream = parameters.default_delivery_stream_arn.stream_name();
    let folder = data_dir.join(stream);
    let folder = folder.display();
    let program = std::env::args()
        .next()
        .unwrap_or_else(|| "kinesis-edge".to_owned());
    let mut flags = String::new();
    if port != USUAL_PORT {
        flags += &format!(" --mqtt-url mqtt://{broker}");
    }
    if prefix != "kinesisfirehose" {
        flags += &format!(" --topic-prefix '{prefix}'");
    }
    let taken = if taken {
        format!("; port {USUAL_PORT} is taken")
    } else {
        String::new()
    };
    let interval = parameters.publish_interval;
    let when = if parameters.connector_version.batches_every(interval) {
        format!("every {} s", interval.as_secs())
    } else {
        "at once".to_owned()
    };
    let (between, and) = as_they_land(parameters);
    let page = match &parameters.http {
        Some(http) => format!("http://{}/ and /metrics", http.listen),
        None => "–".to_owned(),
    };
    format!(
        "\nkinesis-edge is running on this machine only. Ctrl-C stops it.\n\n\
         \x20 MQTT broker      mqtt://{broker} (3.1.1 and 5, no password{taken})\n\
         \x20 Firehose         {endpoint} (a stand-in; nothing leaves this machine)\n\
         \x20 page, metrics    {page}\n\
         \x20 default stream   {arn}\n\
         \x20 records land in  {folder}/YYYY/MM/DD/HH/ (UTC), {when}, {between}\n\n\
         Try in another terminal:\n\n\
         \x20 {program} send{flags} 'hello from the edge'\n\n\
         \x20 mosquitto_sub -h {host} -p {port} -t {prefix}/message/status &\n\
         \x20 mosquitto_pub -h {host} -p {port} -q 1 -t {prefix}/message -m '{{\"request\": {{\"data\": \"hello\"}}, \"id\": \"1\"}}'\n\
         \x20 mosquitto_pub -h {host} -p {port} -q 1 -t {prefix}/message/binary/2 -m 'as it is'\n\n\
         \x20 cat {folder}/*/*/*/*/*{and}\n\n",
        arn = parameters.default_delivery_stream_arn,
    )
}

/// What stands between records in a file, in words, and what a file has to go through to be read.
fn as_they_land(parameters: &Parameters) -> (&'static str, &'static str) {
    match parameters.aggregation.map(|joined| joined.compression) {
        Some(Some(Compression::Gzip)) => ("compressed with gzip", " | zcat"),
        Some(Some(Compression::Zstd)) => ("compressed with zstd", " | zstdcat"),
        _ if parameters.record_delimiter.is_some() => ("RECORD_DELIMITER behind each", ""),
        _ => ("nothing between them", ""),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn page(arguments: &[&str], broker: SocketAddr) -> Option<TcpListener> {
        let all = [&["local"], arguments].concat();
        page_listener(&command().get_matches_from(all), broker)
    }

    /// One test, as another beside it would have the usual port, and nothing were shown.
    #[test]
    fn the_page_has_a_port_that_nobody_else_has_or_gets() {
        let (usual, elsewhere) = (HTTP_LISTEN.parse().unwrap(), loopback(USUAL_PORT));
        let beside = page(&["--port", "9477"], usual).unwrap();
        assert_ne!(beside.local_addr().unwrap(), usual);
        let pages = [(); 3].map(|()| page(&[], elsewhere).unwrap());
        let addresses = pages.each_ref().map(|page| page.local_addr().unwrap());
        assert_eq!(BTreeSet::from(addresses).len(), 3, "{addresses:?}");
        assert!(page(&["--http-listen", "127.0.0.1:1"], elsewhere).is_none());
        assert!(page(&["--http-listen", ""], elsewhere).is_some());
    }
}
