//! What is published: requests whose records tell their number and are otherwise always the same, so
//! that an endpoint can check every byte of them by comparing, without decoding.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::common::stream_arn;

/// Where requests are published.
pub const TOPIC: &str = "kinesisfirehose/message";

/// Bytes at the beginning of a record that hold its number, in decimal. A multiple of three, so
/// that base64 writes what follows as it would by itself.
const NUMBER_BYTES: usize = 12;

/// Base64 characters of the number.
const NUMBER_CHARACTERS: usize = NUMBER_BYTES / 3 * 4;

/// What stands before the number in the names of streams that requests choose.
const STREAM_NAME: &[u8] = b"bench-";

/// Requests whose records have one size, for the default stream or for several streams in turn.
#[derive(Debug, Clone)]
pub struct Payload {
    /// What follows the number in a record.
    filler: Arc<[u8]>,
    /// The same in base64.
    encoded_filler: Arc<[u8]>,
    /// What requests name in turn; empty where they name none.
    stream_arns: Arc<[String]>,
}

impl Payload {
    /// Records of `bytes`, at least [`NUMBER_BYTES`], for the default stream.
    pub fn new(bytes: usize) -> Self {
        // Printable, with nothing that JSON would escape, and no two neighbours alike.
        let filler: Vec<u8> = (0..bytes - NUMBER_BYTES)
            .map(|place| b'0' + (place % 43) as u8)
            .collect();
        Payload {
            encoded_filler: STANDARD.encode(&filler).into_bytes().into(),
            filler: filler.into(),
            stream_arns: Arc::default(),
        }
    }

    /// The same for so many streams, which the requests name in turn.
    pub fn for_streams(self, streams: usize) -> Self {
        let name = |number| format!("{}{number}", String::from_utf8_lossy(STREAM_NAME));
        Payload {
            stream_arns: (0..streams)
                .map(|number| stream_arn(&name(number)))
                .collect(),
            ..self
        }
    }

    /// Writes the request of this number: `{"request":{"data":"…"},"id":"…"}`.
    pub fn write(&self, number: u64, out: &mut Vec<u8>) {
        let digits = digits(number);
        out.extend_from_slice(b"{\"request\":{\"data\":\"");
        out.extend_from_slice(&digits);
        out.extend_from_slice(&self.filler);
        if let Some(stream) = self.stream_of(number) {
            out.extend_from_slice(b"\",\"delivery_stream_arn\":\"");
            out.extend_from_slice(self.stream_arns[stream].as_bytes());
        }
        out.extend_from_slice(b"\"},\"id\":\"");
        out.extend_from_slice(&digits);
        out.extend_from_slice(b"\"}");
    }

    /// The number of a record as it stands in a call's body, in base64; `None` where a byte of it is
    /// wrong, or the call is for another stream than its request named.
    pub fn check(&self, encoded: &[u8], stream_name: &[u8]) -> Option<u64> {
        let (number, filler) = encoded.split_at_checked(NUMBER_CHARACTERS)?;
        if filler != &*self.encoded_filler {
            return None;
        }
        let mut digits = [0; NUMBER_BYTES];
        STANDARD.decode_slice_unchecked(number, &mut digits).ok()?;
        let number = read_number(&digits)?;
        match self.stream_of(number) {
            Some(stream) => {
                let named = stream_name.strip_prefix(STREAM_NAME)?;
                let named: usize = std::str::from_utf8(named).ok()?.parse().ok()?;
                (named == stream).then_some(number)
            }
            None => Some(number),
        }
    }

    /// Which of the streams the request of this number names.
    fn stream_of(&self, number: u64) -> Option<usize> {
        let streams = self.stream_arns.len();
        (streams > 0).then(|| (number % streams as u64) as usize)
    }
}

/// The number of a request from its id, or from the beginning of its record.
pub fn read_number(text: &[u8]) -> Option<u64> {
    let digits = text.get(..NUMBER_BYTES)?;
    digits.iter().try_fold(0, |number, byte| {
        byte.is_ascii_digit()
            .then(|| number * 10 + u64::from(byte - b'0'))
    })
}

fn digits(mut number: u64) -> [u8; NUMBER_BYTES] {
    let mut digits = [b'0'; NUMBER_BYTES];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    digits
}
