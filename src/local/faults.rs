//! The fault knobs of the embedded Firehose endpoint: what a stream is told to do wrong, set at run
//! time, and the dice that decide which call and which record it hits. The dice are seeded with the
//! stream's name, so a run with the same calls fails the same way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::locked;

/// What goes wrong with a whole call. "Committed" means that the records count as accepted and show
/// in the journal and the storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CallFault {
    /// The call is answered as it should be.
    #[default]
    None,
    /// Alternately HTTP 500 `InternalFailure` and HTTP 503 `ServiceUnavailableException`; nothing
    /// committed.
    ServerError,
    /// HTTP 400 `ThrottlingException`; nothing committed.
    Throttled,
    /// The request is read and never answered, until the client goes or the endpoint stops; nothing
    /// committed.
    Hang,
    /// The connection dies without an answer; nothing committed.
    ResetBeforeCommit,
    /// The records are committed, then the connection dies without an answer.
    ResetAfterCommit,
    /// HTTP 200, but the answer lacks its last entry, and the record it belongs to is not
    /// committed; the others are.
    ShortAnswer,
    /// HTTP 200 with a body that is not JSON; nothing committed.
    Garbage,
    /// HTTP 400 `InvalidArgumentException`; nothing committed.
    NotRetryable,
    /// HTTP 400 `AccessDeniedException`; nothing committed.
    AccessDenied,
    /// HTTP 400 `ExpiredTokenException`, before the content of the call is looked at; nothing committed.
    ExpiredToken,
    /// HTTP 403 `InvalidSignatureException`, likewise, with what the signature should have been made of,
    /// as the service quotes it; nothing committed.
    BadSignature,
}

/// What goes wrong on a stream. [`Faults::default`] is a stream on which nothing does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Faults {
    /// Each record of a call fails with this probability (0 to 1) and
    /// `ServiceUnavailableException`: the usual partial failure.
    pub failing_share: f64,
    /// A fault of the whole call, for the calls that `every` picks.
    pub call: CallFault,
    /// `call` applies to every n-th call of the stream, counted from when the knob was set; 1 (and
    /// 0) means all of them.
    pub every: u32,
    /// How long the endpoint sits on a call before it does anything with it. A client that gives up
    /// meanwhile leaves nothing committed.
    pub latency: Duration,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            failing_share: 0.0,
            call: CallFault::None,
            every: 1,
            latency: Duration::ZERO,
        }
    }
}

/// Turns the faults of a running endpoint. Cheap to clone; every clone turns the same knobs.
#[derive(Debug, Clone, Default)]
pub struct FaultKnobs(Arc<Mutex<Settings>>);

#[derive(Debug, Default)]
struct Settings {
    /// Holds for the streams that have no setting of their own.
    all: Faults,
    /// Lets one stream fail beside healthy ones.
    own: HashMap<String, Faults>,
    /// How far the endpoint's clock is ahead, in seconds.
    clock_ahead_seconds: i64,
    /// How far each faulty stream has come, so that "every n-th" and the dice go on from call to
    /// call.
    progress: HashMap<String, Progress>,
}

/// Where one stream stands since its knob was last set.
#[derive(Debug)]
struct Progress {
    /// Calls seen, for `every`.
    calls: u64,
    /// Server errors answered, to alternate between the two kinds.
    server_errors: u64,
    /// Picks the failing records.
    dice: fastrand::Rng,
}

/// What is to happen to one call.
#[derive(Debug, PartialEq)]
pub(super) struct CallPlan {
    /// Wait this long first.
    pub latency: Duration,
    /// The fault of the whole call, with "alternately" already decided.
    pub fault: CallFault,
    /// Whether a `ServerError` is the 503 kind this time.
    pub unavailable: bool,
    /// For each record, in order, whether it fails on its own.
    pub failing: Vec<bool>,
}

impl FaultKnobs {
    /// Sets the faults of every stream that has no setting of its own, and starts their counting
    /// anew.
    pub fn set_all(&self, faults: Faults) {
        let mut settings = locked(&self.0);
        settings.all = faults;
        let Settings { own, progress, .. } = &mut *settings;
        progress.retain(|stream, _| own.contains_key(stream));
    }

    /// Sets the faults of one stream, whatever holds for the others, and starts its counting anew.
    pub fn set(&self, stream: &str, faults: Faults) {
        let mut settings = locked(&self.0);
        settings.own.insert(stream.to_owned(), faults);
        settings.progress.remove(stream);
    }

    /// Puts the clock of the endpoint ahead by so many seconds, or behind: what its answers are dated, and
    /// which dates of signatures it refuses.
    pub fn set_clock_ahead(&self, seconds: i64) {
        locked(&self.0).clock_ahead_seconds = seconds;
    }

