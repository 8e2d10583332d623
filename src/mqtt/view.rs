//! The session as others may see it: connected or not, since when, and why.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::settings::Protocol;

/// How the session is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionState {
    /// Whether it is connected and its subscription stands.
    pub subscribed: bool,
    /// Since when it is so, or is not.
    pub since: SystemTime,
    /// Why there is no connection, or why the broker refuses messages of ours.
    pub reason: Option<String>,
    /// What the last connection spoke; `None` before the first.
    pub protocol: Option<Protocol>,
    /// Connections that came to a subscription so far.
    pub connections: u64,
    /// Messages that were received and are not acknowledged.
    pub acks_outstanding: usize,
    /// Whether nothing is read for now, since what was read waits for room.
    pub reading_paused: bool,
}

/// Looks at a session. Cheap to clone; clones see the same.
#[derive(Debug, Clone)]
pub struct SessionView {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// What changes with connections.
    state: Mutex<SessionState>,
    /// What changes with every message.
    acks_outstanding: AtomicUsize,
    reading_paused: AtomicBool,
}

impl SessionView {
    pub(super) fn new() -> Self {
        SessionView {
            inner: Arc::new(Inner {
                state: Mutex::new(SessionState {
                    subscribed: false,
                    since: SystemTime::now(),
                    reason: None,
                    protocol: None,
                    connections: 0,
                    acks_outstanding: 0,
                    reading_paused: false,
                }),
                acks_outstanding: AtomicUsize::new(0),
                reading_paused: AtomicBool::new(false),
            }),
        }
    }

    /// The session as it is.
    pub fn state(&self) -> SessionState {
        let mut state = self.lock().clone();
        state.acks_outstanding = self.inner.acks_outstanding.load(Ordering::Relaxed);
        state.reading_paused = self.inner.reading_paused.load(Ordering::Relaxed);
        state
    }

    pub(super) fn subscribed(&self, protocol: Protocol) {
        let mut state = self.lock();
        *state = SessionState {
            subscribed: true,
            since: SystemTime::now(),
            reason: None,
            protocol: Some(protocol),
            connections: state.connections + 1,
            ..*state
        };
    }

    pub(super) fn failed(&self, reason: String) {
        let mut state = self.lock();
        if std::mem::take(&mut state.subscribed) {
            state.since = SystemTime::now();
        }
        state.reason = Some(reason);
    }

    pub(super) fn refused(&self, reason: Option<String>) {
        self.lock().reason = reason;
    }

    pub(super) fn set_acks_outstanding(&self, messages: usize) {
        self.inner
            .acks_outstanding
            .store(messages, Ordering::Relaxed);
    }

    pub(super) fn set_reading_paused(&self, paused: bool) {
        self.inner.reading_paused.store(paused, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, SessionState> {
        self.inner
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
