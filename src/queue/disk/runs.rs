//! Numbers of segments as runs of such that follow each other: what a file says of many costs no more than what it says
//! it with, even where it is nonsense.

use std::ops::RangeInclusive;

/// From the first number to the last.
pub(super) type Run = RangeInclusive<u64>;

/// Ascending numbers as runs.
pub(super) fn runs_of(numbers: impl IntoIterator<Item = u64>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some(run) if run.end().checked_add(1) == Some(number) => *run = *run.start()..=number,
            _ => runs.push(number..=number),
        }
    }
    runs
}

/// How many numbers are in a run of `these`, in whatever order they stand, and in none of `those`.
pub(super) fn count_without(these: Vec<Run>, those: Vec<Run>) -> u64 {
    let those = joined(those);
    let mut behind = those.as_slice();
    let mut count = 0u64;
    for run in joined(these) {
        let passed = behind.partition_point(|other| other.end() < run.start());
        behind = &behind[passed..];
        let within = behind.iter().take_while(|other| other.start() <= run.end());
        let covered = within
            .map(|other| length(&(*run.start().max(other.start())..=*run.end().min(other.end()))));
        count = count.saturating_add(length(&run).saturating_sub(covered.sum()));
    }
    count
}

/// The same numbers in ascending runs of which no two touch.
fn joined(mut runs: Vec<Run>) -> Vec<Run> {
    runs.sort_unstable_by_key(|run| *run.start());
    let mut joined: Vec<Run> = Vec::with_capacity(runs.len());
    for run in runs {
        match joined.last_mut() {
            Some(last) if *run.start() <= last.end().saturating_add(1) => {
                *last = *last.start()..=*last.end().max(run.end());
            }
            _ => joined.push(run),
        }
    }
    joined
}

/// How many numbers; one fewer of all that there are.
fn length(run: &Run) -> u64 {
    (run.end() - run.start()).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn numbers(runs: &[Run]) -> BTreeSet<u64> {
        runs.iter().cloned().flatten().collect()
    }

    proptest! {
        #[test]
        fn runs_are_the_numbers(all in proptest::collection::btree_set(0u64..60, 0..40)) {
            let runs = runs_of(all.iter().copied());
            prop_assert_eq!(numbers(&runs), all);
            prop_assert_eq!(&joined(runs.clone()), &runs);
        }

        #[test]
        fn what_is_counted_is_what_the_sets_say(
            these in proptest::collection::vec((0u64..60, 0u64..9), 0..12),
            those in proptest::collection::vec((0u64..60, 0u64..9), 0..12),
        ) {
            let runs = |all: Vec<(u64, u64)>| -> Vec<Run> {
                all.into_iter().map(|(first, more)| first..=first + more).collect()
            };
            let (these, those) = (runs(these), runs(those));
            let expected = numbers(&these).difference(&numbers(&those)).count() as u64;
            prop_assert_eq!(count_without(these, those), expected);
        }
    }

    #[test]
    fn nonsense_is_counted_as_quickly() {
        let all = 0..=u64::MAX;
        assert_eq!(
            count_without(vec![all.clone(); 3], vec![7..=8]),
            u64::MAX - 2
        );
        assert_eq!(count_without(vec![all.clone()], vec![all]), 0);
        assert_eq!(runs_of([u64::MAX]), [u64::MAX..=u64::MAX]);
    }
}
