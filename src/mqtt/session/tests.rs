//! The session against a scripted broker on loopback: what it hands out, what it writes, and that
//! it survives whatever a broker does. The clock is paused where time matters: it moves on by
//! itself when nobody has anything to do.

use bytes::BytesMut;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::super::frame::PACKET_MAX_BYTES;
use super::super::settings::{Protocol, ProtocolChoice};
use super::*;

mod deaf;

const CONNACK: &[u8] = &[0x20, 2, 0, 0];
const CONNACK_RESUMED: &[u8] = &[0x20, 2, 1, 0];
const SUBACK: &[u8] = &[0x90, 3, 0xff, 0xff, 1];
const PINGRESP: &[u8] = &[0xd0, 0];

const CONNECT: u8 = 1;
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const SUBSCRIBE: u8 = 8;
const UNSUBSCRIBE: u8 = 10;
const PINGREQ: u8 = 12;
const DISCONNECT: u8 = 14;

/// Waits that only bound how long a failing test takes.
const PATIENCE: Duration = Duration::from_secs(600);

struct Broker {
    listener: TcpListener,
}

/// One connection, as the broker sees it.
struct Peer {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Broker {
    async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        Broker { listener }
    }

    fn session(&self, protocol: ProtocolChoice) -> Session {
        Session::new(SessionSettings {
            will: None,
            host: "127.0.0.1".into(),
            port: self.listener.local_addr().unwrap().port(),
            tls: None,
            client_id: "test".into(),
            credentials: None,
            protocol,
            clean: false,
            filters: vec!["in".into()],
            former_filters: Vec::new(),
            receive_maximum: 10,
            keep_alive_seconds: 30,
        })
    }

    /// Takes a connection and reads its CONNECT.
    async fn accept(&self) -> Peer {
        let accepted = timeout(PATIENCE, self.listener.accept()).await;
        let (stream, _) = accepted.expect("the session connects").unwrap();
        stream.set_nodelay(true).unwrap();
        let mut peer = Peer {
            stream,
            buffer: BytesMut::new(),
        };
        peer.expect(CONNECT).await;
        peer
    }

    /// Takes a connection and its subscription.
    async fn accept_subscribed(&self, connack: &[u8]) -> Peer {
        let mut peer = self.accept().await;
        peer.send(connack).await;
        peer.expect(SUBSCRIBE).await;
        peer.send(SUBACK).await;
        peer
    }

    /// A session of MQTT 3.1.1 that is up and may publish, and its connection.
    async fn subscribed(&self) -> (Session, Peer) {
        let mut session = self.session(v311());
        let peer = while_driving(&mut session, self.accept_subscribed(CONNACK)).await;
        while !session.can_publish() {
            next(&mut session).await;
        }
        (session, peer)
    }

    /// The same in MQTT 5, with a window of five.
    async fn subscribed_v5(&self) -> (Session, Peer) {
        let mut session = self.session(ProtocolChoice::Only(Protocol::V5));
        let peer = while_driving(&mut session, async {
            let mut peer = self.accept().await;
            peer.send(&connack_v5(false, 5, 1000)).await;
            peer.expect(SUBSCRIBE).await;
            peer.send(SUBACK_V5).await;
            peer
        })
        .await;
        while !session.can_publish() {
            next(&mut session).await;
        }
        (session, peer)
    }
}

impl Peer {
    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next packet: its first byte and what follows the fixed header. `None`: the end.
    async fn packet(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some((header, remaining)) = fixed_header(&self.buffer)
                && self.buffer.len() >= header + remaining
            {
                let packet = self.buffer.split_to(header + remaining);
                return Some((packet[0], packet[header..].to_vec()));
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
            if !matches!(read.expect("the session writes or ends"), Ok(1..)) {
                return None;
            }
        }
    }

    /// The next packet, which has to be of this type.
    async fn expect(&mut self, kind: u8) -> (u8, Vec<u8>) {
        let packet = self.packet().await.expect("another packet");
        assert_eq!(packet.0 >> 4, kind, "{packet:?}");
        packet
    }

    /// Packet ids of the acknowledgements that come next.
    async fn acknowledgements(&mut self, count: usize) -> Vec<u16> {
        let mut ids = Vec::new();
        for _ in 0..count {
            let (_, body) = self.expect(PUBACK).await;
            ids.push(u16::from_be_bytes([body[0], body[1]]));
        }
        ids
    }
}

