//! The connector's life: run until told to stop, drain, say goodbye.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::burial::Burial;
use super::{Connector, Leftover};
use crate::destination::Destination;
use crate::intake::TooLarge;
use crate::mqtt::{Event, Message};
use crate::queue::disk::DiskQueue;
use crate::status::Room;
use crate::telemetry::summarize;

/// How often idle streams are looked for, where the service manager does not ask for more.
const HOUSEKEEPING: Duration = Duration::from_secs(10);

/// How long acknowledgements are held back while statuses pile up. A broker that takes none for
/// longer is not waited for: the flow of data does not depend on who listens to statuses.
const CONGESTION_MAX: Duration = Duration::from_secs(2);

/// How often a held-back flow is looked at.
const CONGESTION_CHECK: Duration = Duration::from_millis(250);

/// How long the queue on disk may take to write what it holds, and to end.
const LAST_SYNC: Duration = Duration::from_secs(5);

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
        let housekeeping = self.heartbeat();
        let mut next_housekeeping = Instant::now() + housekeeping;
        self.start_workers();
        self.service_manager.ready();
        // Ends with this function, however that ends.
        let mut summary = JoinSet::new();
        summary.spawn(summarize(self.observer.clone()));
        loop {
            let now = Instant::now();
            // Before the statuses of records: these may fill every place there is, and for long.
            self.own_status
                .publish_when_due(&mut self.session, &self.observer, now);
            let congested = self.regulate(&mut congested_since, now);
            let wake_at = [
                Some(next_housekeeping),
                congested.then(|| now + CONGESTION_CHECK),
                self.own_status.next(now),
            ];
            let wake_at = wake_at.into_iter().flatten().min().unwrap_or(now);
            // What is rare comes first. Nothing before the session keeps it from its turn for long: statuses only
            // until it has no place for more, and the others follow from what it has read.
            tokio::select! {
                biased;
                () = &mut stop => break,
                () = sleep_until(wake_at) => {
                    if wake_at == next_housekeeping {
                        if self.disk.as_ref().is_some_and(DiskQueue::has_failed) {
                            tracing::error!("a fault ended what writes the queue on disk; stopping, since a start mends it");
                            break;
                        }
                        self.service_manager.alive();
                        self.intake.forget_idle(Instant::now());
                        next_housekeeping = Instant::now() + housekeeping;
                    }
                }
                _ = self.workers.ended(), if !self.workers.is_empty() => {}
                kept = self.burial.done(), if self.burial.is_under_way() => self.buried(kept),
                () = self.room.notified(), if self.intake.has_parked() => self.retry_parked(),
                () = synced(self.disk.as_ref()) => self.acknowledge_synced(),
                () = self.statuses.arrived(), if self.session.can_publish() => {}
                event = self.session.next() => self.take(event),
            }
        }
        self.service_manager.stopping();
        self.drain().await
    }

    /// Hands statuses over, and sets what follows from how the broker takes them and from how much waits here:
    /// whether messages are read, whether they are acknowledged, and how much room calls have for their statuses.
    /// Says whether statuses are waited for; `since` is when that began.
    fn regulate(&mut self, since: &mut Option<Instant>, now: Instant) -> bool {
        let handed_over = self.hand_over_statuses();
        if !self.burial.is_under_way()
            && let Some(too_large) = self.intake.next_too_large()
        {
            self.burial.begin(too_large);
        }
        self.session
            .pause_reading(self.intake.is_choked() || self.burial.is_under_way());
        // The broker may have taken what it was given, and its answers stand behind messages that are not read
        // yet. These are read as calls make room for them, so the calls' statuses are given more room meanwhile.
        let is_behind = self.session.is_behind();
        if handed_over || (is_behind && self.statuses.has_reserve()) {
            *since = None;
        }
        let congested = self.is_congested(since, now);
        self.session.hold_acknowledgements(congested);
        let is_stuck = !congested && since.is_some();
        self.statuses
            .set_room(match (self.session.is_up(), is_stuck, is_behind) {
                (true, false, false) => Room::Usual,
                (true, false, true) => Room::Reserve,
                _ => Room::NoMatter,
            });
        congested
    }

    /// How often to look after things and to say that we live.
    fn heartbeat(&self) -> Duration {
        let asked = self.service_manager.heartbeat();
        asked.unwrap_or(HOUSEKEEPING).min(HOUSEKEEPING)
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Received(messages) => {
                let session = &mut self.session;
                self.intake.receive(&messages, Instant::now(), |token| {
                    session.acknowledge(token)
                });
                self.acknowledge_synced();
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
                self.burial.reconnected();
                self.own_status.reconnected();
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
        self.acknowledge_synced();
    }

    /// A record that is too large is among the dead letters: its status may say so.
    fn buried(&mut self, kept: TooLarge) {
        if let Some(token) = self.intake.kept_too_large(kept) {
            self.session.acknowledge(token);
        }
    }

    fn acknowledge_synced(&mut self) {
        let session = &mut self.session;
        self.intake
            .acknowledge_synced(|token| session.acknowledge(token));
    }

    fn start_workers(&mut self) {
        for stream in self.intake.opened_streams() {
            self.workers.start(stream);
        }
    }

    /// Gives the session as many status documents as it takes. Whether that was any.
    fn hand_over_statuses(&mut self) -> bool {
        let mut any = false;
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
                self.statuses.note_dropped(statuses);
            } else {
                self.observer.ledger.statuses_published(statuses);
            }
            any = true;
        }
        any
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
        let has_failed = self.disk.as_ref().is_some_and(DiskQueue::has_failed);
        let deadline = Instant::now() + self.shutdown_timeout;
        tracing::info!(
            timeout_s = self.shutdown_timeout.as_secs(),
            "stopping: sending what is queued"
        );
        self.sync_last().await;
        self.deadline.send_replace(Some(deadline));
        self.session.hold_acknowledgements(false);
        self.session.pause_reading(false);
        // In the time that is left, records come before their statuses.
        self.statuses.set_room(Room::NoMatter);
        if self.burial.is_under_way() {
            let done = timeout(LAST_SYNC, self.burial.done()).await;
            // Where its letter is not written by now, it is left to the broker, or rejected if none has it.
            let unkept = |burial: &mut Burial| burial.give_up().filter(|left| left.ack.is_none());
            let kept = done.ok().or_else(|| unkept(&mut self.burial));
            kept.into_iter().for_each(|kept| self.buried(kept));
        }
        self.intake.give_up_too_large();
        let mut left = self.intake.give_up_parked();
        let mut heartbeat = Instant::now();
        while !self.workers.is_empty() {
            self.hand_over_statuses();
            tokio::select! {
                biased;
                () = sleep_until(heartbeat) => {
                    self.service_manager.alive();
                    heartbeat += self.heartbeat();
                }
                ended = self.workers.ended() => left += ended,
                () = synced(self.disk.as_ref()) => self.acknowledge_synced(),
                () = self.statuses.arrived(), if self.session.can_publish() => {}
                event = self.session.next() => left += self.refuse(event),
            }
        }
        let (kept, lost) = self.close_queue().await;
        left += lost + self.publish_last_statuses().await;
        let leftover = Leftover {
            records: left,
            kept,
            fault: has_failed,
            documents: self.statuses.waiting() + self.session.under_way(),
            dropped_statuses: self.statuses.dropped(),
        };
        let parting = self.own_status.parting(&self.session);
        self.session.disconnect(parting, GOODBYE).await;
        log_end(leftover);
        leftover
    }

    /// What was received is synced and acknowledged, where there is a queue on disk that can be written.
    async fn sync_last(&mut self) {
        let Some(disk) = self.disk.clone() else {
            return;
        };
        let limit = Instant::now() + LAST_SYNC;
        while disk.has_unwritten() && disk.fault().is_none() {
            tokio::select! {
                biased;
                () = sleep_until(limit) => break,
                () = disk.progress() => self.acknowledge_synced(),
            }
        }
        self.acknowledge_synced();
    }

    /// Ends the queue on disk. Says how many records it keeps, and how many it could not write that no
    /// broker keeps either.
    async fn close_queue(&mut self) -> (usize, usize) {
        let Some(disk) = self.disk.clone() else {
            return (0, 0);
        };
        if timeout(LAST_SYNC, disk.close()).await.is_err() {
            tracing::error!(
                "the queue on disk could not be closed in time: writing to it takes too long"
            );
        }
        self.acknowledge_synced();
        let left = disk.left();
        self.intake.report_lost(&left.lost);
        (left.kept, left.lost.len())
    }

    /// While stopping, messages that the broker keeps for us are left to it.
    fn refuse(&mut self, event: Event) -> usize {
        match event {
            Event::Received(messages) => self.intake.refuse(&messages as &[Message]),
            Event::Connected { resumed, .. } => {
                self.intake.reconnected(resumed);
                0
            }
            Event::Disconnected => 0,
        }
    }

    async fn publish_last_statuses(&mut self) -> usize {
        let limit = Instant::now() + LAST_STATUSES;
        let mut left = 0;
        loop {
            self.hand_over_statuses();
            if self.statuses.is_empty() {
                // The last of all: whatever comes before would say that the connector lives.
                self.own_status.publish_offline(&mut self.session);
                if self.session.under_way() == 0 {
                    return left;
                }
            }
            tokio::select! {
                biased;
                () = sleep_until(limit) => return left,
                event = self.session.next() => left += self.refuse(event),
            }
        }
    }
}

/// Waits until more is synced; for ever where nothing is.
async fn synced(disk: Option<&DiskQueue>) {
    match disk {
        Some(disk) => disk.progress().await,
        None => std::future::pending().await,
    }
}

fn log_end(leftover: Leftover) {
    let Leftover {
        records,
        kept,
        documents,
        dropped_statuses,
        fault: _,
    } = leftover;
    if kept > 0 {
        tracing::info!(
            records = kept,
            "records are kept on disk; they are sent after the next start"
        );
    }
    if records > 0 {
        tracing::warn!(
            records,
            "records could not be delivered before the stop; they are reported as ConnectorStopped"
        );
    }
    if documents > 0 {
        tracing::warn!(
            documents,
            "status documents could not be published before the stop"
        );
    }
    if dropped_statuses > 0 {
        tracing::warn!(
            statuses = dropped_statuses,
            "statuses were dropped since the start: the broker was away or did not take them"
        );
    }
    if leftover.is_nothing() && kept == 0 {
        if dropped_statuses == 0 {
            tracing::info!(
                "stopped; nothing is left: each record was delivered or reported as failed"
            );
        } else {
            tracing::info!("stopped; nothing is left, but not everything was reported");
        }
    }
}
