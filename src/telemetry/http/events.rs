//! The page's live events: the last hour once, then the state every second and a point of the plots every
//! five. Looked at once for all pages that are open, and written as JSON only while any is.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{once, unfold};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{MissedTickBehavior, interval};

use super::routes::App;
use crate::telemetry::history::History;
use crate::telemetry::observer::{Observer, Snapshot};
use crate::telemetry::rates::RecentLooks;
use crate::telemetry::state;

/// How often the connector is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Pages that may be open at a time; each keeps a connection, and others need some too.
const PAGES_MAX: usize = 12;

/// Events that a page may lag behind before it misses some.
const LAG_MAX: usize = 8;

/// Looks at the connector every second and tells the pages. Cheap to clone; ends with the last clone.
#[derive(Clone)]
pub(super) struct Events {
    inner: Arc<Inner>,
}

struct Inner {
    observer: Observer,
    past: Mutex<Past>,
    /// What goes to every page, written once.
    events: broadcast::Sender<Bytes>,
}

/// What the next event is made from beside a new look.
#[derive(Default)]
struct Past {
    recent: RecentLooks,
    history: History,
}

impl Events {
    /// Begins to look.
    pub fn start(observer: Observer) -> Self {
        let inner = Arc::new(Inner {
            observer,
            past: Mutex::default(),
            events: broadcast::channel(LAG_MAX).0,
        });
        let weak = Arc::downgrade(&inner);
        tokio::spawn(async move {
            let mut ticks = interval(LOOK_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let Some(inner) = weak.upgrade() else { return };
                inner.look();
            }
        });
        Events { inner }
    }
}

impl Inner {
    fn look(&self) {
        let snapshot = self.observer.look();
        let mut past = self.past();
        let has_pages = self.events.receiver_count() > 0;
        let state = has_pages.then(|| past.state_event(&snapshot));
        past.recent.add(&snapshot);
        let was_empty = past.history.is_empty();
        let point = past.history.add(&snapshot);
        // The clock was set: pages begin anew too.
        let begins_anew = !was_empty && past.history.is_empty();
        let history = begins_anew.then(|| event("history", &past.history.to_json()));
        drop(past);
        if let Some(state) = state {
            let point = point.and_then(|point| serde_json::to_string(&point).ok());
            let point = point.map(|point| event("point", &point));
            let point = history.or(point).unwrap_or_default();
            // An error says that the last page has just gone.
            let _ = self.events.send((state + &point).into());
        }
    }

    /// What a page begins with, and what follows.
    fn subscribe(&self) -> (Bytes, broadcast::Receiver<Bytes>) {
        let snapshot = self.observer.look();
        let past = self.past();
        // Under the lock: no event falls between the beginning and what follows.
        let following = self.events.subscribe();
        let beginning = event("history", &past.history.to_json()) + &past.state_event(&snapshot);
        (beginning.into(), following)
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Past {
    fn state_event(&self, snapshot: &Snapshot) -> String {
        let rates = self.recent.rates(snapshot);
        let latency = self.recent.latency_ms(snapshot);
        let state = state::State::of(snapshot, rates, latency);
        event("state", &serde_json::to_string(&state).unwrap_or_default())
    }
}

/// An event in the form of server-sent events. JSON has no line breaks.
fn event(name: &str, json: &str) -> String {
    format!("event: {name}\ndata: {json}\n\n")
}

/// The events, as long as the page is open.
pub(super) async fn stream(State(app): State<App>) -> Response {
    // Said as an event: a page does not learn the status of an answer.
    if app.events.inner.events.receiver_count() >= PAGES_MAX {
        return answer(event("full", &PAGES_MAX.to_string()).into());
    }
    let (beginning, following) = app.events.inner.subscribe();
    let first = once(async move { beginning });
    let rest = unfold(following, |mut following| async move {
        loop {
            match following.recv().await {
                Ok(event) => return Some((event, following)),
                // The next one says how things are now.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    let events = first.chain(rest).map(Ok::<_, Infallible>);
    answer(Body::from_stream(events))
}

fn answer(events: Body) -> Response {
    ([(CONTENT_TYPE, "text/event-stream")], events).into_response()
}
