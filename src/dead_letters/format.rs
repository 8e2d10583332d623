//! The bytes of a segment of dead letters and of the marks beside it: a header, then entries
//! ([`crate::framing`]). Pure.
//!
//! ```text
//! segment   a header with the magic "KEDGEL", then letters
//! letter    ordinal received_unix_ms failed_unix_ms, then stream, id, code and message, each with
//!           its length before it, then the record
//! marks     entries with the salt of their segment: first and last ordinals of runs
//! ```
//!
//! Every letter names its stream in full, so that damage to one costs no other.

use bytes::Bytes;

use super::Letter;
use crate::arn::{DeliveryStreamArn, Partitions};
use crate::framing::{ENTRY_HEADER_BYTES, Found, Magic, look, next_entry, put, seal, take};
pub use crate::framing::{HEADER_BYTES, Header};

/// What a segment begins with.
pub const MAGIC: Magic = *b"KEDGEL";

const LETTER: u8 = 1;
const MARKS: u8 = 2;

/// What a letter takes in a segment at most, in bytes.
pub fn letter_max_bytes(letter: &Letter) -> usize {
    // Varints: an ordinal, two times, four lengths.
    const NUMBERS: usize = 5 + 2 * 10 + 4 * 5;
    let texts = letter.stream.as_str().len() + letter.code.len() + letter.message.len();
    ENTRY_HEADER_BYTES + NUMBERS + texts + letter.id.len() + letter.data.len()
}

/// Appends a letter. Its length is the caller's business.
pub fn write_letter(salt: u32, ordinal: u32, letter: &Letter, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; ENTRY_HEADER_BYTES]);
    put(out, u64::from(ordinal));
    put(out, letter.received_unix_ms);
    put(out, letter.failed_unix_ms);
    let texts = [
        letter.stream.as_str(),
        &letter.id,
        &letter.code,
        &letter.message,
    ];
    for text in texts {
        put(out, text.len() as u64);
        out.extend_from_slice(text.as_bytes());
    }
    out.extend_from_slice(&letter.data);
    seal(salt, LETTER, &mut out[start..]);
}

/// Appends the marks of runs of letters, first and last ordinals, ascending.
pub fn write_marks(salt: u32, runs: &[(u32, u32)], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; ENTRY_HEADER_BYTES]);
    for &(first, last) in runs {
        put(out, u64::from(first));
        put(out, u64::from(last));
    }
    seal(salt, MARKS, &mut out[start..]);
}

/// A letter with its place in the segment; its record is a slice of the segment's bytes.
fn read_letter(segment: &Bytes, body: &[u8]) -> Option<(u32, Letter)> {
    let mut rest = body;
    let ordinal = u32::try_from(take(&mut rest)?).ok()?;
    let received_unix_ms = take(&mut rest)?;
    let failed_unix_ms = take(&mut rest)?;
    let stream = take_text(&mut rest)?;
    let letter = Letter {
        stream: DeliveryStreamArn::parse(stream, &Partitions::ALL).ok()?,
        id: take_text(&mut rest)?.to_owned(),
        code: take_text(&mut rest)?.to_owned(),
        message: take_text(&mut rest)?.to_owned(),
        data: segment.slice_ref(rest),
        received_unix_ms,
        failed_unix_ms,
    };
    Some((ordinal, letter))
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let length = usize::try_from(take(bytes)?).ok()?;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    std::str::from_utf8(text).ok()
}

fn read_marks(mut body: &[u8]) -> Option<Vec<(u32, u32)>> {
    let mut runs = Vec::new();
    while !body.is_empty() {
        let first = u32::try_from(take(&mut body)?).ok()?;
        let last = u32::try_from(take(&mut body)?).ok()?;
        runs.push((first, last));
    }
    Some(runs)
}

/// A stretch that holds no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Where it begins.
    pub at: usize,
    /// Its length in bytes.
    pub bytes: usize,
    /// Whether it is the beginning of an entry at the end of the file: a write that did not come
    /// to its end, or has not yet.
    pub cut: bool,
}

/// Every letter of a segment that is whole, and the gaps between them.
pub fn letters(header: &Header, segment: &Bytes) -> (Vec<(u32, Letter)>, Vec<Gap>) {
    let mut letters = Vec::new();
    let gaps = entries(header.salt, segment, HEADER_BYTES, |kind, body| {
        let letter = (kind == LETTER).then(|| read_letter(segment, body));
        letter.flatten().map(|letter| letters.push(letter))
    });
    (letters, gaps)
}

/// The places of the letters of a segment that are whole.
pub fn ordinals(header: &Header, segment: &[u8]) -> Vec<u32> {
    let mut ordinals = Vec::new();
    entries(header.salt, segment, HEADER_BYTES, |kind, mut body| {
        let ordinal = u32::try_from(take(&mut body)?).ok()?;
        (kind == LETTER).then(|| ordinals.push(ordinal))
    });
    ordinals
}

/// Every run of marks that is whole. Damage to marks is not counted: their letters are sent again.
pub fn marks(salt: u32, bytes: &[u8]) -> Vec<(u32, u32)> {
    let mut all = Vec::new();
    entries(salt, bytes, 0, |kind, body| {
        let runs = (kind == MARKS).then(|| read_marks(body));
        runs.flatten().map(|runs| all.extend(runs))
    });
    all
}

/// Hands out each whole entry from `from` on. What `take` knows nothing of counts as a gap.
fn entries<'a>(
    salt: u32,
    bytes: &'a [u8],
    from: usize,
    mut take: impl FnMut(u8, &'a [u8]) -> Option<()>,
) -> Vec<Gap> {
    let mut gaps: Vec<Gap> = Vec::new();
    let mut gap = |at: usize, length: usize, cut: bool| {
        if length > 0 {
            gaps.push(Gap {
                at,
                bytes: length,
                cut,
            });
        }
    };
    let mut at = from;
    while at < bytes.len() {
        let rest = &bytes[at..];
        match look(salt, rest) {
            Found::Entry { kind, bytes: total } => {
                if take(kind, &rest[ENTRY_HEADER_BYTES..total]).is_none() {
                    gap(at, total, false);
                }
                at += total;
            }
            found => {
                let next = next_entry(salt, bytes, at + 1);
                let end = next.unwrap_or(bytes.len());
                gap(
                    at,
                    end - at,
                    next.is_none() && matches!(found, Found::Cut(_)),
                );
                at = end;
            }
        }
    }
    gaps
}