    /// How far it is ahead, in seconds.
    pub(super) fn clock_ahead(&self) -> i64 {
        locked(&self.0).clock_ahead_seconds
    }

    /// Ends every fault on every stream, and sets the clock right. Calls that hang already go on hanging.
    pub fn clear(&self) {
        *locked(&self.0) = Settings::default();
    }

    /// Decides about the next call of `stream`, which carries `records` records.
    pub(super) fn next(&self, stream: &str, records: usize) -> CallPlan {
        let mut settings = locked(&self.0);
        let Settings {
            all, own, progress, ..
        } = &mut *settings;
        let faults = *own.get(stream).unwrap_or(all);
        let progress = progress
            .entry(stream.to_owned())
            .or_insert_with(|| Progress::new(stream));
        progress.next(faults, records)
    }
}

impl Progress {
    fn new(stream: &str) -> Self {
        Self {
            calls: 0,
            server_errors: 0,
            dice: fastrand::Rng::with_seed(seed(stream)),
        }
    }

    fn next(&mut self, faults: Faults, records: usize) -> CallPlan {
        self.calls += 1;
        let due = self.calls.is_multiple_of(u64::from(faults.every.max(1)));
        let fault = if due { faults.call } else { CallFault::None };
        let unavailable = fault == CallFault::ServerError && !self.server_errors.is_multiple_of(2);
        self.server_errors += u64::from(fault == CallFault::ServerError);
        let failing = (0..records)
            .map(|_| self.dice.f64() < faults.failing_share)
            .collect();
        CallPlan {
            latency: faults.latency,
            fault,
            unavailable,
            failing,
        }
    }
}

/// A seed that depends on nothing but the stream's name (FNV-1a), so that streams do not disturb
/// each other's dice.
fn seed(stream: &str) -> u64 {
    stream.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(knobs: &FaultKnobs, stream: &str, calls: usize) -> Vec<CallFault> {
        (0..calls).map(|_| knobs.next(stream, 1).fault).collect()
    }

    #[test]
    fn every_nth_call_fails_counted_per_stream() {
        let knobs = FaultKnobs::default();
        knobs.set_all(Faults {
            call: CallFault::Throttled,
            every: 3,
            ..Faults::default()
        });
        let expected = [
            CallFault::None,
            CallFault::None,
            CallFault::Throttled,
            CallFault::None,
        ];
        assert_eq!(faults_of(&knobs, "a", 4), expected);
        assert_eq!(faults_of(&knobs, "b", 4), expected);
    }

    #[test]
    fn server_errors_alternate() {
        let knobs = FaultKnobs::default();
        knobs.set_all(Faults {
            call: CallFault::ServerError,
            ..Faults::default()
        });
        let kinds: Vec<bool> = (0..4).map(|_| knobs.next("a", 1).unavailable).collect();
        assert_eq!(kinds, [false, true, false, true]);
    }

    #[test]
    fn a_stream_of_its_own_differs_from_the_others_until_cleared() {
        let knobs = FaultKnobs::default();
        knobs.set(
            "bad",
            Faults {
                call: CallFault::Hang,
                ..Faults::default()
            },
        );
        knobs.set_all(Faults {
            latency: Duration::from_secs(1),
            ..Faults::default()
        });
        assert_eq!(knobs.next("bad", 1).fault, CallFault::Hang);
        assert_eq!(knobs.next("good", 1).latency, Duration::from_secs(1));
        knobs.clear();
        let clean = CallPlan {
            latency: Duration::ZERO,
            fault: CallFault::None,
            unavailable: false,
            failing: vec![false],
        };
        assert_eq!(knobs.next("bad", 1), clean);
        assert_eq!(knobs.next("good", 1), clean);
    }

    #[test]
    fn the_failing_share_is_repeatable_and_holds_on_average() {
        let half = Faults {
            failing_share: 0.5,
            ..Faults::default()
        };
        let run = || {
            let knobs = FaultKnobs::default();
            knobs.set("s", half);
            knobs.next("s", 10_000).failing
        };
        assert_eq!(run(), run());
        let failing = run().iter().filter(|failing| **failing).count();
        assert!((4_500..5_500).contains(&failing), "{failing}");

        let knobs = FaultKnobs::default();
        knobs.set_all(Faults {
            failing_share: 1.0,
            ..Faults::default()
        });
        assert!(knobs.next("s", 500).failing.iter().all(|failing| *failing));
        knobs.set_all(Faults::default());
        assert!(!knobs.next("s", 500).failing.iter().any(|failing| *failing));
    }
}
