//! A fast publisher: QoS 1 over a socket of its own, with many messages under way, and it knows of
//! each whether the broker has acknowledged it. When a connection ends the rest is still here.

use std::collections::HashMap;
use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Messages under way un-acknowledged at the most. Far fewer than there are packet ids.
const WINDOW: usize = 1000;

/// A connection to a broker, MQTT 3.1.1.
pub struct Publisher {
    socket: TcpStream,
    /// Written and not sent yet.
    out: Vec<u8>,
    /// Read and not looked at yet: less than one packet.
    read: Vec<u8>,
    /// Packet id to the caller's number.
    under_way: HashMap<u16, u32>,
    last_id: u16,
}

impl Publisher {
    /// Connects without a session.
    pub async fn connect(port: u16) -> io::Result<Self> {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).await?;
        socket.set_nodelay(true)?;
        let client = format!("publisher-{:08x}", fastrand::u32(..));
        let mut packet = vec![0x10, 12 + client.len() as u8];
        // Version 4 is MQTT 3.1.1; a clean session; no keep-alive.
        packet.extend(b"\x00\x04MQTT\x04\x02\x00\x00");
        put_text(&mut packet, &client);
        socket.write_all(&packet).await?;
        let mut answer = [0; 4];
        socket.read_exact(&mut answer).await?;
        if answer != [0x20, 2, 0, 0] {
            return Err(io::Error::other(format!("refused: {answer:?}")));
        }
        Ok(Publisher {
            socket,
            out: Vec::new(),
            read: Vec::new(),
            under_way: HashMap::new(),
            last_id: 0,
        })
    }

    /// Whether one more may be put under way.
    pub fn has_room(&self) -> bool {
        self.under_way.len() < WINDOW
    }

    /// Whether everything is acknowledged.
    pub fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Puts a message under way, as `number` in what [`Publisher::exchange`] returns.
    pub fn put(&mut self, number: u32, topic: &str, payload: &[u8]) {
        assert!(self.has_room(), "the window is full");
        self.last_id = self.last_id % u16::MAX + 1;
        while self.under_way.contains_key(&self.last_id) {
            self.last_id = self.last_id % u16::MAX + 1;
        }
        self.under_way.insert(self.last_id, number);
        self.out.push(0x32);
        let mut rest = 2 + topic.len() + 2 + payload.len();
        while rest >= 128 {
            self.out.push((rest % 128) as u8 | 128);
            rest /= 128;
        }
        self.out.push(rest as u8);
        put_text(&mut self.out, topic);
        self.out.extend(self.last_id.to_be_bytes());
        self.out.extend(payload);
    }

    /// Sends what was put, and waits for some acknowledgements if any are due: their numbers.
    pub async fn exchange(&mut self) -> io::Result<Vec<u32>> {
        self.socket.write_all(&self.out).await?;
        self.out.clear();
        if self.is_idle() {
            return Ok(Vec::new());
        }
        if self.socket.read_buf(&mut self.read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut acknowledged = Vec::new();
        let whole = self.read.len() - self.read.len() % 4;
        for packet in self.read.drain(..whole).as_slice().chunks(4) {
            assert_eq!(
                packet[..2],
                [0x40, 2],
                "nothing else is sent to a publisher"
            );
            let id = u16::from_be_bytes([packet[2], packet[3]]);
            acknowledged.extend(self.under_way.remove(&id));
        }
        Ok(acknowledged)
    }

    /// What the broker has not acknowledged: it may have come or not.
    pub fn unacknowledged(self) -> impl Iterator<Item = u32> {
        self.under_way.into_values()
    }

    /// Publishes `count` messages and waits until the broker has acknowledged them all.
    pub async fn publish_all(
        &mut self,
        count: u32,
        message: impl Fn(u32) -> (String, Vec<u8>),
    ) -> io::Result<()> {
        let mut next = 0;
        while next < count || !self.is_idle() {
            while next < count && self.has_room() {
                let (topic, payload) = message(next);
                self.put(next, &topic, &payload);
                next += 1;
            }
            self.exchange().await?;
        }
        Ok(())
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u16).to_be_bytes());
    out.extend(text.as_bytes());
}
