//! The session: one connection after another, and what outlives them.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use super::acks::{AckQueue, AckToken, OWED_MAX};
use super::connect::{Connection, Dial, Network, connect};
use super::error::ConnectError;
use super::frame::{Frame, Message};
use super::link::{Parting, Up};
use super::outbox::Outbox;
use super::refusals::Refusals;
use super::retry::{Retry, STEADY};
use super::settings::{Protocol, SessionSettings, host_and_port};
use super::tls_fault::advice;
use super::view::SessionView;
use super::wire::{self, Packet};
use crate::utc::whole_ms;

#[cfg(test)]
mod tests;

/// The packet ids of subscriptions and of their end; publishes use the ones below.
const SUBSCRIBE_PACKET_ID: u16 = u16::MAX;
const UNSUBSCRIBE_PACKET_ID: u16 = u16::MAX - 1;

/// Up to how many unsent bytes acknowledgements are written, beside the messages under way. Those of all packet ids
/// there are take no more, so a broker that waits for its window is never let down.
const ACKS_UNSENT_MAX_BYTES: usize = 256 * 1024;

/// Up to how many unsent bytes, beside the messages under way, another is published: more than acknowledgements and
/// the heads of messages take. A broker that has acknowledged what it did not read is given no more of it.
const PUBLISH_UNSENT_MAX_BYTES: usize = 2 * ACKS_UNSENT_MAX_BYTES;

/// Most reasons of having no connection that are logged until there is one. Some come from outside.
const REASONS_MAX: usize = 16;

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// The broker accepted us. Messages of this connection come after this event; what is
    /// published waits until the subscription stands.
    Connected {
        /// Whether the broker kept the session: then it sends again what it holds un-acknowledged.
        resumed: bool,
        /// The longest payload it takes on a topic of this length, in bytes.
        payload_max_bytes: usize,
    },
    /// The connection is gone; the session connects again by itself.
    Disconnected,
    /// Something was read: messages, in order of arrival, or acknowledgements of ours.
    Received(Vec<Message>),
}

/// A session with a broker.
pub struct Session {
    /// As configured.
    settings: Arc<SessionSettings>,
    /// How connections are opened.
    dial: Arc<dyn Dial>,
    /// The present connection, or the way to the next.
    link: Link,
    /// What is owed to the broker.
    acks: AckQueue,
    /// Whether acknowledgements are held back for now.
    acks_held: bool,
    /// Whether nothing is read for now.
    reading_paused: bool,
    /// Whether something was read while paused, and waits to be cut.
    uncut: bool,
    /// What is under way to the broker.
    outbox: Outbox,
    /// When and how the next attempt is made.
    retry: Retry,
    /// What was logged as the reason of having no connection, since there was one.
    logged: Vec<String>,
    /// Attempts and connections that failed since a connection was last logged.
    failures: u64,
    /// Whether the present connection was logged. One that follows others that broke at once is
    /// logged when it has proved steady.
    announced: bool,
    /// What the broker refuses of what we publish.
    refusals: Refusals,
    /// What others see of it.
    view: SessionView,
    /// Events that wait to be handed out.
    events: VecDeque<Event>,
}

enum Link {
    /// Waiting for the next attempt.
    Down(Instant),
    /// On the way.
    Connecting(Pin<Box<dyn Future<Output = Result<Connection, ConnectError>> + Send>>),
    /// Up.
    Up(Box<Up>),
}

impl Session {
    /// A session that connects when it is first polled.
    pub fn new(settings: SessionSettings) -> Self {
        Self::over(Arc::new(Network), settings)
    }

    /// The same over another network.
    pub fn over(dial: Arc<dyn Dial>, settings: SessionSettings) -> Self {
        Session {
            retry: Retry::new(settings.protocol, settings.certificate().is_some()),
            settings: Arc::new(settings),
            dial,
            link: Link::Down(Instant::now()),
            acks: AckQueue::default(),
            acks_held: false,
            reading_paused: false,
            uncut: false,
            outbox: Outbox::new(),
            logged: Vec::new(),
            failures: 0,
            announced: false,
            refusals: Refusals::default(),
            view: SessionView::new(),
            events: VecDeque::new(),
        }
    }

