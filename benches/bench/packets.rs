//! The bytes of MQTT packets, as far as feeding and counting needs them.

use std::io::{self, Read};

/// How much is read at a time, unless a packet is longer.
const READ_BYTES: usize = 256 * 1024;

/// Packet types.
pub const CONNECT: u8 = 1;
pub const CONNACK: u8 = 2;
pub const PUBLISH: u8 = 3;
pub const PUBACK: u8 = 4;
pub const SUBSCRIBE: u8 = 8;
pub const SUBACK: u8 = 9;
pub const PINGREQ: u8 = 12;
pub const DISCONNECT: u8 = 14;

/// Which MQTT a connection speaks, as far as its packets differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 3.1.1: no properties.
    V311,
    /// 5.
    V5,
}

/// A packet without its length.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// Type and flags.
    first: u8,
    /// What follows the length.
    pub body: &'a [u8],
}

/// What is wanted of a PUBLISH.
pub struct Publish<'a> {
    /// `None` at QoS 0.
    pub packet_id: Option<u16>,
    /// The payload, of MQTT 5 with the properties before it.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Its type.
    pub fn kind(&self) -> u8 {
        self.first >> 4
    }

    /// Reads a PUBLISH.
    pub fn publish(&self) -> io::Result<Publish<'a>> {
        let (_topic, mut rest) = text(self.body)?;
        let mut packet_id = None;
        if self.first & 6 != 0 {
            let (id, payload) = u16_of(rest)?;
            (packet_id, rest) = (Some(id), payload);
        }
        Ok(Publish {
            packet_id,
            payload: rest,
        })
    }
}

/// What was read of a connection, cut into packets.
pub struct Packets {
    buffer: Vec<u8>,
    /// Where the first packet begins that was not handed out.
    from: usize,
    /// Where what was read ends.
    to: usize,
}

impl Packets {
    /// Nothing read.
    pub fn new() -> Self {
        Packets {
            buffer: vec![0; READ_BYTES],
            from: 0,
            to: 0,
        }
    }

    /// Reads once, at least a byte.
    pub fn read(&mut self, socket: &mut impl Read) -> io::Result<()> {
        self.buffer.copy_within(self.from..self.to, 0);
        (self.from, self.to) = (0, self.to - self.from);
        if self.to == self.buffer.len() {
            self.buffer.resize(2 * self.buffer.len(), 0);
        }
        match socket.read(&mut self.buffer[self.to..])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.to += read;
                Ok(())
            }
        }
    }

    /// The next packet that was read as a whole.
    pub fn next(&mut self) -> io::Result<Option<Packet<'_>>> {
        let read = &self.buffer[self.from..self.to];
        let [first, rest @ ..] = read else {
            return Ok(None);
        };
        let Some((length, rest)) = variable_length(rest)? else {
            return Ok(None);
        };
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        self.from += read.len() - rest.len() + length;
        Ok(Some(Packet {
            first: *first,
            body,
        }))
    }

    /// Reads until a whole packet is there, which must be of this type: its body.
    pub fn expect(&mut self, kind: u8, socket: &mut impl Read) -> io::Result<Vec<u8>> {
        loop {
            if let Some(packet) = self.next()? {
                if packet.kind() != kind {
                    return Err(unexpected(packet));
                }
                return Ok(packet.body.to_vec());
            }
            self.read(socket)?;
        }
    }
}

/// A packet that should not have come.
pub fn unexpected(packet: Packet) -> io::Error {
    io::Error::other(format!(
        "a packet of type {} was not expected",
        packet.kind()
    ))
}

/// A number of one to four bytes, and what follows it; `None` where that is not read yet.
pub fn variable_length(bytes: &[u8]) -> io::Result<Option<(usize, &[u8])>> {
    let mut value = 0;
    for (place, byte) in bytes.iter().enumerate().take(4) {
        value |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(Some((value, &bytes[place + 1..])));
        }
    }
    if bytes.len() < 4 {
        return Ok(None);
    }
    Err(io::Error::other("a length of more than four bytes"))
}

/// A number of two bytes, and what follows it.
pub fn u16_of(bytes: &[u8]) -> io::Result<(u16, &[u8])> {
    let (number, rest) = bytes.split_first_chunk().ok_or_else(too_short)?;
    Ok((u16::from_be_bytes(*number), rest))
}

/// A text or other bytes behind their length, and what follows them.
pub fn text(bytes: &[u8]) -> io::Result<(&[u8], &[u8])> {
    let (length, rest) = u16_of(bytes)?;
    rest.split_at_checked(usize::from(length))
        .ok_or_else(too_short)
}

pub fn too_short() -> io::Error {
    io::Error::other("a packet ends before its fields do")
}

/// Writes a packet: type and flags, its length, its body.
pub fn write_packet(first: u8, body: &[u8], out: &mut Vec<u8>) {
    write_head(first, body.len(), out);
    out.extend_from_slice(body);
}

/// Writes a PUBLISH of QoS 1.
pub fn write_publish(
    version: Version,
    topic: &str,
    packet_id: u16,
    payload: &[u8],
    out: &mut Vec<u8>,
) {
    let properties: &[u8] = match version {
        Version::V311 => &[],
        Version::V5 => &[0],
    };
    let length = 2 + topic.len() + 2 + properties.len() + payload.len();
    write_head(PUBLISH << 4 | 2, length, out);
    write_text(topic, out);
    out.extend(packet_id.to_be_bytes());
    out.extend_from_slice(properties);
    out.extend_from_slice(payload);
}

/// Writes a PUBACK that says nothing but success.
pub fn write_puback(packet_id: u16, out: &mut Vec<u8>) {
    write_packet(PUBACK << 4, &packet_id.to_be_bytes(), out);
}

/// Writes a text behind its length.
pub fn write_text(text: &str, out: &mut Vec<u8>) {
    out.extend((text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn write_head(first: u8, length: usize, out: &mut Vec<u8>) {
    out.push(first);
    let mut rest = length;
    while rest >= 128 {
        out.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    out.push(rest as u8);
}
