//! What is chosen before anything happens: parameters, requests, when what breaks, and how each run of the connector
//! ends. `choices.rs` has a seed choose it.

use std::time::Duration;

pub struct Plan {
    pub seed: u64,
    /// Parameters by the names of their environment variables.
    pub given: Vec<(&'static str, String)>,
    /// A queue smaller than one may configure, so that few requests fill it.
    pub queue_size: Option<usize>,
    pub on_disk: bool,
    pub dead_letters: bool,
    pub publish_interval: Duration,
    pub record_max_age: Option<Duration>,
    pub shutdown_timeout: Duration,
    pub compression: &'static str,
    pub when_full: &'static str,
    /// What each stream is like at what time; where it says nothing, all is well.
    pub streams: Vec<Vec<Spell<Weather>>>,
    /// In the order in which they are published.
    pub requests: Vec<RequestPlan>,
    pub broker: BrokerPlan,
    /// When the disk is faulty.
    pub disk: Vec<Spell<DiskFault>>,
    /// The longest that an operation on the disk takes.
    pub disk_takes: Duration,
    /// How runs of the connector end before the last.
    pub ends: Vec<EndPlan>,
    /// Whether little room is configured on disk and in memory, for large records.
    pub is_tight: bool,
    /// How long it may take until all is delivered, once faults are over.
    pub to_deliver: Duration,
    /// How long things go wrong.
    pub active: Duration,
    /// Whether all but streams other than the first is well.
    pub is_about_isolation: bool,
}

/// What holds for a while.
#[derive(Debug, Clone)]
pub struct Spell<T> {
    pub from: Duration,
    pub until: Duration,
    pub what: T,
}

/// What holds at a time.
pub fn at<T>(spells: &[Spell<T>], time: Duration) -> Option<&T> {
    let now = spells
        .iter()
        .find(|spell| spell.from <= time && time < spell.until);
    now.map(|spell| &spell.what)
}

/// What a stream's endpoint does.
#[derive(Debug, Clone, Copy)]
pub enum Weather {
    Throttled,
    /// Calls get no answer, and nothing of them arrives.
    Gone,
    /// Calls get no answer, and all of them arrives.
    AnswersLost,
    /// Of each call some records fail for now.
    Partly,
    /// Some fail for good.
    Picky,
    /// All calls are refused for good.
    Refusing,
    Slow,
    /// Entries are missing in answers.
    Short,
}

#[derive(Debug, Clone, Copy)]
pub enum DiskFault {
    Sync,
    /// Part of what is written arrives.
    Write,
    Full,
    ReadOnly,
    Read,
}

#[derive(Debug, Clone)]
pub struct RequestPlan {
    pub at: Duration,
    pub kind: Kind,
    /// `None`: the default one, not named.
    pub stream: Option<usize>,
    pub bytes: usize,
    pub at_least_once: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Object,
    Binary,
    NoData,
    BadArn,
    TooLarge,
}

#[derive(Debug, Clone)]
pub struct BrokerPlan {
    pub knows_5: bool,
    /// Messages un-acknowledged at a time.
    pub window: usize,
    /// Statuses that it takes at a time (MQTT 5).
    pub receive_maximum: u16,
    pub packet_max_bytes: Option<u32>,
    /// The longest that a packet takes on the line.
    pub latency: Duration,
    /// What is on the line at a time.
    pub line_bytes: usize,
    pub troubles: Vec<Trouble>,
    /// Of 100 connections, how many break after some packets.
    pub breaks: u32,
}

#[derive(Debug, Clone)]
pub struct Trouble {
    pub at: Duration,
    pub lasts: Duration,
    pub kind: TroubleKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TroubleKind {
    /// The connection breaks.
    Cut,
    /// It is not there, and comes back with its sessions.
    Down,
    /// It comes back without.
    Forgetful,
    /// It takes connections and refuses them.
    Refuses,
    /// It answers nobody who connects.
    Hangs,
    /// It reads nothing.
    Deaf,
    /// It acknowledges no statuses.
    Unsure,
}

#[derive(Debug, Clone)]
pub struct EndPlan {
    pub at: Duration,
    pub how: End,
    /// Until the next run begins.
    pub away: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Stop,
    Kill,
    /// At this operation on the disk, at the latest at the time set.
    KillAtOperation(usize),
    /// With this kept of what is not synced: nothing (0), all (1), anything (2).
    PowerLoss(usize),
    PowerLossAtOperation(usize, usize),
}

impl End {
    pub fn at_operation(self) -> Option<usize> {
        match self {
            End::KillAtOperation(operation) | End::PowerLossAtOperation(operation, _) => {
                Some(operation)
            }
            _ => None,
        }
    }

    pub fn keeps(self) -> Option<usize> {
        match self {
            End::PowerLoss(keeps) | End::PowerLossAtOperation(_, keeps) => Some(keeps),
            _ => None,
        }
    }
}
