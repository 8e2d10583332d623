//! The JSON of status documents, in the shapes of the contract. Pure.

use bytes::Bytes;
use serde::Serialize;

use crate::json_text::cut;

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
    /// Starts a batch of documents of at most `max_bytes` each.
    pub fn new(shape: Shape, max_bytes: usize) -> Self {
        DocumentBuilder {
            shape,
            max_bytes,
            finished: Vec::new(),
            open: Vec::new(),
            open_statuses: 0,
        }
    }

    /// Adds the status of one request.
    pub fn add(&mut self, id: &str, verdict: Verdict<'_>) {
        let verdict = shortened(verdict);
        match self.shape {
            Shape::Single => {
                write_json(
                    &mut self.open,
                    &Single {
                        response: verdict.into(),
                        id,
                    },
                );
                self.open_statuses = 1;
                self.close(b"");
            }
            Shape::List => self.add_entry(id, verdict),
        }
    }

    fn add_entry(&mut self, id: &str, verdict: Verdict<'_>) {
        let before = self.open.len();
        self.open.extend_from_slice(if self.open_statuses == 0 {
            LIST_HEAD
        } else {
            b","
        });
        match verdict {
            Verdict::Success { record_id } => write_json(
                &mut self.open,
                &Success {
                    firehose_record_id: record_id,
                    id,
                    status: "success",
                },
            ),
            Verdict::Fail { code, message } => write_json(
                &mut self.open,
                &Fail {
                    error_code: code,
                    error_message: message,
                    id,
                    status: "fail",
                },
            ),
        }
        if self.open.len() + LIST_TAIL.len() > self.max_bytes && self.open_statuses > 0 {
            let entry = self.open.split_off(before + 1);
            self.open.truncate(before);
            self.close(LIST_TAIL);
            self.open.extend_from_slice(LIST_HEAD);
            self.open.extend_from_slice(&entry);
        }
        self.open_statuses += 1;
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

/// Text and numbers into a growing buffer: nothing in that can fail.
fn write_json(buffer: &mut Vec<u8>, value: &impl Serialize) {
    let written = serde_json::to_writer(buffer, value);
    debug_assert!(written.is_ok());
}

fn shortened(verdict: Verdict<'_>) -> Verdict<'_> {
    match verdict {
        Verdict::Success { record_id } => Verdict::Success {
            record_id: cut(record_id, CODE_MAX_BYTES),
        },
        Verdict::Fail { code, message } => Verdict::Fail {
            code: cut(code, CODE_MAX_BYTES),
            message: cut(message, MESSAGE_MAX_BYTES),
        },
    }
}

#[derive(Serialize)]
struct Success<'a> {
    firehose_record_id: &'a str,
    id: &'a str,
    status: &'a str,
}

#[derive(Serialize)]
struct Fail<'a> {
    #[serde(rename = "ErrorCode")]
    error_code: &'a str,
    #[serde(rename = "ErrorMessage")]
    error_message: &'a str,
    id: &'a str,
    status: &'a str,
}

#[derive(Serialize)]
struct Single<'a> {
    response: SingleResponse<'a>,
    id: &'a str,
}

#[derive(Serialize)]
#[serde(untagged)]
enum SingleResponse<'a> {
    Success {
        firehose_record_id: &'a str,
        status: &'a str,
    },
    Fail {
        error: &'a str,
        error_message: &'a str,
        status: &'a str,
    },
}

impl<'a> From<Verdict<'a>> for SingleResponse<'a> {
    fn from(verdict: Verdict<'a>) -> Self {
        match verdict {
            Verdict::Success { record_id } => SingleResponse::Success {
                firehose_record_id: record_id,
                status: "success",
            },
            Verdict::Fail { code, message } => SingleResponse::Fail {
                error: code,
                error_message: message,
                status: "fail",
            },
        }
    }
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
        let mut builder = DocumentBuilder::new(Shape::List, 120_000);
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
        let mut builder = DocumentBuilder::new(Shape::Single, 120_000);
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
        assert!(DocumentBuilder::new(Shape::List, 4096).finish().is_empty());
    }

    proptest! {
        #[test]
        fn documents_stay_below_their_size_and_keep_every_status_in_order(
            entries in proptest::collection::vec((".{0,40}", any::<bool>(), 0usize..900, any::<bool>()), 0..60),
        ) {
            let mut builder = DocumentBuilder::new(Shape::List, 4096);
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
