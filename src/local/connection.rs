//! One connection of the embedded Firehose endpoint, watched closely enough to tell whether an
//! answer left whole. HTTP libraries do not say so: they take an answer and write it when they can.
//! Here the answer's body reports when it is taken into the write buffer, and the socket under it
//! reports when that buffer has been written out; both together mean that the client has been told.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::journal::{Commit, Journal};
use super::locked;

/// What the two ends of one connection, the answer's body and the socket, tell each other.
#[derive(Debug)]
pub(super) struct Told {
    /// Where the news goes.
    journal: Arc<Journal>,
    /// Commits whose answers are in the write buffer and not yet all written.
    on_the_way: Mutex<Vec<Commit>>,
}

impl Told {
    pub(super) fn new(journal: Arc<Journal>) -> Arc<Self> {
        Arc::new(Self {
            journal,
            on_the_way: Mutex::default(),
        })
    }

    /// Everything taken so far has been written.
    fn written(&self) {
        for commit in locked(&self.on_the_way).drain(..) {
            self.journal.mark_known(&commit);
        }
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// The whole body; taken once.
    bytes: Option<Bytes>,
    /// The records it tells the client about, if they are in the journal.
    commit: Option<Commit>,
    /// Told when the bytes are taken.
    told: Arc<Told>,
}

impl Answer {
    pub(super) fn new(bytes: Vec<u8>, commit: Option<Commit>, told: Arc<Told>) -> Self {
        Self {
            bytes: Some(bytes.into()),
            commit,
            told,
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(commit) = self.commit.take() {
            locked(&self.told.on_the_way).push(commit);
        }
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

/// A socket that reports each time everything given to it has been written. Hyper flushes the
/// socket only once its write buffer is empty.
#[derive(Debug)]
pub(super) struct WatchedSocket {
    /// Does the work.
    socket: TokioIo<TcpStream>,
    /// Told about each flush.
    told: Arc<Told>,
}

impl WatchedSocket {
    pub(super) fn new(socket: TcpStream, told: Arc<Told>) -> Self {
        Self {
            socket: TokioIo::new(socket),
            told,
        }
    }
}

impl Read for WatchedSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl Write for WatchedSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(context);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.told.written();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
