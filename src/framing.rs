//! Framing: how files that must survive a crash begin, and how entries stand in them, one behind the
//! other, each with a checksum. Pure; used by the queue on disk and by the dead letters.
//!
//! ```text
//! header   two copies of: magic version:u16 number:u64 created_unix_ms:u64 salt:u32 crc:u32
//! entry    body length:u24 kind:u8 check:u16 crc:u32 body
//! ```
//!
//! All numbers are little-endian; those in bodies are varints. `crc` covers length, kind, check and
//! body and begins with the salt, a random number of the file, so that nobody who publishes records
//! can write something that reads as an entry. `check` is of length and kind alone: behind damage the
//! next entry is searched for byte by byte, and only one place in 65,536 costs a look at a body.

/// Tells one kind of file from another.
pub type Magic = [u8; 6];

/// The format written, and the only one read.
pub const VERSION: u16 = 1;

/// Bytes of one copy of the header.
const COPY_BYTES: usize = 32;

/// Bytes of the header. The second copy serves where the first is damaged.
pub const HEADER_BYTES: usize = 2 * COPY_BYTES;

/// What a file says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The number in its name.
    pub number: u64,
    /// When it was begun.
    pub created_unix_ms: u64,
    /// Starts every checksum in it.
    pub salt: u32,
}

/// Why a header cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Neither copy is whole.
    #[error("its header is damaged")]
    Damaged,
    /// Written by a later version of the program.
    #[error("it has format version {0}, and this program knows version {VERSION}")]
    Version(u16),
}

impl Header {
    /// Appends it, twice.
    pub fn write(&self, magic: Magic, out: &mut Vec<u8>) {
        let mut copy = Vec::with_capacity(COPY_BYTES);
        copy.extend_from_slice(&magic);
        copy.extend_from_slice(&VERSION.to_le_bytes());
        copy.extend_from_slice(&self.number.to_le_bytes());
        copy.extend_from_slice(&self.created_unix_ms.to_le_bytes());
        copy.extend_from_slice(&self.salt.to_le_bytes());
        copy.extend_from_slice(&crc(0, &[&copy]).to_le_bytes());
        out.extend_from_slice(&copy);
        out.extend_from_slice(&copy);
    }

    /// Reads it from the beginning of a file.
    ///
    /// # Errors
    /// Where no copy is whole, or the version is another.
    pub fn read(magic: Magic, bytes: &[u8]) -> Result<Header, HeaderError> {
        let mut error = HeaderError::Damaged;
        for copy in bytes.chunks_exact(COPY_BYTES).take(2) {
            match Self::read_copy(magic, copy) {
                Ok(header) => return Ok(header),
                Err(HeaderError::Damaged) => {}
                Err(version) => error = version,
            }
        }
        Err(error)
    }

