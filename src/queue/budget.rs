//! The bound on what all queues together may cost in memory, and each stream's share of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A stream may hold this many times what is still free for all. So one stream that is gone takes
/// four fifths at most, two take four ninths each, and whoever is well always finds room.
const SHARE_OF_FREE: usize = 4;

/// Where less than this part of the memory is free, nobody waits for more records to make a full batch.
const SCARCE_PART: usize = 8;

/// How many bytes the records of all streams may cost, and how many they do. Cheap to clone;
/// clones count together.
#[derive(Debug, Clone)]
pub struct MemoryBudget {
    /// Shared by every clone, every share and every charge.
    account: Arc<Account>,
}

#[derive(Debug)]
struct Account {
    /// Bytes charged at the moment.
    used: AtomicUsize,
    /// Bytes that may be charged at a time.
    limit: usize,
    /// Bytes of them that are kept for the favoured share.
    kept: usize,
    /// Bytes charged to the favoured share at the moment.
    favoured: AtomicUsize,
}

impl Account {
    /// Bytes that are not charged at the moment.
    fn free_bytes(&self) -> usize {
        self.limit.saturating_sub(self.used.load(Ordering::Relaxed))
    }

    /// Bytes that all may be charged together where it is the favoured share that asks, or another one: these leave
    /// it what is kept for it.
    fn limit_of(&self, is_favoured: bool) -> usize {
        if is_favoured || self.kept == 0 {
            return self.limit;
        }
        let favoured = self.favoured.load(Ordering::Relaxed);
        self.limit - self.kept.saturating_sub(favoured)
    }
}

impl MemoryBudget {
    /// What a record costs beside its bytes: its place in the queue, in a batch and in a status
    /// document, and the allocator's share. Measured with 20-byte records, rounded up.
    pub const RECORD_OVERHEAD_BYTES: usize = 512;

    /// What a stream costs while it holds anything, beside its records: a call under way, with its connection, TLS and
    /// what the SDK remembers of it. Measured with 127 streams whose calls hang: 64 KB each, 73 KB over TLS.
    pub const STREAM_BYTES: usize = 72 * 1024;

    /// A budget of this many bytes.
    pub fn new(limit_bytes: usize) -> Self {
        Self::keeping(limit_bytes, 0)
    }

    /// The same, which keeps so many of them for one stream: whatever others hold, that one finds room.
    pub fn keeping(limit_bytes: usize, kept_bytes: usize) -> Self {
        MemoryBudget {
            account: Arc::new(Account {
                used: AtomicUsize::new(0),
                limit: limit_bytes,
                kept: kept_bytes.min(limit_bytes),
                favoured: AtomicUsize::new(0),
            }),
        }
    }

    /// What a record of this size is charged from the moment it is taken in until its outcome is
    /// final: its bytes, and the base64 request body (4/3 of them) that carries it. The body is
    /// charged ahead, so that a call never has to wait for memory that another stream holds.
    pub const fn record_bytes(data_bytes: usize, id_bytes: usize) -> usize {
        data_bytes + data_bytes.div_ceil(3) * 4 + 2 * id_bytes + Self::RECORD_OVERHEAD_BYTES
    }

    /// A share with nothing charged.
    pub fn share(&self) -> Share {
        self.share_of(false, 0)
    }

    /// The share of a stream that a request named. While it holds anything, [`Self::STREAM_BYTES`] are charged with it.
    pub fn stream_share(&self) -> Share {
        self.share_of(false, Self::STREAM_BYTES)
    }

    /// The share of the one stream that bytes are kept for. Its calls are part of what the process costs by itself.
    pub fn favoured_share(&self) -> Share {
        self.share_of(true, 0)
    }

    fn share_of(&self, is_favoured: bool, opening_bytes: usize) -> Share {
        Share {
            own: Arc::new(Own {
                account: Arc::clone(&self.account),
                used: AtomicUsize::new(0),
                is_favoured,
                opening_bytes,
            }),
        }
    }

    /// Bytes charged at the moment, by all shares.
    pub fn used_bytes(&self) -> usize {
        self.account.used.load(Ordering::Relaxed)
    }

