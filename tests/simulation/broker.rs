//! The broker: one persistent session with its queue, its window and what is un-acknowledged in it. What goes over a
//! connection is in `line.rs`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::book::{Moment, REFUSAL, Status};
use crate::line::{Line, Outgoing};
use crate::plan::{BrokerPlan, Plan, Trouble, TroubleKind};
use crate::world::{Life, World};

/// A message that the broker keeps only for newcomers.
pub const RETAINED: &str = "kept for newcomers";

/// Codes of records that are among the dead letters before their statuses are told.
const BURIED: [&str; 3] = [REFUSAL, "Expired", "RecordTooLarge"];

pub struct Broker {
    pub plan: BrokerPlan,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Requests that wait for the window.
    queue: VecDeque<usize>,
    /// Un-acknowledged, in the order in which they were sent: packet id and request.
    in_flight: VecDeque<(u16, usize)>,
    next_packet_id: u16,
    has_session: bool,
    is_subscribed: bool,
    /// The connection that the session goes over.
    connection: Option<Arc<Line>>,
    connections: usize,
    /// What goes on at the moment, and until when.
    troubles: BTreeMap<usize, Duration>,
    /// Documents as they came; over which connection of which run first.
    documents: BTreeMap<Vec<u8>, (usize, usize)>,
    /// Requests that were published at the broker.
    published: BTreeSet<usize>,
}

impl Broker {
    pub fn new(plan: &Plan) -> Self {
        Broker {
            plan: plan.broker.clone(),
            state: Mutex::default(),
        }
    }

    /// Whether that trouble goes on.
    pub fn has(&self, world: &World, kinds: &[TroubleKind]) -> bool {
        let now = world.start.elapsed();
        let state = self.state.lock().unwrap();
        !world.is_calm()
            && state.troubles.iter().any(|(&which, &until)| {
                kinds.contains(&self.plan.troubles[which].kind) && now < until
            })
    }

    pub fn begin_trouble(&self, world: &World, which: usize) {
        let Trouble { kind, lasts, .. } = self.plan.troubles[which];
        world.say(format_args!(
            "broker: {kind:?} for {} ms",
            lasts.as_millis()
        ));
        let mut state = self.state.lock().unwrap();
        let until = world.start.elapsed() + lasts;
        state.troubles.insert(which, until);
        let connection = match kind {
            TroubleKind::Cut | TroubleKind::Down | TroubleKind::Forgetful => {
                state.connection.take()
            }
            _ => None,
        };
        if kind == TroubleKind::Forgetful {
            self.forget(world, &mut state);
        }
        drop(state);
        if let Some(line) = connection {
            line.cut(world, kind == TroubleKind::Cut);
        }
    }

    /// The session is gone with all that it held.
    fn forget(&self, world: &World, state: &mut State) {
        let mut book = world.book();
        let in_flight = std::mem::take(&mut state.in_flight);
        let queue = std::mem::take(&mut state.queue);
        for number in in_flight.into_iter().map(|sent| sent.1).chain(queue) {
            book.requests[number].is_lost_by_broker = true;
        }
        (state.has_session, state.is_subscribed) = (false, false);
    }

    /// An app publishes a request. `false`: the broker is not there.
    pub fn publish(&self, world: &World, number: usize) -> bool {
        if self.has(world, &[TroubleKind::Down, TroubleKind::Forgetful]) {
            return false;
        }
        let at_least_once = world.book().plan[number].at_least_once;
        let mut state = self.state.lock().unwrap();
        let is_kept = state.is_subscribed && (at_least_once || state.connection.is_some());
        if is_kept {
            state.queue.push_back(number);
        } else {
            world.book().requests[number].is_lost_by_broker = true;
        }
        state.published.insert(number);
        world.say(format_args!("app: publishes {number}, kept: {is_kept}"));
        let line = state.connection.clone();
        drop(state);
        if let Some(line) = line {
            self.send_on(world, &line);
        }
        true
    }

    /// Whether the connector is here, and nothing waits for it.
    pub fn is_empty(&self) -> bool {
        let state = self.state.lock().unwrap();
        let is_ready = state.is_subscribed && state.connection.is_some();
        is_ready && state.queue.is_empty() && state.in_flight.is_empty()
    }

    pub fn what_waits(&self) -> String {
        let state = self.state.lock().unwrap();
        format!(
            "{} queued, in flight {:?}, connected: {}, subscribed: {}",
            state.queue.len(),
            state.in_flight,
            state.connection.is_some(),
            state.is_subscribed
        )
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }

    /// The number of a connection that begins.
    pub fn next_connection(&self) -> usize {
        let mut state = self.state.lock().unwrap();
        state.connections += 1;
        state.connections
    }

    /// The connector logs in. Whether the session is there; un-acknowledged messages go out again.
    pub fn log_in(&self, world: &World, line: &Arc<Line>) -> bool {
        let mut state = self.state.lock().unwrap();
        let before = state.connection.replace(Arc::clone(line));
        let present = std::mem::replace(&mut state.has_session, true);
        drop(state);
        if let Some(before) = before {
            before.cut(world, false);
        }
        present
    }

