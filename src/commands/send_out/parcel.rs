//! What is sent as one Firehose record: a record of the directory, or several that are joined, and
//! compressed where that is asked for, as the connector does it.

use anyhow::Context;
use bytes::Bytes;
use kinesis_edge::aggregate::{Aggregation, cut};

use super::Item;

/// One Firehose record.
pub struct Parcel<K> {
    /// Names what is in it to the source.
    pub keys: Vec<K>,
    /// As it is sent.
    pub data: Bytes,
}

/// Packs records in their order.
///
/// # Errors
/// Where there is no memory to compress them.
pub fn pack<K>(
    records: Vec<Item<K>>,
    aggregation: Option<&Aggregation>,
) -> anyhow::Result<Vec<Parcel<K>>> {
    let Some(aggregation) = aggregation else {
        let single = |record: Item<K>| Parcel {
            keys: vec![record.key],
            data: record.data,
        };
        return Ok(records.into_iter().map(single).collect());
    };
    // No queue fills up behind it.
    let limits = aggregation.group_limits(usize::MAX);
    let (mut keys, data): (Vec<K>, Vec<Bytes>) = records
        .into_iter()
        .map(|record| (record.key, record.data))
        .unzip();
    let (mut rest, mut parcels) = (&data[..], Vec::new());
    while !rest.is_empty() {
        let sizes = rest.iter().map(|data| aggregation.bytes_of(data));
        let (group, behind) = rest.split_at(cut::next(sizes, limits).requests);
        let packed = aggregation.pack(group);
        let behind_keys = keys.split_off(group.len());
        parcels.push(Parcel {
            keys: std::mem::replace(&mut keys, behind_keys),
            data: packed.context("records cannot be compressed")?,
        });
        rest = behind;
    }
    Ok(parcels)
}
