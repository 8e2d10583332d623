//! The embedded MQTT broker: MQTT 3.1.1 and 5, no password, loopback only, everything in memory. It
//! is the crate `mqtt5`, told to keep nothing on disk and to stay quiet; this file is the only one
//! that names it.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use mqtt5::broker::config::{BrokerConfig, StorageBackend, StorageConfig};
use mqtt5::broker::{BrokerShutdownHandle, MqttBroker};
use tokio::task::JoinHandle;

use super::{LocalError, require_loopback};

/// What error messages call this stand-in.
const WHAT: &str = "MQTT broker";

/// The largest MQTT packet the broker takes or sends, in bytes. A Firehose call is at most 4 MiB,
/// so no useful message comes near it.
pub const MAX_PACKET_BYTES: usize = 16 * 1024 * 1024;

/// Messages on their way to one subscriber before its publishers are made to wait (2 s at most; see
/// [`Broker`]). The default, 10,000, would let one slow subscriber hold gigabytes of large
/// messages.
const LANE_MESSAGES: usize = 1_000;

/// Messages the broker keeps for one subscriber that is away or far behind; past this it drops the
/// oldest, with a warning.
const BACKLOG_MESSAGES: usize = 100_000;

/// The same bound in bytes, whichever is reached first.
const BACKLOG_BYTES: usize = 256 * 1024 * 1024;

/// Before the broker ends: it takes what waits for a subscriber and its own end in no order, and cannot say whether
/// something waits. What was just acknowledged needs microseconds, so this is much.
const LAST_MESSAGES: Duration = Duration::from_millis(200);

/// A running broker. Dropping it stops it as well, only without waiting.
///
/// What a subscriber at QoS 1 can count on: at most 64 messages un-acknowledged at a time, fewer if
/// an MQTT 5 client's Receive Maximum says so. Behind those, 1,000 messages wait; when they do, a
/// publisher is held for up to 2 s, once, and what comes after goes into a backlog of 100,000
/// messages or 256 MiB that holds nobody up and drops its oldest when full. Un-acknowledged messages
/// are sent again only on the next connection of the same session. A message larger than an MQTT 5
/// client's Maximum Packet Size is left out for that client. Sessions and retained messages live as
/// long as the broker.
#[derive(Debug)]
pub struct Broker {
    /// The address that was really bound, which is news when port 0 was asked for.
    addr: SocketAddr,
    /// Tells the broker's own tasks to end; the broker is owned by `task`.
    shutdown: ShutdownOnDrop,
    /// Ends when every connection and listener is closed, so `stop` can wait for the port to be
    /// free.
    task: JoinHandle<()>,
}

impl Broker {
    /// Starts a broker on a loopback address and returns once it takes connections. Port 0 picks a
    /// free port.
    ///
    /// # Errors
    /// [`LocalError::NotLoopback`], [`LocalError::AddressInUse`], [`LocalError::Listen`], or
    /// [`LocalError::Broker`] if it ends at once.
    pub async fn start(addr: SocketAddr) -> Result<Self, LocalError> {
        require_loopback(WHAT, addr)?;
        try_address(addr)?;
        let failed = |reason: String| LocalError::Broker { addr, reason };

        let mut broker = MqttBroker::with_config(config(addr))
            .await
            .map_err(|error| failed(error.to_string()))?;
        let bound = broker
            .local_addr()
            .ok_or_else(|| failed("it has no address".into()))?;
        let shutdown = ShutdownOnDrop(broker.shutdown_handle());
        let mut ready = broker.ready_receiver();
        let task = tokio::spawn(async move {
            if let Err(error) = broker.run().await {
                tracing::error!(%error, "the MQTT broker ended");
            }
        });
        // A stop that arrives before the broker listens for it would be lost, so readiness is part
        // of the start.
        if ready.wait_for(|ready| *ready).await.is_err() {
            return Err(failed("it ended before it was ready".into()));
        }
        Ok(Self {
            addr: bound,
            shutdown,
            task,
        })
    }

