//! The packets of both protocol versions in one shape: through rumqttc's codec, but for the head of a
//! PUBLISH, which is written by hand.

use bytes::{BufMut, BytesMut};
use rumqttc::mqttbytes::v4;
use rumqttc::mqttbytes::{Error as V4Error, QoS as V4QoS};
use rumqttc::v5::mqttbytes::v5;
use rumqttc::v5::mqttbytes::{Error as V5Error, QoS as V5QoS};

use super::error::ConnectError;
use super::settings::{Protocol, SessionSettings};

/// How long the broker keeps our session while we are away, in seconds: a week.
const SESSION_EXPIRY_SECONDS: u32 = 7 * 24 * 3600;

/// Packets that are written are statuses and small ones; MQTT's own bound is enough.
const WRITE_MAX_BYTES: usize = 268_435_455;

/// A packet could not be written: it is larger than MQTT allows.
#[derive(Debug, thiserror::Error)]
#[error("a packet of this size cannot be sent: {0}")]
pub struct WriteError(String);

impl From<V4Error> for WriteError {
    fn from(error: V4Error) -> Self {
        WriteError(error.to_string())
    }
}

impl From<V5Error> for WriteError {
    fn from(error: V5Error) -> Self {
        WriteError(error.to_string())
    }
}

/// What a broker may send while the session is up, messages aside.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// The broker has a message of ours; or it refused it, and says why.
    PubAck {
        packet_id: u16,
        refused: Option<String>,
    },
    /// The answer to our subscription: for each filter that was asked for why it was refused, if it was.
    SubAck { refused: Vec<Option<String>> },
    /// The broker lives.
    PingResp,
    /// The broker ends the connection, and says why.
    Disconnect(String),
    /// Nothing we asked for.
    Other,
}

/// What the broker said when it accepted the connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    /// Whether it kept our session with its subscriptions.
    pub session_present: bool,
    /// Messages it takes at a time.
    pub receive_maximum: u16,
    /// The largest packet it takes, in bytes.
    pub packet_max_bytes: usize,
    /// Its own idea of the keep-alive, in seconds.
    pub keep_alive_seconds: Option<u16>,
}

pub(super) fn write_connect(
    protocol: Protocol,
    settings: &SessionSettings,
    out: &mut BytesMut,
) -> Result<(), WriteError> {
    let credentials = settings.credentials.as_ref();
    match protocol {
        Protocol::V311 => {
            let mut connect = v4::Connect::new(&settings.client_id);
            connect.keep_alive = settings.keep_alive_seconds;
            connect.clean_session = settings.clean;
            connect.last_will = settings.will.as_ref().map(|will| {
                let payload = will.payload.as_bytes();
                v4::LastWill::new(&will.topic, payload, V4QoS::AtLeastOnce, true)
            });
            connect.login = credentials.map(|c| v4::Login::new(&c.username, &c.password));
            connect.write(out)?;
        }
        Protocol::V5 => {
            let mut properties = v5::ConnectProperties::new();
            properties.receive_maximum = Some(settings.receive_maximum);
            properties.session_expiry_interval = Some(if settings.clean {
                0
            } else {
                SESSION_EXPIRY_SECONDS
            });
            let connect = v5::Connect {
                keep_alive: settings.keep_alive_seconds,
                client_id: settings.client_id.clone(),
                clean_start: settings.clean,
                properties: Some(properties),
            };
            let login = credentials.map(|c| v5::Login::new(&c.username, &c.password));
            let will = settings.will.as_ref().map(|will| {
                let payload = will.payload.as_bytes();
                v5::LastWill::new(&will.topic, payload, V5QoS::AtLeastOnce, true, None)
            });
            connect.write(&will, &login, out)?;
        }
    }
    Ok(())
}

