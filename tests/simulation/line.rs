//! A connection between the connector and the broker: packets both ways, as slow and as short-lived as the dice say.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use kinesis_edge::mqtt::{ConnectError, Dial, Io, Opening, SessionSettings};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex, split};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::common::packet;
use crate::plan::TroubleKind;
use crate::world::{Life, World};

const CONNECT: u8 = 1;
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const SUBSCRIBE: u8 = 8;
const PINGREQ: u8 = 12;
const DISCONNECT: u8 = 14;

/// A packet on its way to the connector.
pub struct Outgoing {
    bytes: Vec<u8>,
    /// The request in it.
    request: Option<usize>,
}

/// One connection, as the broker sees it.
pub struct Line {
    pub number: usize,
    out: Mutex<VecDeque<Outgoing>>,
    /// The request that is being written.
    writing: Mutex<Option<usize>>,
    /// Rung when there is something to send.
    filled: Notify,
    is_cut: AtomicBool,
    /// Whether what the connector has not read is gone too.
    is_reset: AtomicBool,
    ended: Notify,
    level: AtomicUsize,
    window: AtomicUsize,
    logged_in: AtomicBool,
}

impl Line {
    pub fn send(&self, outgoing: Outgoing) {
        self.out.lock().unwrap().push_back(outgoing);
        self.filled.notify_one();
    }

    fn send_bytes(&self, bytes: Vec<u8>) {
        self.send(Outgoing {
            bytes,
            request: None,
        });
    }

    /// Ends it at once.
    pub fn cut(&self, world: &World, is_reset: bool) {
        world.say(format_args!("broker: cuts connection {}", self.number));
        self.is_cut.store(true, Ordering::Relaxed);
        self.is_reset.store(is_reset, Ordering::Relaxed);
        self.ended.notify_one();
    }

    pub fn speaks_5(&self) -> bool {
        self.level.load(Ordering::Relaxed) == 5
    }

    pub fn is_logged_in(&self) -> bool {
        self.logged_in.load(Ordering::Relaxed)
    }

    /// Messages that the connector takes un-acknowledged.
    pub fn window(&self) -> usize {
        self.window.load(Ordering::Relaxed)
    }

    /// Requests that were to go over it and did not.
    pub fn unsent(&self) -> Vec<usize> {
        let out = self.out.lock().unwrap();
        let waiting = out.iter().filter_map(|packet| packet.request);
        waiting.chain(*self.writing.lock().unwrap()).collect()
    }

    pub fn publish(
        &self,
        topic: &str,
        payload: &[u8],
        packet_id: u16,
        flags: u8,
        request: Option<usize>,
    ) -> Outgoing {
        let mut body = (topic.len() as u16).to_be_bytes().to_vec();
        body.extend_from_slice(topic.as_bytes());
        let mut first = 0x30 | flags;
        if packet_id != 0 {
            first |= 0x02;
            body.extend_from_slice(&packet_id.to_be_bytes());
        }
        if self.speaks_5() {
            body.push(0);
        }
        body.extend_from_slice(payload);
        Outgoing {
            bytes: whole(first, &body),
            request,
        }
    }
}

/// A packet with its fixed header.
fn whole(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut left = body.len();
    while left >= 128 {
        bytes.push((left % 128) as u8 | 128);
        left /= 128;
    }
    bytes.push(left as u8);
    bytes.extend_from_slice(body);
    bytes
}

/// The network of one run of the connector.
pub struct SimulatedNetwork {
    pub world: Arc<World>,
    pub life: Arc<Life>,
}

