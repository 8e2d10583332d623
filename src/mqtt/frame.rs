//! From the bytes of a connection to frames: whole packets, messages read in place, and the
//! beginnings of messages that are too large to hold. Pure; the bytes come from outside, so this
//! is bounded and checked at every step.

use std::ops::Range;

use bytes::buf::Limit;
use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::acks::AckToken;
use super::settings::Protocol;

#[cfg(test)]
mod tests;

/// The largest packet that is received: a record of 1,024,000 bytes of which each is escaped in
/// JSON (`\u00XX`, six bytes), with room for the topic, the id and what stands around them.
pub(super) const PACKET_MAX_BYTES: usize = 6 * 1_024_000 + 256 * 1024;

/// The largest packet that is received beside messages. The longest that a broker has to say is one text of
/// 64 KiB: a reason. What is read of a packet may take ten times its size.
pub(super) const ANSWER_MAX_BYTES: usize = 64 * 1024 + 1024;

/// How much is read at a time.
const READ_BYTES: usize = 64 * 1024;

/// The largest packet that the next one is expected to be like: a record of 1,024,000 bytes in base64, with
/// what stands around it.
const EXPECTED_MAX_BYTES: usize = 1_500_000;

/// A message from the broker, as a view into its packet.
#[derive(Debug, Clone)]
pub struct Message {
    /// The packet; of an oversize one only the beginning.
    frame: Bytes,
    /// Where the topic stands in it. Checked to be UTF-8.
    topic: Range<usize>,
    /// Where the payload begins.
    payload_at: usize,
    /// Whether the broker sends it only because it was retained.
    pub retained: bool,
    /// The acknowledgement it is owed; `None` at QoS 0.
    pub ack: Option<AckToken>,
    /// The size of a packet too large to be received, in bytes; its payload reads as empty.
    pub oversize: Option<usize>,
}

impl Message {
    /// The topic it was published on.
    pub fn topic(&self) -> &str {
        std::str::from_utf8(&self.frame[self.topic.clone()]).unwrap_or_default()
    }

    /// What was published.
    pub fn payload(&self) -> &[u8] {
        &self.frame[self.payload_at..]
    }

    /// A message as it would come from a broker, for tests of what follows.
    #[cfg(test)]
    pub(crate) fn published(topic: &str, payload: &[u8], ack: Option<AckToken>) -> Self {
        Message {
            frame: Bytes::from([topic.as_bytes(), payload].concat()),
            topic: 0..topic.len(),
            payload_at: topic.len(),
            retained: false,
            ack,
            oversize: None,
        }
    }

    /// A part of the payload to keep, which has to lie in [`Message::payload`]. It is shared with
    /// the packet where that is hardly larger, and copied where it would hold on to much more than
    /// itself (a small record beside megabytes of fields that nobody reads).
    pub fn share(&self, part: &[u8]) -> Bytes {
        if part.len() >= self.frame.len() / 2 {
            self.frame.slice_ref(part)
        } else {
            Bytes::copy_from_slice(part)
        }
    }
}

/// What the bytes of a connection hold next.
#[derive(Debug)]
pub(super) enum Frame {
    /// A message; the packet id is 0 at QoS 0.
    Publish(Message, u16),
    /// Any other packet, whole.
    Other(BytesMut),
}

/// The broker broke the protocol: the connection cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A length field with more than four bytes.
    #[error("the broker sent a packet with a malformed length")]
    Length,
    /// A packet that is not a message is larger than one may be.
    #[error(
        "the broker sent a packet of {0} bytes that is no message; such have {ANSWER_MAX_BYTES} at most"
    )]
    Oversize(usize),
    /// A message whose header does not add up.
    #[error("the broker sent a malformed message")]
    Publish,
}

const PUBLISH: u8 = 3;

/// Cuts what is read into frames.
#[derive(Debug)]
pub(super) struct Framer {
    /// Decides what a message's header looks like.
    protocol: Protocol,
    /// Read and not cut yet.
    buffer: BytesMut,
    /// The memory that the buffer, and what was cut from it, is part of, in bytes.
    memory: usize,
    /// What is left to throw away of an oversize message.
    skip: usize,
}

impl Framer {
    pub fn new(protocol: Protocol) -> Self {
        Framer {
            protocol,
            buffer: BytesMut::new(),
            memory: 0,
            skip: 0,
        }
    }

    /// Where to read into: the rest of the packet under way, and one read's worth of what follows. There may be
    /// more memory than that; but what comes in at once has to be small beside what bounds all memory.
    pub fn space(&mut self) -> Limit<&mut BytesMut> {
        let (read, missing) = (self.buffer.len(), self.missing());
        let room = self.buffer.capacity() - read;
        let enough = if missing > 0 {
            missing
        } else {
            READ_BYTES / 16
        };
        if room < enough {
            // A large packet is gathered in one piece of the right size.
            self.renew(if missing > 0 {
                (read + missing).max(READ_BYTES)
            } else {
                read + READ_BYTES
            });
        }
        let most = (self.buffer.capacity() - read).min(missing + READ_BYTES);
        (&mut self.buffer).limit(most)
    }

    /// What is still to be read of the packet under way, where its length is known and it is to be held.
    fn missing(&self) -> usize {
        match fixed_header(&self.buffer) {
            Ok(Some((header_bytes, remaining)))
                if self.skip == 0 && header_bytes + remaining <= max_bytes(self.buffer[0]) =>
            {
                (header_bytes + remaining).saturating_sub(self.buffer.len())
            }
            _ => 0,
        }
    }