fn fixed_header(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut remaining = 0;
    for (place, byte) in bytes.get(1..)?.iter().enumerate() {
        remaining |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((place + 2, remaining));
        }
    }
    None
}

/// A message on the topic `in`, as a 3.1.1 broker sends it.
fn message(packet_id: u16, payload: &[u8]) -> Vec<u8> {
    wire::tests::publish(Protocol::V311, "in", packet_id, payload, false)
}

fn v311() -> ProtocolChoice {
    ProtocolChoice::Only(Protocol::V311)
}

async fn next(session: &mut Session) -> Event {
    timeout(PATIENCE, session.next())
        .await
        .expect("an event comes")
}

async fn connected(session: &mut Session) -> bool {
    match next(session).await {
        Event::Connected { resumed, .. } => resumed,
        event => panic!("{event:?}"),
    }
}

/// The messages of the next event that has some.
async fn received(session: &mut Session) -> Vec<Message> {
    loop {
        match next(session).await {
            Event::Received(messages) if messages.is_empty() => {}
            Event::Received(messages) => return messages,
            event => panic!("{event:?}"),
        }
    }
}

fn payloads(messages: &[Message]) -> Vec<Vec<u8>> {
    messages
        .iter()
        .map(|message| message.payload().to_vec())
        .collect()
}

/// Drives a session whose events do not matter.
async fn drive(session: &mut Session) {
    loop {
        session.next().await;
    }
}

/// Drives the session until the broker's part is over.
async fn while_driving<T>(session: &mut Session, part: impl Future<Output = T>) -> T {
    tokio::select! {
        result = part => result,
        () = drive(session) => unreachable!(),
    }
}

#[tokio::test]
async fn messages_right_behind_the_brokers_answers_are_handed_out() {
    let broker = Broker::start().await;
    let mut session = broker.session(v311());
    let script = async {
        let mut peer = broker.accept().await;
        // One segment: the answer and two messages. Nothing more comes until they are acknowledged.
        let behind_connack = [CONNACK_RESUMED, &message(1, b"a"), &message(2, b"b")].concat();
        peer.send(&behind_connack).await;
        peer.expect(SUBSCRIBE).await;
        assert_eq!(peer.acknowledgements(2).await, [1, 2]);
        peer.send(&[SUBACK, &message(3, b"c")].concat()).await;
        assert_eq!(peer.acknowledgements(1).await, [3]);
    };
    let client = async {
        // The event of a connection comes before its messages.
        assert!(connected(&mut session).await);
        let mut found = Vec::new();
        loop {
            for message in received(&mut session).await {
                found.push(message.payload().to_vec());
                session.acknowledge(message.ack.unwrap());
            }
            if found.len() == 3 {
                assert_eq!(found, [b"a", b"b", b"c"]);
                drive(&mut session).await;
            }
        }
    };
    tokio::select! { () = script => {}, () = client => {} }
}

#[tokio::test]
async fn subscribes_on_every_connection_also_where_the_broker_kept_the_session() {
    let broker = Broker::start().await;
    let mut session = broker.session(v311());
    while_driving(&mut session, async {
        for connack in [CONNACK, CONNACK_RESUMED, CONNACK] {
            // A SUBSCRIBE is expected in there.
            broker.accept_subscribed(connack).await;
        }
    })
    .await;
}

