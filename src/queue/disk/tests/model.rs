//! Random runs against the book: whatever is done, in which order, and whatever fails meanwhile.

use proptest::prelude::*;

use super::disk::{Disk, EIO, ENOSPC, EROFS, Fault, Op};
use super::rig::{Rig, number};
use crate::queue::disk::state::lock;
use crate::queue::disk::{Bounds, Wanted};

const STREAMS: usize = 4;

const BOUNDS: Bounds = Bounds {
    queue_size: 40,
    max_bytes: 4 << 20,
    segment_bytes: 64 * 1024,
};

/// Just enough for the largest record and little beside it.
const MEMORY_BYTES: usize = 2_600_000;

#[derive(Debug, Clone)]
enum Action {
    Push(usize, usize, usize),
    Step(bool),
    Load(usize, usize, usize),
    Finish(usize),
    FinishMost,
    Unload(usize),
    /// The oldest of a stream goes for a newer one.
    Drop(usize),
    Fail(usize, usize),
    WorkAgain,
    Reopen(bool),
    CloseStream(usize),
}

fn action() -> impl Strategy<Value = Action> {
    let bytes = prop_oneof![8 => 0..500usize, 4 => 0..60_000usize, 1 => 0..1_000_000usize];
    let id = prop_oneof![4 => Just(0), 4 => 0..40usize, 1 => 0..3000usize];
    prop_oneof![
        12 => (0..STREAMS, bytes, id).prop_map(|(s, b, i)| Action::Push(s, b, i)),
        6 => any::<bool>().prop_map(Action::Step),
        6 => (0..STREAMS, 0..12usize, 0..100_000usize).prop_map(|(s, r, b)| Action::Load(s, r, b)),
        6 => any::<usize>().prop_map(Action::Finish),
        2 => Just(Action::FinishMost),
        3 => any::<usize>().prop_map(Action::Unload),
        1 => (0..STREAMS).prop_map(Action::Drop),
        1 => (0..6usize, 0..2000usize).prop_map(|(kind, keeps)| Action::Fail(kind, keeps)),
        2 => Just(Action::WorkAgain),
        1 => any::<bool>().prop_map(Action::Reopen),
        1 => (0..STREAMS).prop_map(Action::CloseStream),
    ]
}

/// A run, and what it has met.
struct Run {
    rig: Rig,
    /// Whether anything ever failed: then a file may be longer than is known.
    faults: bool,
    failing: bool,
}

impl Run {
    fn act(mut self, action: &Action) -> Self {
        match *action {
            Action::Push(stream, bytes, id) => drop(self.rig.push(stream, bytes, id)),
            Action::Step(sync) => {
                let result = self.rig.step(sync);
                assert!(self.failing || result.is_ok(), "{result:?}");
            }
            Action::Load(stream, records, bytes) => {
                let load = self.rig.load(stream, Wanted { records, bytes });
                assert!(load.is_ok_and(|load| load.lost == 0) || self.failing);
            }
            Action::Finish(index) if !self.rig.loaded.is_empty() => {
                self.rig.finish(index % self.rig.loaded.len());
            }
            Action::FinishMost => {
                while self.rig.loaded.len() > 2 {
                    self.rig.finish(0);
                }
            }
            Action::Unload(index) if !self.rig.loaded.is_empty() => {
                self.rig.unload(index % self.rig.loaded.len());
            }
            Action::Drop(stream) => self.drop_oldest(stream),
            Action::Fail(kind, keeps) => self.fail(kind, keeps),
            Action::WorkAgain => self.work_again(),
            Action::Reopen(in_order) => return self.reopen(in_order),
            Action::CloseStream(stream) => self.rig.stream(stream).close(),
            Action::Finish(_) | Action::Unload(_) => {}
        }
        self
    }

    fn drop_oldest(&mut self, stream: usize) {
        let disk = self.rig.stream(stream);
        if !disk.depth().drop_more(1) {
            return;
        }
        let before = self.rig.loaded.len();
        let one = Wanted {
            records: 1,
            bytes: usize::MAX,
        };
        let _ = self.rig.load(stream, one);
        if self.rig.loaded.len() > before {
            self.rig.finish(before);
        }
        disk.depth().dropped(1);
    }