/// Reads the broker's answer to CONNECT. A broker that does not know MQTT 5 answers in the form
/// of 3.1.1, two bytes long.
pub(super) fn read_connack(
    protocol: Protocol,
    mut frame: BytesMut,
) -> Result<Accepted, ConnectError> {
    let malformed = |error: String| {
        ConnectError::Protocol(format!("its answer to CONNECT is malformed: {error}"))
    };
    let in_form_of_311 = frame.len() == 4;
    if protocol == Protocol::V311 || in_form_of_311 {
        return match v4::Packet::read(&mut frame, WRITE_MAX_BYTES) {
            Ok(v4::Packet::ConnAck(answer)) => match answer.code {
                v4::ConnectReturnCode::Success if protocol == Protocol::V311 => Ok(Accepted {
                    session_present: answer.session_present,
                    receive_maximum: u16::MAX,
                    packet_max_bytes: usize::MAX,
                    keep_alive_seconds: None,
                }),
                v4::ConnectReturnCode::Success | v4::ConnectReturnCode::RefusedProtocolVersion => {
                    Err(ConnectError::UnsupportedVersion(protocol))
                }
                code @ v4::ConnectReturnCode::ServiceUnavailable => {
                    Err(ConnectError::Busy(format!("{code:?}")))
                }
                code => Err(ConnectError::Refused(format!("{code:?}"))),
            },
            Ok(packet) => Err(ConnectError::Protocol(format!(
                "it answered CONNECT with {packet:?}"
            ))),
            Err(error) => Err(malformed(error.to_string())),
        };
    }
    match v5::Packet::read(&mut frame, None) {
        Ok(v5::Packet::ConnAck(answer)) => match answer.code {
            v5::ConnectReturnCode::Success => {
                let properties = answer.properties.as_ref();
                Ok(Accepted {
                    session_present: answer.session_present,
                    receive_maximum: properties.and_then(|p| p.receive_max).unwrap_or(u16::MAX),
                    packet_max_bytes: properties
                        .and_then(|p| p.max_packet_size)
                        .map_or(usize::MAX, |bytes| bytes as usize),
                    keep_alive_seconds: properties.and_then(|p| p.server_keep_alive),
                })
            }
            v5::ConnectReturnCode::UnsupportedProtocolVersion
            | v5::ConnectReturnCode::RefusedProtocolVersion => {
                Err(ConnectError::UnsupportedVersion(protocol))
            }
            code => {
                let why = answer.properties.and_then(|p| p.reason_string);
                let reason = match why {
                    Some(why) => format!("{code:?}: {why}"),
                    None => format!("{code:?}"),
                };
                Err(match code {
                    v5::ConnectReturnCode::ServerUnavailable
                    | v5::ConnectReturnCode::ServerBusy
                    | v5::ConnectReturnCode::ConnectionRateExceeded => ConnectError::Busy(reason),
                    _ => ConnectError::Refused(reason),
                })
            }
        },
        Ok(packet) => Err(ConnectError::Protocol(format!(
            "it answered CONNECT with {packet:?}"
        ))),
        Err(error) => Err(malformed(error.to_string())),
    }
}

/// Subscribes at QoS 1. With MQTT 5 the broker is asked not to replay retained messages.
pub(super) fn write_subscribe(
    protocol: Protocol,
    filters: &[String],
    packet_id: u16,
    out: &mut BytesMut,
) -> Result<(), WriteError> {
    match protocol {
        Protocol::V311 => {
            let filters = filters
                .iter()
                .map(|path| v4::SubscribeFilter::new(path.clone(), V4QoS::AtLeastOnce));
            let mut subscribe = v4::Subscribe::new_many(filters);
            subscribe.pkid = packet_id;
            subscribe.write(out)?;
        }
        Protocol::V5 => {
            let filters = filters.iter().map(|path| {
                let mut filter = v5::Filter::new(path, V5QoS::AtLeastOnce);
                filter.retain_forward_rule = v5::RetainForwardRule::Never;
                filter
            });
            let mut subscribe = v5::Subscribe::new_many(filters, None);
            subscribe.pkid = packet_id;
            subscribe.write(out)?;
        }
    }
    Ok(())
}

/// Ends subscriptions.
pub(super) fn write_unsubscribe(
    protocol: Protocol,
    filters: &[String],
    packet_id: u16,
    out: &mut BytesMut,
) -> Result<(), WriteError> {
    match protocol {
        Protocol::V311 => {
            let unsubscribe = v4::Unsubscribe {
                pkid: packet_id,
                topics: filters.to_vec(),
            };
            unsubscribe.write(out)?;
        }
        Protocol::V5 => {
            let unsubscribe = v5::Unsubscribe {
                pkid: packet_id,
                filters: filters.to_vec(),
                properties: None,
            };
            unsubscribe.write(out)?;
        }
    }
    Ok(())
}

