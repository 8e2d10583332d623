//! The queue of one stream, in memory.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{Record, Refusal};

/// Places for waiting records that a stream keeps while it has none.
const QUIET_PLACES: usize = 64;

/// Places that a stream begins with: many never hold more.
const FIRST_PLACES: usize = 4;

/// Records of one stream in the order they go out. A record taken out for a call stays counted
/// until its outcome is final, so "in the queue" means waiting or in flight.
#[derive(Debug)]
pub struct StreamQueue {
    /// In the order they go out: arrival order, retried records behind.
    waiting: VecDeque<Record>,
    /// Bytes of data waiting; tells when a full batch waits without counting again.
    waiting_bytes: usize,
    /// Records taken out for a call whose outcome is not final.
    in_flight: usize,
    /// Most records, waiting and in flight, that are held (`DELIVERY_STREAM_QUEUE_SIZE`).
    queue_size: usize,
    /// No waiting record was taken in before this. Retried records stand behind younger ones, so
    /// only a look at all of them tells the oldest; this bound says when such a look is due.
    oldest_bound: Option<Instant>,
}

impl StreamQueue {
    /// An empty queue for up to `queue_size` records.
    pub fn new(queue_size: usize) -> Self {
        StreamQueue {
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            in_flight: 0,
            queue_size,
            oldest_bound: None,
        }
    }

    /// Whether a further record is taken.
    pub fn has_room(&self) -> bool {
        self.len() < self.queue_size
    }

    /// Takes a record in, behind all others.
    ///
    /// # Errors
    /// Gives the record back where the queue is full.
    #[expect(
        clippy::result_large_err,
        reason = "a refused record is moved back, not boxed"
    )]
    pub fn push(&mut self, record: Record) -> Result<(), (Refusal, Record)> {
        if !self.has_room() {
            return Err((Refusal::QueueFull, record));
        }
        self.append(record);
        Ok(())
    }

    /// Takes a record in, behind all others, that was counted before: it comes from disk.
    pub fn refill(&mut self, record: Record) {
        self.append(record);
    }

    /// Takes the first `count` waiting records out for a call. They stay counted as in flight.
    pub fn take(&mut self, count: usize) -> Vec<Record> {
        let records: Vec<Record> = self
            .waiting
            .drain(..count.min(self.waiting.len()))
            .collect();
        self.waiting_bytes -= bytes_of(&records);
        self.in_flight += records.len();
        records
    }

    /// Ends a call: `finished` of its records are final, `retry` go back behind all others.
    pub fn settle(&mut self, finished: usize, retry: Vec<Record>) {
        self.in_flight -= finished + retry.len();
        for mut record in retry {
            record.detach();
            self.append(record);
        }
        if self.is_empty() {
            // After a backlog, the places of its records would stay allocated for good, in every stream.
            self.waiting.shrink_to(QUIET_PLACES);
        }
    }

    /// Forgets the records in flight: whoever had them is gone with them. Says how many.
    pub fn abandon_in_flight(&mut self) -> usize {
        std::mem::take(&mut self.in_flight)
    }

    /// Takes out the record that waits longest in line; `None` where none waits.
    pub fn drop_oldest(&mut self) -> Option<Record> {
        let record = self.waiting.pop_front()?;
        self.waiting_bytes -= record.data.len();
        Some(record)
    }

    /// Takes out waiting records that are `max_age` old or older, the first ones in line, at most so many. They stay
    /// counted as in flight until they are settled.
    pub fn expire(&mut self, now: Instant, max_age: Duration, most: usize) -> Vec<Record> {
        let is_old = |received: Instant| now.duration_since(received) >= max_age;
        if !self.oldest_bound.is_some_and(is_old) {
            return Vec::new();
        }
        let mut found = 0;
        let (old, young): (Vec<_>, Vec<_>) = self.waiting.drain(..).partition(|record| {
            let is_one = found < most && is_old(record.received);
            found += usize::from(is_one);
            is_one
        });
        self.waiting_bytes -= bytes_of(&old);
        self.oldest_bound = young.iter().map(|record| record.received).min();
        self.waiting = young.into();
        self.in_flight += old.len();
        old
    }

    /// An instant before which no waiting record was taken in; `None` where none waits.
    pub fn oldest_bound(&self) -> Option<Instant> {
        self.oldest_bound.filter(|_| !self.waiting.is_empty())
    }

    /// When the oldest waiting record was taken in; `None` where none waits. A look at all of them.
    pub fn oldest(&mut self) -> Option<Instant> {
        self.oldest_bound = self.waiting.iter().map(|record| record.received).min();
        self.oldest_bound
    }

    /// Takes out all that waits.
    pub fn drain(&mut self) -> Vec<Record> {
        self.waiting_bytes = 0;
        self.waiting.drain(..).collect()
    }

    /// The waiting records, in order.
    pub fn waiting_data(&self) -> impl Iterator<Item = &Bytes> + Clone {
        self.waiting.iter().map(|record| &record.data)
    }

    /// Records waiting.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Bytes of data waiting.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Records waiting or in flight.
    pub fn len(&self) -> usize {
        self.waiting.len() + self.in_flight
    }

    /// Whether nothing waits and nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn append(&mut self, record: Record) {
        self.oldest_bound = Some(match self.oldest_bound() {
            Some(bound) => bound.min(record.received),
            None => record.received,
        });
        self.waiting_bytes += record.data.len();
        if self.waiting.len() == self.waiting.capacity() {
            // Doubled, but not beyond what there can ever be.
            let further = self.waiting.len().max(FIRST_PLACES);
            let useful = self.queue_size.saturating_sub(self.waiting.len());
            let further = if useful > 0 {
                further.min(useful)
            } else {
                further
            };
            self.waiting.reserve_exact(further);
        }
        self.waiting.push_back(record);
    }
}