/// A session that the broker kept may have subscriptions of an earlier configuration. They end, once the present ones
/// stand; where the broker kept nothing there are none.
#[tokio::test]
async fn former_subscriptions_of_a_kept_session_end_behind_the_present_ones() {
    const UNSUBACK: &[u8] = &[0xb0, 2, 0xff, 0xfe];
    const UNSUBACK_V5: &[u8] = &[0xb0, 5, 0xff, 0xfe, 0, 0, 0x11];
    let connack = |protocol, resumed| match protocol {
        Protocol::V5 => connack_v5(resumed, 5, 1000),
        Protocol::V311 => vec![0x20, 2, u8::from(resumed), 0],
    };
    for (protocol, suback, unsuback) in [
        (Protocol::V311, SUBACK, UNSUBACK),
        (Protocol::V5, SUBACK_V5, UNSUBACK_V5),
    ] {
        let broker = Broker::start().await;
        let mut session = Session::new(SessionSettings {
            filters: vec!["$share/g/in".into()],
            former_filters: vec!["in".into(), "in/#".into()],
            ..(*broker.session(ProtocolChoice::Only(protocol)).settings).clone()
        });
        for resumed in [true, false] {
            let mut peer = while_driving(&mut session, async {
                let mut peer = broker.accept().await;
                peer.send(&connack(protocol, resumed)).await;
                peer.expect(SUBSCRIBE).await;
                if resumed {
                    let (_, body) = peer.expect(UNSUBSCRIBE).await;
                    let properties = usize::from(protocol == Protocol::V5);
                    assert_eq!(body[..2], [0xff, 0xfe]);
                    assert_eq!(body[2 + properties..], *b"\0\x02in\0\x04in/#");
                }
                peer.send(suback).await;
                if resumed {
                    peer.send(unsuback).await;
                }
                peer
            })
            .await;
            while !session.can_publish() {
                next(&mut session).await;
            }
            // The next that is written.
            session.publish(&"out".into(), "x".into());
            while_driving(&mut session, peer.expect(PUBLISH)).await;
        }
    }
}

#[tokio::test]
async fn an_acknowledgement_never_goes_out_on_another_connection() {
    let broker = Broker::start().await;
    let mut session = broker.session(v311());
    let (mut peer, ()) = tokio::join!(broker.accept_subscribed(CONNACK), async {
        connected(&mut session).await;
        // Reads the answer to the subscription.
        next(&mut session).await;
    });
    peer.send(&message(7, b"old")).await;
    let old = received(&mut session).await[0].ack.unwrap();
    drop(peer);
    assert!(matches!(next(&mut session).await, Event::Disconnected));
    let (mut peer, ()) = tokio::join!(broker.accept_subscribed(CONNACK_RESUMED), async {
        assert!(connected(&mut session).await);
        next(&mut session).await;
    });
    peer.send(&message(7, b"another")).await;
    let new = received(&mut session).await[0].ack.unwrap();
    session.acknowledge(old);
    assert_eq!(session.acks.owed(), 1);
    // The wrong acknowledgement would stand between the two.
    for _ in 0..2 {
        assert!(session.publish(&"out".into(), Bytes::from_static(b"x")));
        while_driving(&mut session, peer.expect(PUBLISH)).await;
    }
    session.acknowledge(new);
    assert_eq!(
        while_driving(&mut session, peer.acknowledgements(1)).await,
        [7]
    );
}

#[tokio::test]
async fn acknowledgements_are_in_order_and_written_together() {
    let broker = Broker::start().await;
    let mut session = broker.session(v311());
    let mut peer = while_driving(&mut session, broker.accept_subscribed(CONNACK)).await;
    let many: Vec<u8> = (1..=100).flat_map(|id| message(id, b"m")).collect();
    peer.send(&many).await;
    let mut tokens = Vec::new();
    while tokens.len() < 100 {
        if let Event::Received(messages) = next(&mut session).await {
            tokens.extend(messages.iter().map(|message| message.ack.unwrap()));
        }
    }
    session.hold_acknowledgements(true);
    for token in tokens.into_iter().rev() {
        session.acknowledge(token);
    }
    // Held back, and then all in one segment.
    let quiet = timeout(Duration::from_millis(50), session.next()).await;
    assert!(quiet.is_err());
    let mut first = [0u8; 400];
    assert!(peer.stream.try_read(&mut first).is_err());
    session.hold_acknowledgements(false);
    let read = while_driving(&mut session, peer.stream.read(&mut first)).await;
    assert_eq!(read.unwrap(), 400, "one write for all");
    peer.buffer.extend_from_slice(&first);
    let in_order: Vec<u16> = (1..=100).collect();
    assert_eq!(peer.acknowledgements(100).await, in_order);
}

