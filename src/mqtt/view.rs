//! The session as others may see it: connected or not, since when, and why.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::settings::Protocol;

/// How the session is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionState {
    /// Whether it is connected and its subscription stands.
    pub subscribed: bool,
    /// For how long it is so, or is not.
    pub lasting: Duration,
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
    /// What changes with connections, and since when it is so.
    state: Mutex<(SessionState, Instant)>,
    /// What changes with every message.
    acks_outstanding: AtomicUsize,
    reading_paused: AtomicBool,
}

impl SessionView {
    pub(super) fn new() -> Self {
        let state = SessionState {
            subscribed: false,
            lasting: Duration::ZERO,
            reason: None,
            protocol: None,
            connections: 0,
            acks_outstanding: 0,
            reading_paused: false,
        };
        SessionView {
            inner: Arc::new(Inner {
                state: Mutex::new((state, Instant::now())),
                acks_outstanding: AtomicUsize::new(0),
                reading_paused: AtomicBool::new(false),
            }),
        }
    }

    /// The session as it is.
    pub fn state(&self) -> SessionState {
        let (mut state, since) = self.lock().clone();
        state.lasting = since.elapsed();
        state.acks_outstanding = self.inner.acks_outstanding.load(Ordering::Relaxed);
        state.reading_paused = self.inner.reading_paused.load(Ordering::Relaxed);
        state
    }

    pub(super) fn subscribed(&self, protocol: Protocol) {
        let (state, since) = &mut *self.lock();
        *since = Instant::now();
        state.subscribed = true;
        state.reason = None;
        state.protocol = Some(protocol);
        state.connections += 1;
    }

    pub(super) fn failed(&self, reason: String) {
        let (state, since) = &mut *self.lock();
        if std::mem::take(&mut state.subscribed) {
            *since = Instant::now();
        }
        state.reason = Some(reason);
    }

    pub(super) fn refused(&self, reason: Option<String>) {
        self.lock().0.reason = reason;
    }

    pub(super) fn set_acks_outstanding(&self, messages: usize) {
        self.inner
            .acks_outstanding
            .store(messages, Ordering::Relaxed);
    }

    pub(super) fn set_reading_paused(&self, paused: bool) {
        self.inner.reading_paused.store(paused, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, (SessionState, Instant)> {
        self.inner
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