    fn read_copy(magic: Magic, copy: &[u8]) -> Result<Header, HeaderError> {
        let sum = COPY_BYTES - 4;
        if copy[..6] != magic || crc(0, &[&copy[..sum]]).to_le_bytes() != copy[sum..] {
            return Err(HeaderError::Damaged);
        }
        let version = u16::from_le_bytes([copy[6], copy[7]]);
        if version != VERSION {
            return Err(HeaderError::Version(version));
        }
        let number = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&copy[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        Ok(Header {
            number: number(8),
            created_unix_ms: number(16),
            salt: u32::from_le_bytes([copy[24], copy[25], copy[26], copy[27]]),
        })
    }
}

/// Bytes in front of a body.
pub const ENTRY_HEADER_BYTES: usize = 10;

/// The longest body, in bytes. Records and ids are far shorter.
const BODY_MAX_BYTES: usize = (1 << 24) - 1;

/// Fills in the header of an entry whose body stands behind it.
///
/// # Panics
/// Where the body is longer than 24 bits can say: written all the same, the entry could never be read.
pub fn seal(salt: u32, kind: u8, entry: &mut [u8]) {
    let length = entry.len() - ENTRY_HEADER_BYTES;
    assert!(length <= BODY_MAX_BYTES, "an entry of {length} bytes");
    entry[..3].copy_from_slice(&(length as u32).to_le_bytes()[..3]);
    entry[3] = kind;
    entry[4..6].copy_from_slice(&check(salt, length, kind).to_le_bytes());
    let sum = crc(salt, &[&entry[..6], &entry[ENTRY_HEADER_BYTES..]]);
    entry[6..ENTRY_HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
}

/// What stands at a place in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// An entry that is whole, its checksum right.
    Entry {
        /// Its kind.
        kind: u8,
        /// Its length, header included, in bytes.
        bytes: usize,
    },
    /// The beginning of something that is this long, header included: more than there is.
    Cut(usize),
    /// No entry.
    Nothing,
}

/// Looks at the beginning of `bytes`.
pub fn look(salt: u32, bytes: &[u8]) -> Found {
    let Some(header) = bytes.get(..ENTRY_HEADER_BYTES) else {
        return Found::Cut(ENTRY_HEADER_BYTES);
    };
    let length = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
    let kind = header[3];
    if check(salt, length, kind).to_le_bytes() != header[4..6] {
        return Found::Nothing;
    }
    let total = ENTRY_HEADER_BYTES + length;
    let Some(body) = bytes.get(ENTRY_HEADER_BYTES..total) else {
        return Found::Cut(total);
    };
    if crc(salt, &[&header[..6], body]).to_le_bytes() != header[6..] {
        return Found::Nothing;
    }
    Found::Entry { kind, bytes: total }
}

/// Where the next whole entry begins, from `from` on; `None` where there is none.
pub fn next_entry(salt: u32, bytes: &[u8], from: usize) -> Option<usize> {
    (from..bytes.len()).find(|&at| matches!(look(salt, &bytes[at..]), Found::Entry { .. }))
}

/// Appends a number, seven bits to a byte, the lowest first.
pub fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes a number off the front.
pub fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// CRC-32 of the parts one behind the other, begun with the salt.
pub fn crc(salt: u32, parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// Mixes length, kind and salt (the constants are those of a common integer hash, "lowbias32").
fn check(salt: u32, length: usize, kind: u8) -> u16 {
    let mut mixed = salt ^ (length as u32) << 8 ^ u32::from(kind);
    mixed = (mixed ^ mixed >> 16).wrapping_mul(0x7feb_352d);
    mixed = (mixed ^ mixed >> 15).wrapping_mul(0x846c_a68b);
    (mixed ^ mixed >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(salt: u32, kind: u8, body: &[u8]) -> Vec<u8> {
        let mut entry = vec![0; ENTRY_HEADER_BYTES];
        entry.extend_from_slice(body);
        seal(salt, kind, &mut entry);
        entry
    }

    #[test]
    fn an_entry_of_another_salt_is_none() {
        let entry = entry(7, 1, b"body");
        assert_eq!(look(7, &entry), Found::Entry { kind: 1, bytes: 14 });
        assert_ne!(look(8, &entry), Found::Entry { kind: 1, bytes: 14 });
        assert_eq!(look(7, &entry[..9]), Found::Cut(10));
        assert_eq!(look(7, &entry[..13]), Found::Cut(14));
    }

    #[test]
    fn any_flipped_byte_is_seen_and_the_next_entry_found() {
        let first = entry(99, 2, b"the first");
        let whole = [first.clone(), entry(99, 2, b"the second")].concat();
        for at in 0..first.len() {
            for mask in [1, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] ^= mask;
                assert!(
                    !matches!(look(99, &damaged), Found::Entry { .. }),
                    "byte {at}"
                );
                assert_eq!(next_entry(99, &damaged, 1), Some(first.len()));
            }
        }
    }

    proptest! {
        #[test]
        fn numbers_come_back(number: u64) {
            let mut bytes = Vec::new();
            put(&mut bytes, number);
            let mut rest = &bytes[..];
            prop_assert_eq!(take(&mut rest), Some(number));
            prop_assert!(rest.is_empty());
            prop_assert_eq!(take(&mut &bytes[..bytes.len() - 1]), None);
        }

        #[test]
        fn whatever_the_bytes_a_look_ends(salt: u32, bytes: Vec<u8>) {
            let _ = look(salt, &bytes);
            let _ = next_entry(salt, &bytes, 0);
            let _ = take(&mut &bytes[..]);
        }
    }
}