impl Dial for SimulatedNetwork {
    fn open<'a>(&'a self, _: &'a SessionSettings) -> Opening<'a> {
        Box::pin(async {
            let (world, life) = (&self.world, &self.life);
            let broker = &world.broker;
            sleep(some_of(world, broker.plan.latency)).await;
            if broker.has(world, &[TroubleKind::Down, TroubleKind::Forgetful]) {
                return Err(ConnectError::Io(io::ErrorKind::ConnectionRefused.into()));
            }
            if broker.has(world, &[TroubleKind::Hangs]) || life.is_over() {
                return std::future::pending().await;
            }
            let (ours, theirs) = duplex(broker.plan.line_bytes);
            let line = Arc::new(Line {
                number: broker.next_connection(),
                out: Mutex::default(),
                writing: Mutex::default(),
                filled: Notify::new(),
                is_cut: AtomicBool::new(false),
                is_reset: AtomicBool::new(false),
                ended: Notify::new(),
                level: AtomicUsize::new(0),
                window: AtomicUsize::new(usize::MAX),
                logged_in: AtomicBool::new(false),
            });
            let serving = serve(
                Arc::clone(world),
                Arc::clone(life),
                Arc::clone(&line),
                theirs,
            );
            tokio::spawn(serving);
            let life = Arc::clone(life);
            Ok(Box::new(End {
                line,
                life,
                io: ours,
            }) as Box<dyn Io>)
        })
    }
}

