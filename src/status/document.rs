//! The JSON of status documents, in the shapes of the contract. Pure. It is written by hand: of all that
//! a delivered record costs, this was a quarter with a serializer (BENCHMARKS.md).

use bytes::Bytes;

use crate::json_text;

/// Which shape the documents have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Versions 2 to 5: `response` is a list, one document for a batch.
    List,
    /// Version 1: `response` is an object with the `id` beside it, one document per request.
    Single,
}

/// Longest error message that a status repeats, in bytes of its JSON form. Ours are far below; a service's answer
/// is not ours to bound otherwise.
const MESSAGE_MAX_BYTES: usize = 500;

/// Longest record id and code that a status repeats, in bytes of their JSON form (real ones are about 220 and 30).
const CODE_MAX_BYTES: usize = 500;

/// What became of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Delivered under the record id that the service gave.
    Success {
        /// As the service gave it.
        record_id: &'a str,
    },
    /// Ended without success.
    Fail {
        /// One of [`crate::code::Code`], or a code of AWS.
        code: &'a str,
        /// For a person.
        message: &'a str,
    },
}

/// Collects the statuses of one batch into documents below a size.
#[derive(Debug)]
pub struct DocumentBuilder {
    /// Which shape to write.
    shape: Shape,
    /// No document is longer than this, in bytes.
    max_bytes: usize,
    /// Documents that are complete.
    finished: Vec<Document>,
    /// The one being written; empty where none is.
    open: Vec<u8>,
    /// Statuses in the open one.
    open_statuses: usize,
    /// Statuses that are still to be added, as far as is known.
    to_come: usize,
}

impl Document {
    /// What it costs to keep, in bytes.
    pub fn cost_bytes(&self) -> usize {
        const BOOKKEEPING: usize = 128;
        self.json.len() + BOOKKEEPING
    }
}

/// A document ready to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its JSON.
    pub json: Bytes,
    /// How many requests it speaks of.
    pub statuses: usize,
}

const LIST_HEAD: &[u8] = b"{\"response\":[";
const LIST_TAIL: &[u8] = b"]}";

impl DocumentBuilder {
    /// Starts a batch of documents of at most `max_bytes` each, for about so many `statuses`.
    pub fn new(shape: Shape, max_bytes: usize, statuses: usize) -> Self {
        DocumentBuilder {
            shape,
            max_bytes,
            finished: Vec::new(),
            open: Vec::new(),
            open_statuses: 0,
            to_come: statuses,
        }
    }

    /// Adds the status of one request.
    pub fn add(&mut self, id: &str, verdict: Verdict<'_>) {
        match self.shape {
            Shape::Single => {
                write_single(&mut self.open, id, verdict);
                self.open_statuses = 1;
                self.close(b"");
            }
            Shape::List => self.add_entry(id, verdict),
        }
        self.to_come = self.to_come.saturating_sub(1);
    }

    fn add_entry(&mut self, id: &str, verdict: Verdict<'_>) {
        let before = self.open.len();
        self.open.extend_from_slice(if self.open_statuses == 0 {
            LIST_HEAD
        } else {
            b","
        });
        write_entry(&mut self.open, id, verdict);
        if before == 0 {
            self.make_room();
        }
        if self.open.len() + LIST_TAIL.len() > self.max_bytes && self.open_statuses > 0 {
            let entry = self.open.split_off(before + 1);
            self.open.truncate(before);
            self.close(LIST_TAIL);
            self.open.extend_from_slice(LIST_HEAD);
            self.open.extend_from_slice(&entry);
            self.make_room();
        }
        self.open_statuses += 1;
    }

    /// The statuses to come will be about as long as the first: a buffer that grows by and by would be
    /// copied again and again.
    fn make_room(&mut self) {
        let room = self.open.len().saturating_mul(self.to_come);
        self.open.reserve(room.min(self.max_bytes));
    }

    fn close(&mut self, tail: &[u8]) {
        let mut json = std::mem::take(&mut self.open);
        json.extend_from_slice(tail);
        // It may wait long, and a growing buffer has up to twice of what is in it.
        json.shrink_to_fit();
        self.finished.push(Document {
            json: Bytes::from(json),
            statuses: std::mem::take(&mut self.open_statuses),
        });
    }

    /// The documents; none where nothing was added.
    pub fn finish(mut self) -> Vec<Document> {
        if self.open_statuses > 0 {
            self.close(LIST_TAIL);
        }
        self.finished
    }
}

/// Writes an entry of the list in versions 2 to 5.
fn write_entry(out: &mut Vec<u8>, id: &str, verdict: Verdict<'_>) {
    let status: &[u8] = match verdict {
        Verdict::Success { record_id } => {
            field(out, b"{\"firehose_record_id\":", record_id, CODE_MAX_BYTES);
            b",\"status\":\"success\"}"
        }
        Verdict::Fail { code, message } => {
            field(out, b"{\"ErrorCode\":", code, CODE_MAX_BYTES);
            field(out, b",\"ErrorMessage\":", message, MESSAGE_MAX_BYTES);
            b",\"status\":\"fail\"}"
        }
    };
    field(out, b",\"id\":", id, usize::MAX);
    out.extend_from_slice(status);
}