    /// Bytes read and not cut yet.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// The next frame; `None` where more has to be read first.
    pub fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        let thrown = self.skip.min(self.buffer.len());
        self.buffer.advance(thrown);
        self.skip -= thrown;
        if self.skip > 0 {
            return Ok(None);
        }
        let Some((header_bytes, remaining)) = fixed_header(&self.buffer)? else {
            return Ok(None);
        };
        let total = header_bytes + remaining;
        let is_publish = is_publish(self.buffer[0]);
        if total > max_bytes(self.buffer[0]) {
            return if is_publish {
                self.oversize(header_bytes, total)
            } else {
                Err(FrameError::Oversize(total))
            };
        }
        if self.buffer.len() < total {
            return Ok(None);
        }
        let frame = self.cut(total);
        if !is_publish {
            return Ok(Some(Frame::Other(frame)));
        }
        let header =
            publish_header(&frame, header_bytes, self.protocol)?.ok_or(FrameError::Publish)?;
        Ok(Some(header.message(frame.freeze(), None)))
    }

    /// Takes a whole packet out of the buffer. What a record keeps of it holds all the memory that it is part
    /// of: that is no more than twice a large packet, and no more than two reads of small ones.
    fn cut(&mut self, total: usize) -> BytesMut {
        let frame = self.buffer.split_to(total);
        let is_lost_in_it = self.memory > 2 * READ_BYTES && self.memory > 2 * total;
        if total > READ_BYTES {
            // The next may be as large, and has room then from its first byte on: nothing of it is moved.
            let expected = (total + total / 8).min(EXPECTED_MAX_BYTES);
            self.renew(expected.max(self.buffer.len()));
        }
        if is_lost_in_it {
            return BytesMut::from(&frame[..]);
        }
        frame
    }

    /// Moves what is not cut yet to memory of its own, of this size.
    fn renew(&mut self, bytes: usize) {
        let mut buffer = BytesMut::with_capacity(bytes);
        buffer.extend_from_slice(&self.buffer);
        (self.buffer, self.memory) = (buffer, bytes);
    }

    /// Of a message too large to hold only the beginning is kept, for its topic and packet id.
    fn oversize(&mut self, header_bytes: usize, total: usize) -> Result<Option<Frame>, FrameError> {
        // Properties of MQTT 5 stand behind what is needed: they go with the payload.
        let Some(header) = publish_header(&self.buffer, header_bytes, Protocol::V311)? else {
            return Ok(None);
        };
        let beginning = self.buffer.split_to(header.payload_at);
        self.skip = total - beginning.len();
        Ok(Some(header.message(beginning.freeze(), Some(total))))
    }
}

/// Whether a packet that begins with this byte is a message.
fn is_publish(first: u8) -> bool {
    first >> 4 == PUBLISH
}

/// How large a packet that begins with this byte may be to be held.
fn max_bytes(first: u8) -> usize {
    if is_publish(first) {
        PACKET_MAX_BYTES
    } else {
        ANSWER_MAX_BYTES
    }
}

/// Length of the fixed header and of what follows it; `None` where it is not complete yet.
fn fixed_header(bytes: &[u8]) -> Result<Option<(usize, usize)>, FrameError> {
    match bytes.get(1..).and_then(variable_length).transpose()? {
        Some((length_bytes, remaining)) => Ok(Some((1 + length_bytes, remaining))),
        None => Ok(None),
    }
}

/// A variable byte integer: how many bytes it takes, and its value. `None`: not complete.
fn variable_length(bytes: &[u8]) -> Option<Result<(usize, usize), FrameError>> {
    let mut value = 0;
    for (place, byte) in bytes.iter().enumerate().take(4) {
        value |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(Ok((place + 1, value)));
        }
    }
    if bytes.len() < 4 {
        None
    } else {
        Some(Err(FrameError::Length))
    }
}

/// What the header of a message says.
struct PublishHeader {
    topic: Range<usize>,
    packet_id: u16,
    payload_at: usize,
    retained: bool,
}

impl PublishHeader {
    fn message(self, frame: Bytes, oversize: Option<usize>) -> Frame {
        let message = Message {
            frame,
            topic: self.topic,
            payload_at: self.payload_at,
            retained: self.retained,
            ack: None,
            oversize,
        };
        Frame::Publish(message, self.packet_id)
    }
}

/// Reads the header of a message; `None` where the bytes end before it does.
fn publish_header(
    bytes: &[u8],
    header_bytes: usize,
    protocol: Protocol,
) -> Result<Option<PublishHeader>, FrameError> {
    let qos = (bytes[0] >> 1) & 3;
    let Some(topic_bytes) = read_u16(bytes, header_bytes) else {
        return Ok(None);
    };
    let topic = header_bytes + 2..header_bytes + 2 + usize::from(topic_bytes);
    let Some(name) = bytes.get(topic.clone()) else {
        return Ok(None);
    };
    if std::str::from_utf8(name).is_err() {
        return Err(FrameError::Publish);
    }
    let mut payload_at = topic.end;
    let mut packet_id = 0;
    if qos > 0 {
        let Some(id) = read_u16(bytes, payload_at) else {
            return Ok(None);
        };
        packet_id = id;
        payload_at += 2;
    }
    if qos == 3 || (qos > 0 && packet_id == 0) {
        return Err(FrameError::Publish);
    }
    if protocol == Protocol::V5 {
        let properties = bytes.get(payload_at..).and_then(variable_length);
        let Some((length_bytes, length)) = properties.transpose()? else {
            return Ok(None);
        };
        payload_at += length_bytes + length;
        if payload_at > bytes.len() {
            return Ok(None);
        }
    }
    Ok(Some(PublishHeader {
        topic,
        packet_id,
        payload_at,
        retained: bytes[0] & 1 == 1,
    }))
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([pair[0], pair[1]]))
}