    /// What was un-acknowledged goes out again.
    pub fn send_again(&self, world: &World, line: &Line) {
        for (packet_id, number) in self.state.lock().unwrap().in_flight.clone() {
            line.send(self.message(world, line, number, packet_id, true));
        }
        self.send_on(world, line);
    }

    pub fn subscribe(&self, world: &World, line: &Line) {
        self.state.lock().unwrap().is_subscribed = true;
        if !line.speaks_5() {
            let (topic, payload) = ("kinesisfirehose/message/binary/id-0", RETAINED.as_bytes());
            line.send(line.publish(topic, payload, 0, 0x01, None));
        }
        self.send_on(world, line);
    }

    /// Sends what the window allows.
    fn send_on(&self, world: &World, line: &Line) {
        let mut state = self.state.lock().unwrap();
        if !state.is_subscribed || !line.is_logged_in() {
            return;
        }
        let window = self.plan.window.min(line.window());
        while let Some(&number) = state.queue.front() {
            let at_least_once = world.book().plan[number].at_least_once;
            if at_least_once && state.in_flight.len() >= window {
                return;
            }
            state.queue.pop_front();
            let mut packet_id = 0;
            if at_least_once {
                packet_id = state.free_packet_id();
                state.in_flight.push_back((packet_id, number));
            }
            line.send(self.message(world, line, number, packet_id, false));
        }
    }

    fn message(
        &self,
        world: &World,
        line: &Line,
        number: usize,
        packet_id: u16,
        again: bool,
    ) -> Outgoing {
        let (topic, payload) = world.book().message(number);
        let flags = if again { 0x08 } else { 0 };
        line.publish(&topic, &payload, packet_id, flags, Some(number))
    }

    /// The connector acknowledges a message: those of a connection in their order.
    pub fn acknowledged(&self, world: &World, line: &Line, packet_id: u16) {
        let mut state = self.state.lock().unwrap();
        let front = state.in_flight.pop_front();
        match front {
            Some((expected, number)) if expected == packet_id => {
                drop(state);
                world.say(format_args!("broker: {number} is acknowledged"));
                world.book().requests[number].acked = true;
                self.send_on(world, line);
            }
            _ => world.wrong(format_args!(
                "packet {packet_id} was acknowledged, and {front:?} is next"
            )),
        }
    }

    /// Whether the same run of the connector published this document over another connection.
    fn came_before(&self, document: &[u8], seen: (usize, usize)) -> bool {
        let mut state = self.state.lock().unwrap();
        let first = state.documents.entry(document.to_vec()).or_insert(seen);
        if first.1 != seen.1 {
            *first = seen;
        }
        *first != seen
    }

    /// A document of statuses arrives.
    pub fn reported(&self, world: &World, line: &Line, life: &Life, document: &[u8]) {
        let seen = (line.number, life.number);
        // One that came over an earlier connection may be sent again: its acknowledgement may not have arrived.
        if self.came_before(document, seen) {
            return;
        }
        let Ok(value) = serde_json::from_slice::<Value>(document) else {
            return world.wrong(format_args!("a status document is not JSON"));
        };
        let statuses: Vec<(&Value, &Value)> = match &value["response"] {
            Value::Array(list) => list.iter().map(|status| (&status["id"], status)).collect(),
            single => vec![(&value["id"], single)],
        };
        for (id, status) in statuses {
            let code = [&status["ErrorCode"], &status["error"]];
            let code = code.into_iter().find_map(Value::as_str).unwrap_or("");
            let id = id.as_str().unwrap_or("");
            let record_id = status["firehose_record_id"].as_str();
            world.say(format_args!("broker: {id} is reported as {code:?}"));
            if (status["status"] == "success") != code.is_empty() {
                world.wrong(format_args!("{status} contradicts itself"));
            }
            let status = Status {
                id,
                record_id,
                code,
            };
            let moment = Moment {
                now: world.start.elapsed(),
                life: life.number,
                is_stopping: life.stopping.load(Ordering::Relaxed),
                repeats: world.repeats(),
            };
            let reported = world.book().reported(&status, &moment);
            match reported {
                Err(wrong) => world.wrong(format_args!("{wrong}")),
                Ok(number) if BURIED.contains(&code) && world.plan.dead_letters => {
                    if !world.is_buried(number) {
                        world.wrong(format_args!("{number} is reported and not buried"));
                    }
                }
                Ok(_) => {}
            }
        }
        world.audit();
    }

    /// A connection has ended, in order or not.
    pub fn ended(&self, world: &World, line: &Line, in_order: bool) {
        let mut state = self.state.lock().unwrap();
        let is_it = |one: &Arc<Line>| one.number == line.number;
        if state.connection.as_ref().is_some_and(is_it) {
            state.connection = None;
        }
        drop(state);
        if !in_order {
            world.book().broken.push(line.number);
        }
        // What was to go out at QoS 0 is gone.
        for number in line.unsent() {
            if !world.book().plan[number].at_least_once {
                world.book().requests[number].is_lost_by_broker = true;
            }
        }
        world.say(format_args!("broker: connection {} has ended", line.number));
    }
}

impl State {
    fn free_packet_id(&mut self) -> u16 {
        loop {
            self.next_packet_id = self.next_packet_id % 65_535 + 1;
            let id = self.next_packet_id;
            if self.in_flight.iter().all(|sent| sent.0 != id) {
                return id;
            }
        }
    }
}