    /// The address the broker listens on.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Hands out what was just published, disconnects every client, frees the port and forgets everything. Takes up to
    /// 5 s if a client is stuck in its handshake.
    pub async fn stop(self) {
        tokio::time::sleep(LAST_MESSAGES).await;
        let Self { shutdown, task, .. } = self;
        drop(shutdown);
        if let Err(error) = task.await {
            tracing::error!(%error, "the MQTT broker did not end cleanly");
        }
    }
}

/// Ends the broker when the last owner of its handle is gone, be it by `stop` or by a test that
/// returned early.
struct ShutdownOnDrop(BrokerShutdownHandle);

impl std::fmt::Debug for ShutdownOnDrop {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ShutdownOnDrop")
    }
}

impl Drop for ShutdownOnDrop {
    fn drop(&mut self) {
        self.0.shutdown();
    }
}

/// Binds the address once and lets it go: the broker reports a failed bind as prose, the operating
/// system as an error kind.
fn try_address(addr: SocketAddr) -> Result<(), LocalError> {
    TcpListener::bind(addr)
        .map(drop)
        .map_err(|error| LocalError::listening(WHAT, addr, error))
}

fn config(addr: SocketAddr) -> BrokerConfig {
    let storage = StorageConfig::new()
        // "Persistence" is what makes sessions outlive a connection; the backend is what keeps them
        // off the disk.
        .with_persistence(true)
        .with_backend(StorageBackend::Memory)
        .with_cleanup_interval(Duration::from_secs(60))
        .with_max_queued_messages_per_client(BACKLOG_MESSAGES)
        .with_max_queued_bytes_per_client(BACKLOG_BYTES);
    BrokerConfig::new()
        .with_bind_address(addr)
        .with_max_packet_size(MAX_PACKET_BYTES)
        .with_client_channel_capacity(LANE_MESSAGES)
        .with_storage(storage)
        // A subscriber to `#` in a demonstration should see messages, not the broker's own
        // statistics.
        .with_sys_topics_enabled(false)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bytes::Bytes;
    use tokio::sync::mpsc;

    use super::*;

    /// What a test client saw, whichever version it speaks.
    #[derive(Debug, PartialEq)]
    enum Seen {
        Subscribed,
        Acknowledged,
        Message(String, Bytes),
    }

    /// One client of either version; dropping it disconnects.
    enum Client {
        V4(rumqttc::AsyncClient, mpsc::Receiver<Seen>),
        V5(rumqttc::v5::AsyncClient, mpsc::Receiver<Seen>),
    }

    const LIMIT: u32 = 12 * 1024 * 1024;

    impl Client {
        fn v4(id: &str, addr: SocketAddr) -> Self {
            use rumqttc::{Event, Packet};
            let mut options = rumqttc::MqttOptions::new(id, addr.ip().to_string(), addr.port());
            options.set_max_packet_size(LIMIT as usize, LIMIT as usize);
            let (client, mut events) = rumqttc::AsyncClient::new(options, 10);
            let (seen, inbox) = mpsc::channel(100);
            tokio::spawn(async move {
                while let Ok(event) = events.poll().await {
                    let news = match event {
                        Event::Incoming(Packet::SubAck(_)) => Seen::Subscribed,
                        Event::Incoming(Packet::PubAck(_)) => Seen::Acknowledged,
                        Event::Incoming(Packet::Publish(publish)) => {
                            Seen::Message(publish.topic, publish.payload)
                        }
                        _ => continue,
                    };
                    if seen.send(news).await.is_err() {
                        break;
                    }
                }
            });
            Self::V4(client, inbox)
        }

        fn v5(id: &str, addr: SocketAddr) -> Self {
            use rumqttc::v5::mqttbytes::v5::Packet;
            use rumqttc::v5::{Event, MqttOptions};
            let mut options = MqttOptions::new(id, addr.ip().to_string(), addr.port());
            options
                .set_max_packet_size(Some(LIMIT))
                .set_outgoing_inflight_upper_limit(10);
            let (client, mut events) = rumqttc::v5::AsyncClient::new(options, 10);
            let (seen, inbox) = mpsc::channel(100);
            tokio::spawn(async move {
                while let Ok(event) = events.poll().await {
                    let news = match event {
                        Event::Incoming(Packet::SubAck(_)) => Seen::Subscribed,
                        Event::Incoming(Packet::PubAck(_)) => Seen::Acknowledged,
                        Event::Incoming(Packet::Publish(publish)) => Seen::Message(
                            String::from_utf8(publish.topic.to_vec()).unwrap(),
                            publish.payload,
                        ),
                        _ => continue,
                    };
                    if seen.send(news).await.is_err() {
                        break;
                    }
                }
            });
            Self::V5(client, inbox)
        }

        async fn subscribe(&mut self, filter: &str) {
            match self {
                Self::V4(client, _) => client
                    .subscribe(filter, rumqttc::QoS::AtLeastOnce)
                    .await
                    .unwrap(),
                Self::V5(client, _) => client
                    .subscribe(filter, rumqttc::v5::mqttbytes::QoS::AtLeastOnce)
                    .await
                    .unwrap(),
            }
            assert_eq!(self.next().await, Seen::Subscribed);
        }

        async fn publish(&mut self, topic: &str, payload: Bytes) {
            match self {
                Self::V4(client, _) => client
                    .publish(topic, rumqttc::QoS::AtLeastOnce, false, payload)
                    .await
                    .unwrap(),
                Self::V5(client, _) => {
                    client
                        .publish(
                            topic,
                            rumqttc::v5::mqttbytes::QoS::AtLeastOnce,
                            false,
                            payload,
                        )
                        .await
                        .unwrap();
                }
            }
            assert_eq!(self.next().await, Seen::Acknowledged);
        }

        async fn next(&mut self) -> Seen {
            match self {
                Self::V4(_, inbox) | Self::V5(_, inbox) => {
                    inbox.recv().await.expect("the client was disconnected")
                }
            }
        }
    }

    async fn broker() -> Broker {
        Broker::start("127.0.0.1:0".parse().unwrap()).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn both_versions_talk_to_each_other_at_qos_1_and_six_mebibytes_pass() {
        let broker = broker().await;
        let (mut reader4, mut reader5) = (
            Client::v4("r4", broker.addr()),
            Client::v5("r5", broker.addr()),
        );
        reader4.subscribe("kinesisfirehose/#").await;
        reader5.subscribe("kinesisfirehose/#").await;

        let large = Bytes::from(vec![b'x'; 6 * 1024 * 1024]);
        let (mut writer4, mut writer5) = (
            Client::v4("w4", broker.addr()),
            Client::v5("w5", broker.addr()),
        );
        for writer in [&mut writer4, &mut writer5] {
            for payload in [Bytes::from_static(b"small"), large.clone()] {
                writer
                    .publish("kinesisfirehose/message", payload.clone())
                    .await;
                for reader in [&mut reader4, &mut reader5] {
                    let Seen::Message(topic, data) = reader.next().await else {
                        panic!("no message")
                    };
                    assert_eq!(topic, "kinesisfirehose/message");
                    assert!(
                        data == payload,
                        "{} bytes came instead of {}",
                        data.len(),
                        payload.len()
                    );
                }
            }
        }
        broker.stop().await;
        assert!(
            !Path::new("mqtt_storage").exists(),
            "the broker wrote to the disk"
        );
    }

    #[tokio::test]
    async fn a_port_in_use_is_named_with_a_way_out_and_free_again_after_stop() {
        let first = broker().await;
        let addr = first.addr();
        assert_ne!(addr.port(), 0);

        let message = Broker::start(addr).await.unwrap_err().to_string();
        assert!(
            message.contains(&addr.to_string())
                && message.contains("in use")
                && message.contains("port 0"),
            "{message}"
        );

        first.stop().await;
        Broker::start(addr).await.unwrap().stop().await;
    }

    #[tokio::test]
    async fn only_loopback_is_served() {
        let error = Broker::start("0.0.0.0:0".parse().unwrap())
            .await
            .unwrap_err();
        assert!(matches!(error, LocalError::NotLoopback { .. }), "{error}");
    }
}