    /// Bytes that may be charged at a time.
    pub fn limit_bytes(&self) -> usize {
        self.account.limit
    }
}

/// What one stream takes of the budget.
#[derive(Debug, Clone)]
pub struct Share {
    /// Shared with its charges.
    own: Arc<Own>,
}

#[derive(Debug)]
struct Own {
    /// The whole.
    account: Arc<Account>,
    /// Bytes charged to this share at the moment.
    used: AtomicUsize,
    /// Whether bytes are kept for it.
    is_favoured: bool,
    /// What is charged beside, once, while anything is charged to this share.
    opening_bytes: usize,
}

impl Own {
    /// What is to be charged beside something that comes to what is charged already.
    fn opening(&self, already: usize) -> usize {
        if already == 0 { self.opening_bytes } else { 0 }
    }

    /// Counts what the whole has been charged, with `opening` bytes beside.
    fn add(&self, bytes: usize, opening: usize) {
        let already = self.used.fetch_add(bytes, Ordering::Relaxed);
        // Another thread may have opened it, or given the last of it back, in the meantime.
        let due = self.opening(already);
        if due > opening {
            self.account
                .used
                .fetch_add(due - opening, Ordering::Relaxed);
        } else if due < opening {
            self.account
                .used
                .fetch_sub(opening - due, Ordering::Relaxed);
        }
        if self.is_favoured {
            self.account.favoured.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn remove(&self, bytes: usize) {
        let before = self.used.fetch_sub(bytes, Ordering::Relaxed);
        if self.is_favoured {
            self.account.favoured.fetch_sub(bytes, Ordering::Relaxed);
        }
        let all = bytes + self.opening(before - bytes);
        self.account.used.fetch_sub(all, Ordering::Relaxed);
    }
}

impl Share {
    /// Whether so much could be charged if nothing else were.
    pub fn could_hold(&self, bytes: usize) -> bool {
        let Own {
            account,
            is_favoured,
            opening_bytes,
            ..
        } = &*self.own;
        let kept = if *is_favoured { 0 } else { account.kept };
        bytes.saturating_add(*opening_bytes) <= account.limit - kept
    }

    /// Charges `bytes`; `None` where they do not fit, or where the stream would take more than
    /// its share. A stream that holds nothing gets whatever fits.
    pub fn charge(&self, bytes: usize) -> Option<Charge> {
        let account = &self.own.account;
        let own = self.own.used.load(Ordering::Relaxed);
        let limit = account.limit_of(self.own.is_favoured);
        let opening = self.own.opening(own);
        let fits = |used: usize| {
            let needed = used.checked_add(bytes)?.checked_add(opening)?;
            let free = limit.checked_sub(needed)?;
            (own == 0 || own + bytes <= free.saturating_mul(SHARE_OF_FREE)).then_some(needed)
        };
        self.charge_where(bytes, opening, fits)
    }

    /// Charges `bytes` for what is no stream's: no more than half of all in this share, and only as long as
    /// `left_bytes` stay free for records.
    pub fn charge_leaving(&self, left_bytes: usize, bytes: usize) -> Option<Charge> {
        let account = &self.own.account;
        let own = self.own.used.load(Ordering::Relaxed);
        if own.checked_add(bytes)? > account.limit / 2 {
            return None;
        }
        let fits = |used: usize| {
            let needed = used.checked_add(bytes)?.checked_add(left_bytes)?;
            (needed <= account.limit).then_some(used + bytes)
        };
        self.charge_where(bytes, 0, fits)
    }

    /// How many bytes could be charged so at the moment.
    pub fn free_leaving(&self, left_bytes: usize) -> usize {
        let account = &self.own.account;
        let own = self.own.used.load(Ordering::Relaxed);
        let mine = (account.limit / 2).saturating_sub(own);
        mine.min(account.free_bytes().saturating_sub(left_bytes))
    }

    fn charge_where(
        &self,
        bytes: usize,
        opening: usize,
        fits: impl FnMut(usize) -> Option<usize>,
    ) -> Option<Charge> {
        let used = &self.own.account.used;
        used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .ok()?;
        self.own.add(bytes, opening);
        Some(Charge {
            share: self.clone(),
            bytes,
        })
    }

    /// Whether this stream holds some of a memory that is nearly used up, or half of what it may have itself: records
    /// that wait for a full batch, or for their interval, would keep the next ones out.
    pub fn is_pressed(&self) -> bool {
        let own = self.own.used.load(Ordering::Relaxed);
        let account = &self.own.account;
        let limit = account.limit_of(self.own.is_favoured);
        let free = limit.saturating_sub(account.used.load(Ordering::Relaxed));
        own > 0
            && (free < account.limit / SCARCE_PART || own >= free.saturating_mul(SHARE_OF_FREE / 2))
    }
}

/// Bytes charged to a share; dropping it gives them back.
#[derive(Debug)]
pub struct Charge {
    /// Whose bytes these are.
    share: Share,
    /// How many are given back.
    bytes: usize,
}

impl Charge {
    /// Takes a part out of a charge made for many together; `None` where there is not so much left.
    pub fn split(&mut self, bytes: usize) -> Option<Charge> {
        self.bytes = self.bytes.checked_sub(bytes)?;
        Some(Charge {
            share: self.share.clone(),
            bytes,
        })
    }

    /// How many bytes it stands for.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes another one of the same share in.
    pub fn join(&mut self, mut other: Charge) {
        debug_assert!(self.is_of_one_share_with(&other));
        self.bytes += std::mem::take(&mut other.bytes);
    }

    fn is_of_one_share_with(&self, other: &Charge) -> bool {
        Arc::ptr_eq(&self.share.own, &other.share.own)
    }

    /// Gives many back together: the counters are other threads' as well, and each touch of them is
    /// paid for.
    pub fn give_back(charges: impl IntoIterator<Item = Charge>) {
        let mut all: Option<Charge> = None;
        for charge in charges {
            match &mut all {
                Some(all) if all.is_of_one_share_with(&charge) => all.join(charge),
                _ => all = Some(charge),
            }
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.share.own.remove(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Charges pieces of ten until one is refused.
    fn fill(share: &Share) -> Vec<Charge> {
        std::iter::from_fn(|| share.charge(10)).collect()
    }

    #[test]
    fn charges_within_the_limit_and_gives_back() {
        let budget = MemoryBudget::new(100);
        let (first, second) = (budget.share(), budget.share());
        let charge = first.charge(60).unwrap();
        assert!(second.charge(41).is_none());
        let rest = second.charge(40).unwrap();
        assert_eq!(budget.used_bytes(), 100);
        assert!(budget.share().charge(1).is_none());
        assert!(budget.share().charge(usize::MAX).is_none());
        drop(charge);
        assert_eq!(budget.used_bytes(), 40);
        drop(rest);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn what_is_no_streams_takes_half_at_most_and_leaves_what_is_asked() {
        let budget = MemoryBudget::new(1000);
        let (share, stream) = (budget.share(), budget.share());
        assert_eq!(share.free_leaving(100), 500);
        let mut held = share.charge_leaving(100, 400).unwrap();
        assert!(share.charge_leaving(100, 101).is_none());
        let records = stream.charge(450).unwrap();
        assert_eq!(share.free_leaving(100), 50);
        assert!(share.charge_leaving(100, 51).is_none());
        held.join(share.charge_leaving(100, 50).unwrap());
        assert_eq!((held.bytes(), share.free_leaving(100)), (450, 0));
        assert_eq!(budget.used_bytes(), 900);
        drop((held, records));
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn what_is_charged_together_comes_back_in_parts_or_together() {
        let budget = MemoryBudget::new(100);
        let (share, other) = (budget.share(), budget.share());
        let mut whole = share.charge(60).unwrap();
        let parts: Vec<_> = std::iter::from_fn(|| whole.split(25)).collect();
        assert_eq!((parts.len(), budget.used_bytes()), (2, 60));
        drop(whole);
        assert_eq!(budget.used_bytes(), 50);
        Charge::give_back(
            parts
                .into_iter()
                .chain(other.charge(7))
                .chain(share.charge(3)),
        );
        assert_eq!(budget.used_bytes(), 0);
        assert_eq!(share.own.used.load(Ordering::Relaxed), 0);
        assert_eq!(other.own.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_stream_alone_gets_most_of_it_and_leaves_room_for_others() {
        let budget = MemoryBudget::new(1000);
        let gone = fill(&budget.share());
        assert_eq!(gone.len(), 80);
        let also_gone = fill(&budget.share());
        assert!(!also_gone.is_empty());
        for _ in 0..5 {
            assert!(
                budget.share().charge(10).is_some(),
                "a stream that is well finds no room"
            );
        }
        drop((gone, also_gone));
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn what_is_kept_for_one_stream_others_leave_to_it() {
        let budget = MemoryBudget::keeping(1000, 250);
        let favoured = budget.favoured_share();
        let mut gone = Vec::new();
        // However many they are, each of which takes whatever fits.
        for _ in 0..1000 {
            gone.extend(fill(&budget.share()));
        }
        assert_eq!(budget.used_bytes(), 750);
        // Four times what is left free, as ever.
        assert_eq!(fill(&favoured).len(), 20);
        let held = favoured.charge(200).unwrap();
        assert!(budget.share().charge(10).is_none() && !gone.is_empty());
        // Beyond what is kept it is as others are.
        drop(gone);
        let more = favoured.charge(600).unwrap();
        assert!(favoured.charge(10).is_none());
        assert_eq!(fill(&budget.share()).len(), 16);
        drop((held, more));
        assert_eq!(budget.used_bytes(), 0);
        assert_eq!(budget.account.favoured.load(Ordering::Relaxed), 0);
        assert_eq!(fill(&budget.share()).len(), 60);
    }

    #[test]
    fn a_stream_is_charged_while_it_holds_anything() {
        const OPEN: usize = MemoryBudget::STREAM_BYTES;
        let budget = MemoryBudget::new(3 * OPEN + 100);
        let shares: Vec<_> = (0..4).map(|_| budget.stream_share()).collect();
        let mut first = shares[0].charge(30).unwrap();
        assert_eq!(budget.used_bytes(), OPEN + 30);
        let second = shares[0].charge(20).unwrap();
        assert_eq!(budget.used_bytes(), OPEN + 50);
        let part = first.split(10).unwrap();
        drop((first, second));
        assert_eq!(budget.used_bytes(), OPEN + 10);
        // However small what they hold.
        let others: Vec<_> = shares[1..].iter().map(|share| share.charge(1)).collect();
        assert_eq!(others.iter().flatten().count(), 2);
        drop(part);
        assert_eq!(budget.used_bytes(), 2 * (OPEN + 1));
        assert!(shares[3].charge(1).is_some());
        drop(others);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn a_stream_is_charged_once_whoever_opens_and_closes_it() {
        let budget = MemoryBudget::new(usize::MAX);
        let share = budget.stream_share();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..100_000).for_each(|_| drop(share.charge(1))));
            }
        });
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn a_record_costs_itself_and_its_body() {
        assert_eq!(MemoryBudget::record_bytes(300, 10), 300 + 400 + 20 + 512);
        assert_eq!(MemoryBudget::record_bytes(0, 0), 512);
    }

    #[test]
    fn a_stream_is_pressed_before_its_records_are_refused() {
        // Alone, at two thirds of all; four fifths are the most.
        let budget = MemoryBudget::new(30_000);
        let share = budget.share();
        assert!(!share.is_pressed());
        let most = fill(&share).len();
        let mut held = Vec::new();
        while !share.is_pressed() {
            held.push(share.charge(10).unwrap());
        }
        assert_eq!((held.len(), most), (2000, 2400));
        // One of many, when hardly anything is free.
        let budget = MemoryBudget::new(80_000);
        let shares: Vec<Share> = (0..40).map(|_| budget.share()).collect();
        let charge = |share: &Share| share.charge(100).unwrap();
        let mut held: Vec<Charge> = Vec::new();
        while !shares[0].is_pressed() {
            held.extend(shares.iter().map(charge));
        }
        let used = budget.used_bytes();
        assert!((70_000..76_000).contains(&used), "{used}");
        assert!(!budget.share().is_pressed(), "it holds nothing to send");
    }
}
