//! The floor: a subscriber made of rumqttc as released, that receives and acknowledges and does nothing
//! else. Whatever does more on top of an MQTT client costs more. It is a process of its own, the
//! benchmark's program started again, so that what it takes can be read from `/proc`.

use std::env;
use std::io::{self, BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::ConnectProperties;
use rumqttc::{NetworkOptions, v5};

use super::packets::Version;
use super::payload::TOPIC;

/// The argument that makes the benchmark's program the floor.
pub const ARGUMENT: &str = "floor";

/// The same window as the connector's, so that a broker treats both alike (MQTT 5).
const RECEIVE_MAXIMUM: u16 = 1000;

/// Longest packet it takes, the same as the connector.
const PACKET_MAX_BYTES: u32 = 7_000_000;

/// Who it is to a broker.
const CLIENT_ID: &str = "floor";

/// A running floor.
pub struct Floor {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Floor {
    /// Starts one. Each time it has received as many messages as one of `counts` says, it says so.
    pub fn start(port: u16, version: Version, counts: &[u64]) -> io::Result<Self> {
        let version = match version {
            Version::V311 => "3.1.1",
            Version::V5 => "5",
        };
        let mut child = Command::new(env::current_exe()?)
            .args([ARGUMENT, version])
            .arg(port.to_string())
            .args(counts.iter().map(u64::to_string))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Floor {
            child,
            said: BufReader::new(stdout),
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has subscribed, or has received what the next count says.
    pub fn wait(&mut self) -> io::Result<()> {
        match self.said.read_line(&mut String::new())? {
            0 => Err(io::Error::other("the floor has ended")),
            _ => Ok(()),
        }
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The floor itself: `floor VERSION PORT COUNT…`.
pub fn run(arguments: &[String]) {
    let [version, port, counts @ ..] = arguments else {
        panic!("floor VERSION PORT COUNT…");
    };
    let port = port.parse().expect("a port");
    let counts: Vec<u64> = counts
        .iter()
        .map(|count| count.parse().expect("a count"))
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let received = Received { counts, count: 0 };
    // It ends with its connection.
    match &**version {
        "5" => runtime.block_on(receive_v5(port, received)),
        _ => runtime.block_on(receive_v311(port, received)),
    }
}

/// Counts messages and tells when there are enough.
struct Received {
    counts: Vec<u64>,
    count: u64,
}

impl Received {
    fn one(&mut self) {
        self.count += 1;
        if self.counts.contains(&self.count) {
            println!("{}", self.count);
        }
    }
}

async fn receive_v5(port: u16, mut received: Received) {
    let mut options = v5::MqttOptions::new(CLIENT_ID, "127.0.0.1", port);
    options
        .set_network_options(network())
        .set_connect_properties(ConnectProperties {
            receive_maximum: Some(RECEIVE_MAXIMUM),
            max_packet_size: Some(PACKET_MAX_BYTES),
            ..ConnectProperties::new()
        })
        // Of what it sends itself; its table would be larger than everything else.
        .set_outgoing_inflight_upper_limit(10);
    let (client, mut connection) = v5::AsyncClient::new(options, 10);
    let subscribed = client.try_subscribe(TOPIC, QoS::AtLeastOnce);
    subscribed.expect("the first request has room");
    while let Ok(event) = connection.poll().await {
        match event {
            v5::Event::Incoming(v5::Incoming::Publish(_)) => received.one(),
            v5::Event::Incoming(v5::Incoming::SubAck(_)) => println!("subscribed"),
            _ => {}
        }
    }
}

async fn receive_v311(port: u16, mut received: Received) {
    let mut options = rumqttc::MqttOptions::new(CLIENT_ID, "127.0.0.1", port);
    let most = PACKET_MAX_BYTES as usize;
    options.set_max_packet_size(most, most);
    let (client, mut connection) = rumqttc::AsyncClient::new(options, 10);
    connection.set_network_options(network());
    let subscribed = client.try_subscribe(TOPIC, rumqttc::QoS::AtLeastOnce);
    subscribed.expect("the first request has room");
    while let Ok(event) = connection.poll().await {
        match event {
            rumqttc::Event::Incoming(rumqttc::Incoming::Publish(_)) => received.one(),
            rumqttc::Event::Incoming(rumqttc::Incoming::SubAck(_)) => println!("subscribed"),
            _ => {}
        }
    }
}

fn network() -> NetworkOptions {
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network
}
