//! What is written for the broker and not sent yet. Small packets are written one behind the other; a
//! long payload stays where it is and goes out between them, so a document of statuses is neither copied
//! nor held twice.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;

/// A payload from this length on is not copied: below it a copy costs less than a slice of its own.
const LONG_BYTES: usize = 4 * 1024;

/// Most slices in one write.
const SLICES: usize = 16;

/// What is written for the broker and not sent yet.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    /// What goes out first, in order.
    chunks: VecDeque<Bytes>,
    /// The bytes of all chunks.
    chunk_bytes: usize,
    /// What goes out behind the chunks, still growing.
    tail: BytesMut,
    /// What was sent so far, in bytes.
    sent: u64,
}

impl Unsent {
    /// Where packets without a long payload are written.
    pub fn small(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// Adds the payload of the packet whose head was written last.
    pub fn add(&mut self, payload: &Bytes) {
        if payload.len() < LONG_BYTES {
            self.tail.extend_from_slice(payload);
            return;
        }
        for chunk in [self.tail.split().freeze(), payload.clone()] {
            self.chunk_bytes += chunk.len();
            self.chunks.push_back(chunk);
        }
    }

    /// How much is not sent yet, in bytes.
    pub fn len(&self) -> usize {
        self.chunk_bytes + self.tail.len()
    }

    /// Up to where what is written so far goes: all of it is sent when [`Unsent::is_sent_to`] says so of this.
    pub fn end(&self) -> u64 {
        self.sent + self.len() as u64
    }

    /// Whether what was written up to this end is sent.
    pub fn is_sent_to(&self, end: u64) -> bool {
        self.sent >= end
    }

    /// Whether all is sent.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.tail.is_empty()
    }

    /// Sends what the connection takes at once, and says how many bytes that were.
    pub fn poll_write<T: AsyncWrite + Unpin + ?Sized>(
        &mut self,
        io: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let parts = self.chunks.iter().map(|chunk| &chunk[..]);
        let parts = parts
            .chain([&self.tail[..]])
            .filter(|part| !part.is_empty());
        let mut used = 0;
        for (slice, part) in slices.iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
            used += 1;
        }
        let sent = match used {
            1 => ready!(Pin::new(io).poll_write(cx, &slices[0])),
            _ => ready!(Pin::new(io).poll_write_vectored(cx, &slices[..used])),
        }?;
        self.advance(sent);
        Poll::Ready(Ok(sent))
    }

    fn advance(&mut self, mut sent: usize) {
        self.sent += sent as u64;
        while let Some(chunk) = self.chunks.front_mut() {
            let now = sent.min(chunk.len());
            chunk.advance(now);
            self.chunk_bytes -= now;
            sent -= now;
            if !chunk.is_empty() {
                return;
            }
            self.chunks.pop_front();
        }
        self.tail.advance(sent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BufMut;
    use proptest::prelude::*;

    /// Takes a few bytes at a time, from one slice or from several.
    struct Narrow {
        taken: Vec<u8>,
        at_a_time: usize,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let count = bytes.len().min(self.at_a_time);
            self.taken.extend_from_slice(&bytes[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            let count = bytes.len().min(self.at_a_time);
            self.taken.extend_from_slice(&bytes[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn send(unsent: &mut Unsent, io: &mut Narrow) -> usize {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match unsent.poll_write(io, &mut cx) {
            Poll::Ready(Ok(sent)) => sent,
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        /// Packets of all sizes, with sending in between, arrive whole and in order.
        #[test]
        fn everything_goes_out_in_order(
            packets in proptest::collection::vec((0..9_000_usize, 0..3_usize), 0..40),
            at_a_time in 1..20_000_usize,
        ) {
            let (mut unsent, mut io) = (Unsent::default(), Narrow { taken: Vec::new(), at_a_time });
            let mut expected = Vec::new();
            for (number, (bytes, sends)) in packets.into_iter().enumerate() {
                let payload = Bytes::from(vec![number as u8; bytes]);
                unsent.small().put_u8(255);
                unsent.add(&payload);
                expected.push(255);
                expected.extend_from_slice(&payload);
                let end = unsent.end();
                prop_assert_eq!(end, expected.len() as u64);
                prop_assert_eq!(unsent.len(), expected.len() - io.taken.len());
                prop_assert!(!unsent.is_sent_to(end));
                for _ in 0..sends {
                    if !unsent.is_empty() {
                        prop_assert!(send(&mut unsent, &mut io) > 0);
                    }
                }
            }
            while !unsent.is_empty() {
                prop_assert!(send(&mut unsent, &mut io) > 0);
            }
            prop_assert!(io.taken == expected);
            prop_assert_eq!(unsent.len(), 0);
            prop_assert!(unsent.is_sent_to(expected.len() as u64));
        }
    }

    #[test]
    fn a_long_payload_is_not_copied() {
        let mut unsent = Unsent::default();
        let payload = Bytes::from(vec![1; LONG_BYTES]);
        unsent.small().put_u8(0x30);
        unsent.add(&payload);
        assert_eq!(unsent.chunks[1].as_ptr(), payload.as_ptr());
        assert!(unsent.tail.is_empty());
    }
}
