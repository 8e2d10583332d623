//! `kinesis-edge health`: whether a connector on this machine is well, for containers, which have no other program to
//! ask it with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};
use kinesis_edge::parameters;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::text::{excerpt, to_stdout};
use super::{EXIT_CONFIGURATION, report};

/// How long an answer may take. The connector answers in a millisecond; Docker waits 30 s by default.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is read of an answer at most, in bytes. Chosen here: `/readyz` has a line for each of five parts.
const MAX_ANSWER_BYTES: u64 = 16 << 10;

const EXAMPLES: &str = "\
Examples:
  kinesis-edge health --http-listen 127.0.0.1:9477
  kinesis-edge health --ready --config /etc/kinesis-edge/kinesis-edge.toml";

pub fn command() -> Command {
    Command::new("health")
        .about("Asks the connector on this machine whether it is well")
        .long_about(
            "Asks the connector on this machine at HTTP_LISTEN whether it lives (/healthz), or with --ready whether it \
             is ready (/readyz), and prints its answer. For containers, and wherever there is no curl.\n\n\
             Exit status: 0 when it says so, 1 when it does not or there is no answer within 5 s, 2 for a faulty \
             configuration.",
        )
        .arg(
            Arg::new("ready")
                .long("ready")
                .action(ArgAction::SetTrue)
                .help("Whether it is ready: connected, and delivering"),
        )
        .args(parameters::args_http())
        .after_long_help(EXAMPLES)
}

pub async fn execute(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let http = match parameters::load_http(matches) {
        Ok(Some(http)) => http,
        Ok(None) => {
            eprintln!("kinesis-edge: HTTP_LISTEN is not set, so the connector cannot be asked");
            return Ok(ExitCode::from(EXIT_CONFIGURATION));
        }
        Err(faults) => return Ok(report(&faults)),
    };
    let path = match matches.get_flag("ready") {
        true => "/readyz",
        false => "/healthz",
    };
    let address = here(http.listen);
    let answer = timeout(PATIENCE, ask(address, path)).await;
    let answer = answer.map_err(|_| anyhow::anyhow!("no answer within {PATIENCE:?}"));
    let (is_well, body) = answer
        .and_then(|answer| answer)
        .with_context(|| format!("the connector at {address} cannot be asked"))?;
    to_stdout(|out| out.write_all(body.as_bytes()))?;
    Ok(match is_well {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Where to reach what listens there: an address that stands for all of them is reached at the loopback's.
fn here(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, listen.port())
}

/// Whether the answer is 200, and what it says.
async fn ask(address: SocketAddr, path: &str) -> anyhow::Result<(bool, String)> {
    let mut connection = TcpStream::connect(address).await?;
    // The older HTTP: the answer then ends with the connection, and comes in one piece.
    let question = format!("GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n");
    let asked = connection.write_all(question.as_bytes()).await;
    let mut answer = Vec::new();
    let read = connection
        .take(MAX_ANSWER_BYTES)
        .read_to_end(&mut answer)
        .await;
    // A server of another protocol may speak first and reset the connection: what it said tells more than the reset.
    if answer.is_empty() {
        asked?;
        read?;
    }
    let answer = String::from_utf8_lossy(&answer);
    let status = answer
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..5));
    match (status, answer.split_once("\r\n\r\n")) {
        (Some(status), Some((_, body))) => Ok((status == "200", body.to_owned())),
        _ => bail!("what answers is no connector: {}", excerpt(&answer, 60)),
    }
}
