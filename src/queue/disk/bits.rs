//! Sets of a segment's ordinals, at a bit for each. Pure.

/// A set of small numbers.
#[derive(Debug, Clone, Default)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub fn insert(&mut self, number: u32) {
        let word = number as usize / 64;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (number % 64);
    }

    /// All from `first` to `last`.
    pub fn insert_run(&mut self, first: u32, last: u32) {
        if first > last {
            return;
        }
        let (begin, end) = (first as usize / 64, last as usize / 64);
        if end >= self.0.len() {
            self.0.resize(end + 1, 0);
        }
        let (head, tail) = (u64::MAX << (first % 64), u64::MAX >> (63 - last % 64));
        if begin == end {
            self.0[begin] |= head & tail;
            return;
        }
        self.0[begin] |= head;
        self.0[begin + 1..end].fill(u64::MAX);
        self.0[end] |= tail;
    }

    /// Whether it was in.
    pub fn remove(&mut self, number: u32) -> bool {
        let was_in = self.contains(number);
        if was_in {
            self.0[number as usize / 64] &= !(1 << (number % 64));
        }
        was_in
    }

    /// Runs of numbers below `end` that are not in.
    pub fn gaps(&self, end: u32) -> u64 {
        let words = (end as usize).div_ceil(64);
        let mut was_in = true;
        let mut gaps = 0;
        for word in (0..words).map(|index| self.0.get(index).copied().unwrap_or(0)) {
            let before = word << 1 | u64::from(was_in);
            gaps += u64::from((!word & before).count_ones());
            was_in = word >> 63 == 1;
        }
        gaps
    }

    /// The lowest that is in from `from` on; where there is none, one beyond all.
    fn next(&self, from: u32) -> u32 {
        let mut index = from as usize / 64;
        let mut word = self.0.get(index).copied().unwrap_or(0) >> (from % 64) << (from % 64);
        while word == 0 && index + 1 < self.0.len() {
            index += 1;
            word = self.0[index];
        }
        match word {
            0 => u32::try_from(self.0.len() * 64).unwrap_or(u32::MAX),
            _ => index as u32 * 64 + word.trailing_zeros(),
        }
    }

    pub fn contains(&self, number: u32) -> bool {
        self.0
            .get(number as usize / 64)
            .is_some_and(|word| word >> (number % 64) & 1 == 1)
    }
}

/// Finished records that are not noted in the log yet, a bit for each: while nothing can be written there may be as many
/// as there are records.
#[derive(Debug, Clone, Default)]
pub(super) struct Unnoted {
    bits: Bits,
    /// How many there are.
    records: usize,
    /// None is below this.
    from: u32,
}

impl Unnoted {
    pub fn add(&mut self, ordinal: u32) {
        if self.bits.contains(ordinal) {
            return;
        }
        self.from = match self.records {
            0 => ordinal,
            _ => self.from.min(ordinal),
        };
        self.bits.insert(ordinal);
        self.records += 1;
    }

    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// The lowest of them as ascending runs, first and last of each, at most so many; these are in no more.
    pub fn take(&mut self, most_runs: usize) -> Vec<(u32, u32)> {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        let mut ordinal = self.from;
        while self.records > 0 {
            if !self.bits.remove(ordinal) {
                ordinal = self.bits.next(ordinal);
                continue;
            }
            let is_full = runs.len() == most_runs;
            match runs.last_mut() {
                Some(run) if run.1 + 1 == ordinal => run.1 = ordinal,
                _ if is_full => {
                    self.bits.insert(ordinal);
                    break;
                }
                _ => runs.push((ordinal, ordinal)),
            }
            self.records -= 1;
            ordinal += 1;
        }
        self.from = ordinal;
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_joined_whatever_the_order() {
        let mut unnoted = Unnoted::default();
        for number in [5, 6, 7, 1, 2, 9, 3, 4, 2, 500] {
            unnoted.add(number);
        }
        assert_eq!(unnoted.take(9), [(1, 7), (9, 9), (500, 500)]);
        assert_eq!(unnoted.take(9), []);
        unnoted.add(3);
        assert_eq!(unnoted.take(9), [(3, 3)]);
    }

    #[test]
    fn no_more_runs_are_taken_than_are_asked_for_and_the_others_later() {
        let mut unnoted = Unnoted::default();
        (0..1000).for_each(|number| unnoted.add(2 * number));
        unnoted.add(1);
        let mut taken = unnoted.take(10);
        assert_eq!(taken[..2], [(0, 2), (4, 4)]);
        assert_eq!(taken.len(), 10);
        while unnoted.records > 0 {
            let more = unnoted.take(64);
            assert!((1..=64).contains(&more.len()));
            taken.extend(more);
        }
        let expected = (2..1000).map(|number| (2 * number, 2 * number));
        assert_eq!(taken[1..], expected.collect::<Vec<_>>());
    }

    #[test]
    fn gaps_are_counted() {
        let mut bits = Bits::default();
        assert_eq!(bits.gaps(1), 1);
        assert_eq!(bits.gaps(200), 1);
        for number in [0, 1, 3, 63, 64, 130] {
            bits.insert(number);
        }
        // 2, 4 to 62, 65 to 129, 131 to 199.
        assert_eq!(bits.gaps(200), 4);
    }

    #[test]
    fn a_run_is_all_from_its_first_to_its_last() {
        for (first, last) in [
            (0, 0),
            (3, 9),
            (0, 63),
            (63, 64),
            (64, 127),
            (5, 200),
            (9, 3),
        ] {
            let mut bits = Bits::default();
            bits.insert_run(first, last);
            for number in 0..300 {
                let expected = (first..=last).contains(&number);
                assert_eq!(
                    bits.contains(number),
                    expected,
                    "{number} of {first} to {last}"
                );
            }
        }
    }
}