/// All of a PUBLISH but its payload of `payload_bytes`, which goes behind it: at QoS 1, or at QoS 0 where
/// the packet id is 0. By hand, since the codec would copy the payload.
pub(super) fn write_publish_head(
    protocol: Protocol,
    out: &mut BytesMut,
    topic: &str,
    packet_id: u16,
    payload_bytes: usize,
    duplicate: bool,
    retain: bool,
) -> Result<(), WriteError> {
    const PUBLISH: u8 = 0x30;
    const RETAIN: u8 = 0x01;
    const DUPLICATE: u8 = 0x08;
    const AT_LEAST_ONCE: u8 = 0x02;
    let topic_bytes = u16::try_from(topic.len())
        .map_err(|_| WriteError(format!("a topic of {} bytes", topic.len())))?;
    let with_id = packet_id != 0;
    let id_bytes = if with_id { 2 } else { 0 };
    let property_bytes = usize::from(protocol == Protocol::V5);
    let remaining = 2 + topic.len() + id_bytes + property_bytes + payload_bytes;
    if remaining > WRITE_MAX_BYTES {
        return Err(WriteError(format!("{remaining} bytes")));
    }
    let duplicate = if duplicate { DUPLICATE } else { 0 };
    let quality = if with_id { AT_LEAST_ONCE } else { 0 };
    let retain = if retain { RETAIN } else { 0 };
    out.put_u8(PUBLISH | duplicate | quality | retain);
    let mut left = remaining;
    while left >= 128 {
        out.put_u8((left % 128) as u8 | 128);
        left /= 128;
    }
    out.put_u8(left as u8);
    out.put_u16(topic_bytes);
    out.put_slice(topic.as_bytes());
    if with_id {
        out.put_u16(packet_id);
    }
    if protocol == Protocol::V5 {
        // No properties.
        out.put_u8(0);
    }
    Ok(())
}

/// Acknowledges a message. Both versions write success alike.
pub(super) fn write_puback(packet_id: u16, out: &mut BytesMut) -> Result<(), WriteError> {
    v4::PubAck::new(packet_id).write(out)?;
    Ok(())
}

/// Asks whether the broker lives. Both versions write it alike.
pub(super) fn write_pingreq(out: &mut BytesMut) -> Result<(), WriteError> {
    v4::PingReq.write(out)?;
    Ok(())
}

/// Ends the connection, keeping the session. Both versions write that alike.
pub(super) fn write_disconnect(out: &mut BytesMut) -> Result<(), WriteError> {
    v4::Disconnect.write(out)?;
    Ok(())
}

/// Ends the connection and the session with it (MQTT 5 section 3.14: reason code 0, session expiry
/// interval 0). Nine bytes that never differ.
pub(super) fn write_disconnect_for_good(out: &mut BytesMut) {
    out.put_slice(&[0xe0, 7, 0, 5, 0x11, 0, 0, 0, 0]);
}

/// How [`Packet::Disconnect`] reads when another client has taken our session (reason code 0x8e).
pub(super) const SESSION_TAKEN_OVER: &str = "SessionTakenOver";

/// Reads a packet that is no message. Of an answer to a subscription no more is kept than the `filters` that were
/// asked for need, whatever more it has.
pub(super) fn read(
    protocol: Protocol,
    mut frame: BytesMut,
    filters: usize,
) -> Result<Packet, String> {
    match protocol {
        Protocol::V311 => match v4::Packet::read(&mut frame, WRITE_MAX_BYTES) {
            Ok(v4::Packet::PubAck(ack)) => Ok(Packet::PubAck {
                packet_id: ack.pkid,
                refused: None,
            }),
            Ok(v4::Packet::SubAck(ack)) => Ok(Packet::SubAck {
                refused: ack
                    .return_codes
                    .iter()
                    .take(filters)
                    .map(|code| match code {
                        v4::SubscribeReasonCode::Success(_) => None,
                        refusal => Some(format!("{refusal:?}")),
                    })
                    .collect(),
            }),
            Ok(v4::Packet::PingResp) => Ok(Packet::PingResp),
            Ok(_) => Ok(Packet::Other),
            Err(error) => Err(error.to_string()),
        },
        Protocol::V5 => read_v5(frame, filters),
    }
}

