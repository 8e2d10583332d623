//! The connector's own status on its topic: when it is due, and what becomes of it at the end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::mqtt::{Parting, Session};
use crate::telemetry::{OFFLINE, Observer, own_status};

/// Publishes the status; nothing where none is asked for.
pub(super) struct OwnStatus {
    /// Where to.
    topic: Arc<str>,
    /// How often; `None`: never.
    interval: Option<Duration>,
    /// Whether the last one of all was published.
    is_last_out: bool,
    /// When the next one is due; `None` where one is due now.
    next: Option<Instant>,
    /// Whether it was told that the broker takes none.
    is_too_long: bool,
}

impl OwnStatus {
    pub fn new(topic: &str, interval: Option<Duration>) -> Self {
        OwnStatus {
            topic: topic.into(),
            interval,
            is_last_out: false,
            next: None,
            is_too_long: false,
        }
    }

    /// When the next one will be due; `None` where none will, or one is due already and waits for the session.
    pub fn next(&self, now: Instant) -> Option<Instant> {
        self.interval.and(self.next).filter(|next| *next > now)
    }

    /// There is a new connection: the broker may have said that there is none.
    pub fn reconnected(&mut self) {
        self.next = None;
    }

    /// Publishes it where it is due and the session takes it.
    pub fn publish_when_due(&mut self, session: &mut Session, observer: &Observer, now: Instant) {
        let Some(interval) = self.interval else {
            return;
        };
        if self.next.is_some_and(|next| next > now) || !session.can_publish() {
            return;
        }
        let status = Bytes::from(own_status(&observer.look()));
        let bytes = status.len();
        let is_taken = session.publish_retained(&self.topic, status);
        if !is_taken && !std::mem::replace(&mut self.is_too_long, true) {
            tracing::warn!(
                bytes,
                "the broker takes no message as long as the connector's own status (CONNECTOR_STATUS_INTERVAL); it is not published"
            );
        }
        self.next = Some(now + interval);
    }

    /// Says once what the broker would, were the connection broken and not ended.
    pub fn publish_offline(&mut self, session: &mut Session) {
        if self.interval.is_some() && !self.is_last_out && session.can_publish() {
            let offline = Bytes::from_static(OFFLINE.as_bytes());
            self.is_last_out = session.publish_retained(&self.topic, offline);
        }
    }

    /// How to leave the broker: where it has not taken the last status, it says so itself.
    pub fn parting(&self, session: &Session) -> Parting {
        let is_taken = self.is_last_out && session.under_way() == 0;
        if self.interval.is_none() || is_taken {
            Parting::Goodbye
        } else {
            Parting::Will
        }
    }
}