    /// The session as others may see it.
    pub fn view(&self) -> SessionView {
        self.view.clone()
    }

    /// Drives the session until something happens. Dropping the future before loses nothing.
    pub async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            match &mut self.link {
                Link::Down(until) => {
                    sleep_until(*until).await;
                    let dial = Arc::clone(&self.dial);
                    let attempt = connect(dial, Arc::clone(&self.settings), self.retry.protocol());
                    self.link = Link::Connecting(Box::pin(attempt));
                }
                Link::Connecting(attempt) => match attempt.await {
                    Ok(connection) => self.connected(connection),
                    Err(error) => self.failed(&error),
                },
                Link::Up(_) => {
                    if let Err(error) = self.exchange().await {
                        self.failed(&error);
                    }
                }
            }
        }
    }

    /// The message is held: the broker may forget it.
    pub fn acknowledge(&mut self, token: AckToken) {
        self.acks.settle(token);
    }

    /// Holds acknowledgements back, or lets them go: the broker's window then stops or opens.
    pub fn hold_acknowledgements(&mut self, hold: bool) {
        self.acks_held = hold;
    }

    /// Stops taking in what the broker sends, or goes on. Its answers wait too meanwhile.
    pub fn pause_reading(&mut self, pause: bool) {
        self.reading_paused = pause;
        self.view.set_reading_paused(pause);
    }

    /// Whether answers of the broker may stand behind messages that are not read yet, since reading was paused.
    pub fn is_behind(&self) -> bool {
        matches!(&self.link, Link::Up(up) if self.reading_paused || up.is_behind())
    }

    /// Whether the session is up and takes another message to publish.
    pub fn can_publish(&self) -> bool {
        let unsent_max = self.outbox.bytes() + PUBLISH_UNSENT_MAX_BYTES;
        self.outbox.has_room()
            && matches!(&self.link, Link::Up(up) if !up.is_subscribing() && up.out.len() < unsent_max)
    }

    /// Publishes at QoS 1. It is sent again after a reconnect until the broker has it. `false`:
    /// the broker takes no packet of this size.
    pub fn publish(&mut self, topic: &Arc<str>, payload: Bytes) -> bool {
        self.publish_as(topic, payload, false)
    }

    /// The same, and the broker keeps it for those who subscribe later.
    pub fn publish_retained(&mut self, topic: &Arc<str>, payload: Bytes) -> bool {
        self.publish_as(topic, payload, true)
    }

    fn publish_as(&mut self, topic: &Arc<str>, payload: Bytes, retain: bool) -> bool {
        if let Link::Up(up) = &self.link
            && !up.takes(topic.len() + payload.len())
        {
            return false;
        }
        self.outbox.add(Arc::clone(topic), payload, retain);
        self.send_under_way();
        true
    }

    /// Writes what is under way and not yet sent on this connection, as far as the broker's
    /// window goes.
    fn send_under_way(&mut self) {
        let Link::Up(up) = &mut self.link else { return };
        if up.is_subscribing() {
            return;
        }
        self.outbox.drop_where(|message| {
            let bytes = message.topic.len() + message.payload.len();
            let fits = up.takes(bytes);
            if !fits {
                tracing::error!(
                    bytes,
                    "the broker takes no message as long as this one any more; it is dropped"
                );
            }
            !fits
        });
        while let Some((message, again)) = self.outbox.next_to_send() {
            // Of a size that fitted, so it can be written.
            let written = wire::write_publish_head(
                up.protocol,
                up.out.small(),
                &message.topic,
                message.packet_id,
                message.payload.len(),
                again && up.resumed,
                message.retain,
            );
            if written.is_ok() {
                up.out.add(&message.payload);
            }
        }
    }

    /// Messages published and not acknowledged by the broker.
    pub fn under_way(&self) -> usize {
        self.outbox.len()
    }

    /// Whether there is a connection.
    pub fn is_up(&self) -> bool {
        matches!(self.link, Link::Up(_))
    }

    /// Sends what is written, acknowledges what is due, ends the connection. The broker keeps the session unless it
    /// is a clean one.
    pub async fn disconnect(mut self, parting: Parting, limit: Duration) {
        self.acks_held = false;
        self.write_acknowledgements();
        if let Link::Up(up) = self.link {
            up.end(parting, limit).await;
        }
    }

    fn connected(&mut self, connection: Connection) {
        self.retry.accepted();
        self.uncut = false;
        self.acks.start_connection();
        self.outbox
            .start_connection(connection.accepted.receive_maximum);
        let window = match connection.protocol {
            Protocol::V5 => self.settings.receive_maximum,
            // Brokers have their own ideas, most of them of a few.
            Protocol::V311 => 0,
        };
        let mut up = Up::new(connection, self.settings.keep_alive_seconds, window);
        // In a session that the broker kept too: it may have been made with other topics, or come
        // back from a save that is older than our subscription.
        let subscribe = !self.settings.filters.is_empty();
        let written = if subscribe {
            up.subscribing();
            self.write_subscriptions(&mut up)
        } else {
            Ok(())
        };
        self.events.push_back(Event::Connected {
            resumed: up.resumed,
            payload_max_bytes: up.payload_max_bytes(),
        });
        self.link = Link::Up(Box::new(up));
        if let Err(error) = written {
            self.failed(&ConnectError::Protocol(error.to_string()));
            return;
        }
        if !subscribe {
            self.ready();
        }
        // Messages may have come right behind the broker's answer. They may be all that it sends
        // before it sees them acknowledged, so nothing more may ever be read.
        if let Err(error) = self.cut() {
            self.failed(&error);
        }
    }

    /// Subscribes, and only then ends what an earlier configuration subscribed to: for a moment a message may come
    /// by both ways, and none comes by neither.
    fn write_subscriptions(&self, up: &mut Up) -> Result<(), wire::WriteError> {
        let SessionSettings {
            filters,
            former_filters,
            ..
        } = &*self.settings;
        let (protocol, out) = (up.protocol, up.out.small());
        wire::write_subscribe(protocol, filters, SUBSCRIBE_PACKET_ID, out)?;
        if up.resumed && !former_filters.is_empty() {
            wire::write_unsubscribe(protocol, former_filters, UNSUBSCRIBE_PACKET_ID, out)?;
        }
        Ok(())
    }

    /// The session is up and subscribed: what was under way is sent again.
    fn ready(&mut self) {
        let Link::Up(up) = &mut self.link else { return };
        up.subscribed();
        self.view.subscribed(up.protocol);
        // What this connection refuses is told anew.
        self.refusals = Refusals::default();
        self.announced = false;
        if !self.retry.is_flapping() {
            self.announce();
        }
        self.send_under_way();
    }

    /// Logs that there is a connection.
    fn announce(&mut self) {
        let Link::Up(up) = &self.link else { return };
        tracing::info!(
            broker = %host_and_port(&self.settings.host, self.settings.port),
            mqtt = %up.protocol,
            resumed = up.resumed,
            failures_before = self.failures,
            "connected to the MQTT broker"
        );
        self.failures = 0;
        self.announced = true;
        self.logged.clear();
    }

    /// No connection: another attempt is made, by and by.
    fn failed(&mut self, error: &ConnectError) {
        let age = match &self.link {
            Link::Up(up) => Some(up.age()),
            _ => None,
        };
        let wait = self.retry.failed(error, age, fastrand::f64());
        self.link = Link::Down(Instant::now() + wait.unwrap_or_default());
        if let Some(wait) = wait {
            self.failures += 1;
            self.view.failed(error.to_string());
            self.log_failure(error, wait);
        } else {
            tracing::debug!(%error, "trying MQTT {} with the broker", self.retry.protocol());
        }
        if age.is_some() {
            self.events.push_back(Event::Disconnected);
        }
    }

    fn log_failure(&mut self, error: &ConnectError, wait: Duration) {
        let reason = error.to_string();
        if self.logged.len() < REASONS_MAX && !self.logged.contains(&reason) {
            tracing::warn!(
                broker = %host_and_port(&self.settings.host, self.settings.port),
                %reason,
                advice = advice(error, &self.settings),
                retry_in_ms = whole_ms(wait),
                "no connection to the MQTT broker; trying again until there is one"
            );
            self.logged.push(reason);
        }
    }

    /// Writes and reads until an event is there.
    async fn exchange(&mut self) -> Result<(), ConnectError> {
        self.write_acknowledgements();
        let paused = self.reading_paused;
        if !paused && std::mem::take(&mut self.uncut) {
            return self.cut();
        }
        let unsent_max = self.outbox.bytes() + ACKS_UNSENT_MAX_BYTES;
        let Link::Up(up) = &mut self.link else {
            return Ok(());
        };
        let has_read = up.exchange(paused, unsent_max).await?;
        if !self.announced && !up.is_subscribing() && up.age() >= STEADY {
            self.announce();
        }
        if paused {
            self.uncut |= has_read;
            return Ok(());
        }
        if has_read { self.cut() } else { Ok(()) }
    }

    fn write_acknowledgements(&mut self) {
        self.view.set_acks_outstanding(self.acks.owed());
        let unsent_max = self.outbox.bytes() + ACKS_UNSENT_MAX_BYTES;
        let Link::Up(up) = &mut self.link else { return };
        if !self.acks_held {
            self.acks.write_due(&mut up.out, unsent_max);
        }
    }

    /// Cuts what was read into messages and answers.
    fn cut(&mut self) -> Result<(), ConnectError> {
        let mut messages = Vec::new();
        let mut answers = Vec::new();
        let Link::Up(up) = &mut self.link else {
            return Ok(());
        };
        loop {
            let frame = up
                .framer
                .next()
                .map_err(|error| ConnectError::Protocol(error.to_string()));
            match frame {
                Ok(None) => break,
                Ok(Some(Frame::Publish(mut message, packet_id))) => {
                    if packet_id != 0 {
                        message.ack = Some(self.acks.owe(packet_id));
                    }
                    messages.push(message);
                    if self.acks.is_overfull() {
                        let fault = format!("it waits for none of {OWED_MAX} acknowledgements");
                        answers.push(Err(ConnectError::Protocol(fault)));
                        break;
                    }
                }
                Ok(Some(Frame::Other(frame))) => {
                    let answer = wire::read(up.protocol, frame, self.settings.filters.len());
                    answers.push(answer.map_err(ConnectError::Protocol));
                }
                Err(error) => {
                    // What came before the fault is good.
                    answers.push(Err(error));
                    break;
                }
            }
        }
        up.received(messages.len());
        let answered = !answers.is_empty();
        let mut result = Ok(());
        for answer in answers {
            result = answer.and_then(|packet| self.answer(packet));
            if result.is_err() {
                break;
            }
        }
        if !messages.is_empty() || answered {
            self.events.push_back(Event::Received(messages));
        }
        result
    }

    fn answer(&mut self, packet: Packet) -> Result<(), ConnectError> {
        let Link::Up(up) = &mut self.link else {
            return Ok(());
        };
        match packet {
            Packet::PubAck { packet_id, refused } => {
                if let Some(message) = self.outbox.acknowledged(packet_id)
                    && self.refusals.note(&message.topic, refused, Instant::now())
                {
                    self.view.refused(self.refusals.reason());
                }
                self.send_under_way();
            }
            Packet::SubAck { refused } => {
                if up.is_subscribing() {
                    let refusal = self
                        .settings
                        .filters
                        .iter()
                        .zip(refused)
                        .find_map(|(f, r)| Some((f, r?)));
                    if let Some((filter, reason)) = refusal {
                        return Err(ConnectError::SubscriptionRefused {
                            filter: filter.clone(),
                            reason,
                        });
                    }
                    self.ready();
                }
            }
            Packet::PingResp => up.ponged(),
            Packet::Disconnect(reason) if reason == wire::SESSION_TAKEN_OVER => {
                return Err(ConnectError::TakenOver);
            }
            Packet::Disconnect(reason) => return Err(ConnectError::Ended(reason)),
            Packet::Other => {}
        }
        Ok(())
    }
}
