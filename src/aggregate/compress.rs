//! Compression of a Firehose record. Each is a whole gzip member or zstd frame, and these may stand one
//! behind the other: an S3 object of them is read as one.

use std::io::{self, Write};

use flate2::write::GzEncoder;

/// The most bytes that one Firehose record is compressed from. What cannot be compressed grows, see
/// [`compressed_max_bytes`]; from so many it stays within the 1,024,000 of a record.
pub const COMPRESSED_FROM_MAX_BYTES: usize = 1_020_000;

/// What a Firehose record takes at most that is compressed from so many bytes: what zstd says of itself
/// (`ZSTD_COMPRESSBOUND`), and more than gzip does.
pub fn compressed_max_bytes(bytes: usize) -> usize {
    bytes + bytes / 256 + (128 * 1024_usize).saturating_sub(bytes) / 2048
}

/// Memory that one compression takes beside what it writes, at most. Measured with zstd, 1.3 MB; gzip
/// takes less.
pub const COMPRESSION_MEMORY_BYTES: usize = 2 * 1024 * 1024;

/// gzip's own default. Of telemetry in JSON level 9 takes 1 % less.
const GZIP_LEVEL: u32 = 6;

/// Of telemetry in JSON it takes 8 % less than gzip does, in two thirds of the time.
const ZSTD_LEVEL: i32 = 9;

/// How far zstd looks back, as a power of two: 128 KiB, four times what gzip does. More gains nothing
/// here and costs memory.
const ZSTD_WINDOW_LOG: u32 = 17;

/// `RECORD_COMPRESSION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// Compresses parts that follow each other, `bytes` together: at most
    /// [`COMPRESSED_FROM_MAX_BYTES`].
    ///
    /// # Errors
    /// Where zstd gets no memory.
    pub fn compress<'a>(
        self,
        parts: impl Iterator<Item = &'a [u8]>,
        bytes: usize,
    ) -> io::Result<Vec<u8>> {
        // Telemetry becomes a fifth or less; what does not costs a few more steps.
        let out = Vec::with_capacity(bytes / 4);
        let mut compressed = match self {
            Compression::Gzip => {
                let mut gzip = GzEncoder::new(out, flate2::Compression::new(GZIP_LEVEL));
                write_all(&mut gzip, parts)?;
                gzip.finish()?
            }
            Compression::Zstd => {
                let mut zstd = zstd::Encoder::new(out, ZSTD_LEVEL)?;
                zstd.window_log(ZSTD_WINDOW_LOG)?;
                zstd.set_pledged_src_size(Some(bytes as u64))?;
                zstd.include_checksum(true)?;
                write_all(&mut zstd, parts)?;
                zstd.finish()?
            }
        };
        compressed.shrink_to_fit();
        Ok(compressed)
    }
}

fn write_all<'a>(out: &mut impl Write, parts: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
    for part in parts {
        out.write_all(part)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::RECORD_MAX_BYTES;
    use flate2::read::MultiGzDecoder;
    use proptest::prelude::*;
    use std::io::Read;

    fn compress(compression: Compression, parts: &[Vec<u8>]) -> Vec<u8> {
        let bytes = parts.iter().map(Vec::len).sum();
        let parts = parts.iter().map(Vec::as_slice);
        compression.compress(parts, bytes).unwrap()
    }

    fn decompress(compression: Compression, compressed: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        match compression {
            Compression::Gzip => MultiGzDecoder::new(compressed).read_to_end(&mut all),
            Compression::Zstd => zstd::Decoder::new(compressed)
                .unwrap()
                .read_to_end(&mut all),
        }
        .unwrap();
        all
    }

    #[test]
    fn zstd_looks_back_as_far_as_its_memory_is_reckoned_for() {
        let compressed = compress(Compression::Zstd, &[vec![b'x'; RECORD_MAX_BYTES / 2]]);
        // RFC 8878, 3.1.1.1: behind the magic number a descriptor, whose sixth bit would say that the window is the whole
        // content, and the window.
        let (descriptor, window) = (compressed[4], compressed[5]);
        assert_eq!(descriptor & 0b10_0000, 0);
        let (exponent, mantissa) = (u32::from(window >> 3), u64::from(window & 7));
        let base = 1_u64 << (10 + exponent);
        assert_eq!(base + base / 8 * mantissa, 1 << ZSTD_WINDOW_LOG);
    }

    proptest! {
        #[test]
        fn records_behind_each_other_read_as_one(
            records in proptest::collection::vec(
                proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..20), 1..5),
        ) {
            for compression in [Compression::Gzip, Compression::Zstd] {
                let object: Vec<u8> =
                    records.iter().flat_map(|parts| compress(compression, parts)).collect();
                prop_assert_eq!(decompress(compression, &object), records.concat().concat());
            }
        }
    }

    #[test]
    fn what_cannot_be_compressed_still_fits_a_record() {
        let mut dice = fastrand::Rng::with_seed(7);
        for bytes in [1, 65_536, 131_072, COMPRESSED_FROM_MAX_BYTES] {
            let mut random = vec![0; bytes];
            dice.fill(&mut random);
            // Text of 128 characters: what Huffman codes alone make smaller, block by block.
            let text: Vec<u8> = random.iter().map(|byte| byte & 127).collect();
            for compression in [Compression::Gzip, Compression::Zstd] {
                for data in [&random, &text] {
                    let compressed = compress(compression, std::slice::from_ref(data));
                    let most = compressed_max_bytes(bytes);
                    assert!(compressed.len() <= most, "{compression:?}");
                    assert!(most <= RECORD_MAX_BYTES);
                    assert_eq!(decompress(compression, &compressed), *data);
                }
            }
        }
    }

    #[test]
    fn it_makes_telemetry_much_smaller() {
        let mut dice = fastrand::Rng::with_seed(7);
        let line = |number| {
            let (celsius, bar) = (20.0 + dice.f64() * 60.0, dice.f64() * 8.0);
            format!("{{\"seq\":{number},\"device\":\"press-7\",\"celsius\":{celsius:.2},\"bar\":{bar:.3}}}\n").into_bytes()
        };
        let lines: Vec<_> = (0..2000).map(line).collect();
        let bytes: usize = lines.iter().map(Vec::len).sum();
        for compression in [Compression::Gzip, Compression::Zstd] {
            let compressed = compress(compression, &lines).len();
            assert!(
                compressed * 4 < bytes,
                "{compression:?}: {compressed} of {bytes}"
            );
        }
    }
}
