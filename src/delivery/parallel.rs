//! How many calls of a stream may be under way at a time. Pure.

/// One more with each call that goes well, half as many after one that fails.
#[derive(Debug)]
pub struct Parallel {
    /// Never more than this.
    most: usize,
    /// At the moment, while none fails.
    now: usize,
    /// Calls that went well since one last failed.
    successes: usize,
}

impl Parallel {
    /// As many as there may be, until one fails.
    pub fn new(most: usize) -> Self {
        Parallel {
            most,
            now: most,
            successes: 0,
        }
    }

    /// How many may be under way: while calls fail, one at a time tries.
    pub fn allowed(&self, probing: bool) -> usize {
        if probing { 1 } else { self.now }
    }

    /// A call went well.
    pub fn succeeded(&mut self) {
        self.successes += 1;
        self.now = (self.now + 1).min(self.most);
    }

    /// Calls that were under way together failed. Unless others went well meanwhile, more than the
    /// one that tried, there were too many: on a narrow link, calls that share it all time out,
    /// and would again together, while the one that tries alone gets through.
    pub fn failed(&mut self) {
        if self.successes <= 1 {
            self.now = (self.now / 2).max(1);
        }
        self.successes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_link_is_found_and_left_when_it_widens() {
        let mut parallel = Parallel::new(16);
        for expected in [8, 4, 3, 2] {
            // All time out; the one that tries gets through.
            parallel.failed();
            assert_eq!(parallel.allowed(true), 1);
            parallel.succeeded();
            assert!(parallel.allowed(false) <= expected + 1, "{parallel:?}");
        }
        for _ in 0..100 {
            parallel.succeeded();
        }
        assert_eq!(parallel.allowed(false), 16);
    }

    #[test]
    fn failures_among_successes_change_nothing() {
        let mut parallel = Parallel::new(16);
        for _ in 0..20 {
            parallel.succeeded();
            parallel.succeeded();
            parallel.failed();
        }
        assert_eq!(parallel.allowed(false), 16);
    }

    #[test]
    fn there_is_always_one() {
        let mut parallel = Parallel::new(16);
        (0..50).for_each(|_| parallel.failed());
        assert_eq!(parallel.allowed(false), 1);
    }
}
