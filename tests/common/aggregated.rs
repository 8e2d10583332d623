//! Telemetry as machines publish it, and reading records that were joined and compressed.

use std::io::Read;

use fastrand::Rng;

/// A reading of exactly 200 bytes, a JSON object: 40 machines, a clock that goes on, six measurements that
/// differ each time, and at its end a few random characters that fill it up.
pub fn telemetry(number: u32) -> Vec<u8> {
    let mut dice = Rng::with_seed(u64::from(number) ^ 0x9e37_79b9);
    let time = 1_795_222_923_456 + u64::from(number) * 25 + dice.u64(..25);
    let mut reading = format!(
        r#"{{"ts":{time},"device":"press-{:02}","seq":{number},"celsius":{:.2},"bar":{:.3},"rpm":{},"vibration":[{:.4},{:.4},{:.4}],"state":"{}","firmware":"2.14.{}","trace":""#,
        dice.u32(..40),
        35.0 + dice.f64() * 40.0,
        dice.f64() * 8.0,
        dice.u32(1400..1600),
        dice.f64() - 0.5,
        dice.f64() - 0.5,
        dice.f64() - 0.5,
        dice.choice(["running", "idle", "setup"]).expect("three"),
        dice.u32(..3),
    );
    while reading.len() < 198 {
        reading.push(dice.alphanumeric());
    }
    reading.push_str("\"}");
    assert_eq!(reading.len(), 200, "{reading}");
    reading.into_bytes()
}

/// What one or more records hold that stand one behind the other, as in an S3 object.
pub fn decompressed(compression: &str, object: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    let read = match compression {
        "gzip" => flate2::read::MultiGzDecoder::new(object).read_to_end(&mut all),
        "zstd" => zstd::Decoder::new(object)
            .expect("a zstd frame")
            .read_to_end(&mut all),
        _ => return object.to_vec(),
    };
    read.expect("it is whole");
    all
}

/// The lines of a record, without their newlines.
pub fn lines(compression: &str, record: &[u8]) -> Vec<Vec<u8>> {
    let all = decompressed(compression, record);
    assert!(all.ends_with(b"\n"), "each line ends");
    let lines = all[..all.len() - 1].split(|byte| *byte == b'\n');
    lines.map(<[u8]>::to_vec).collect()
}
