//! A feeder: to the one client that connects it looks like a broker of MQTT 5 that has a message ready
//! whenever the client's window (Receive Maximum) has room. It counts acknowledgements and statuses,
//! so it knows when everything is done, and it has no limit of its own near to what is measured.

use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::common::PATIENCE;
use super::packets::{self, Packets, Version};
use super::payload::{Payload, TOPIC};
use super::statuses::Statuses;

/// How much is written at a time, unless messages are large.
const WRITE_BYTES: usize = 128 * 1024;

/// How many messages are written at a time at the least, as far as the window has room: a client that
/// reads large ones should not wait for the next.
const WRITE_MESSAGES: u64 = 8;

/// Waits for a client.
pub struct Feeder {
    listener: TcpListener,
}

impl Feeder {
    /// Starts one.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        // So that a client that never comes does not keep it for ever.
        listener.set_nonblocking(true)?;
        Ok(Feeder { listener })
    }

    /// Where it listens.
    pub fn port(&self) -> io::Result<u16> {
        Ok(self.listener.local_addr()?.port())
    }

    /// Takes a client, and waits until it has subscribed. `statuses` counts what it will publish;
    /// `None` where it publishes nothing.
    pub fn accept(&self, statuses: Option<Statuses>) -> io::Result<Client> {
        let socket = self.connection()?;
        socket.set_nonblocking(false)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Client::greet(socket, statuses)
    }

    fn connection(&self) -> io::Result<TcpStream> {
        let start = Instant::now();
        loop {
            match self.listener.accept() {
                Ok((socket, _)) => return Ok(socket),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                Err(_) if start.elapsed() > PATIENCE => {
                    return Err(io::Error::other("no client has connected"));
                }
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}

/// A client that has subscribed.
pub struct Client {
    socket: TcpStream,
    packets: Packets,
    /// Written and not sent yet.
    out: Vec<u8>,
    /// Messages that may be under way to it un-acknowledged.
    window: u64,
    last_id: u16,
    /// Messages that it has acknowledged.
    acknowledged: u64,
    /// What it has published.
    statuses: Option<Statuses>,
    /// When it last acknowledged or published something, or was to begin.
    last_news: Instant,
}

impl Client {
    /// CONNECT and SUBSCRIBE, and their answers.
    fn greet(mut socket: TcpStream, statuses: Option<Statuses>) -> io::Result<Self> {
        let mut packets = Packets::new();
        let mut out = Vec::new();
        let connect = packets.expect(packets::CONNECT, &mut socket)?;
        let window = receive_maximum(&connect)?;
        // No session, accepted, no properties.
        packets::write_packet(packets::CONNACK << 4, &[0, 0, 0], &mut out);
        socket.write_all(&out)?;
        let subscribe = packets.expect(packets::SUBSCRIBE, &mut socket)?;
        out.clear();
        packets::write_packet(packets::SUBACK << 4, &granted(&subscribe)?, &mut out);
        socket.write_all(&out)?;
        out.clear();
        Ok(Client {
            socket,
            packets,
            out,
            window: u64::from(window),
            last_id: 0,
            acknowledged: 0,
            statuses,
            last_news: Instant::now(),
        })
    }

    /// Feeds requests as fast as the window lets it, and returns when all are acknowledged and, if
    /// statuses are counted, have theirs: how long that took.
    pub fn feed(&mut self, numbers: Range<u64>, payload: &Payload) -> io::Result<Duration> {
        let begun = Instant::now();
        let before = self.acknowledged;
        let count = numbers.end - numbers.start;
        let (mut sent, mut message) = (0, Vec::new());
        self.last_news = begun;
        while !self.is_done(before + count, numbers.end) {
            let sent_before = sent;
            while sent < count
                && sent - (self.acknowledged - before) < self.window
                && (self.out.len() < WRITE_BYTES || sent - sent_before < WRITE_MESSAGES)
            {
                message.clear();
                payload.write(numbers.start + sent, &mut message);
                self.publish(&message);
                sent += 1;
            }
            self.send()?;
            self.receive()?;
        }
        // The last statuses are acknowledged too.
        self.send()?;
        Ok(begun.elapsed())
    }

    /// Feeds a request each `pause`, whatever the client does: when each was sent and when each was
    /// acknowledged, in nanoseconds since `clock`. Only for fewer messages than the window holds in
    /// the time the client takes.
    pub fn feed_paced(
        &mut self,
        numbers: Range<u64>,
        payload: &Payload,
        pause: Duration,
        clock: Instant,
    ) -> io::Result<Paced> {
        let before = self.acknowledged;
        let count = numbers.end - numbers.start;
        self.last_news = Instant::now();
        let mut acknowledged = Vec::with_capacity(count as usize);
        let first_id = self.last_id;
        // Two threads write: whole packets, in turn.
        let writer = Mutex::new(self.socket.try_clone()?);
        let sent = thread::scope(|scope| {
            let sender = scope
                .spawn(|| send_paced(&writer, numbers.clone(), payload, first_id, pause, clock));
            while !self.is_done(before + count, numbers.end) {
                let until_now = self.acknowledged;
                self.receive()?;
                let now = clock.elapsed().as_nanos() as u64;
                for _ in until_now..self.acknowledged {
                    acknowledged.push(now);
                }
                if !self.out.is_empty() {
                    let mut socket = writer.lock().unwrap_or_else(PoisonError::into_inner);
                    socket.write_all(&self.out)?;
                    self.out.clear();
                }
            }
            sender
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the sender panicked")))
        })?;
        self.last_id = packet_id(first_id, count);
        Ok(Paced { sent, acknowledged })
    }

    /// Every request is to have had one status, of success.
    pub fn check(&self, requests: u64) -> io::Result<()> {
        match &self.statuses {
            Some(statuses) => statuses.delivered.check("statuses of success", requests),
            None => Ok(()),
        }
    }

    fn is_done(&self, acknowledged: u64, statuses: u64) -> bool {
        let counted = self.statuses.as_ref();
        self.acknowledged >= acknowledged
            && counted.is_none_or(|counted| counted.delivered.count() >= statuses)
    }

    /// Acknowledgements and statuses that have come.
    fn known(&self) -> u64 {
        let statuses = self.statuses.as_ref();
        self.acknowledged + statuses.map_or(0, |counted| counted.delivered.count())
    }

    fn publish(&mut self, message: &[u8]) {
        self.last_id = packet_id(self.last_id, 1);
        packets::write_publish(Version::V5, TOPIC, self.last_id, message, &mut self.out);
    }

    fn send(&mut self) -> io::Result<()> {
        self.socket.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// Reads once, and looks at what came: acknowledgements and statuses. Pings alone are not waited for
    /// without end.
    fn receive(&mut self) -> io::Result<()> {
        self.packets.read(&mut self.socket)?;
        let known = self.known();
        while let Some(packet) = self.packets.next()? {
            match packet.kind() {
                packets::PUBACK => self.acknowledged += 1,
                packets::PUBLISH => {
                    let Some(statuses) = &self.statuses else {
                        return Err(packets::unexpected(packet));
                    };
                    let publish = packet.publish()?;
                    statuses.count(publish.payload);
                    if let Some(packet_id) = publish.packet_id {
                        packets::write_puback(packet_id, &mut self.out);
                    }
                }
                packets::PINGREQ => packets::write_packet(0xd0, &[], &mut self.out),
                packets::DISCONNECT => return Err(io::Error::other("the client said goodbye")),
                _ => return Err(packets::unexpected(packet)),
            }
        }
        if self.known() != known {
            self.last_news = Instant::now();
        } else if self.last_news.elapsed() > PATIENCE {
            return Err(io::Error::other(format!(
                "{} messages are acknowledged and {} requests reported, and nothing comes any more",
                self.acknowledged,
                self.known() - self.acknowledged
            )));
        }
        Ok(())
    }
}

/// What became of paced messages.
pub struct Paced {
    /// When each was sent.
    pub sent: Vec<u64>,
    /// When each acknowledgement came: in the same order, from clients that acknowledge in order.
    pub acknowledged: Vec<u64>,
}

fn send_paced(
    writer: &Mutex<TcpStream>,
    numbers: Range<u64>,
    payload: &Payload,
    first_id: u16,
    pause: Duration,
    clock: Instant,
) -> io::Result<Vec<u64>> {
    let mut sent = Vec::with_capacity((numbers.end - numbers.start) as usize);
    let (mut message, mut packet) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    for (place, number) in numbers.enumerate() {
        message.clear();
        packet.clear();
        payload.write(number, &mut message);
        let id = packet_id(first_id, place as u64 + 1);
        packets::write_publish(Version::V5, TOPIC, id, &message, &mut packet);
        let due = begun + pause * place as u32;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let mut socket = writer.lock().unwrap_or_else(PoisonError::into_inner);
        sent.push(clock.elapsed().as_nanos() as u64);
        socket.write_all(&packet)?;
    }
    Ok(sent)
}

/// The packet id that comes so many behind another; 0 is none.
fn packet_id(from: u16, behind: u64) -> u16 {
    let ids = u64::from(u16::MAX);
    ((u64::from(from) + behind + ids - 1) % ids + 1) as u16
}

/// Receive Maximum of a CONNECT's body.
fn receive_maximum(connect: &[u8]) -> io::Result<u16> {
    let (name, rest) = packets::text(connect)?;
    let [version, _flags, _keep_alive, _, rest @ ..] = rest else {
        return Err(packets::too_short());
    };
    if (name, *version) != (b"MQTT", 5) {
        return Err(io::Error::other("the client does not speak MQTT 5"));
    }
    let (length, rest) = packets::variable_length(rest)?.ok_or_else(packets::too_short)?;
    let mut properties = rest.get(..length).ok_or_else(packets::too_short)?;
    while let [kind, rest @ ..] = properties {
        properties = match kind {
            // Receive Maximum.
            0x21 => return Ok(packets::u16_of(rest)?.0),
            // Session Expiry Interval, Maximum Packet Size.
            0x11 | 0x27 => rest.get(4..).ok_or_else(packets::too_short)?,
            // Topic Alias Maximum.
            0x22 => rest.get(2..).ok_or_else(packets::too_short)?,
            // Request Response Information, Request Problem Information.
            0x19 | 0x17 => rest.get(1..).ok_or_else(packets::too_short)?,
            // Authentication Method and Data.
            0x15 | 0x16 => packets::text(rest)?.1,
            // User Property: name and value.
            0x26 => packets::text(packets::text(rest)?.1)?.1,
            _ => return Err(io::Error::other("an unknown property in CONNECT")),
        };
    }
    // As the protocol has it where the client does not say.
    Ok(u16::MAX)
}

/// The body of the answer to a SUBSCRIBE: all filters are granted at QoS 1.
fn granted(subscribe: &[u8]) -> io::Result<Vec<u8>> {
    let (packet_id, rest) = packets::u16_of(subscribe)?;
    let (length, rest) = packets::variable_length(rest)?.ok_or_else(packets::too_short)?;
    let mut filters = rest.get(length..).ok_or_else(packets::too_short)?;
    let mut answer = packet_id.to_be_bytes().to_vec();
    // No properties.
    answer.push(0);
    while !filters.is_empty() {
        let (_filter, rest) = packets::text(filters)?;
        filters = rest.get(1..).ok_or_else(packets::too_short)?;
        answer.push(1);
    }
    Ok(answer)
}