/// The connector's end of a line.
struct End {
    line: Arc<Line>,
    life: Arc<Life>,
    io: DuplexStream,
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.line.is_reset.load(Ordering::Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for End {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.life.is_over() {
            return Poll::Pending;
        }
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Some time up to this.
pub fn some_of(world: &World, longest: Duration) -> Duration {
    let longest = longest.as_millis() as u64;
    match longest {
        0 => Duration::ZERO,
        _ => Duration::from_millis(world.dice(|dice| dice.u64(..=longest))),
    }
}

async fn serve(world: Arc<World>, life: Arc<Life>, line: Arc<Line>, io: DuplexStream) {
    let breaks = world.dice(|dice| {
        let breaks = dice.u32(..100) < world.broker.plan.breaks;
        breaks.then(|| (dice.usize(1..200), dice.bool(), dice.bool()))
    });
    let (mut from, to) = split(io);
    let in_order = tokio::select! {
        biased;
        () = line.ended.notified() => false,
        in_order = read(&world, &life, &line, &mut from, breaks) => in_order,
        () = write(&world, &life, &line, to, breaks) => false,
    };
    if let (false, Some((_, _, is_reset))) = (in_order, breaks) {
        line.is_reset.store(is_reset, Ordering::Relaxed);
    }
    line.logged_in.store(false, Ordering::Relaxed);
    world.broker.ended(&world, &line, in_order);
}

/// When a connection breaks, unless something else ends it: after so many packets, read or written; whether
/// what was sent is gone too.
type Breaks = Option<(usize, bool, bool)>;

/// Reads what the connector sends, until the connection ends. Whether that is in order.
async fn read(
    world: &World,
    life: &Life,
    line: &Arc<Line>,
    from: &mut (impl AsyncRead + Unpin),
    breaks: Breaks,
) -> bool {
    for read in 0.. {
        while world.broker.has(world, &[TroubleKind::Deaf]) {
            sleep(Duration::from_millis(100)).await;
        }
        let Ok((first, body)) = packet(from).await else {
            return false;
        };
        if matches!(breaks, Some((after, true, _)) if after <= read) || line.is_cut() {
            return false;
        }
        match first >> 4 {
            CONNECT => {
                if !connect(world, line, &body).await {
                    return false;
                }
            }
            SUBSCRIBE => {
                world.say(format_args!(
                    "broker: connection {} subscribes",
                    line.number
                ));
                let mut answer = body[..2].to_vec();
                if line.speaks_5() {
                    answer.push(0);
                }
                answer.extend([1, 1]);
                line.send_bytes(whole(0x90, &answer));
                world.broker.subscribe(world, line);
            }
            PUBLISH => {
                let topic_bytes = usize::from(u16::from_be_bytes([body[0], body[1]]));
                let topic = &body[2..2 + topic_bytes];
                let id = &body[2 + topic_bytes..4 + topic_bytes];
                let payload = &body[4 + topic_bytes + usize::from(line.speaks_5())..];
                if topic == b"kinesisfirehose/message/status" {
                    world.broker.reported(world, line, life, payload);
                }
                let id = id.to_vec();
                while world.broker.has(world, &[TroubleKind::Unsure]) {
                    sleep(Duration::from_millis(100)).await;
                }
                line.send_bytes(whole(0x40, &id));
            }
            PUBACK => {
                let packet_id = u16::from_be_bytes([body[0], body[1]]);
                world.broker.acknowledged(world, line, packet_id);
            }
            PINGREQ => line.send_bytes(whole(0xd0, &[])),
            DISCONNECT => return true,
            other => world.wrong(format_args!("the connector sent a packet of type {other}")),
        }
    }
    false
}

/// Whether the connector is let in.
async fn connect(world: &World, line: &Arc<Line>, body: &[u8]) -> bool {
    let plan = &world.broker.plan;
    let level = body[6];
    sleep(some_of(world, plan.latency)).await;
    world.say(format_args!(
        "broker: connection {} speaks {level}",
        line.number
    ));
    if level == 5 && !plan.knows_5 {
        // Of brokers of 3.1.1 some say why, others close.
        if world.dice(|dice| dice.bool()) {
            line.send_bytes(whole(0x20, &[0, 1]));
            sleep(Duration::from_millis(10)).await;
        }
        return false;
    }
    if world.broker.has(world, &[TroubleKind::Refuses]) {
        let refusal: &[u8] = if level == 5 { &[0, 0x88, 0] } else { &[0, 3] };
        line.send_bytes(whole(0x20, refusal));
        sleep(Duration::from_millis(10)).await;
        return false;
    }
    line.level.store(usize::from(level), Ordering::Relaxed);
    if level == 5 {
        let maximum = receive_maximum(body).map_or(usize::MAX, usize::from);
        line.window.store(maximum, Ordering::Relaxed);
    }
    let present = world.broker.log_in(world, line);
    let mut answer = vec![u8::from(present), 0];
    if level == 5 {
        let mut properties = vec![0x21];
        properties.extend(plan.receive_maximum.to_be_bytes());
        if let Some(bytes) = plan.packet_max_bytes {
            properties.push(0x27);
            properties.extend(bytes.to_be_bytes());
        }
        answer.push(properties.len() as u8);
        answer.extend(properties);
    }
    line.send_bytes(whole(0x20, &answer));
    line.logged_in.store(true, Ordering::Relaxed);
    world.broker.send_again(world, line);
    true
}

/// What the CONNECT of MQTT 5 says of the connector's window: property 0x21.
fn receive_maximum(body: &[u8]) -> Option<u16> {
    let properties = body.get(11..11 + usize::from(body[10]))?;
    let mut rest = properties;
    loop {
        rest = match rest {
            [0x11 | 0x27, _, _, _, _, rest @ ..] => rest,
            [0x21, high, low, ..] => return Some(u16::from_be_bytes([*high, *low])),
            _ => return None,
        };
    }
}

/// Writes what there is to send, until the connection ends.
async fn write(
    world: &World,
    life: &Life,
    line: &Line,
    mut to: impl AsyncWrite + Unpin,
    breaks: Breaks,
) {
    let mut written = 0;
    loop {
        let next = line.out.lock().unwrap().pop_front();
        let Some(Outgoing { bytes, request }) = next else {
            line.filled.notified().await;
            continue;
        };
        *line.writing.lock().unwrap() = request;
        let latency = some_of(world, world.broker.plan.latency);
        if !latency.is_zero() {
            sleep(latency).await;
        }
        if matches!(breaks, Some((after, false, _)) if after <= written) {
            let some = world.dice(|dice| dice.usize(..bytes.len()));
            let _ = to.write_all(&bytes[..some]).await;
            return;
        }
        if to.write_all(&bytes).await.is_err() {
            return;
        }
        written += 1;
        *line.writing.lock().unwrap() = None;
        if let Some(number) = request {
            let (now, crashes) = (world.start.elapsed(), world.crashes());
            world.say(format_args!("broker: hands {number} over"));
            let mut book = world.book();
            book.handed(number, now, line.number, crashes);
            book.requests[number].is_late = life.stopping.load(Ordering::Relaxed);
        }
    }
}

impl Line {
    fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Relaxed)
    }
}
