//! The connector's life: run until told to stop, drain, say goodbye.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinError;
use tokio::time::{Instant, sleep_until};

use super::{Connector, Leftover};
use crate::delivery::Worker;
use crate::destination::Destination;
use crate::mqtt::{Event, Message};

/// How often idle streams are looked for, where the service manager does not ask for more.
const HOUSEKEEPING: Duration = Duration::from_secs(10);

/// How long acknowledgements are held back while statuses pile up. A broker that takes none for
/// longer is not waited for: the flow of data does not depend on who listens to statuses.
const CONGESTION_MAX: Duration = Duration::from_secs(2);

/// How often a held-back flow is looked at.
const CONGESTION_CHECK: Duration = Duration::from_millis(250);

/// How long the last statuses may take once everything is delivered or given up.
const LAST_STATUSES: Duration = Duration::from_secs(2);

/// How long the goodbye to the broker may take.
const GOODBYE: Duration = Duration::from_secs(1);

impl<D: Destination> Connector<D> {
    /// Runs until `stop` completes, then drains within the shutdown timeout. Problems with the
    /// broker or the destination do not end it.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Leftover {
        let mut stop = pin!(stop);
        let mut congested_since = None;
        let housekeeping = self.housekeeping();
        let mut next_housekeeping = Instant::now() + housekeeping;
        self.start_workers();
        self.service_manager.ready();
        loop {
            self.hand_over_statuses();
            let now = Instant::now();
            let congested = self.is_congested(&mut congested_since, now);
            self.session.hold_acknowledgements(congested);
            self.session.pause_reading(self.intake.is_choked());
            let wake_at = if congested {
                next_housekeeping.min(now + CONGESTION_CHECK)
            } else {
                next_housekeeping
            };
            tokio::select! {
                event = self.session.next() => self.take(event),
                () = self.statuses.arrived(), if self.session.can_publish() => {}
                () = self.room.notified(), if self.intake.has_parked() => self.retry_parked(),
                Some(ended) = self.workers.join_next(), if !self.workers.is_empty() => {
                    left_by(ended);
                }
                () = sleep_until(wake_at) => {
                    if wake_at == next_housekeeping {
                        self.service_manager.alive();
                        self.intake.forget_idle(Instant::now());
                        next_housekeeping = Instant::now() + housekeeping;
                    }
                }
                () = &mut stop => break,
            }
        }
        self.service_manager.stopping();
        self.drain().await
    }

    /// How often the service manager hears from us and idle streams are looked for.
    fn housekeeping(&self) -> Duration {
        let heartbeat = self.service_manager.heartbeat();
        heartbeat.unwrap_or(HOUSEKEEPING).min(HOUSEKEEPING)
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Received(messages) => {
                let session = &mut self.session;
                self.intake.receive(&messages, Instant::now(), |token| {
                    session.acknowledge(token)
                });
                self.start_workers();
            }
            Event::Connected {
                resumed,
                payload_max_bytes,
            } => {
                self.statuses.set_broker_max_bytes(
                    payload_max_bytes.saturating_sub(self.status_topic.len()),
                );
                self.intake.reconnected(resumed);
                // Room may have come while the connection was away.
                self.retry_parked();
            }
            Event::Disconnected => {}
        }
    }

    fn retry_parked(&mut self) {
        let session = &mut self.session;
        self.intake
            .retry_parked(Instant::now(), |token| session.acknowledge(token));
    }

    fn start_workers(&mut self) {
        for stream in self.intake.opened_streams() {
            let worker = Worker::new(
                stream,
                self.destination.clone(),
                self.statuses.clone(),
                Arc::clone(&self.room),
                self.deadline.subscribe(),
                self.worker_settings.clone(),
            );
            self.workers.spawn(worker.run());
        }
    }

    /// Gives the session as many status documents as it takes.
    fn hand_over_statuses(&mut self) {
        while self.session.can_publish()
            && let Some(document) = self.statuses.pop()
        {
            let (statuses, bytes) = (document.statuses, document.json.len());
            if !self.session.publish(&self.status_topic, document.json) {
                tracing::error!(
                    statuses,
                    bytes,
                    "the broker takes no message as long as this status document; it is dropped"
                );
            }
        }
    }

    /// Whether acknowledgements are to be held back, since statuses wait for the broker.
    fn is_congested(&self, since: &mut Option<Instant>, now: Instant) -> bool {
        if !self.session.is_up() || !self.statuses.is_congested() {
            *since = None;
            return false;
        }
        now.duration_since(*since.get_or_insert(now)) < CONGESTION_MAX
    }

    /// Delivers what is here, reports what cannot be delivered in time, and leaves.
    async fn drain(mut self) -> Leftover {
        let deadline = Instant::now() + self.shutdown_timeout;
        tracing::info!(
            timeout_s = self.shutdown_timeout.as_secs(),
            "stopping: sending what is queued"
        );
        self.deadline.send_replace(Some(deadline));
        self.session.hold_acknowledgements(false);
        self.session.pause_reading(false);
        let mut left = self.intake.give_up_parked();
        let mut next_heartbeat = Instant::now() + self.housekeeping();
        while !self.workers.is_empty() {
            self.hand_over_statuses();
            tokio::select! {
                event = self.session.next() => left += self.refuse(event),
                () = self.statuses.arrived(), if self.session.can_publish() => {}
                Some(ended) = self.workers.join_next() => left += left_by(ended),
                () = sleep_until(next_heartbeat) => {
                    self.service_manager.alive();
                    next_heartbeat = Instant::now() + self.housekeeping();
                }
            }
        }
        left += self.publish_last_statuses().await;
        let leftover = Leftover {
            records: left,
            statuses: self.statuses.waiting() + self.session.under_way(),
        };
        self.session.disconnect(GOODBYE).await;
        log_end(leftover);
        leftover
    }

    /// While stopping, messages that the broker keeps for us are left to it.
    fn refuse(&mut self, event: Event) -> usize {
        match event {
            Event::Received(messages) => self.intake.refuse(&messages as &[Message]),
            Event::Connected { .. } | Event::Disconnected => 0,
        }
    }

    async fn publish_last_statuses(&mut self) -> usize {
        let limit = Instant::now() + LAST_STATUSES;
        let mut left = 0;
        loop {
            self.hand_over_statuses();
            if self.statuses.is_empty() && self.session.under_way() == 0 {
                return left;
            }
            tokio::select! {
                event = self.session.next() => left += self.refuse(event),
                () = sleep_until(limit) => return left,
            }
        }
    }
}

/// How many records a worker left. A panic in one is a fault of ours; the others go on.
fn left_by(ended: Result<usize, JoinError>) -> usize {
    ended.unwrap_or_else(|error| {
        tracing::error!(%error, "a delivery worker ended in a fault; the records of its stream are lost to it");
        1
    })
}

fn log_end(leftover: Leftover) {
    if leftover.is_nothing() {
        tracing::info!("stopped; everything was delivered and reported");
    } else {
        tracing::warn!(
            records = leftover.records,
            statuses = leftover.statuses,
            "stopped; records were left and reported as ConnectorStopped, or statuses were not taken by the broker"
        );
    }
}
