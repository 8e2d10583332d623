//! Records of a queue on disk on their way back into memory: read when it is their turn, by a thread
//! that may block, and given up again when a call that carried them came to nothing.

use std::io;
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;

use super::packing::Packing;
use crate::arn::DeliveryStreamArn;
use crate::batch::{BATCH_MAX_BYTES, Batch};
use crate::blocking::Blocking;
use crate::queue::disk::{Load, Loaded, Place, Wanted};
use crate::queue::{Id, Kept, Record, Stream, StreamQueue};

/// Most records that are held back: each takes a few bytes of memory.
const HELD_BACK_MAX: usize = 4000;

/// How long a record is held back at most.
const HELD_BACK_FOR: Duration = Duration::from_secs(60);

/// How long to wait where memory has no place: another stream may be done with a call by then.
const MEMORY_PAUSE: Duration = Duration::from_millis(50);

/// How long to wait where a file could not be read.
const FAULT_PAUSE: Duration = Duration::from_secs(1);

/// Reads the records of one stream back.
#[derive(Debug, Default)]
pub(super) struct Refill {
    /// A read under way.
    loading: Option<JoinHandle<io::Result<Load>>>,
    /// When the next may be tried, after one that brought nothing.
    not_before: Option<Instant>,
    /// Whether a fault was logged and has not passed yet.
    is_faulty: bool,
    /// Records of calls that came to nothing, to be read again behind what waits: place, bytes, time of
    /// receipt.
    held_back: Vec<(Place, usize, u64)>,
    /// Since when the first of them is held back.
    held_since: Option<Instant>,
}

impl Refill {
    /// Leaves records of a call that came to nothing to the disk, to be read again behind the others.
    pub fn hold_back(&mut self, records: &[Record], now: Instant) {
        self.held_back
            .extend(records.iter().filter_map(copy_on_disk));
        if !self.held_back.is_empty() {
            self.held_since.get_or_insert(now);
        }
    }

    /// Records held back.
    pub fn held_back(&self) -> usize {
        self.held_back.len()
    }

    /// Lets records be read again that were held back: where there are no others, or they are many, or
    /// it was for long.
    pub fn give_back_when_due(&mut self, stream: &Stream, now: Instant) {
        let is_long = |since: Instant| now.saturating_duration_since(since) >= HELD_BACK_FOR;
        if stream.unread() == 0
            || self.held_back.len() >= HELD_BACK_MAX
            || self.held_since.is_some_and(is_long)
        {
            self.give_back(stream);
        }
    }

    /// Lets all be read again that were held back.
    pub fn give_back(&mut self, stream: &Stream) {
        self.held_since = None;
        let held_back = std::mem::take(&mut self.held_back);
        if let Some(disk) = &stream.disk
            && !held_back.is_empty()
        {
            disk.unload(&held_back);
        }
    }

    /// Whether a read is under way.
    pub fn is_loading(&self) -> bool {
        self.loading.is_some()
    }

    /// When the next may be tried; `None` where it may be now.
    pub fn not_before(&self, now: Instant) -> Option<Instant> {
        self.not_before.filter(|&instant| instant > now)
    }

    /// Begins to read so many records, those that wait in memory included.
    pub fn start(&mut self, stream: &Stream, blocking: &Blocking, records: usize, waiting: usize) {
        let Some(disk) = stream.disk.clone() else {
            return;
        };
        let share = stream.share.clone();
        let wanted = Wanted {
            records: records.saturating_sub(waiting).max(1),
            bytes: BATCH_MAX_BYTES,
        };
        let (reads, blocking) = (disk.reads(), blocking.clone());
        self.loading = Some(tokio::spawn(async move {
            // Nobody closes it, so there is one sooner or later.
            let _permit = reads.acquire().await;
            blocking.run(move || disk.load(&share, wanted)).await
        }));
    }

