//! A local app: publishes requests and collects statuses, through rumqttc's own client, which
//! shares no session code with the connector.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::PATIENCE;

/// One status, as the connector published it.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// The entry of the list, or the whole document of version 1.
    pub entry: Value,
    /// When it came.
    pub at: Instant,
}

impl Status {
    /// Whether it says success.
    pub fn is_success(&self) -> bool {
        self.entry["status"] == "success" || self.entry["response"]["status"] == "success"
    }

    /// The error code, or empty.
    pub fn code(&self) -> &str {
        let code = if self.entry["response"].is_object() {
            &self.entry["response"]["error"]
        } else {
            &self.entry["ErrorCode"]
        };
        code.as_str().unwrap_or_default()
    }

    /// The error message, or empty.
    pub fn message(&self) -> &str {
        let message = if self.entry["response"].is_object() {
            &self.entry["response"]["error_message"]
        } else {
            &self.entry["ErrorMessage"]
        };
        message.as_str().unwrap_or_default()
    }

    /// The id.
    pub fn id(&self) -> &str {
        self.entry["id"]
            .as_str()
            .expect("every status has an id, a string")
    }
}

#[derive(Default)]
struct Collected {
    /// In order of arrival.
    statuses: Vec<Status>,
    /// Whole documents as they came.
    documents: Vec<Vec<u8>>,
    /// Publishes that the broker acknowledged.
    acknowledged: usize,
    /// Whether the subscription stands on the present connection.
    subscribed: bool,
}

/// A local app on a broker.
pub struct App {
    client: AsyncClient,
    collected: Arc<Mutex<Collected>>,
    published: Mutex<usize>,
    poller: JoinHandle<()>,
    prefix: String,
}

impl App {
    /// Connects and subscribes to the statuses of the contract's topics.
    pub async fn connect(port: u16) -> Self {
        Self::connect_to(
            MqttOptions::new(
                format!("app-{port}-{}", fastrand::u32(..)),
                "127.0.0.1",
                port,
            ),
            "kinesisfirehose",
        )
        .await
    }

