//! Records that end as failed go to the dead letters before their statuses say so. The disk is waited
//! for on a thread of its own, one of a stream at a time: the worker goes on meanwhile, and what fails
//! until then is written together.

use std::collections::VecDeque;
use std::time::SystemTime;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::arn::DeliveryStreamArn;
use crate::blocking::Blocking;
use crate::dead_letters::{DeadLetters, Letter};
use crate::destination::{Outcome, ServiceError};
use crate::queue::Record;
use crate::status::Expected;
use crate::utc::{unix_ms, whole_ms};

/// Letters that are written together at most: each takes memory of its own meanwhile, and a whole queue
/// may expire at a time.
const LETTERS_MAX: usize = 500;

/// Records that left the queue or a call, and what became of each.
pub(super) struct Ended {
    /// The records.
    pub records: Vec<Record>,
    /// As many outcomes, in the same order.
    pub outcomes: Vec<Outcome>,
    /// Whether they waited for too long; else they come from a call.
    pub expired: bool,
    /// Room for their statuses, until these are published.
    pub _expected: Expected,
}

/// Letters on their way to the disk, and the records that wait for that.
pub(super) struct Burials {
    /// Where letters go; `None` where they are not kept.
    dead_letters: Option<DeadLetters>,
    /// Where they are written.
    blocking: Blocking,
    /// Whose records these are.
    stream: DeliveryStreamArn,
    /// Oldest first. Kept here, so that not even a panic over letters loses a record.
    waiting: VecDeque<Ended>,
    /// How far letters are on disk: the records of the first of `waiting` up to here.
    on_disk: usize,
    /// What is being written: empty where nothing is, else a single task.
    writing: JoinSet<()>,
    /// How far letters are on disk once that is done: all of so many of `waiting`, and the records of
    /// the next one up to there.
    then: (usize, usize),
}

impl Burials {
    pub fn new(
        dead_letters: Option<DeadLetters>,
        blocking: Blocking,
        stream: DeliveryStreamArn,
    ) -> Self {
        Burials {
            dead_letters,
            blocking,
            stream,
            waiting: VecDeque::new(),
            on_disk: 0,
            writing: JoinSet::new(),
            then: (0, 0),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Begins to bury what failed. Gives everything back at once where nothing did, or letters are not
    /// kept; else [`Burials::next`] does so.
    pub fn begin(&mut self, ended: Ended) -> Option<Ended> {
        let has_failed = |outcome: &Outcome| matches!(outcome, Outcome::Failed(_));
        if self.dead_letters.is_none() || !ended.outcomes.iter().any(has_failed) {
            return Some(ended);
        }
        self.waiting.push_back(ended);
        self.write();
        None
    }

    /// Waits for letters to be on disk, and gives back their records and those that ended with them.
    /// `None`: nothing waits.
    pub async fn next(&mut self) -> Option<Vec<Ended>> {
        while let Some(result) = self.writing.join_next().await {
            if let Err(error) = result {
                tracing::error!(%error, "dead letters could not be written");
            }
            let (whole, on_disk) = std::mem::take(&mut self.then);
            let done: Vec<Ended> = self.waiting.drain(..whole).collect();
            self.on_disk = on_disk;
            self.write();
            if !done.is_empty() {
                return Some(done);
            }
        }
        None
    }

    /// Gives back all that waits, however far the disk is.
    pub fn give_up(&mut self) -> Vec<Ended> {
        self.writing.detach_all();
        self.waiting.drain(..).collect()
    }

    /// Starts to write the next letters, unless some are being written.
    fn write(&mut self) {
        let Some(dead_letters) = self.dead_letters.clone() else {
            return;
        };
        if !self.writing.is_empty() || self.waiting.is_empty() {
            return;
        }
        let letters = self.next_letters();
        let blocking = self.blocking.clone();
        self.writing
            .spawn(async move { blocking.run(move || dead_letters.bury(&letters)).await });
    }

    /// The letters of the first records that wait, and `then` what is done with them.
    fn next_letters(&mut self) -> Vec<Letter> {
        let (now, now_ms) = (Instant::now(), unix_ms(SystemTime::now()));
        let mut letters = Vec::new();
        let (mut whole, mut place) = (0, self.on_disk);
        while letters.len() < LETTERS_MAX
            && let Some(ended) = self.waiting.get(whole)
        {
            if let (Some(record), Some(Outcome::Failed(error))) =
                (ended.records.get(place), ended.outcomes.get(place))
            {
                letters.push(letter(&self.stream, record, error, now, now_ms));
            }
            place += 1;
            if place >= ended.records.len() {
                (whole, place) = (whole + 1, 0);
            }
        }
        self.then = (whole, place);
        letters
    }
}

/// A record that failed. `now_ms` is `now` on the wall clock.
fn letter(
    stream: &DeliveryStreamArn,
    record: &Record,
    error: &ServiceError,
    now: Instant,
    now_ms: u64,
) -> Letter {
    let age = now.saturating_duration_since(record.received);
    let age_ms = whole_ms(age);
    Letter {
        stream: stream.clone(),
        id: record.id.as_str().to_owned(),
        data: record.data.clone(),
        code: error.code.clone(),
        message: error.message.clone(),
        received_unix_ms: now_ms.saturating_sub(age_ms),
        failed_unix_ms: now_ms,
    }
}
