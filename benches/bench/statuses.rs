//! Counts what status documents say: each request is to have one success and nothing else.

use memchr::memmem::Finder;

use super::payload::read_number;
use super::seen::Seen;

/// Statuses of the requests below a number.
#[derive(Debug)]
pub struct Statuses {
    /// Finds the ids in a document.
    id: Finder<'static>,
    /// Requests that were reported delivered. Anything else is counted as wrong.
    pub delivered: Seen,
}

impl Statuses {
    /// For the requests below `numbers`.
    pub fn new(numbers: u64) -> Self {
        Statuses {
            id: Finder::new(b"\"id\":\""),
            delivered: Seen::new(numbers),
        }
    }

    /// Counts a document's statuses. The keys stand in the order of the contract: the status is behind
    /// the id.
    pub fn count(&self, document: &[u8]) {
        const SUCCESS: &[u8] = b"\",\"status\":\"success\"}";
        let mut new = 0;
        for at in self.id.find_iter(document) {
            let rest = &document[at + self.id.needle().len()..];
            let end = memchr::memchr(b'"', rest).unwrap_or(rest.len());
            let (id, rest) = rest.split_at(end);
            let number = read_number(id).filter(|_| rest.starts_with(SUCCESS));
            new += u64::from(self.delivered.mark(number));
        }
        self.delivered.add(new);
    }
}