    /// The same with options and a topic prefix.
    pub async fn connect_to(mut options: MqttOptions, prefix: &str) -> Self {
        options.set_max_packet_size(16 << 20, 16 << 20);
        options.set_keep_alive(Duration::from_secs(30));
        // A session that outlives a restart of the broker misses no status.
        options.set_clean_session(false);
        let (client, mut events) = AsyncClient::new(options, 1000);
        let collected = Arc::new(Mutex::new(Collected::default()));
        let (seen, subscriber, topic) = (
            Arc::clone(&collected),
            client.clone(),
            format!("{prefix}/message/status"),
        );
        let poller = tokio::spawn(async move {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        // The channel has room: nothing is awaited on the polling task.
                        let _ = subscriber.try_subscribe(&topic, QoS::AtLeastOnce);
                    }
                    Ok(Event::Incoming(Packet::SubAck(_))) => {
                        seen.lock().unwrap().subscribed = true
                    }
                    Ok(Event::Incoming(Packet::PubAck(_))) => {
                        seen.lock().unwrap().acknowledged += 1
                    }
                    Ok(Event::Incoming(Packet::Publish(message))) => {
                        collect(&seen, &message.payload)
                    }
                    Ok(_) => {}
                    Err(_) => {
                        seen.lock().unwrap().subscribed = false;
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            }
        });
        let app = App {
            client,
            collected,
            published: Mutex::new(0),
            poller,
            prefix: prefix.to_owned(),
        };
        super::eventually("the app is subscribed", || {
            app.collected.lock().unwrap().subscribed
        })
        .await;
        app
    }

    /// Publishes a payload on a topic at QoS 1.
    pub async fn publish(&self, topic: &str, payload: impl Into<Vec<u8>>) {
        *self.published.lock().unwrap() += 1;
        self.client
            .publish(topic, QoS::AtLeastOnce, false, payload)
            .await
            .expect("the app publishes");
    }

    /// Publishes with the quality of service and retain flag given.
    pub async fn publish_with(
        &self,
        topic: &str,
        qos: QoS,
        retain: bool,
        payload: impl Into<Vec<u8>>,
    ) {
        if qos != QoS::AtMostOnce {
            *self.published.lock().unwrap() += 1;
        }
        self.client
            .publish(topic, qos, retain, payload)
            .await
            .expect("the app publishes");
    }

    /// Publishes a JSON request.
    pub async fn request(&self, id: &str, data: &str) {
        self.publish(
            &format!("{}/message", self.prefix),
            json!({"request": {"data": data}, "id": id}).to_string(),
        )
        .await;
    }

    /// Publishes a JSON request for a stream.
    pub async fn request_to(&self, stream: &str, id: &str, data: &str) {
        let request = json!({"request": {"data": data, "delivery_stream_arn": stream}, "id": id});
        self.publish(&format!("{}/message", self.prefix), request.to_string())
            .await;
    }

    /// Publishes a raw payload where JSON requests go.
    pub async fn raw(&self, payload: impl Into<Vec<u8>>) {
        self.publish(&format!("{}/message", self.prefix), payload)
            .await;
    }

    /// Publishes a binary request.
    pub async fn binary(&self, id: &str, data: impl Into<Vec<u8>>) {
        self.publish(&format!("{}/message/binary/{id}", self.prefix), data)
            .await;
    }

    /// Waits until the broker has acknowledged all that was published at QoS 1.
    pub async fn flush(&self) {
        super::eventually("the broker has acknowledged what the app published", || {
            self.collected.lock().unwrap().acknowledged >= *self.published.lock().unwrap()
        })
        .await;
    }

    /// All statuses so far, in order.
    pub fn statuses(&self) -> Vec<Status> {
        self.collected.lock().unwrap().statuses.clone()
    }

    /// How many statuses there are so far.
    pub fn count(&self) -> usize {
        self.collected.lock().unwrap().statuses.len()
    }

    /// All status documents so far, as they came.
    pub fn documents(&self) -> Vec<Vec<u8>> {
        self.collected.lock().unwrap().documents.clone()
    }

    /// Statuses by id.
    pub fn by_id(&self) -> BTreeMap<String, Vec<Status>> {
        let mut by_id: BTreeMap<String, Vec<Status>> = BTreeMap::new();
        for status in self.statuses() {
            by_id
                .entry(status.id().to_owned())
                .or_default()
                .push(status);
        }
        by_id
    }

    /// Waits until a connector answers on this broker. The probes for that carry no record, and
    /// their statuses are forgotten.
    pub async fn until_answered(&self) {
        let start = Instant::now();
        for number in 0.. {
            assert!(start.elapsed() < PATIENCE, "no connector answers");
            let id = format!("probe-{number}");
            self.raw(json!({ "id": id }).to_string()).await;
            let wait = Instant::now();
            while wait.elapsed() < Duration::from_millis(100) {
                if self.forget_probes_behind(&id) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    }

    /// Whether this probe was answered; then all of them are forgotten, since answers come in order.
    fn forget_probes_behind(&self, id: &str) -> bool {
        let mut collected = self.collected.lock().unwrap();
        // It is among the last of what may be very many.
        let mut last = collected.statuses.iter().rev().take(10_000);
        let is_answered = last.any(|status| status.id() == id);
        if is_answered {
            collected
                .statuses
                .retain(|status| !status.id().starts_with("probe-"));
            collected.documents.clear();
        }
        is_answered
    }

    /// Waits until there are this many statuses.
    pub async fn wait_for(&self, count: usize) -> Vec<Status> {
        let start = Instant::now();
        let (mut last, mut last_change) = (0, start);
        while self.count() < count {
            if self.count() != last {
                (last, last_change) = (self.count(), Instant::now());
            }
            assert!(
                last_change.elapsed() < PATIENCE,
                "{} of {count} statuses, and none for {PATIENCE:?}",
                self.count()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.statuses()
    }

    /// Waits for the first status of an id.
    pub async fn status_of(&self, id: &str) -> Status {
        super::eventually(&format!("a status of {id:?}"), || {
            self.statuses().iter().any(|s| s.id() == id)
        })
        .await;
        self.statuses()
            .into_iter()
            .find(|status| status.id() == id)
            .expect("it is there")
    }
}

fn collect(collected: &Mutex<Collected>, payload: &[u8]) {
    let at = Instant::now();
    let document: Value = serde_json::from_slice(payload).expect("a status document is JSON");
    let mut collected = collected.lock().unwrap();
    match &document["response"] {
        Value::Array(entries) => {
            let entries = entries.iter().map(|entry| Status {
                entry: entry.clone(),
                at,
            });
            collected.statuses.extend(entries);
        }
        _ => collected.statuses.push(Status {
            entry: document,
            at,
        }),
    }
    collected.documents.push(payload.to_vec());
}

impl Drop for App {
    fn drop(&mut self) {
        self.poller.abort();
    }
}
