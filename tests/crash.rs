//! The queue on disk against SIGKILL: numbered requests are published through a real broker while
//! the connector is killed at random instants, in the second test the broker too, and the endpoint
//! misbehaves. In the end every number is delivered, byte for byte, and each one that was delivered
//! more than once has a reason for it.
//!
//! `CRASH_KILLS` says how often (default 8; `make crash KILLS=200` is the long run), `CRASH_SEED`
//! repeats the choices of an earlier run. `-- --nocapture` shows the counts.
//!
//! **What the broker may lose itself.** Mosquitto acknowledges what is published from memory and
//! saves to its file afterwards, all of it, at the end of a turn of its loop in which enough had
//! changed (`autosave_on_changes`, `autosave_interval`). Killed with SIGKILL it goes back to its last
//! save: it has forgotten what it acknowledged since, and delivers once more what the connector had
//! acknowledged since. So the driver publishes again what was un-acknowledged at the kill, and what was
//! acknowledged after the file of the last save was begun (its time of birth: the file is written
//! anew each time, then renamed). What was acknowledged earlier is in that file, and is not
//! published again: if it is missing in the end, the connector has lost it.

#![cfg(feature = "local")]

mod common;

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use common::{
    App, ConnectorProcess, Mosquitto, MosquittoOptions, PATIENCE, Publisher, Relay, STREAM,
    endpoint, eventually, stream_arn,
};
use fastrand::Rng;
use kinesis_edge::local::{Accepted, CallFault, Endpoint, Faults};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// The streams that take turns. Binary requests go to the first, the default one.
const STREAMS: [&str; 4] = ["test", "first", "second", "third"];

/// A call and the note of its outcome take this long at the most: what was accepted within this
/// before a kill may come again. Much longer than it should be, for slow machines; in one cycle of
/// [`QUIET_EVERY`] the connector is left alone for longer before the kill, so that a connector which
/// notes nothing is found out.
const UNDER_WAY: Duration = Duration::from_secs(2);

/// A request that lies with the endpoint is accepted after its sender is gone. Once nothing was accepted
/// for this long, nothing of that kind comes any more.
const SETTLED: Duration = Duration::from_millis(250);
const QUIET_EVERY: usize = 8;

/// What the endpoint does wrong, a cycle each: the share of records that fail, what happens to which
/// calls of a stream (there are few in a cycle), and how long each takes in ms.
const FAULTS: [(f64, CallFault, u32, u64); 8] = [
    (0.2, CallFault::None, 1, 0),
    (0.0, CallFault::ServerError, 2, 50),
    (0.2, CallFault::ResetAfterCommit, 2, 0),
    (0.0, CallFault::None, 1, 0),
    (0.1, CallFault::Throttled, 2, 100),
    (0.0, CallFault::ShortAnswer, 1, 0),
    (0.2, CallFault::ResetBeforeCommit, 2, 20),
    (0.0, CallFault::ResetAfterCommit, 1, 200),
];

/// A number as it is published, and as it has to arrive.
struct Message {
    topic: String,
    payload: Vec<u8>,
    stream: &'static str,
    data: Vec<u8>,
}

/// The message of a number in a run: always the same.
fn message(seed: u64, number: u32) -> Message {
    let mut dice = Rng::with_seed(seed ^ (u64::from(number) << 20));
    let length = match dice.u32(..200) {
        0 => dice.usize(20_000..60_000),
        _ => dice.usize(..300),
    };
    let head = format!("{number} ");
    if number.is_multiple_of(4) {
        let mut data = head.into_bytes();
        data.extend((0..length).map(|_| dice.u8(..)));
        return Message {
            topic: format!("kinesisfirehose/message/binary/{number}"),
            payload: data.clone(),
            stream: STREAMS[0],
            data,
        };
    }
    let letters = ['a', 'Z', '"', '\\', '\n', '\u{1}', 'ü', '語', '🦀'];
    let data: String = head
        .chars()
        .chain((0..length / 2).map(|_| letters[dice.usize(..letters.len())]))
        .collect();
    let stream = STREAMS[number as usize / 4 % STREAMS.len()];
    let mut request = json!({"request": {"data": data}, "id": number.to_string()});
    if stream != STREAMS[0] {
        request["request"]["delivery_stream_arn"] = stream_arn(stream).into();
    }
    Message {
        topic: "kinesisfirehose/message".into(),
        payload: request.to_string().into_bytes(),
        stream,
        data: data.into_bytes(),
    }
}