#[tokio::test]
async fn a_message_too_large_to_hold_is_named_and_skipped() {
    let broker = Broker::start().await;
    let mut session = broker.session(v311());
    let mut peer = while_driving(&mut session, broker.accept_subscribed(CONNACK)).await;
    let large = message(1, &vec![0x32; PACKET_MAX_BYTES]);
    let script = async {
        // In parts of no particular size, over many reads.
        for part in large.chunks(70_001) {
            peer.send(part).await;
        }
        peer.send(&message(2, b"next")).await;
        assert_eq!(peer.acknowledgements(2).await, [1, 2]);
    };
    let client = async {
        let mut found = Vec::new();
        loop {
            for message in received_or_connected(&mut session).await {
                session.acknowledge(message.ack.unwrap());
                found.push((message.oversize, message.payload().to_vec()));
            }
            if found.len() == 2 {
                assert_eq!(found[0], (Some(large.len()), vec![]));
                assert_eq!(found[1], (None, b"next".to_vec()));
                drive(&mut session).await;
            }
        }
    };
    tokio::select! { () = script => {}, () = client => {} }
}

async fn received_or_connected(session: &mut Session) -> Vec<Message> {
    match next(session).await {
        Event::Received(messages) => messages,
        Event::Connected { .. } => Vec::new(),
        Event::Disconnected => panic!("the connection is lost"),
    }
}

/// CONNACK of MQTT 5 with Receive Maximum and Maximum Packet Size.
fn connack_v5(resumed: bool, receive_maximum: u16, packet_max_bytes: u32) -> Vec<u8> {
    let mut bytes = vec![0x20, 11, u8::from(resumed), 0, 8, 33];
    bytes.extend(receive_maximum.to_be_bytes());
    bytes.push(39);
    bytes.extend(packet_max_bytes.to_be_bytes());
    bytes
}

const SUBACK_V5: &[u8] = &[0x90, 4, 0xff, 0xff, 0, 1];

/// Packet id and DUP flag of the message that comes next.
async fn next_publish(peer: &mut Peer) -> (u16, bool) {
    let (first, body) = peer.expect(PUBLISH).await;
    let at = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
    (
        u16::from_be_bytes([body[at], body[at + 1]]),
        first & 0x08 != 0,
    )
}

#[tokio::test]
async fn what_was_under_way_is_sent_again_within_the_brokers_window() {
    let broker = Broker::start().await;
    let (mut session, mut peer) = broker.subscribed_v5().await;
    let topic: Arc<str> = "out".into();
    assert!(
        !session.publish(&topic, vec![0; 1000].into()),
        "larger than the broker takes"
    );
    assert_eq!(session.under_way(), 0);
    let mut published = 0;
    while session.can_publish() {
        assert!(session.publish(&topic, vec![published; 900].into()));
        published += 1;
    }
    assert_eq!(published, 5, "as many as the broker takes at a time");
    let ids = while_driving(&mut session, async {
        let mut ids = Vec::new();
        for _ in 0..5 {
            let (id, again) = next_publish(&mut peer).await;
            assert!(!again);
            ids.push(id);
        }
        ids
    })
    .await;
    drop(peer);
    while_driving(&mut session, async {
        // The broker kept the session and takes two at a time now.
        let mut peer = broker.accept().await;
        peer.send(&connack_v5(true, 2, 1000)).await;
        peer.expect(SUBSCRIBE).await;
        // Nothing before the subscription stands, so this cannot come too late.
        peer.send(SUBACK_V5).await;
        for pair in [&ids[..2], &ids[2..4], &ids[4..]] {
            for id in pair {
                assert_eq!(next_publish(&mut peer).await, (*id, true));
            }
            assert!(peer.buffer.is_empty());
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(
                peer.stream.try_read(&mut [0]).is_err(),
                "more than the broker takes"
            );
            for id in pair {
                let [high, low] = id.to_be_bytes();
                peer.send(&[0x40, 2, high, low]).await;
            }
        }
    })
    .await;
    while session.under_way() > 0 {
        next(&mut session).await;
    }
}

#[tokio::test]
async fn a_session_that_the_broker_lost_gets_what_was_under_way_as_new() {
    let broker = Broker::start().await;
    let (mut session, mut peer) = broker.subscribed().await;
    assert!(session.publish(&"out".into(), Bytes::from_static(b"status")));
    let (id, _) = while_driving(&mut session, next_publish(&mut peer)).await;
    drop(peer);
    let again = while_driving(&mut session, async {
        let mut peer = broker.accept_subscribed(CONNACK).await;
        next_publish(&mut peer).await
    })
    .await;
    assert_eq!(again, (id, false));
}

