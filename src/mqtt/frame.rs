//! From the bytes of a connection to frames: whole packets, messages read in place, and the
//! beginnings of messages that are too large to hold. Pure; the bytes come from outside, so this
//! is bounded and checked at every step.

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};

use super::acks::AckToken;
use super::settings::Protocol;

/// The largest packet that is received: a record of 1,024,000 bytes of which each is escaped in
/// JSON (`\u00XX`, six bytes), with room for the topic, the id and what stands around them.
pub(super) const PACKET_MAX_BYTES: usize = 6 * 1_024_000 + 256 * 1024;

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
    /// A packet that is not a message is larger than any packet may be.
    #[error("the broker sent a packet of {0} bytes that is no message")]
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

    /// Where to read into, with room.
    pub fn space(&mut self) -> &mut BytesMut {
        let room = self.buffer.capacity() - self.buffer.len();
        if room < READ_BYTES / 16 {
            self.renew(self.buffer.len() + READ_BYTES);
        }
        &mut self.buffer
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
        let is_publish = self.buffer[0] >> 4 == PUBLISH;
        if total > PACKET_MAX_BYTES {
            return if is_publish {
                self.oversize(header_bytes, total)
            } else {
                Err(FrameError::Oversize(total))
            };
        }
        if self.buffer.len() < total {
            if self.buffer.capacity() < total {
                // A large packet is gathered in one piece of the right size.
                self.renew(total.max(READ_BYTES));
            }
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

#[cfg(test)]
mod tests {
    use super::super::wire;
    use super::*;
    use proptest::prelude::*;

    fn packet(protocol: Protocol, topic: &str, payload: &[u8], packet_id: u16) -> Vec<u8> {
        wire::tests::publish(protocol, topic, packet_id, payload, false)
    }

    fn messages(framer: &mut Framer) -> Vec<(String, Vec<u8>, u16, Option<usize>)> {
        let mut found = Vec::new();
        while let Some(frame) = framer.next().unwrap() {
            match frame {
                Frame::Publish(m, id) => {
                    found.push((m.topic().to_owned(), m.payload().to_vec(), id, m.oversize))
                }
                Frame::Other(bytes) => found.push(("other".into(), bytes.to_vec(), 0, None)),
            }
        }
        found
    }

    #[test]
    fn oversize_messages_are_skipped_and_the_session_goes_on() {
        for protocol in [Protocol::V311, Protocol::V5] {
            let large = packet(protocol, "a/b", &vec![7; PACKET_MAX_BYTES], 9);
            let mut stream = large.clone();
            stream.extend(packet(protocol, "c", b"next", 10));
            for chunk in [1000, 65_536, stream.len()] {
                let mut framer = Framer::new(protocol);
                let (mut found, mut most) = (Vec::new(), 0);
                for part in stream.chunks(chunk) {
                    framer.space().extend_from_slice(part);
                    found.extend(messages(&mut framer));
                    most = most.max(framer.buffer.capacity());
                }
                assert_eq!(found.len(), 2, "{protocol:?} {chunk}");
                assert_eq!(found[0], ("a/b".into(), vec![], 9, Some(large.len())));
                assert_eq!(found[1], ("c".into(), b"next".to_vec(), 10, None));
                assert!(
                    chunk == stream.len() || most < 300_000,
                    "held {most} bytes of a message to be skipped"
                );
            }
        }
    }

    #[test]
    fn the_largest_packet_is_received() {
        let payload = vec![b'x'; PACKET_MAX_BYTES - 64];
        let mut framer = Framer::new(Protocol::V311);
        framer
            .space()
            .extend_from_slice(&packet(Protocol::V311, "t", &payload, 1));
        let found = messages(&mut framer);
        assert_eq!((found[0].1.len(), found[0].3), (payload.len(), None));
    }

    /// Reads as a connection does: as much as there is room for.
    fn read<'a>(framer: &mut Framer, stream: &'a [u8]) -> &'a [u8] {
        let space = framer.space();
        let room = (space.capacity() - space.len()).min(stream.len());
        assert!(room > 0);
        space.extend_from_slice(&stream[..room]);
        &stream[room..]
    }

    #[test]
    fn large_packets_behind_one_another_are_read_at_once_and_hardly_moved() {
        let packet = |bytes| packet(Protocol::V5, "t", &vec![b'x'; bytes], 1);
        let stream: Vec<u8> = (0..20).flat_map(|n| packet(100_000 + 100 * n)).collect();
        let (mut framer, mut rest, mut reads) = (Framer::new(Protocol::V5), &stream[..], 0);
        while !rest.is_empty() {
            rest = read(&mut framer, rest);
            reads += 1;
            let found = messages(&mut framer).len();
            // The first is found out by a read of the usual size. Of those behind it only a beginning has to be moved.
            assert_eq!(found, usize::from(reads > 1));
            assert!(found == 0 || framer.buffered() < 16 * 1024);
        }
        assert_eq!(reads, 21);
    }

    #[test]
    fn a_packet_holds_no_more_than_twice_itself_or_two_reads_of_small_ones() {
        let packet = |bytes: usize| packet(Protocol::V5, "t", &vec![b'x'; bytes], 1);
        let sizes = [
            1_400_000, 100_000, 10, 1_400_000, 10, 10, 70_000, 40_000, 300_000,
        ];
        let mut stream: Vec<u8> = sizes.into_iter().flat_map(packet).collect();
        stream.extend(packet(10).repeat(100_000));
        let (mut framer, mut rest, mut found, mut shared) =
            (Framer::new(Protocol::V5), &stream[..], 0, 0);
        while !rest.is_empty() {
            rest = read(&mut framer, rest);
            loop {
                assert!(framer.memory >= framer.buffer.capacity());
                let (beginning, memory) = (framer.buffer.as_ptr(), framer.memory);
                let Some(Frame::Publish(message, _)) = framer.next().unwrap() else {
                    break;
                };
                found += 1;
                // What was not copied holds the memory of the buffer.
                let is_shared = message.frame.as_ptr() == beginning;
                let may_be = memory <= 2 * message.frame.len().max(READ_BYTES);
                assert_eq!(is_shared, may_be);
                shared += usize::from(is_shared);
            }
        }
        assert_eq!(found, sizes.len() + 100_000);
        // Small ones behind the large are copied only until the large one's memory is read through.
        assert!(shared > found / 4, "{shared} of {found}");
    }

    #[test]
    fn what_is_kept_of_a_message_holds_no_more_than_twice_itself() {
        let payload = vec![b'x'; 1000];
        let message = Message::published("t", &payload, None);
        let small = message.share(&message.payload()[..100]);
        assert_ne!(small.as_ptr(), message.payload().as_ptr());
        let large = message.share(&message.payload()[..600]);
        assert_eq!(large.as_ptr(), message.payload().as_ptr());
    }

    #[test]
    fn malformed_packets_are_errors() {
        for (bytes, error) in [
            (&[0x32, 0xff, 0xff, 0xff, 0xff, 1][..], FrameError::Length),
            (&[0x32, 3, 0, 9, b'a'], FrameError::Publish),
            (&[0x32, 5, 0, 1, b'a', 0, 0], FrameError::Publish),
            (&[0x36, 5, 0, 1, b'a', 0, 1], FrameError::Publish),
            (&[0x30, 3, 0, 1, 0xff], FrameError::Publish),
            (
                &[0x90, 0xff, 0xff, 0xff, 0x7f],
                FrameError::Oversize(268_435_460),
            ),
        ] {
            let mut framer = Framer::new(Protocol::V311);
            framer.space().extend_from_slice(bytes);
            assert_eq!(framer.next().unwrap_err(), error, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_frames_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400), five in any::<bool>()) {
            let mut framer = Framer::new(if five { Protocol::V5 } else { Protocol::V311 });
            framer.space().extend_from_slice(&bytes);
            for _ in 0..500 {
                if !matches!(framer.next(), Ok(Some(_))) { break }
            }
        }

        #[test]
        fn messages_come_through_however_they_are_split(
            sent in proptest::collection::vec(("[a-z/]{1,20}", proptest::collection::vec(any::<u8>(), 0..300)), 1..20),
            chunk in 1usize..200, five in any::<bool>(),
        ) {
            let protocol = if five { Protocol::V5 } else { Protocol::V311 };
            let mut stream = Vec::new();
            for (number, (topic, payload)) in sent.iter().enumerate() {
                stream.extend(packet(protocol, topic, payload, number as u16));
            }
            let (mut framer, mut found) = (Framer::new(protocol), Vec::new());
            for part in stream.chunks(chunk) {
                framer.space().extend_from_slice(part);
                found.extend(messages(&mut framer));
            }
            prop_assert_eq!(found.len(), sent.len());
            for (number, (found, (topic, payload))) in found.iter().zip(&sent).enumerate() {
                prop_assert_eq!((&found.0, &found.1, found.2), (topic, payload, number as u16));
            }
        }
    }
}