fn read_v5(mut frame: BytesMut, filters: usize) -> Result<Packet, String> {
    const DISCONNECT: u8 = 14;
    let is_disconnect = frame.first().is_some_and(|byte| byte >> 4 == DISCONNECT);
    let reason_byte = frame.get(2).copied().unwrap_or(0);
    match v5::Packet::read(&mut frame, None) {
        Ok(v5::Packet::PubAck(ack)) => Ok(Packet::PubAck {
            packet_id: ack.pkid,
            refused: match ack.reason {
                v5::PubAckReason::Success | v5::PubAckReason::NoMatchingSubscribers => None,
                reason => Some(format!("{reason:?}")),
            },
        }),
        Ok(v5::Packet::SubAck(ack)) => Ok(Packet::SubAck {
            refused: ack
                .return_codes
                .iter()
                .take(filters)
                .map(|code| match code {
                    v5::SubscribeReasonCode::Success(_) => None,
                    refusal => Some(format!("{refusal:?}")),
                })
                .collect(),
        }),
        Ok(v5::Packet::PingResp(_)) => Ok(Packet::PingResp),
        Ok(v5::Packet::Disconnect(packet)) => {
            Ok(Packet::Disconnect(format!("{:?}", packet.reason_code)))
        }
        Err(_) if is_disconnect && reason_byte == 0x8e => {
            Ok(Packet::Disconnect(SESSION_TAKEN_OVER.to_owned()))
        }
        // The short forms of DISCONNECT, which the codec does not know.
        Err(_) if is_disconnect => Ok(Packet::Disconnect(format!(
            "reason code {reason_byte:#04x}"
        ))),
        Ok(_) => Ok(Packet::Other),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    /// A whole PUBLISH as the codec writes it, to check ours against and for tests that are the broker.
    pub(in crate::mqtt) fn publish(
        protocol: Protocol,
        topic: &str,
        packet_id: u16,
        payload: &[u8],
        duplicate: bool,
    ) -> Vec<u8> {
        let payload = Bytes::copy_from_slice(payload);
        let mut out = BytesMut::new();
        match protocol {
            Protocol::V311 => {
                let qos = if packet_id == 0 {
                    V4QoS::AtMostOnce
                } else {
                    V4QoS::AtLeastOnce
                };
                let mut publish = v4::Publish::from_bytes(topic, qos, payload);
                publish.pkid = packet_id;
                publish.dup = duplicate;
                publish.write(&mut out).unwrap();
            }
            Protocol::V5 => {
                let qos = if packet_id == 0 {
                    V5QoS::AtMostOnce
                } else {
                    V5QoS::AtLeastOnce
                };
                let mut publish = v5::Publish::new(topic, qos, payload, None);
                publish.pkid = packet_id;
                publish.dup = duplicate;
                publish.write(&mut out).unwrap();
            }
        }
        out.to_vec()
    }

    proptest! {
        #[test]
        fn a_publish_is_what_the_codec_writes(
            topic in "[a-z/]{1,200}",
            packet_id in any::<u16>(),
            bytes in prop_oneof![0..300_usize, 16_000..17_000_usize, 2_096_000..2_098_000_usize],
            duplicate in any::<bool>(),
            five in any::<bool>(),
        ) {
            let protocol = if five { Protocol::V5 } else { Protocol::V311 };
            let payload = vec![b'x'; bytes];
            let mut ours = BytesMut::new();
            write_publish_head(protocol, &mut ours, &topic, packet_id, bytes, duplicate, false).unwrap();
            ours.put_slice(&payload);
            prop_assert!(ours == publish(protocol, &topic, packet_id, &payload, duplicate));
        }
    }

    #[test]
    fn what_mqtt_has_no_room_for_is_not_written() {
        let mut out = BytesMut::new();
        let long = "t".repeat(usize::from(u16::MAX) + 1);
        assert!(write_publish_head(Protocol::V5, &mut out, &long, 1, 0, false, false).is_err());
        let too_much = WRITE_MAX_BYTES - 5;
        assert!(
            write_publish_head(Protocol::V5, &mut out, "t", 1, too_much, false, false).is_err()
        );
        assert!(out.is_empty());
        assert!(
            write_publish_head(Protocol::V5, &mut out, "t", 1, too_much - 1, false, false).is_ok()
        );
    }

    #[test]
    fn what_both_versions_write_alike() {
        let mut ours = BytesMut::new();
        write_puback(258, &mut ours).unwrap();
        write_pingreq(&mut ours).unwrap();
        write_disconnect(&mut ours).unwrap();
        assert_eq!(&ours[..], [0x40, 2, 1, 2, 0xc0, 0, 0xe0, 0]);
    }

    #[test]
    fn a_session_ends_with_the_goodbye_that_says_so() {
        let mut ours = BytesMut::new();
        write_disconnect_for_good(&mut ours);
        let Ok(v5::Packet::Disconnect(read)) = v5::Packet::read(&mut ours, None) else {
            panic!("it is no DISCONNECT");
        };
        assert_eq!(
            read.reason_code,
            v5::DisconnectReasonCode::NormalDisconnection
        );
        assert_eq!(read.properties.unwrap().session_expiry_interval, Some(0));
    }

    #[test]
    fn a_broker_that_knows_only_311_is_recognised() {
        for code in [0u8, 1] {
            let answer = BytesMut::from(&[0x20, 2, 0, code][..]);
            assert!(matches!(
                read_connack(Protocol::V5, answer),
                Err(ConnectError::UnsupportedVersion(Protocol::V5))
            ));
        }
        let answer = BytesMut::from(&[0x20, 2, 1, 0][..]);
        assert!(
            read_connack(Protocol::V311, answer)
                .unwrap()
                .session_present
        );
        let refused = BytesMut::from(&[0x20, 2, 0, 5][..]);
        assert!(
            matches!(read_connack(Protocol::V5, refused), Err(ConnectError::Refused(why)) if why == "NotAuthorized")
        );
    }

    #[test]
    fn version_5_connack() {
        let bytes = [0x20, 11, 1, 0, 8, 33, 0, 20, 39, 0, 0, 16, 0];
        let accepted = read_connack(Protocol::V5, BytesMut::from(&bytes[..])).unwrap();
        assert_eq!(
            accepted,
            Accepted {
                session_present: true,
                receive_maximum: 20,
                packet_max_bytes: 4096,
                keep_alive_seconds: None
            }
        );
        for (protocol, busy) in [
            (Protocol::V5, &[0x20, 3, 0, 0x89, 0][..]),
            (Protocol::V5, &[0x20, 2, 0, 3]),
            (Protocol::V311, &[0x20, 2, 0, 3]),
        ] {
            let error = read_connack(protocol, BytesMut::from(busy)).unwrap_err();
            assert!(matches!(error, ConnectError::Busy(_)), "{error}");
            assert!(!error.needs_a_person());
        }
        let unsupported = BytesMut::from(&[0x20, 3, 0, 0x84, 0][..]);
        assert!(matches!(
            read_connack(Protocol::V5, unsupported),
            Err(ConnectError::UnsupportedVersion(_))
        ));
    }

    /// A byte of a packet would be a text of a hundred.
    #[test]
    fn of_the_answer_to_a_subscription_no_more_is_kept_than_was_asked_for() {
        for (protocol, head) in [
            (Protocol::V311, &[0x90, 9, 0, 1][..]),
            (Protocol::V5, &[0x90, 10, 0, 1, 0]),
        ] {
            let answer = [head, &[1, 0x80, 0x80, 0x80, 1, 1, 1]].concat();
            let read = read(protocol, BytesMut::from(&answer[..]), 2).unwrap();
            let Packet::SubAck { refused } = read else {
                panic!("{read:?}");
            };
            let is_refused: Vec<bool> = refused.iter().map(Option::is_some).collect();
            assert_eq!(is_refused, [false, true], "{protocol}");
        }
    }

    #[test]
    fn short_forms_of_version_5() {
        let read = |bytes: &[u8]| read(Protocol::V5, BytesMut::from(bytes), 1).unwrap();
        assert!(matches!(read(&[0xe0, 0]), Packet::Disconnect(_)));
        let taken_over = || Packet::Disconnect(SESSION_TAKEN_OVER.to_owned());
        assert_eq!(read(&[0xe0, 1, 0x8e]), taken_over());
        assert_eq!(read(&[0xe0, 2, 0x8e, 0]), taken_over());
        assert_eq!(
            read(&[0x40, 2, 0, 5]),
            Packet::PubAck {
                packet_id: 5,
                refused: None
            }
        );
        assert!(matches!(
            read(&[0x40, 3, 0, 5, 0x87]),
            Packet::PubAck {
                packet_id: 5,
                refused: Some(_)
            }
        ));
        assert_eq!(
            read(&[0x40, 3, 0, 5, 0x10]),
            Packet::PubAck {
                packet_id: 5,
                refused: None
            }
        );
    }
}