fn bytes_of(records: &[Record]) -> usize {
    records.iter().map(|record| record.data.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::super::{Id, MemoryBudget};
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn record(number: u64, bytes: usize, received: Instant, budget: &MemoryBudget) -> Record {
        Record {
            data: Bytes::from(vec![0; bytes]),
            id: Id::from(number.to_string().as_str()),
            received,
            charge: budget
                .share()
                .charge(MemoryBudget::record_bytes(bytes, 0))
                .unwrap(),
            kept: None,
        }
    }

    fn numbers(records: &[Record]) -> Vec<u64> {
        records
            .iter()
            .map(|r| r.id.as_str().parse().unwrap())
            .collect()
    }

    #[test]
    fn places_are_no_more_than_needed_and_given_back() {
        let budget = MemoryBudget::new(1 << 20);
        let mut queue = StreamQueue::new(700);
        for number in 0..700 {
            let record = record(number, 1, Instant::now(), &budget);
            assert!(queue.push(record).is_ok());
        }
        assert_eq!(queue.waiting.capacity(), 700);
        let taken = queue.take(700);
        assert_eq!(queue.waiting.capacity(), 700, "in use again at once");
        queue.settle(600, Vec::new());
        assert_eq!(queue.waiting.capacity(), 700, "still in use");
        let taken = &taken[600..];
        queue.settle(taken.len(), Vec::new());
        assert!(queue.waiting.capacity() <= QUIET_PLACES);
    }

    #[test]
    fn in_flight_counts_against_the_queue_size() {
        let (now, budget) = (Instant::now(), MemoryBudget::new(1 << 30));
        let mut queue = StreamQueue::new(3);
        for number in 0..3 {
            queue.push(record(number, 1, now, &budget)).unwrap();
        }
        let taken = queue.take(2);
        assert_eq!(
            (numbers(&taken), queue.waiting(), queue.len()),
            (vec![0, 1], 1, 3)
        );
        let (refusal, refused) = queue.push(record(3, 1, now, &budget)).unwrap_err();
        assert_eq!(refusal, Refusal::QueueFull);
        queue.settle(2, Vec::new());
        queue.push(refused).unwrap();
        assert_eq!(numbers(&queue.drain()), [2, 3]);
    }

    #[test]
    fn retried_records_go_to_the_end() {
        let (now, budget) = (Instant::now(), MemoryBudget::new(1 << 30));
        let mut queue = StreamQueue::new(10);
        for number in 0..4 {
            queue.push(record(number, 1, now, &budget)).unwrap();
        }
        let taken = queue.take(3);
        queue.settle(1, taken.into_iter().skip(1).collect());
        assert_eq!(numbers(&queue.drain()), [3, 1, 2]);
    }

    #[test]
    fn the_oldest_is_one_that_waits() {
        let (start, budget) = (Instant::now(), MemoryBudget::new(1 << 30));
        let mut queue = StreamQueue::new(10);
        for second in 0..4 {
            let received = start + Duration::from_secs(second);
            queue.push(record(second, 1, received, &budget)).unwrap();
        }
        let first = queue.take(2);
        assert_eq!(queue.oldest(), Some(start + Duration::from_secs(2)));
        queue.settle(1, first.into_iter().skip(1).collect());
        assert_eq!(
            queue.oldest(),
            Some(start + Duration::from_secs(1)),
            "put back"
        );
        queue.drain();
        assert_eq!(queue.oldest(), None);
    }

    #[test]
    fn expiry_takes_the_old_wherever_they_stand() {
        let (start, budget) = (Instant::now(), MemoryBudget::new(1 << 30));
        let mut queue = StreamQueue::new(10);
        for (number, second) in [(0, 5), (1, 0), (2, 9), (3, 1)] {
            queue
                .push(record(
                    number,
                    1,
                    start + Duration::from_secs(second),
                    &budget,
                ))
                .unwrap();
        }
        assert_eq!(queue.oldest_bound(), Some(start));
        let now = start + Duration::from_secs(10);
        assert_eq!(numbers(&queue.expire(now, Duration::from_secs(9), 1)), [1]);
        assert_eq!(numbers(&queue.expire(now, Duration::from_secs(9), 9)), [3]);
        assert!(queue.expire(now, Duration::from_secs(9), 9).is_empty());
        assert_eq!(queue.oldest_bound(), Some(start + Duration::from_secs(5)));
        assert_eq!(
            (queue.waiting_bytes(), numbers(&queue.drain())),
            (2, vec![0, 2])
        );
    }

    proptest! {
        /// Against a model: whatever is done, nothing is lost or doubled, counts and bytes are
        /// right, and the budget is given back to the last byte.
        #[test]
        fn holds_what_it_was_given(steps in proptest::collection::vec((0u8..6, 0usize..2000, any::<u64>()), 1..200)) {
            let (start, budget) = (Instant::now(), MemoryBudget::new(1 << 30));
            let mut queue = StreamQueue::new(50);
            let (mut next, mut held, mut flights) = (0u64, BTreeSet::new(), Vec::<Vec<Record>>::new());
            for (second, (kind, size, dice)) in steps.into_iter().enumerate() {
                let now = start + Duration::from_secs(second as u64);
                match kind {
                    0 | 1 => {
                        let fits = held.len() < 50;
                        let pushed = queue.push(record(next, size, now, &budget));
                        prop_assert_eq!(pushed.is_ok(), fits);
                        if fits { held.insert(next); }
                        next += 1;
                    }
                    2 => flights.push(queue.take(size % 20)),
                    3 => if !flights.is_empty() {
                        let flight = flights.swap_remove(dice as usize % flights.len());
                        let mut kept = Vec::new();
                        let mut finished = 0;
                        for (place, record) in flight.into_iter().enumerate() {
                            if dice >> (place % 64) & 1 == 1 { kept.push(record) } else {
                                held.remove(&numbers(std::slice::from_ref(&record))[0]);
                                finished += 1;
                            }
                        }
                        queue.settle(finished, kept);
                    },
                    4 => if let Some(dropped) = queue.drop_oldest() {
                        prop_assert!(held.remove(&numbers(&[dropped])[0]));
                    },
                    _ => {
                        let old = queue.expire(now, Duration::from_secs(dice % 60), 9);
                        prop_assert_eq!(queue.len(), held.len(), "counted until settled");
                        for number in numbers(&old) {
                            prop_assert!(held.remove(&number));
                        }
                        queue.settle(old.len(), Vec::new());
                    },
                }
                prop_assert_eq!(queue.len(), held.len());
                prop_assert_eq!(queue.waiting_bytes(), queue.waiting_data().map(Bytes::len).sum::<usize>());
            }
            let mut left: Vec<u64> = numbers(&queue.drain());
            left.extend(flights.iter().flat_map(|flight| numbers(flight)));
            prop_assert_eq!(left.len(), held.len());
            prop_assert_eq!(left.into_iter().collect::<BTreeSet<_>>(), held);
            drop((queue, flights));
            prop_assert_eq!(budget.used_bytes(), 0);
        }
    }
}