    fn fail(&mut self, kind: usize, keeps: usize) {
        (self.faults, self.failing) = (true, true);
        let (ops, errno): (&[Op], i32) = [
            (&[Op::Write][..], ENOSPC),
            (&[Op::Sync], EIO),
            (&[Op::Create, Op::SyncNames], EIO),
            (&[Op::Write, Op::SetLen], EIO),
            (&[Op::Remove, Op::Rename], EIO),
            (
                &[Op::Create, Op::Write, Op::SetLen, Op::Remove, Op::Rename],
                EROFS,
            ),
        ][kind];
        self.rig
            .files
            .judge(move |op, _| ops.contains(&op).then_some(Fault { errno, keeps }));
    }

    fn work_again(&mut self) {
        self.failing = false;
        self.rig.files.work_again();
        // The next step clears up behind the faults.
        let _ = self.rig.step(true);
        self.rig.step(true).unwrap();
    }

    /// What is there after a start is compared, and taken for what there is from now on.
    fn reopen(mut self, in_order: bool) -> Self {
        self.failing = false;
        self.rig.files.work_again();
        let mut rig = self.rig.reopen(in_order);
        assert!(
            !rig.recovery.is_damaged() || self.faults,
            "{:?}",
            rig.recovery
        );
        assert_eq!(rig.load_all(), 0);
        let found = rig.numbers();
        for (number, pushed) in &rig.book {
            let times = found.iter().filter(|found| *found == number).count();
            assert!(times <= 1 || self.faults, "record {number}: {times} times");
            if pushed.held && !pushed.finished {
                assert!(times > 0, "record {number} is lost");
            }
            assert!(
                !(pushed.noted && times > 0) || self.faults,
                "record {number}"
            );
        }
        rig.book
            .retain(|number, _| found.binary_search(number).is_ok());
        // What came twice, or again, is finished.
        let mut seen = std::collections::BTreeSet::new();
        let mut index = 0;
        while index < rig.loaded.len() {
            let number = number(&rig.loaded[index].1.id);
            let again = rig.book[&number].finished;
            if again || !seen.insert(number) {
                rig.finish(index);
                rig.book.get_mut(&number).unwrap().finished = again;
            } else {
                index += 1;
            }
        }
        rig.book.values_mut().for_each(|pushed| pushed.held = true);
        rig.unload_all();
        rig.set_budget(MEMORY_BYTES);
        self.rig = rig;
        self
    }

    fn check(&self) {
        let rig = &self.rig;
        for stream in 0..STREAMS {
            let here = rig
                .book
                .values()
                .filter(|p| p.stream == stream && !p.finished);
            let held = here.count();
            let loaded: Vec<usize> = rig
                .loaded
                .iter()
                .filter(|(of, _)| *of == stream)
                .map(|(_, record)| number(&record.id))
                .collect();
            let unread = rig.book.iter().filter(|(number, p)| {
                p.stream == stream && p.held && !p.finished && !loaded.contains(number)
            });
            let unread: Vec<usize> = unread.map(|(_, p)| p.data.len() + p.id.len()).collect();
            let disk = rig.stream(stream);
            let depth = disk.depth();
            assert_eq!(depth.held(), held, "held of {stream}");
            assert_eq!(depth.unread(), unread.len(), "unread of {stream}");
            assert_eq!(depth.unread_bytes(), unread.iter().sum::<usize>());
            assert_eq!(depth.oldest_unix_ms().is_some(), !unread.is_empty());
            assert!(held <= BOUNDS.queue_size);
        }
        assert!(rig.budget.used_bytes() <= rig.budget.limit_bytes());
        let state = lock(&rig.queue.inner.state);
        assert!(state.total_bytes <= BOUNDS.max_bytes);
        let sum: u64 = state.segments.values().map(|segment| segment.bytes).sum();
        assert_eq!(state.total_bytes, sum);
        assert!(self.faults || rig.files.peak_bytes() <= BOUNDS.max_bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_queue_is_what_the_book_says(actions in prop::collection::vec(action(), 1..120)) {
        let mut rig = Rig::open(Disk::default(), BOUNDS);
        rig.set_budget(MEMORY_BYTES);
        let mut run = Run { rig, faults: false, failing: false };
        for action in &actions {
            run = run.act(action);
            run.check();
        }
        run = run.act(&Action::WorkAgain);
        // Whatever faults have left behind is dealt with at this start.
        run = run.act(&Action::Reopen(true));
        run.rig.step(true).unwrap();
        let mut rig = run.rig.reopen(true);
        prop_assert_eq!(rig.load_all(), 0);
        let expected: Vec<usize> = rig.book.iter().filter(|(_, p)| !p.finished).map(|(&n, _)| n).collect();
        prop_assert_eq!(rig.numbers(), expected);
        rig.finish_all();
        rig.step(true).unwrap();
        prop_assert!(rig.segments() <= 1);
    }
}
