//! Frames: whatever arrives, in whatever pieces, and what memory it holds.

use super::super::wire;
use super::*;
use proptest::prelude::*;

fn packet(protocol: Protocol, topic: &str, payload: &[u8], packet_id: u16) -> Vec<u8> {
    wire::tests::publish(protocol, topic, packet_id, payload, false)
}

/// The fixed header of a packet that goes on for so many bytes, or says so.
fn head(first: u8, remaining: usize) -> Vec<u8> {
    let length = [0, 7, 14, 21].map(|shift| (remaining >> shift) as u8 & 0x7f);
    let bytes = length.iter().rposition(|part| *part > 0).unwrap_or(0) + 1;
    let mut head = vec![first];
    head.extend(length[..bytes].iter().map(|part| part | 0x80));
    head[bytes] &= 0x7f;
    head
}

/// Topic, payload, packet id, and of an oversize one its size.
type Found = (String, Vec<u8>, u16, Option<usize>);

fn messages(framer: &mut Framer) -> Vec<Found> {
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

/// Reads as a connection does: as much as there is room for.
fn read<'a>(framer: &mut Framer, stream: &'a [u8]) -> &'a [u8] {
    let mut space = framer.space();
    let room = space.remaining_mut().min(stream.len());
    assert!(room > 0);
    space.put_slice(&stream[..room]);
    &stream[room..]
}

/// The messages in what comes in, with the most memory that they were in on the way.
fn received(framer: &mut Framer, mut bytes: &[u8]) -> (Vec<Found>, usize) {
    let (mut found, mut most) = (Vec::new(), 0);
    while !bytes.is_empty() {
        bytes = read(framer, bytes);
        most = most.max(framer.buffer.capacity());
        found.extend(messages(framer));
    }
    (found, most)
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
                let (these, memory) = received(&mut framer, part);
                found.extend(these);
                most = most.max(memory);
            }
            assert_eq!(found.len(), 2, "{protocol:?} {chunk}");
            assert_eq!(found[0], ("a/b".into(), vec![], 9, Some(large.len())));
            assert_eq!(found[1], ("c".into(), b"next".to_vec(), 10, None));
            assert!(
                most < 300_000,
                "held {most} bytes of a message to be skipped"
            );
        }
    }
}

/// While reading is paused, what comes in is not cut: there is room for it nevertheless, as no room reads as an end.
#[test]
fn there_is_room_while_nothing_is_cut() {
    let packet = |bytes: usize| packet(Protocol::V5, "t", &vec![b'x'; bytes], 1);
    for bytes in [1_000, 30_000, 100_000] {
        let stream = [packet(20_000), packet(bytes).repeat(200)].concat();
        for before in (1..packet(20_000).len() + packet(bytes).len()).step_by(999) {
            let mut framer = Framer::new(Protocol::V5);
            received(&mut framer, &stream[..before]);
            let mut rest = &stream[before..];
            while framer.buffered() < READ_BYTES {
                rest = read(&mut framer, rest);
            }
        }
    }
}

#[test]
fn the_largest_packet_is_received() {
    let payload = vec![b'x'; PACKET_MAX_BYTES - 64];
    let mut framer = Framer::new(Protocol::V311);
    let (found, _) = received(&mut framer, &packet(Protocol::V311, "t", &payload, 1));
    assert_eq!((found[0].1.len(), found[0].3), (payload.len(), None));
}

/// What an answer says is kept in more memory than it came in, so less of it is taken than of a message.
#[test]
fn an_answer_is_received_up_to_its_bound_and_the_next_larger_ends_the_connection() {
    let answer = |bytes: usize| [head(0x90, bytes - 4), vec![0; bytes - 4]].concat();
    let mut framer = Framer::new(Protocol::V5);
    let (found, _) = received(&mut framer, &answer(ANSWER_MAX_BYTES));
    assert_eq!(found[0].1.len(), ANSWER_MAX_BYTES);
    let large = answer(ANSWER_MAX_BYTES + 1);
    let mut framer = Framer::new(Protocol::V5);
    // No room is made for what is not taken, and its beginning is enough to know.
    framer.space().put_slice(&large[..4]);
    assert_eq!(framer.missing(), 0);
    let error = framer.next().unwrap_err();
    assert_eq!(error, FrameError::Oversize(large.len()));
}

#[test]
fn large_packets_behind_one_another_are_read_at_once_and_hardly_moved() {
    let packet = |bytes| packet(Protocol::V5, "t", &vec![b'x'; bytes], 1);
    let stream: Vec<u8> = (0..20).flat_map(|n| packet(100_000 + 100 * n)).collect();
    let (mut framer, mut rest, mut reads) = (Framer::new(Protocol::V5), &stream[..], 0);
    let mut all = 0;
    while !rest.is_empty() {
        rest = read(&mut framer, rest);
        reads += 1;
        let beginning = framer.buffer.as_ptr();
        let found = messages(&mut framer).len();
        all += found;
        // The first is found out by a read of the usual size. Of those behind it only a beginning has to be moved.
        let is_moved = framer.buffer.as_ptr() != beginning;
        assert!(reads == 1 || !is_moved || (found == 1 && framer.buffered() < 16 * 1024));
    }
    assert_eq!(all, 20);
    assert!(reads <= 40, "{reads}");
}