/// More than the system's buffers hold: it is written in parts, whenever the broker reads.
#[tokio::test]
async fn a_long_message_reaches_a_broker_that_reads_slowly() {
    let broker = Broker::start().await;
    let (mut session, mut peer) = broker.subscribed().await;
    let payload: Vec<u8> = (0..12_000_000u32).map(|n| (n / 255) as u8).collect();
    assert!(session.publish(&"out".into(), payload.clone().into()));
    let (_, body) = while_driving(&mut session, async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        peer.expect(PUBLISH).await
    })
    .await;
    // Behind the topic with its length, and the packet id.
    assert!(body[7..] == payload[..]);
}

#[tokio::test]
async fn a_stop_sends_what_is_written_and_says_goodbye() {
    ends_with(Parting::Goodbye).await;
}

#[tokio::test]
async fn a_stop_that_leaves_the_will_sends_what_is_written_and_no_goodbye() {
    ends_with(Parting::Will).await;
}

async fn ends_with(parting: Parting) {
    let broker = Broker::start().await;
    let mut session = broker.session(v311());
    let mut peer = while_driving(&mut session, broker.accept_subscribed(CONNACK)).await;
    peer.send(&message(1, b"a")).await;
    let token = loop {
        if let Some(message) = received_or_connected(&mut session).await.first() {
            break message.ack.unwrap();
        }
    };
    session.hold_acknowledgements(true);
    session.acknowledge(token);
    session.disconnect(parting, PATIENCE).await;
    assert_eq!(peer.acknowledgements(1).await, [1]);
    if parting == Parting::Goodbye {
        peer.expect(DISCONNECT).await;
    }
    assert!(peer.packet().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_idle_broker_is_asked_and_a_silent_one_left() {
    let broker = Broker::start().await;
    let mut session = broker.session(v311());
    while_driving(&mut session, async {
        let mut peer = broker.accept_subscribed(CONNACK).await;
        let start = Instant::now();
        for asked in 1..=10 {
            peer.expect(PINGREQ).await;
            // Spaced by the keep-alive.
            assert!(start.elapsed() >= Duration::from_secs(30) * asked);
            peer.send(PINGRESP).await;
        }
        assert!(start.elapsed() < Duration::from_secs(30) * 11);
        peer.expect(PINGREQ).await;
        let asked = Instant::now();
        assert!(peer.packet().await.is_none(), "the session leaves");
        assert!(asked.elapsed() >= Duration::from_secs(9));
        broker.accept_subscribed(CONNACK).await;
    })
    .await;
}

/// Statuses that trickle into a dead link are no sign of life of the other side.
#[tokio::test(start_paused = true)]
async fn a_broker_that_is_only_sent_to_is_asked_whether_it_lives() {
    let broker = Broker::start().await;
    let mut session = broker.session(v311());
    let peer = while_driving(&mut session, broker.accept_subscribed(CONNACK)).await;
    while !session.can_publish() {
        next(&mut session).await;
    }
    let start = Instant::now();
    for _ in 0..30 {
        assert!(session.publish(&"out".into(), Bytes::from_static(b"status")));
        if let Ok(Event::Disconnected) = timeout(Duration::from_secs(10), session.next()).await {
            break;
        }
    }
    assert!(
        start.elapsed() < Duration::from_secs(60),
        "noticed only after {:?}",
        start.elapsed()
    );
    drop(peer);
}

/// While nothing is read the broker's answers are not read either: that is no reason to leave it.
#[tokio::test(start_paused = true)]
async fn a_pause_in_reading_ends_no_connection() {
    let broker = Broker::start().await;
    let (mut session, mut peer) = broker.subscribed().await;
    session.pause_reading(true);
    let paused = timeout(Duration::from_secs(200), session.next()).await;
    assert!(paused.is_err(), "{paused:?}");
    for _ in 0..6 {
        peer.expect(PINGREQ).await;
    }
    // The answers stand behind messages, and there are gaps.
    session.pause_reading(false);
    let script = async {
        for id in 1..=5 {
            peer.send(&message(id, b"m")).await;
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        peer.send(PINGRESP).await;
        tokio::time::sleep(Duration::from_secs(20)).await;
    };
    let client = async {
        loop {
            let event = next(&mut session).await;
            assert!(!matches!(event, Event::Disconnected));
        }
    };
    tokio::select! { () = script => {}, () = client => {} }
}

/// Whoever waits for an answer of the broker knows until when it may stand behind messages: here behind more than
/// sockets hold.
#[tokio::test(start_paused = true)]
async fn after_a_pause_the_session_is_behind_until_all_is_read() {
    let broker = Broker::start().await;
    let (mut session, mut peer) = broker.subscribed().await;
    assert!(session.publish(&"t".into(), Bytes::from_static(b"status")) && !session.is_behind());
    session.pause_reading(true);
    assert!(session.is_behind());
    let peer = tokio::spawn(async move {
        peer.expect(PUBLISH).await;
        for id in 1..=20_000 {
            peer.send(&message(id, &[b'm'; 400])).await;
        }
        peer.send(&[0x40, 2, 0, 1]).await;
        peer.expect(PINGREQ).await;
        peer.send(PINGRESP).await;
        peer
    });
    let paused = timeout(Duration::from_secs(5), session.next()).await;
    assert!(paused.is_err(), "{paused:?}");
    session.pause_reading(false);
    while session.under_way() > 0 {
        assert!(session.is_behind());
        next(&mut session).await;
    }
    while session.is_behind() {
        next(&mut session).await;
    }
    // The answer to a ping from before a second pause says nothing about that one.
    session.pause_reading(true);
    let paused = timeout(Duration::from_secs(1), session.next()).await;
    assert!(paused.is_err() && session.is_behind(), "{paused:?}");
    drop(peer.await.unwrap());
    while !matches!(next(&mut session).await, Event::Disconnected) {}
    assert!(!session.is_behind());
}

/// Answers to pings that were written earlier say nothing about what came later.
#[tokio::test(start_paused = true)]
async fn the_session_is_behind_until_a_ping_of_after_the_pause_is_answered() {
    let broker = Broker::start().await;
    let (mut session, mut peer) = broker.subscribed().await;
    session.pause_reading(true);
    let paused = timeout(Duration::from_secs(40), session.next()).await;
    assert!(paused.is_err(), "{paused:?}");
    // One for the silence, which waits for its answer when reading begins again.
    peer.expect(PINGREQ).await;
    session.pause_reading(false);
    while_driving(&mut session, peer.send(PINGRESP)).await;
    while_driving(&mut session, peer.expect(PINGREQ)).await;
    assert!(session.is_behind());
    // Before that one is answered, there is another pause.
    session.pause_reading(true);
    let paused = timeout(Duration::from_secs(1), session.next()).await;
    assert!(paused.is_err(), "{paused:?}");
    session.pause_reading(false);
    while_driving(&mut session, peer.send(PINGRESP)).await;
    while_driving(&mut session, peer.expect(PINGREQ)).await;
    assert!(session.is_behind());
    while_driving(&mut session, peer.send(PINGRESP)).await;
    let idle = timeout(Duration::from_secs(1), async {
        while session.is_behind() {
            session.next().await;
        }
    });
    assert!(idle.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_is_not_answered_is_made_again_elsewhere() {
    let broker = Broker::start().await;
    let mut session = broker.session(v311());
    while_driving(&mut session, async {
        let mut peer = broker.accept().await;
        peer.send(CONNACK).await;
        peer.expect(SUBSCRIBE).await;
        assert!(peer.packet().await.is_none());
        broker.accept_subscribed(CONNACK).await;
    })
    .await;
}

/// Two clients with one client id end each other's connections for ever; so does a broker that
/// takes us and throws us out.
#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_at_once_is_not_tried_in_a_hurry() {
    let broker = Broker::start().await;
    let mut session = broker.session(v311());
    let tries = while_driving(&mut session, async {
        let start = Instant::now();
        let mut tries = 0;
        while start.elapsed() < Duration::from_secs(60) {
            broker.accept_subscribed(CONNACK).await;
            tries += 1;
        }
        tries
    })
    .await;
    // At most two a second on average; without waits that grow it would be about 13 a second.
    assert!((30..=130).contains(&tries), "{tries} connections in 60 s");
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_was_away_for_long_is_found_within_two_seconds() {
    let broker = Broker::start().await;
    let mut session = broker.session(v311());
    let port = broker.listener.local_addr().unwrap().port();
    drop(broker);
    while_driving(&mut session, async {
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(60)).await;
            let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
            let start = Instant::now();
            drop(Broker { listener }.accept().await);
            assert!(
                start.elapsed() < Duration::from_secs(2),
                "found after {:?}",
                start.elapsed()
            );
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_repeated_ever_more_slowly_and_a_busy_broker_is_not_left_alone() {
    for (code, most, least) in [(5, 20, 4), (3, 1000, 100)] {
        let broker = Broker::start().await;
        let mut session = broker.session(v311());
        let tries = while_driving(&mut session, async {
            let start = Instant::now();
            let mut tries = 0;
            while start.elapsed() < Duration::from_secs(120) {
                broker.accept().await.send(&[0x20, 2, 0, code]).await;
                tries += 1;
            }
            tries
        })
        .await;
        assert!(
            (least..=most).contains(&tries),
            "code {code}: {tries} in two minutes"
        );
    }
}

/// Byte 6 of a CONNECT's body is the version.
async fn version_of_next_connect(broker: &Broker) -> (u8, TcpStream) {
    let (mut stream, _) = broker.listener.accept().await.unwrap();
    let mut connect = [0u8; 9];
    stream.read_exact(&mut connect).await.unwrap();
    (connect[8], stream)
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_was_merely_going_down_is_spoken_to_in_version_5_again() {
    let broker = Broker::start().await;
    let mut session = broker.session(ProtocolChoice::Auto);
    let port = broker.listener.local_addr().unwrap().port();
    let versions = while_driving(&mut session, async move {
        let (first, stream) = version_of_next_connect(&broker).await;
        // Gone without an answer, and for a while there is nobody.
        let Broker { listener } = broker;
        drop((stream, listener));
        tokio::time::sleep(Duration::from_secs(3)).await;
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let (second, _) = version_of_next_connect(&Broker { listener }).await;
        [first, second]
    })
    .await;
    assert_eq!(versions, [5, 5]);
}

/// `next` is polled inside `select!`: a future that is dropped half-way must lose nothing.
#[tokio::test]
async fn dropping_next_at_any_point_loses_nothing() {
    const COUNT: u16 = 2000;
    let broker = Broker::start().await;
    let mut session = broker.session(v311());
    let script = async {
        let mut peer = broker.accept_subscribed(CONNACK).await;
        let (mut reader, mut writer) = peer.stream.split();
        let write = async {
            let mut dice = fastrand::Rng::with_seed(1);
            let bytes: Vec<u8> = (1..=COUNT)
                .flat_map(|id| message(id, &vec![id as u8; usize::from(id % 700)]))
                .collect();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (part, more) = rest.split_at(dice.usize(1..=3000).min(rest.len()));
                writer.write_all(part).await.unwrap();
                rest = more;
                tokio::task::yield_now().await;
            }
        };
        // Acknowledgements and statuses come whole too, or they could not be told apart.
        let read = async {
            let (mut acks, mut statuses) = (Vec::new(), 0);
            let mut buffer = BytesMut::new();
            while acks.len() < usize::from(COUNT) || statuses < 50 {
                assert!(reader.read_buf(&mut buffer).await.unwrap() > 0);
                while let Some((header, remaining)) = fixed_header(&buffer)
                    && buffer.len() >= header + remaining
                {
                    let packet = buffer.split_to(header + remaining);
                    match packet[0] >> 4 {
                        PUBACK => acks.push(u16::from_be_bytes([packet[2], packet[3]])),
                        PUBLISH => statuses += 1,
                        kind => panic!("packet of type {kind}"),
                    }
                }
            }
            acks
        };
        tokio::join!(write, read).1
    };
    let client = async {
        let mut dice = fastrand::Rng::with_seed(2);
        let (mut found, mut published) = (0u16, 0);
        loop {
            let event = tokio::select! {
                biased;
                event = session.next() => Some(event),
                // Ready after zero to three polls.
                () = polls(dice.u32(0..4)) => None,
            };
            if let Some(Event::Received(messages)) = event {
                for message in messages {
                    found += 1;
                    assert_eq!(message.payload().len(), usize::from(found % 700));
                    assert!(message.payload().iter().all(|byte| *byte == found as u8));
                    session.acknowledge(message.ack.unwrap());
                }
            }
            if published < 50 && found > published * 40 && session.can_publish() {
                assert!(session.publish(&"out".into(), vec![1; 5000].into()));
                published += 1;
            }
        }
    };
    let acks = tokio::select! { acks = script => acks, () = client => unreachable!() };
    assert_eq!(acks, (1..=COUNT).collect::<Vec<_>>());
}

async fn polls(count: u32) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}

fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let random = proptest::collection::vec(any::<u8>(), 1..200);
    // Packets with a proper frame around nonsense get further than noise.
    let framed = (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..120))
        .prop_map(|(first, body)| [vec![first, body.len() as u8], body].concat());
    prop_oneof![random, framed]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever comes behind a good start, the session hands out what it can and comes back.
    #[test]
    fn garbage_from_the_broker_ends_a_connection_and_nothing_else(bytes in garbage(), five: bool, before_connack: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let broker = Broker::start().await;
            let protocol = if five { Protocol::V5 } else { Protocol::V311 };
            let (connack, suback) = if five { (&[0x20, 3, 0, 0, 0][..], SUBACK_V5) } else { (CONNACK, SUBACK) };
            let mut session = broker.session(ProtocolChoice::Only(protocol));
            while_driving(&mut session, async {
                let mut peer = broker.accept().await;
                if !before_connack {
                    peer.send(connack).await;
                    peer.expect(SUBSCRIBE).await;
                    peer.send(suback).await;
                }
                // The session may leave in the middle of it.
                let _ = peer.stream.write_all(&bytes).await;
                tokio::time::sleep(Duration::from_millis(10)).await;
                drop(peer);
                let mut peer = broker.accept().await;
                peer.send(connack).await;
                peer.expect(SUBSCRIBE).await;
            }).await;
        });
    }
}

#[tokio::test]
async fn what_came_before_a_malformed_packet_is_handed_out() {
    let broker = Broker::start().await;
    let mut session = broker.session(v311());
    let mut peer = while_driving(&mut session, broker.accept_subscribed(CONNACK)).await;
    let bad = [&message(1, b"good")[..], &[0x36, 5, 0, 1, b'a', 0, 1]].concat();
    peer.send(&bad).await;
    let good = loop {
        let messages = received_or_connected(&mut session).await;
        if !messages.is_empty() {
            break messages;
        }
    };
    assert_eq!(payloads(&good), [b"good"]);
    assert!(matches!(next(&mut session).await, Event::Disconnected));
}

/// The broker takes the one, refuses the other, and takes the one again: that says nothing about the other.
#[tokio::test]
async fn a_refusal_is_of_a_topic_and_stays_until_the_topic_is_taken() {
    let broker = Broker::start().await;
    let (mut session, mut peer) = broker.subscribed_v5().await;
    let view = session.view();
    for (topic, refused) in [("taken", false), ("refused", true), ("taken", false)] {
        assert!(session.publish(&topic.into(), Bytes::from_static(b"status")));
        while_driving(&mut session, async {
            let (id, _) = next_publish(&mut peer).await;
            let [high, low] = id.to_be_bytes();
            let not_authorized = if refused { 0x87 } else { 0 };
            peer.send(&[0x40, 3, high, low, not_authorized]).await;
        })
        .await;
        while session.under_way() > 0 {
            next(&mut session).await;
        }
    }
    let reason = view.state().reason.expect("one is refused");
    assert!(reason.contains("on refused: NotAuthorized"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn reasons_that_take_turns_are_logged_once_each() {
    let broker = Broker::start().await;
    let mut session = Session::new(SessionSettings {
        host: "::1".into(),
        ..(*broker.session(v311()).settings).clone()
    });
    let lines = crate::logged::lines(|| {
        for _ in 0..50 {
            session.failed(&ConnectError::Timeout);
            session.failed(&ConnectError::Closed);
        }
    });
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0]["retry_in_ms"].is_u64(), "{lines:?}");
    let told = lines[0]["broker"].as_str().expect("it is named");
    assert!(told.starts_with("[::1]:"), "{told}");
}