/// What is to be published and what has been.
#[derive(Default)]
struct Numbers {
    /// To be published, some of them again.
    waiting: VecDeque<u32>,
    /// When the broker's acknowledgement was read; the last one counts.
    acknowledged: HashMap<u32, SystemTime>,
    /// Set when the broker was killed: what it acknowledged from then on it has forgotten.
    forgotten_since: Option<SystemTime>,
    /// Publishes made again because of that, or un-acknowledged at a kill.
    again: usize,
}

/// Publishes numbers until it is dropped, whatever becomes of the broker.
struct Driver {
    numbers: Arc<Mutex<Numbers>>,
    task: JoinHandle<()>,
    /// Numbers given out so far: all below this.
    given: u32,
}

impl Driver {
    fn start(port: u16, seed: u64) -> Self {
        let numbers = Arc::new(Mutex::new(Numbers::default()));
        let task = tokio::spawn(drive(port, seed, Arc::clone(&numbers)));
        Driver {
            numbers,
            task,
            given: 0,
        }
    }

    fn publish(&mut self, count: u32) {
        let mut numbers = self.numbers.lock().unwrap();
        numbers.waiting.extend(self.given..self.given + count);
        self.given += count;
    }

    /// The broker was killed; its last save was begun at this time.
    fn broker_killed(&self, saved: SystemTime) {
        let mut numbers = self.numbers.lock().unwrap();
        let since = numbers.forgotten_since.unwrap_or(saved).min(saved);
        numbers.forgotten_since = Some(since);
    }