    /// Waits for the read under way; for ever where there is none.
    pub async fn loaded(&mut self) -> Result<io::Result<Load>, JoinError> {
        match &mut self.loading {
            Some(loading) => {
                let loaded = loading.await;
                self.loading = None;
                loaded
            }
            None => std::future::pending().await,
        }
    }

    /// Puts what was read into the queue in memory. Whether records were found to be lost: there is
    /// room for others then.
    pub fn settle(&mut self, stream: &Stream, loaded: Result<io::Result<Load>, JoinError>) -> bool {
        let now = Instant::now();
        let load = match loaded {
            Ok(Ok(load)) => load,
            Ok(Err(error)) => {
                self.failed(&stream.arn, &error.to_string(), now);
                return false;
            }
            // What it had read is read again after the next start.
            Err(error) => {
                self.failed(&stream.arn, &error.to_string(), now);
                return false;
            }
        };
        if std::mem::take(&mut self.is_faulty) {
            tracing::info!(stream = %stream.arn, "records can be read from the queue on disk again");
        }
        if load.lost > 0 {
            tracing::error!(
                stream = %stream.arn,
                records = load.lost,
                "records on disk were damaged since they were written; they are lost"
            );
        }
        self.not_before = load.records.is_empty().then(|| now + MEMORY_PAUSE);
        if let Some(disk) = &stream.disk {
            let clock = disk.clock();
            let mut queue = stream.queue();
            for loaded in load.records {
                let received = clock.instant(loaded.received_unix_ms);
                queue.refill(record(loaded, received));
            }
        }
        load.lost > 0
    }

    fn failed(&mut self, stream: &DeliveryStreamArn, error: &str, now: Instant) {
        self.not_before = Some(now + FAULT_PAUSE);
        if !std::mem::replace(&mut self.is_faulty, true) {
            tracing::error!(%stream, error, "records cannot be read from the queue on disk; trying again");
        }
    }
}

fn record(loaded: Loaded, received: Instant) -> Record {
    Record {
        data: loaded.data,
        id: Id::from_utf8(loaded.id),
        received,
        charge: loaded.charge,
        kept: Some(Kept {
            place: loaded.place,
            received_unix_ms: loaded.received_unix_ms,
        }),
    }
}

/// The next call, were all in memory that waits: whether it would be full is known without reading.
pub(super) fn expected(
    stream: &Stream,
    queue: &StreamQueue,
    planned: Batch,
    packing: &Packing,
) -> Batch {
    let Some(disk) = &stream.disk else {
        return planned;
    };
    let unread = disk.depth().unread();
    if planned.full || unread == 0 {
        return planned;
    }
    let records = queue.waiting() + unread;
    let data_bytes = queue.waiting_bytes() + disk.depth().unread_bytes();
    Batch {
        records,
        data_bytes,
        full: packing.is_full(records, data_bytes),
    }
}

/// Tells a queue on disk that the outcomes of records are final.
pub(super) fn finish<'a>(stream: &Stream, records: impl Iterator<Item = &'a Record>) {
    if let Some(disk) = &stream.disk {
        let places: Vec<_> = records
            .filter_map(|record| Some(record.kept?.place))
            .collect();
        if !places.is_empty() {
            disk.finish(&places);
        }
    }
}

/// Leaves records of a call that came to nothing to the disk: memory is for streams that are well.
pub(super) fn unload(stream: &Stream, records: &[Record]) {
    if let Some(disk) = &stream.disk {
        let kept: Vec<_> = records.iter().filter_map(copy_on_disk).collect();
        disk.unload(&kept);
    }
}

/// The place of a record's copy on disk, its bytes, and when it was received.
fn copy_on_disk(record: &Record) -> Option<(Place, usize, u64)> {
    let Kept {
        place,
        received_unix_ms,
    } = record.kept?;
    let bytes = record.data.len() + record.id.as_str().len();
    Some((place, bytes, received_unix_ms))
}
