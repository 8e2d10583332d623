//! What separates records where they are joined, in an S3 object or in one Firehose record: a few
//! bytes behind each of them, written in a parameter as text with escapes. Pure.

use std::fmt;

/// The most bytes of a delimiter. Chosen here: enough for any separator in use, and too few to
/// be a footer.
pub const DELIMITER_MAX_BYTES: usize = 16;

/// Bytes that stand behind each record; at least one, at most [`DELIMITER_MAX_BYTES`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Delimiter {
    bytes: [u8; DELIMITER_MAX_BYTES],
    /// How many of them.
    len: u8,
}

impl Delimiter {
    /// A newline: one record to a line.
    pub const NEWLINE: Delimiter = Delimiter {
        bytes: *b"\n\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        len: 1,
    };

    /// Reads text in which `\n`, `\r`, `\t`, `\0`, `\\` and `\xHH` stand for a byte each.
    ///
    /// # Errors
    /// What is wrong with the text, in words that follow a colon.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            if byte != b'\\' {
                bytes.push(byte);
                continue;
            }
            bytes.push(match rest.next() {
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b't') => b'\t',
                Some(b'0') => 0,
                Some(b'\\') => b'\\',
                Some(b'x') => {
                    let digits = [rest.next(), rest.next()];
                    hexadecimal(digits).ok_or("it has a \\x without two hexadecimal digits")?
                }
                None => return Err("it ends with a single backslash".to_owned()),
                Some(_) => {
                    return Err("it has a backslash before something that is no escape".to_owned());
                }
            });
        }
        Self::new(&bytes).ok_or_else(|| {
            format!(
                "it stands for {} bytes, and 1 to {DELIMITER_MAX_BYTES} are valid",
                bytes.len()
            )
        })
    }

    fn new(bytes: &[u8]) -> Option<Self> {
        let mut all = [0; DELIMITER_MAX_BYTES];
        all.get_mut(..bytes.len())?.copy_from_slice(bytes);
        (!bytes.is_empty()).then_some(Delimiter {
            bytes: all,
            len: bytes.len() as u8,
        })
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// What has to be put behind this record: the delimiter, or nothing where it is there already.
    pub fn missing_behind(&self, record: &[u8]) -> &[u8] {
        if record.ends_with(self.as_bytes()) {
            &[]
        } else {
            self.as_bytes()
        }
    }
}

impl fmt::Debug for Delimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Delimiter({})", self.as_bytes().escape_ascii())
    }
}

fn hexadecimal(digits: [Option<u8>; 2]) -> Option<u8> {
    let value = |digit: Option<u8>| char::from(digit?).to_digit(16);
    Some((value(digits[0])? * 16 + value(digits[1])?) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_stand_for_bytes() {
        for (text, bytes) in [
            (r"\n", &b"\n"[..]),
            (r"\r\n", b"\r\n"),
            (r"\t\0\\", b"\t\0\\"),
            (r"\x1e\xFf", b"\x1e\xff"),
            (" | ", b" | "),
            ("\n", b"\n"),
            ("ü", "ü".as_bytes()),
            ("0123456789abcdef", b"0123456789abcdef"),
        ] {
            let delimiter = Delimiter::parse(text).unwrap();
            assert_eq!(delimiter.as_bytes(), bytes, "{text}");
        }
        assert_eq!(Delimiter::parse(r"\n").unwrap(), Delimiter::NEWLINE);
    }

    #[test]
    fn what_is_no_delimiter_says_why() {
        for (text, why) in [
            (r"\", "single backslash"),
            (r"a\q", "no escape"),
            (r"\N", "no escape"),
            (r"\x1", "two hexadecimal digits"),
            (r"\x", "two hexadecimal digits"),
            (r"\xg0", "two hexadecimal digits"),
            (r"\x+1", "two hexadecimal digits"),
            ("0123456789abcdefg", "17 bytes"),
            ("", "0 bytes"),
        ] {
            let problem = Delimiter::parse(text).unwrap_err();
            assert!(problem.contains(why), "{text}: {problem}");
        }
    }

    #[test]
    fn it_is_missing_where_a_record_does_not_end_with_it() {
        let delimiter = Delimiter::parse(r"\r\n").unwrap();
        assert_eq!(delimiter.missing_behind(b"a\r\n"), b"");
        for record in [&b"a"[..], b"", b"a\n", b"\n", b"\r\na"] {
            assert_eq!(delimiter.missing_behind(record), b"\r\n");
        }
    }
}
