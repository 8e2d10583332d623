//! Promise 1 with a broker that has much to deliver and takes statuses slowly, or that keeps to no window, so
//! that its answers to statuses stand behind messages for which there is no room yet: delivery and
//! acknowledgements wait for it, and none is dropped. The broker is a few lines of MQTT 3.1.1.

#![cfg(feature = "local")]

mod common;

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use common::{ConnectorProcess, PATIENCE, STREAM, endpoint, packet};
use kinesis_edge::local::Faults;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

/// How the broker behaves, and the destination.
#[derive(Clone, Copy)]
struct Behaviour {
    /// Requests that stand before its door.
    requests: usize,
    /// Messages that it has under way to the connector.
    window: usize,
    /// How long it takes over a document of statuses.
    pause: Duration,
    /// How long the destination takes over a call.
    latency: Duration,
}

/// What the broker learned of the requests: how often each was acknowledged, and its statuses.
#[derive(Default)]
struct Learned {
    acknowledged: usize,
    statuses: BTreeMap<String, Vec<String>>,
}

/// A PUBLISH at QoS 1, up to 16 KiB long.
fn publish(number: usize) -> Vec<u8> {
    let payload = format!(r#"{{"request":{{"data":"{number:0200}"}},"id":"{number}"}}"#);
    let topic = "kinesisfirehose/message";
    let length = 2 + topic.len() + 2 + payload.len();
    let mut packet = vec![0x32, (length % 128) as u8 | 128, (length / 128) as u8];
    packet.extend_from_slice(&(topic.len() as u16).to_be_bytes());
    packet.extend_from_slice(topic.as_bytes());
    packet.extend_from_slice(&((number + 1) as u16).to_be_bytes());
    packet.extend_from_slice(payload.as_bytes());
    packet
}

/// Accepts the connector, sends it as much as the window allows, and takes one document after the other.
async fn serve(connection: TcpStream, behaviour: Behaviour) -> io::Result<Learned> {
    let Behaviour {
        requests,
        window,
        pause,
        latency: _,
    } = behaviour;
    let (read, mut write) = connection.into_split();
    let mut read = BufReader::new(read);
    let mut learned = Learned::default();
    packet(&mut read).await?;
    write.write_all(&[0x20, 2, 0, 0]).await?;
    let (_, subscribe) = packet(&mut read).await?;
    let granted = [0x90, 4, subscribe[0], subscribe[1], 1, 1];
    write.write_all(&granted).await?;
    let (answers, mut to_answer) = tokio::sync::mpsc::unbounded_channel::<Vec<u8>>();
    tokio::spawn(async move {
        while let Some(answer) = to_answer.recv().await {
            write.write_all(&answer).await?;
        }
        io::Result::Ok(())
    });
    let send = |bytes| drop(answers.send(bytes));
    (0..window).for_each(|number| send(publish(number)));
    while learned.acknowledged < requests || learned.statuses.len() < requests {
        let (first, body) = packet(&mut read).await?;
        match first >> 4 {
            3 => {
                let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
                let (packet_id, document) = body[2 + topic..].split_at(2);
                let document: serde_json::Value = serde_json::from_slice(document)?;
                for entry in document["response"].as_array().expect("a list") {
                    let of = |key| entry[key].as_str().unwrap_or("none").to_owned();
                    let statuses = learned.statuses.entry(of("id")).or_default();
                    statuses.push(of("status"));
                }
                sleep(pause).await;
                send([&[0x40, 2], packet_id].concat());
            }
            4 => {
                learned.acknowledged += 1;
                let next = window + learned.acknowledged - 1;
                if next < requests {
                    send(publish(next));
                }
            }
            12 => send(vec![0xd0, 0]),
            other => panic!("packet type {other}"),
        }
    }
    Ok(learned)
}

/// Runs the connector beside such a broker; each request is to have one status.
async fn all_are_told(behaviour: Behaviour, variables: &[(&str, &str)]) {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    let endpoint = endpoint().await;
    endpoint.faults().set_all(Faults {
        latency: behaviour.latency,
        ..Faults::default()
    });
    let (broker_url, endpoint_url) = (format!("mqtt://127.0.0.1:{port}"), endpoint.url());
    let mut all_variables = vec![
        ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
        ("PUBLISH_INTERVAL", "1"),
        ("MQTT_URL", &*broker_url),
        ("MQTT_VERSION", "3.1.1"),
        ("AWS_ENDPOINT_URL_FIREHOSE", &endpoint_url),
        ("AWS_ACCESS_KEY_ID", "made-up"),
        ("AWS_SECRET_ACCESS_KEY", "made-up"),
        ("WHEN_FULL", "wait"),
    ];
    all_variables.extend_from_slice(variables);
    let process = ConnectorProcess::start(&all_variables);
    let connection = timeout(PATIENCE, listener.accept()).await;
    let (connection, _) = connection.expect("it connects").expect("it connects");
    let learned = timeout(PATIENCE, serve(connection, behaviour)).await;
    let learned = learned.unwrap_or_else(|_| panic!("not all came:\n{}", process.stderr()));
    let learned = learned.expect("the connection lasts");
    assert!(
        learned
            .statuses
            .values()
            .all(|statuses| statuses == &["success"])
    );
    assert_eq!(endpoint.accepted("test").len(), behaviour.requests);
    let log = process.stderr();
    assert!(!log.contains("are dropped"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_takes_statuses_slowly_gets_one_for_each_request() {
    let slow = Behaviour {
        // Their statuses are several times what may wait.
        requests: 20_000,
        window: 6000,
        pause: Duration::from_millis(20),
        latency: Duration::ZERO,
    };
    // A small backlog of statuses and a large queue.
    let variables = [
        ("MEMORY_SIZE", "40000"),
        ("DELIVERY_STREAM_QUEUE_SIZE", "100000"),
    ];
    all_are_told(slow, &variables).await;
}

/// All messages stand before the first answer to a status; statuses of as many calls as may wait take half of it.
const WITHOUT_WINDOW: Behaviour = Behaviour {
    requests: 40_000,
    window: 40_000,
    pause: Duration::ZERO,
    latency: Duration::ZERO,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_keeps_to_no_window_gets_one_for_each_request() {
    // It is not heard for seconds.
    let slow_destination = Behaviour {
        latency: Duration::from_millis(800),
        ..WITHOUT_WINDOW
    };
    all_are_told(slow_destination, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn and_so_it_does_with_a_queue_on_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let queue = folder.path().join("queue");
    let variables = [("QUEUE_DIR", &*queue.to_string_lossy())];
    all_are_told(WITHOUT_WINDOW, &variables).await;
}
