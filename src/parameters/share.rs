//! The group of connectors that share a broker's messages, and what it asks of other parameters.

use super::read::{Noted, Reader, mqtt_string};
use super::table;

/// The longest name of a group, in bytes. Chosen here: AWS IoT Core takes filters of 256 bytes, and the topics
/// need the most of them.
pub(super) const MAX_GROUP_BYTES: usize = 100;

/// What stands between the prefix and the client id in the topic of a member's own status, in bytes, and the
/// longest topic there can be. Source: MQTT 5.0 section 1.5.4, a length prefix of 16 bits.
const STATUS_TOPIC_BYTES: usize = "/connector/status/".len();
const MAX_TOPIC_BYTES: usize = 65_535;

/// The group; `None` where the connector has the messages for itself.
pub(super) fn group(reader: &mut Reader<'_>) -> Result<Option<String>, Noted> {
    reader.optional(&table::SHARED_SUBSCRIPTION_GROUP, |text| {
        // Source: MQTT 5.0 section 4.8.2.
        if text.contains(['/', '+', '#']) {
            return Err(
                "it has \"/\", \"+\" or \"#\" in it, which mean something in a topic filter"
                    .to_owned(),
            );
        }
        mqtt_string(text, MAX_GROUP_BYTES)
    })
}

/// Members of a group publish their own status each on a topic that ends with the client id, so it has to be such
/// that a topic may have it. Only for those that do.
pub(super) fn check_client_id(
    reader: &mut Reader<'_>,
    client_id: &str,
    prefix: &str,
) -> Result<(), Noted> {
    let room = MAX_TOPIC_BYTES - STATUS_TOPIC_BYTES - prefix.len();
    let problem = if client_id.contains(['+', '#']) {
        "it has \"+\" or \"#\" in it, and with SHARED_SUBSCRIPTION_GROUP and CONNECTOR_STATUS_INTERVAL it is part of \
         the topic <prefix>/connector/status/<client id>, which can have neither"
            .to_owned()
    } else if client_id.len() > room {
        format!(
            "it is longer than the {room} bytes that fit in the topic <prefix>/connector/status/<client id>, which \
             SHARED_SUBSCRIPTION_GROUP with CONNECTOR_STATUS_INTERVAL makes of it"
        )
    } else {
        return Ok(());
    };
    Err(reader.fault(&table::MQTT_CLIENT_ID, Some(client_id), problem))
}
