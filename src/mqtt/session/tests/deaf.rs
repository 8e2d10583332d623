//! Brokers that send and hardly read, or not at all: what waits to be sent to them stays small, one that reads
//! slowly is waited for, and one that does not read is left. What lies between is a pipe of 64 KiB, and the clock is
//! paused: it moves on only when nobody has anything to do.

use std::sync::Mutex;

use tokio::io::{DuplexStream, duplex};

use super::*;
use crate::mqtt::connect::{Io, Opening};

const PIPE_BYTES: usize = 64 * 1024;

/// Leads to one end of a pipe once, and after that nowhere.
struct Pipe(Mutex<Option<DuplexStream>>);

impl Dial for Pipe {
    fn open<'a>(&'a self, _: &'a SessionSettings) -> Opening<'a> {
        let end = self.0.lock().unwrap().take();
        Box::pin(async {
            match end {
                Some(end) => Ok(Box::new(end) as Box<dyn Io>),
                None => std::future::pending().await,
            }
        })
    }
}

/// A session that may publish, and the broker's end of its connection.
async fn piped() -> (Session, DuplexStream) {
    let (ours, mut theirs) = duplex(PIPE_BYTES);
    let settings = (*Broker::start().await.session(v311()).settings).clone();
    let mut session = Session::over(Arc::new(Pipe(Mutex::new(Some(ours)))), settings);
    while_driving(&mut session, async {
        packet(&mut theirs).await;
        theirs.write_all(CONNACK).await.unwrap();
        assert_eq!(packet(&mut theirs).await.0 >> 4, SUBSCRIBE);
        theirs.write_all(SUBACK).await.unwrap();
    })
    .await;
    while !session.can_publish() {
        next(&mut session).await;
    }
    (session, theirs)
}

/// The next packet, whose length takes a byte: its first byte and what follows its length.
async fn packet(from: &mut DuplexStream) -> (u8, Vec<u8>) {
    let first = from.read_u8().await.unwrap();
    let mut body = vec![0; usize::from(from.read_u8().await.unwrap())];
    from.read_exact(&mut body).await.unwrap();
    (first, body)
}

/// Messages of eight bytes, each with the next packet id there is.
fn flood(count: usize) -> Vec<u8> {
    (0..count)
        .flat_map(|n| message((n % 65_535) as u16 + 1, b""))
        .collect()
}

/// Acknowledges whatever comes, for as long as there is a connection. The most that waited to be sent, in bytes.
async fn acknowledge_all(session: &mut Session) -> usize {
    let mut most = 0;
    loop {
        match next(session).await {
            Event::Received(messages) => {
                for ack in messages.iter().filter_map(|message| message.ack) {
                    session.acknowledge(ack);
                }
            }
            Event::Disconnected => return most,
            event => panic!("{event:?}"),
        }
        most = most.max(unsent(session));
    }
}

fn unsent(session: &Session) -> usize {
    match &session.link {
        Link::Up(up) => up.out.len(),
        _ => 0,
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_sends_without_end_and_does_not_read_is_left() {
    let (mut session, mut theirs) = piped().await;
    let (most, all) = tokio::join!(acknowledge_all(&mut session), async {
        theirs.write_all(&flood(OWED_MAX + 200_000)).await
    });
    assert!(all.is_err(), "it was left before its end");
    assert!(most <= ACKS_UNSENT_MAX_BYTES, "{most} bytes");
    let reason = session.view().state().reason.expect("there is one");
    assert!(
        reason.contains("waits for none of 524288 acknowledgements"),
        "{reason}"
    );
}

/// More than is written at a time, to a broker that reads nothing before it has sent all, and then only reads.
#[tokio::test(start_paused = true)]
async fn all_acknowledgements_reach_a_broker_that_reads_late() {
    const COUNT: usize = 200_000;
    let (mut session, mut theirs) = piped().await;
    let start = Instant::now();
    let script = async {
        theirs.write_all(&flood(COUNT)).await.unwrap();
        for n in 0..COUNT {
            let id = ((n % 65_535) as u16 + 1).to_be_bytes();
            assert_eq!(packet(&mut theirs).await, (0x40, id.to_vec()));
        }
    };
    tokio::select! { () = script => {}, _ = acknowledge_all(&mut session) => panic!("it was left") }
    // Nothing waited for a ping to move it on.
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
}

/// It acknowledges what it has not read: that makes room for nothing.
#[tokio::test(start_paused = true)]
async fn a_broker_that_acknowledges_what_it_did_not_read_is_given_no_more() {
    let (mut session, mut theirs) = piped().await;
    let (mut most, mut published) = (0, 0);
    for id in 1..=200u16 {
        if session.can_publish() {
            assert!(session.publish(&"out".into(), vec![0; 20_000].into()));
            published += 1;
        }
        let [high, low] = id.to_be_bytes();
        while_driving(&mut session, theirs.write_all(&[0x40, 2, high, low]))
            .await
            .unwrap();
        // The answer is read, and nothing more.
        let _ = timeout(Duration::from_millis(1), session.next()).await;
        most = most.max(unsent(&session));
    }
    assert!(published > 20 && session.under_way() == 0, "{published}");
    assert!(
        most <= PUBLISH_UNSENT_MAX_BYTES + 2 * 20_000,
        "{most} bytes"
    );
}

/// Whatever it sends, it does not even take the question whether it lives.
#[tokio::test(start_paused = true)]
async fn a_broker_that_sends_now_and_then_and_does_not_read_is_left() {
    let (mut session, mut theirs) = piped().await;
    assert!(session.publish(&"out".into(), vec![0; 2 * PIPE_BYTES].into()));
    let start = Instant::now();
    let script = async {
        let at_qos_0 = wire::tests::publish(Protocol::V311, "in", 0, b"m", false);
        while theirs.write_all(&at_qos_0).await.is_ok() {
            assert!(start.elapsed() < Duration::from_secs(60), "it is kept");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::join!(script, acknowledge_all(&mut session));
    let reason = session.view().state().reason.expect("there is one");
    assert_eq!(reason, ConnectError::Silent.to_string());
}

/// It has nothing to say before it has read all, which takes it several times as long as a ping may. (What is in the pipe
/// counts as sent, and is read in eight seconds.)
#[tokio::test(start_paused = true)]
async fn a_broker_that_reads_slowly_is_waited_for() {
    let (mut session, mut theirs) = piped().await;
    let payload_bytes = 16 * PIPE_BYTES;
    assert!(session.publish(&"out".into(), vec![0; payload_bytes].into()));
    let start = Instant::now();
    let script = async {
        // What stands before its payload takes eleven bytes.
        let mut rest = vec![0; 11 + payload_bytes];
        for part in rest.chunks_mut(PIPE_BYTES / 8) {
            theirs.read_exact(part).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(packet(&mut theirs).await.0 >> 4, PINGREQ);
        assert!(start.elapsed() > Duration::from_secs(100));
        theirs.write_all(PINGRESP).await.unwrap();
        theirs.write_all(&message(1, b"at last")).await.unwrap();
    };
    let client = async {
        let found = received(&mut session).await;
        assert_eq!(payloads(&found), [b"at last"]);
    };
    tokio::join!(script, client);
}
