//! The body of a PutRecordBatch request, written in one piece of the right size. The SDK's serializer
//! makes the same of a list of its own records, in a buffer that grows (BENCHMARKS.md has the figures).
//! Pure.

use base64_simd::STANDARD;
use bytes::Bytes;

use crate::batch;
use crate::json_text;

/// Writes `{"DeliveryStreamName":…,"Records":[{"Data":…},…]}` with the records in base64. Each record is let go of once
/// it is written.
pub fn request_body(stream_name: &str, records: Vec<Bytes>) -> Bytes {
    let bytes = records
        .iter()
        .map(|data| batch::body_bytes(data.len()))
        .sum::<usize>();
    let mut body = Vec::with_capacity(batch::ENVELOPE_BYTES + stream_name.len() + bytes);
    body.extend_from_slice(b"{\"DeliveryStreamName\":");
    json_text::write(&mut body, stream_name, usize::MAX);
    body.extend_from_slice(b",\"Records\":[");
    for (place, data) in records.into_iter().enumerate() {
        if place > 0 {
            body.push(b',');
        }
        body.extend_from_slice(b"{\"Data\":\"");
        STANDARD.encode_append(&data, &mut body);
        body.extend_from_slice(b"\"}");
    }
    body.extend_from_slice(b"]}");
    Bytes::from(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use proptest::prelude::*;
    use serde_json::json;

    proptest! {
        #[test]
        fn is_what_the_service_expects_and_no_longer_than_was_counted(
            records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..20),
        ) {
            let data: Vec<Bytes> = records.iter().map(|record| Bytes::from(record.clone())).collect();
            let counted: usize = data.iter().map(|data| batch::body_bytes(data.len())).sum();
            let body = request_body("a-stream.1", data);
            prop_assert!(body.len() <= batch::ENVELOPE_BYTES + "a-stream.1".len() + counted);
            let encode = |record| base64::engine::general_purpose::STANDARD.encode(record);
            let entries: Vec<_> = records.iter().map(|record| json!({"Data": encode(record)})).collect();
            prop_assert_eq!(
                serde_json::from_slice::<serde_json::Value>(&body).unwrap(),
                json!({"DeliveryStreamName": "a-stream.1", "Records": entries})
            );
        }
    }
}