/// Writes a whole document of version 1.
fn write_single(out: &mut Vec<u8>, id: &str, verdict: Verdict<'_>) {
    let status: &[u8] = match verdict {
        Verdict::Success { record_id } => {
            let key = b"{\"response\":{\"firehose_record_id\":";
            field(out, key, record_id, CODE_MAX_BYTES);
            b",\"status\":\"success\"}"
        }
        Verdict::Fail { code, message } => {
            field(out, b"{\"response\":{\"error\":", code, CODE_MAX_BYTES);
            field(out, b",\"error_message\":", message, MESSAGE_MAX_BYTES);
            b",\"status\":\"fail\"}"
        }
    };
    out.extend_from_slice(status);
    field(out, b",\"id\":", id, usize::MAX);
    out.push(b'}');
}

/// Writes a text behind its key.
fn field(out: &mut Vec<u8>, key: &[u8], text: &str, max_bytes: usize) {
    out.extend_from_slice(key);
    json_text::write(out, text, max_bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn values(documents: &[Document]) -> Vec<Value> {
        documents
            .iter()
            .map(|d| serde_json::from_slice(&d.json).unwrap())
            .collect()
    }

    #[test]
    fn the_contracts_example_of_a_batch() {
        let mut builder = DocumentBuilder::new(Shape::List, 120_000, 0);
        builder.add(
            "request123",
            Verdict::Fail {
                code: "error",
                message: "test error",
            },
        );
        builder.add("request456", Verdict::Success { record_id: "xyz2" });
        builder.add("", Verdict::Success { record_id: "xyz3" });
        let documents = builder.finish();
        assert_eq!(
            values(&documents),
            [json!({"response": [
                {"ErrorCode": "error", "ErrorMessage": "test error", "id": "request123", "status": "fail"},
                {"firehose_record_id": "xyz2", "id": "request456", "status": "success"},
                {"firehose_record_id": "xyz3", "id": "", "status": "success"},
            ]})]
        );
        assert_eq!(documents[0].statuses, 3);
        // Keys stand in the order of the contract.
        let text = String::from_utf8(documents[0].json.to_vec()).unwrap();
        assert!(text.starts_with(r#"{"response":[{"ErrorCode":"error","ErrorMessage":"test error","id":"request123","status":"fail"},{"firehose_record_id":"#));
    }

    #[test]
    fn the_contracts_examples_of_version_1() {
        let mut builder = DocumentBuilder::new(Shape::Single, 120_000, 0);
        builder.add("request123", Verdict::Success { record_id: "1lxf" });
        builder.add(
            "request123",
            Verdict::Fail {
                code: "ResourceNotFoundException",
                message: "gone",
            },
        );
        assert_eq!(
            values(&builder.finish()),
            [
                json!({"response": {"firehose_record_id": "1lxf", "status": "success"}, "id": "request123"}),
                json!({"response": {"error": "ResourceNotFoundException", "error_message": "gone", "status": "fail"}, "id": "request123"}),
            ]
        );
    }

    #[test]
    fn nothing_added_gives_no_document() {
        assert!(
            DocumentBuilder::new(Shape::List, 4096, 0)
                .finish()
                .is_empty()
        );
    }

    proptest! {
        #[test]
        fn documents_stay_below_their_size_and_keep_every_status_in_order(
            entries in proptest::collection::vec((".{0,40}", any::<bool>(), 0usize..900, any::<bool>()), 0..60),
        ) {
            let mut builder = DocumentBuilder::new(Shape::List, 4096, 0);
            for (id, success, length, control) in &entries {
                let text = if *control { "\u{1}" } else { "é" }.repeat(*length);
                builder.add(id, if *success {
                    Verdict::Success { record_id: &text }
                } else {
                    Verdict::Fail { code: "Code", message: &text }
                });
            }
            let documents = builder.finish();
            let mut found = Vec::new();
            for (document, value) in documents.iter().zip(values(&documents)) {
                prop_assert!(document.json.len() <= 4096, "{} bytes", document.json.len());
                let list = value["response"].as_array().unwrap().clone();
                prop_assert_eq!(list.len(), document.statuses);
                found.extend(list);
            }
            prop_assert_eq!(found.len(), entries.len());
            for (value, (id, success, ..)) in found.iter().zip(&entries) {
                prop_assert_eq!(value["id"].as_str(), Some(id.as_str()));
                prop_assert_eq!(value["status"].as_str(), Some(if *success { "success" } else { "fail" }));
            }
        }
    }
}