    /// Whether the broker has acknowledged all.
    fn is_done(&self) -> bool {
        let numbers = self.numbers.lock().unwrap();
        numbers.forgotten_since.is_none() && numbers.acknowledged.len() == self.given as usize
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn drive(port: u16, seed: u64, numbers: Arc<Mutex<Numbers>>) {
    loop {
        let Ok(mut publisher) = Publisher::connect(port).await else {
            sleep(Duration::from_millis(5)).await;
            continue;
        };
        while numbers.lock().unwrap().forgotten_since.is_none() {
            while publisher.has_room()
                && let Some(number) = next(&numbers)
            {
                let message = message(seed, number);
                publisher.put(number, &message.topic, &message.payload);
            }
            match publisher.exchange().await {
                Ok(acknowledged) if acknowledged.is_empty() => {
                    sleep(Duration::from_millis(2)).await
                }
                Ok(acknowledged) => {
                    let now = SystemTime::now();
                    let of_now = acknowledged.into_iter().map(|number| (number, now));
                    numbers.lock().unwrap().acknowledged.extend(of_now);
                }
                Err(_) => break,
            }
        }
        // Only a kill ends a connection, and whoever kills tells what is forgotten.
        let since = loop {
            if let Some(since) = numbers.lock().unwrap().forgotten_since.take() {
                break since;
            }
            sleep(Duration::from_millis(1)).await;
        };
        numbers.lock().unwrap().publish_again(publisher, since);
    }
}

fn next(numbers: &Mutex<Numbers>) -> Option<u32> {
    numbers.lock().unwrap().waiting.pop_front()
}

impl Numbers {
    fn publish_again(&mut self, publisher: Publisher, since: SystemTime) {
        let mut again: Vec<u32> = publisher.unacknowledged().collect();
        self.acknowledged.retain(|number, at| {
            let forgotten = *at >= since;
            if forgotten {
                again.push(*number);
            }
            !forgotten
        });
        self.again += again.len();
        again.sort_unstable();
        again
            .into_iter()
            .rev()
            .for_each(|n| self.waiting.push_front(n));
    }
}

/// A broker, a relay, an endpoint, an app and the program, started again after each kill.
struct Site {
    broker: Mosquitto,
    relay: Relay,
    endpoint: Endpoint,
    app: App,
    driver: Driver,
    process: ConnectorProcess,
    /// Where the queue is.
    folder: tempfile::TempDir,
    mqtt: &'static str,
    dice: Rng,
    seed: u64,
    /// When the connector was killed, in order.
    kills: Vec<Instant>,
    /// Records that were acknowledged and not yet delivered at a kill of the connector, summed up.
    only_in_the_queue: usize,
    /// Records of each stream that were looked at.
    counted: HashMap<&'static str, usize>,
    /// The numbers in them.
    arrived: HashSet<u32>,
}

/// The number that a record begins with.
fn number_of(data: &[u8]) -> u32 {
    let digits = data.split(|byte| *byte == b' ').next();
    let number = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    number.expect("each record begins with its number")
}

impl Site {
    async fn start(mqtt: &'static str) -> Self {
        let seed = match std::env::var("CRASH_SEED") {
            Ok(seed) => seed.parse().expect("CRASH_SEED is a whole number"),
            Err(_) => fastrand::u64(..),
        };
        println!("CRASH_SEED={seed}");
        let mut broker = Mosquitto::start_with(MosquittoOptions {
            persistent: true,
            lines: vec![
                "autosave_on_changes true".into(),
                "autosave_interval 200".into(),
                "max_queued_messages 10000000".into(),
            ],
            ..MosquittoOptions::default()
        });
        let (relay, endpoint) = (Relay::start(broker.port, mqtt).await, endpoint().await);
        let folder = tempfile::tempdir().expect("a folder for the queue");
        let process = start(&relay, &endpoint, &folder, mqtt);
        let app = App::connect(broker.port).await;
        app.until_answered().await;
        // A stop saves: from here on the broker knows the connector's session whatever comes.
        broker.stop();
        broker.launch();
        let driver = Driver::start(broker.port, seed);
        Site {
            broker,
            relay,
            endpoint,
            app,
            driver,
            process,
            folder,
            mqtt,
            dice: Rng::with_seed(seed),
            seed,
            kills: Vec::new(),
            only_in_the_queue: 0,
            counted: HashMap::new(),
            arrived: HashSet::new(),
        }
    }

    fn set_faults(&self, cycle: usize) {
        let (failing_share, call, every, latency_ms) = FAULTS[cycle % FAULTS.len()];
        self.endpoint.faults().set_all(Faults {
            failing_share,
            call,
            every,
            latency: Duration::from_millis(latency_ms),
        });
    }

    /// Publishes for a while: some requests at once, others one by one.
    async fn busy(&mut self, longest: Duration) {
        let at_once = self.dice.u32(..800);
        self.driver.publish(at_once);
        let until = Instant::now() + longest.mul_f64(self.dice.f64());
        while Instant::now() < until {
            let few = self.dice.u32(..40);
            self.driver.publish(few);
            sleep(Duration::from_millis(self.dice.u64(..40))).await;
        }
    }

    async fn kill_connector(&mut self) {
        self.process.kill();
        let mut accepted = None;
        while accepted != Some(self.accepted()) {
            accepted = Some(self.accepted());
            sleep(SETTLED).await;
        }
        self.kills.push(Instant::now());
        let delivered = self.count_delivered();
        self.only_in_the_queue += self.relay.acknowledged().saturating_sub(delivered);
    }

    fn start_connector(&mut self) {
        self.process = start(&self.relay, &self.endpoint, &self.folder, self.mqtt);
    }

    fn kill_broker(&mut self) {
        self.broker.kill();
        let saved = std::fs::metadata(self.broker.folder().join("mosquitto.db"))
            .expect("the broker has saved")
            .created()
            .expect("the file system of the temporary folder knows when a file was made");
        self.driver.broker_killed(saved);
        self.broker.launch();
    }

    /// How many numbers were delivered up to now. Only what came since the last count is looked at.
    fn count_delivered(&mut self) -> usize {
        for stream in STREAMS {
            let counted = self.counted.entry(stream).or_default();
            let accepted = self.endpoint.accepted(stream);
            let new = accepted.iter().skip(*counted);
            self.arrived
                .extend(new.map(|record| number_of(&record.data)));
            *counted = accepted.len();
        }
        self.arrived.len()
    }

    /// What the endpoint has accepted, by number.
    fn delivered(&self) -> HashMap<u32, Vec<Accepted>> {
        let mut delivered: HashMap<u32, Vec<Accepted>> = HashMap::new();
        for stream in STREAMS {
            for record in self.endpoint.accepted(stream) {
                let number = number_of(&record.data);
                let expected = message(self.seed, number);
                assert_eq!(stream, expected.stream, "{number} is in the wrong stream");
                assert!(
                    record.data == expected.data,
                    "{number} is not what was published"
                );
                delivered.entry(number).or_default().push(record);
            }
        }
        delivered
    }

    /// Records that the endpoint has accepted, repeats too.
    fn accepted(&self) -> u64 {
        self.endpoint.stats().values().map(|s| s.records).sum()
    }

    /// Waits until everything that was published is delivered.
    async fn settle(&mut self) {
        let (mut last, mut last_change) = (0, Instant::now());
        loop {
            let accepted = self.accepted();
            let all = u64::from(self.driver.given);
            if self.driver.is_done() && accepted >= all && self.count_delivered() as u64 == all {
                return;
            }
            if accepted != last {
                (last, last_change) = (accepted, Instant::now());
            }
            assert!(last_change.elapsed() < PATIENCE, "{}", self.missing());
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// What did not arrive, and who had it last.
    fn missing(&self) -> String {
        let delivered = self.delivered();
        let missing: Vec<u32> = (0..self.driver.given)
            .filter(|number| !delivered.contains_key(number))
            .collect();
        let lost: Vec<&u32> = missing
            .iter()
            .filter(|number| self.relay.is_acknowledged(**number))
            .collect();
        format!(
            "seed {}: {} of {} numbers do not arrive; {} of them the connector had acknowledged: {:?}…\n\
             the broker has acknowledged all to the driver: {}\n{}",
            self.seed,
            missing.len(),
            self.driver.given,
            lost.len(),
            &lost[..lost.len().min(10)],
            self.driver.is_done(),
            self.process.stderr()
        )
    }

    /// The end: a working endpoint, everything delivered, a clean stop, and the accounts.
    async fn finish(mut self) {
        self.endpoint.faults().clear();
        self.settle().await;
        // Statuses come in order: behind this answer there is nothing left to publish.
        self.app.until_answered().await;
        self.process.signal("TERM");
        let ended = self.process.wait();
        assert!(ended.success(), "{ended}\n{}", self.process.stderr());
        let failed: Vec<_> = self.app.statuses();
        let failed = failed.iter().find(|status| !status.is_success());
        assert_eq!(failed, None, "no request is refused or fails");
        self.account();
        // Else the kills have proved nothing.
        assert!(self.only_in_the_queue > 0);
    }

    /// Each repeat has a reason: an acceptance that the connector cannot have known of, one whose
    /// outcome was under way at a kill, or a request that the broker delivered again.
    fn account(&self) {
        let (mut repeats, mut unanswered, mut killed, mut redelivered) = (0, 0, 0, 0);
        for (number, accepted) in self.delivered() {
            let mut left = accepted.len() - 1;
            repeats += left;
            let mut explain = |reasons: usize, count: &mut usize| {
                let explained = left.min(reasons);
                left -= explained;
                *count += explained;
            };
            let earlier = &accepted[..accepted.len() - 1];
            let unknown = earlier.iter().filter(|record| !record.known).count();
            let at_kill = earlier
                .iter()
                .filter(|record| record.known && self.was_killed_at(record));
            explain(unknown, &mut unanswered);
            explain(at_kill.count(), &mut killed);
            explain(
                self.relay.deliveries(number).saturating_sub(1),
                &mut redelivered,
            );
            assert_eq!(
                left,
                0,
                "seed {}: {number} was delivered {} times without a reason: {:?}",
                self.seed,
                accepted.len(),
                accepted
                    .iter()
                    .map(|r| (r.known, self.until_kill(r)))
                    .collect::<Vec<_>>()
            );
        }
        println!(
            "{} numbers, {} kills of the connector, {} records only in its queue at a kill, {} publishes \
             made again; {repeats} repeats: {unanswered} of unanswered calls, {killed} under way at a \
             kill, {redelivered} delivered again by the broker",
            self.driver.given,
            self.kills.len(),
            self.only_in_the_queue,
            self.driver.numbers.lock().unwrap().again,
        );
    }

    /// How long after its acceptance the connector was killed.
    fn until_kill(&self, record: &Accepted) -> Option<Duration> {
        let next = self.kills.partition_point(|kill| *kill < record.at);
        self.kills.get(next).map(|kill| *kill - record.at)
    }

    fn was_killed_at(&self, record: &Accepted) -> bool {
        self.until_kill(record).is_some_and(|time| time < UNDER_WAY)
    }
}

fn start(
    relay: &Relay,
    endpoint: &Endpoint,
    folder: &tempfile::TempDir,
    mqtt: &str,
) -> ConnectorProcess {
    let queue: PathBuf = folder.path().join("queue");
    ConnectorProcess::start(&[
        ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
        ("MQTT_URL", &relay.url()),
        ("MQTT_VERSION", mqtt),
        ("MQTT_CLIENT_ID", "connector"),
        ("PUBLISH_INTERVAL", "1"),
        ("DELIVERY_STREAM_QUEUE_SIZE", "10000000"),
        ("QUEUE_DIR", &queue.display().to_string()),
        ("QUEUE_DIR_MAX_BYTES", "10000000000"),
        ("AWS_ENDPOINT_URL_FIREHOSE", &endpoint.url()),
        ("AWS_ACCESS_KEY_ID", "none"),
        ("AWS_SECRET_ACCESS_KEY", "none"),
    ])
}

fn kills() -> usize {
    std::env::var("CRASH_KILLS").map_or(8, |kills| {
        kills.parse().expect("CRASH_KILLS is a whole number")
    })
}

/// The connector alone is killed. One in [`QUIET_EVERY`] kills finds nothing under way.
async fn connector_is_killed(mqtt: &'static str, kills: usize) {
    let mut site = Site::start(mqtt).await;
    for cycle in 0..kills {
        site.set_faults(cycle);
        site.busy(Duration::from_millis(2500)).await;
        if cycle % QUIET_EVERY == 3 {
            site.settle().await;
            sleep(UNDER_WAY + Duration::from_millis(200)).await;
        }
        site.kill_connector().await;
        // What comes meanwhile waits at the broker.
        let meanwhile = site.dice.u32(..200);
        site.driver.publish(meanwhile);
        site.start_connector();
    }
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_the_connector_is_killed() {
    connector_is_killed("5", kills()).await;
}

/// With MQTT 3.1.1 the broker's window of 20 leaves other things half done at a kill.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_the_connector_is_killed_with_mqtt_3() {
    connector_is_killed("3.1.1", kills().div_ceil(2)).await;
}

/// The broker and the connector are killed in turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_broker_and_connector_are_killed() {
    let mut site = Site::start("5").await;
    for cycle in 0..kills() {
        site.set_faults(cycle);
        site.busy(Duration::from_millis(1500)).await;
        if cycle % 2 == 0 {
            site.kill_broker();
        } else {
            site.kill_connector().await;
            site.start_connector();
        }
    }
    // The last broker's file was made before its last kill, and the driver has dealt with it.
    eventually("the driver has everything acknowledged", || {
        site.driver.is_done()
    })
    .await;
    site.finish().await;
}
