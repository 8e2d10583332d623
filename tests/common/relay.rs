//! A relay between a broker and the connector that passes every byte on and takes notes: how often
//! the broker delivered which request, and which ones the connector acknowledged. It outlives both.
//! Requests are known by their ids, which are numbers.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What passed by.
#[derive(Default)]
struct Notes {
    /// How often the broker sent each request, on all connections.
    deliveries: HashMap<u32, usize>,
    /// Requests that the connector acknowledged, on any connection.
    acknowledged: HashSet<u32>,
}

/// A running relay.
pub struct Relay {
    /// Where it listens, all the time.
    pub port: u16,
    notes: Arc<Mutex<Notes>>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Starts one towards a broker. The connector has to speak this version of MQTT (`5` or
    /// `3.1.1`) and no other.
    pub async fn start(broker_port: u16, mqtt: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("it binds");
        let port = listener.local_addr().expect("it is bound").port();
        let notes = Arc::new(Mutex::new(Notes::default()));
        let (kept, v5) = (Arc::clone(&notes), mqtt == "5");
        let task = tokio::spawn(async move {
            while let Ok((connector, _)) = listener.accept().await {
                let notes = Arc::clone(&kept);
                tokio::spawn(async move {
                    // Who is not there, or goes, is seen on the other side as the same.
                    let Ok(broker) = TcpStream::connect(("127.0.0.1", broker_port)).await else {
                        return;
                    };
                    let _ = connector.set_nodelay(true);
                    let _ = broker.set_nodelay(true);
                    pass(connector, broker, &notes, v5).await;
                });
            }
        });
        Relay { port, notes, task }
    }

    /// The URL for `MQTT_URL`.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// How often the broker sent this request.
    pub fn deliveries(&self, number: u32) -> usize {
        let notes = self.notes.lock().unwrap();
        notes.deliveries.get(&number).copied().unwrap_or_default()
    }

    /// How many requests the connector has acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.notes.lock().unwrap().acknowledged.len()
    }

    /// Whether the connector has acknowledged this one.
    pub fn is_acknowledged(&self, number: u32) -> bool {
        self.notes.lock().unwrap().acknowledged.contains(&number)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Passes on until one side ends; what came in before is passed on first.
async fn pass(connector: TcpStream, broker: TcpStream, notes: &Mutex<Notes>, v5: bool) {
    let (mut from_connector, mut to_connector) = connector.into_split();
    let (mut from_broker, mut to_broker) = broker.into_split();
    // Packet id to number, of what is un-acknowledged on this connection.
    let under_way: Mutex<HashMap<u16, u32>> = Mutex::default();
    let down = copy(&mut from_broker, &mut to_connector, |first, packet| {
        if let Some((id, number)) = delivered(first, packet, v5) {
            under_way.lock().unwrap().insert(id, number);
            let mut notes = notes.lock().unwrap();
            *notes.deliveries.entry(number).or_default() += 1;
        }
    });
    let up = copy(&mut from_connector, &mut to_broker, |first, packet| {
        if first >> 4 == 4 {
            let id = u16::from_be_bytes([packet[0], packet[1]]);
            if let Some(number) = under_way.lock().unwrap().remove(&id) {
                notes.lock().unwrap().acknowledged.insert(number);
            }
        }
    });
    tokio::select! {
        _ = down => {}
        _ = up => {}
    }
}

/// Shows each packet, as its first byte and what stands behind its length, and passes it on.
async fn copy(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    mut show: impl FnMut(u8, &[u8]),
) -> io::Result<()> {
    let (mut chunk, mut unseen) = (vec![0; 64 * 1024], Vec::new());
    loop {
        let read = from.read(&mut chunk).await?;
        if read == 0 {
            return Ok(());
        }
        unseen.extend_from_slice(&chunk[..read]);
        let mut seen = 0;
        while let Some((start, end)) = packet(&unseen[seen..]) {
            show(unseen[seen], &unseen[seen + start..seen + end]);
            seen += end;
        }
        unseen.drain(..seen);
        to.write_all(&chunk[..read]).await?;
    }
}

/// Where the first packet's content begins and ends, once it is there.
fn packet(bytes: &[u8]) -> Option<(usize, usize)> {
    let (length, digits) = variable(bytes.get(1..)?)?;
    let end = 1 + digits + length;
    (bytes.len() >= end).then_some((1 + digits, end))
}

/// A number in MQTT's variable length, and how many bytes it takes.
fn variable(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut number = 0;
    for (place, byte) in bytes.iter().enumerate().take(4) {
        number |= usize::from(byte & 127) << (7 * place);
        if byte & 128 == 0 {
            return Some((number, place + 1));
        }
    }
    None
}

/// The packet id and the number of a request at QoS 1.
fn delivered(first: u8, packet: &[u8], v5: bool) -> Option<(u16, u32)> {
    if first >> 4 != 3 || first & 6 == 0 {
        return None;
    }
    let topic_end = 2 + usize::from(u16::from_be_bytes([packet[0], packet[1]]));
    let topic = std::str::from_utf8(&packet[2..topic_end]).ok()?;
    let id = u16::from_be_bytes([packet[topic_end], packet[topic_end + 1]]);
    let mut payload = &packet[topic_end + 2..];
    if v5 {
        let (length, digits) = variable(payload)?;
        payload = &payload[digits + length..];
    }
    let number = match topic.rsplit_once("/binary/") {
        Some((_, number)) => number.parse().ok()?,
        None => {
            let request: serde_json::Value = serde_json::from_slice(payload).ok()?;
            request["id"].as_str()?.parse().ok()?
        }
    };
    Some((id, number))
}