/// What one read brings is taken in at once, so it is small beside what bounds all memory, whatever came before.
#[test]
fn a_read_brings_one_packet_and_little_more() {
    let small = packet(Protocol::V5, "t", b"x", 1);
    for bytes in [0, 70_000, 1_400_000, 3_000_000] {
        let large = packet(Protocol::V5, "t", &vec![b'x'; bytes], 1);
        let stream = [large.repeat(2), small.repeat(100_000)].concat();
        let (mut framer, mut rest) = (Framer::new(Protocol::V5), &stream[..]);
        while !rest.is_empty() {
            rest = read(&mut framer, rest);
            let found = messages(&mut framer).len();
            assert!(
                found <= 2 * READ_BYTES / small.len() + 1,
                "{bytes}: {found}"
            );
        }
    }
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
        framer.space().put_slice(bytes);
        assert_eq!(framer.next().unwrap_err(), error, "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_end_in_frames_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400), five in any::<bool>()) {
        let mut framer = Framer::new(if five { Protocol::V5 } else { Protocol::V311 });
        framer.space().put_slice(&bytes);
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
            found.extend(received(&mut framer, part).0);
        }
        prop_assert_eq!(found.len(), sent.len());
        for (number, (found, (topic, payload))) in found.iter().zip(&sent).enumerate() {
            prop_assert_eq!((&found.0, &found.1, found.2), (topic, payload, number as u16));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn messages_of_all_sizes_come_through_however_they_are_split(
        sizes in proptest::collection::vec(prop_oneof![0..100_usize, 0..70_000_usize, 0..2_000_000_usize], 1..12),
        most in 1_000..300_000_usize, seed in any::<u64>(),
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        let sent: Vec<Vec<u8>> = sizes
            .iter()
            .map(|bytes| {
                let mut payload = vec![0; *bytes];
                random.fill(&mut payload);
                payload
            })
            .collect();
        let stream: Vec<u8> = sent
            .iter()
            .flat_map(|payload| packet(Protocol::V5, "t", payload, 7))
            .collect();
        let (mut framer, mut found, mut rest) = (Framer::new(Protocol::V5), Vec::new(), &stream[..]);
        while !rest.is_empty() {
            // As much as there is room for, or less.
            let (now, later) = rest.split_at(random.usize(1..=most).min(rest.len()));
            found.extend(received(&mut framer, now).0);
            rest = later;
        }
        prop_assert_eq!(found.len(), sent.len());
        for (found, payload) in found.iter().zip(&sent) {
            prop_assert!(found.1 == *payload);
        }
    }

    /// Noise, and packets of all types that are as long as they say, or are not, in pieces of all sizes.
    #[test]
    fn no_bytes_make_it_hold_more_than_the_packet_under_way_may_have(
        parts in proptest::collection::vec(
            (any::<u8>(), prop_oneof![0..300_usize, 0..100_000_usize, 0..PACKET_MAX_BYTES, PACKET_MAX_BYTES..2 * PACKET_MAX_BYTES, 0..1_usize << 28], 0..200_000_usize, 0..8_u8),
            1..20,
        ),
        most in prop_oneof![1..300_usize, 1..300_000_usize], seed in any::<u64>(), five in any::<bool>(),
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        let stream: Vec<u8> = parts
            .into_iter()
            .flat_map(|(first, said, bytes, kind)| {
                // Half are messages; most are whole where they are not too long for a test.
                let first = if kind % 2 == 0 { 0x30 | (first & 0x0b) } else { first };
                let body = if kind < 6 && said < 200_000 { said } else { bytes };
                let mut packet = if kind == 7 { Vec::new() } else { head(first, said) };
                packet.extend(std::iter::repeat_with(|| random.u8(0..4)).take(body));
                packet
            })
            .collect();
        let mut framer = Framer::new(if five { Protocol::V5 } else { Protocol::V311 });
        let mut rest = &stream[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(random.usize(1..=most).min(rest.len()));
            let unread = read(&mut framer, now).len();
            rest = &stream[stream.len() - later.len() - unread..];
            let mut fault = false;
            loop {
                match framer.next() {
                    Ok(Some(Frame::Other(frame))) => prop_assert!(frame.len() <= ANSWER_MAX_BYTES),
                    Ok(Some(Frame::Publish(message, _))) => prop_assert!(message.frame.len() <= PACKET_MAX_BYTES),
                    Ok(None) => break,
                    Err(_) => {
                        fault = true;
                        break;
                    }
                }
            }
            if fault {
                break;
            }
            // What is under way fills its own memory, or that which was made for one like the one before.
            let is_message = framer.buffer.first().is_some_and(|first| first >> 4 == PUBLISH);
            let most = if is_message { PACKET_MAX_BYTES } else { EXPECTED_MAX_BYTES };
            framer.space();
            prop_assert!(framer.buffer.capacity() <= most + READ_BYTES, "{}", framer.buffer.capacity());
        }
    }
}
