//! One connection that is up: sends what is written, reads what is there, and watches that the
//! broker lives. What to write and what the answers mean is for the session to know.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::connect::{Connection, Io};
use super::error::ConnectError;
use super::frame::Framer;
use super::rest::Rest;
use super::settings::Protocol;
use super::unsent::Unsent;
use super::wire;

/// How long the broker may take to answer a ping or a subscription.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How much is read while reading is paused. A broker whose window is used up sends nothing more,
/// so its end is seen behind that.
const READ_AHEAD_BYTES: usize = 64 * 1024;

/// What a publish takes beside its topic and payload, at most, in bytes.
const PUBLISH_OVERHEAD_BYTES: usize = 16;

/// What the broker is told when a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parting {
    /// That all is well: it says nothing of it to others.
    Goodbye,
    /// Nothing: it publishes the will, as after a fault (MQTT 5 section 3.1.2.5, MQTT 3.1.1 likewise).
    Will,
}

/// A connection that is up.
pub(super) struct Up {
    /// What it runs over.
    io: Box<dyn Io>,
    /// What it speaks.
    pub protocol: Protocol,
    /// Cuts what was read.
    pub framer: Framer,
    /// Written and not sent yet.
    pub out: Unsent,
    /// Whether something was written that a TLS layer may still hold.
    unflushed: bool,
    /// When the broker accepted it.
    since: Instant,
    /// Longest silence in either direction.
    keep_alive: Duration,
    /// When we last sent something.
    last_sent: Instant,
    /// When we last heard something, or asked for it: a broker that is only sent to may be gone.
    last_heard: Instant,
    /// Until when the broker has to have answered a ping or a subscription.
    answer_due: Option<Instant>,
    /// Up to where what is written has to be sent before the broker can know of that ping.
    asked_at: u64,
    /// When to leave it alone, since the broker sends bit by bit.
    rest: Rest,
    /// What was read since the last cut, in bytes.
    read_bytes: usize,
    /// Whether nothing was read lately, and so no answer either.
    paused: bool,
    /// Whether something may wait from a time when nothing was read.
    behind: bool,
    /// Whether a ping was written since that time: its answer stands behind all that waited.
    marked: bool,
    /// Pings that the broker has not answered.
    pings: usize,
    /// Whether that answer is the one to our subscription.
    subscribing: bool,
    /// Whether the broker kept our session: then what is sent again is marked so.
    pub resumed: bool,
    /// Ends waiting when there is something to do without the broker.
    timer: Pin<Box<Sleep>>,
    /// The largest packet the broker takes.
    packet_max_bytes: usize,
}

/// What ended a wait on the connection.
enum Progress {
    /// This many bytes came in.
    Read(usize),
    /// So much was sent that there is room for what waits to be written.
    Room,
    /// A time limit is reached.
    Time,
}

impl Up {
    /// A connection that the broker accepted, which has up to `window` messages under way to us;
    /// `keep_alive_seconds` holds unless the broker has an idea of its own.
    pub fn new(connection: Connection, keep_alive_seconds: u16, window: u16) -> Self {
        let accepted = connection.accepted;
        let now = Instant::now();
        // Zero means that the broker does not care; we do.
        let keep_alive = accepted.keep_alive_seconds.filter(|seconds| *seconds > 0);
        let keep_alive = keep_alive.unwrap_or(keep_alive_seconds);
        Up {
            io: connection.io,
            protocol: connection.protocol,
            framer: connection.framer,
            out: Unsent::default(),
            unflushed: false,
            keep_alive: Duration::from_secs(u64::from(keep_alive.max(1))),
            since: now,
            last_sent: now,
            last_heard: now,
            answer_due: None,
            asked_at: 0,
            rest: Rest::new(window, now),
            read_bytes: 0,
            paused: false,
            behind: false,
            marked: false,
            pings: 0,
            subscribing: false,
            resumed: accepted.session_present,
            timer: Box::pin(sleep_until(now)),
            packet_max_bytes: accepted.packet_max_bytes,
        }
    }

    /// How long it has been up.
    pub fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Notes that a subscription was written: its answer is due.
    pub fn subscribing(&mut self) {
        self.subscribing = true;
        self.answer_due = Some(Instant::now() + ANSWER_TIMEOUT);
    }

    /// Whether the answer to our subscription is still to come.
    pub fn is_subscribing(&self) -> bool {
        self.subscribing
    }

    /// The broker has answered our subscription.
    pub fn subscribed(&mut self) {
        self.subscribing = false;
        self.answer_due = None;
    }

    /// Whether what the broker had sent when reading began again is not all read yet.
    pub fn is_behind(&self) -> bool {
        self.behind
    }

    /// The broker has answered a ping.
    pub fn ponged(&mut self) {
        if !self.subscribing {
            self.answer_due = None;
        }
        self.pings = self.pings.saturating_sub(1);
        // No other was under way when the marking one was written.
        if self.marked {
            (self.behind, self.marked) = (false, false);
        }
    }

    fn ping(&mut self) -> Result<(), ConnectError> {
        wire::write_pingreq(self.out.small())
            .map_err(|error| ConnectError::Protocol(error.to_string()))?;
        self.pings += 1;
        let now = Instant::now();
        (self.last_sent, self.last_heard) = (now, now);
        if self.answer_due.is_none() {
            self.answer_due = Some(now + ANSWER_TIMEOUT);
            self.asked_at = self.out.end();
        }
        Ok(())
    }

    /// The longest payload the broker takes, topic included, in bytes.
    pub fn payload_max_bytes(&self) -> usize {
        self.packet_max_bytes.saturating_sub(PUBLISH_OVERHEAD_BYTES)
    }

    /// Whether the broker takes a packet with this much topic and payload, in bytes.
    pub fn takes(&self, bytes: usize) -> bool {
        bytes.saturating_add(PUBLISH_OVERHEAD_BYTES) <= self.packet_max_bytes
    }

    /// Sends what is written and waits until something was read. `false`: nothing was, and it is to
    /// be asked again: less than `unsent_max` bytes wait to be sent now, or a time is over. While paused only so much
    /// is read as shows that the broker has gone, and it waits in the framer. Dropping the future before loses nothing.
    pub async fn exchange(
        &mut self,
        paused: bool,
        unsent_max: usize,
    ) -> Result<bool, ConnectError> {
        if self.paused && !paused {
            self.grant_time();
        }
        self.paused = paused;
        if paused {
            (self.behind, self.marked) = (true, false);
        } else if self.behind && self.pings == 0 {
            self.ping()?;
            self.marked = true;
        }
        match poll_fn(|cx| self.poll_progress(cx, paused, unsent_max)).await? {
            Progress::Room => Ok(false),
            Progress::Time => self.on_time(paused).map(|()| false),
            Progress::Read(0) => Err(ConnectError::Closed),
            Progress::Read(bytes) => {
                self.heard();
                self.read_bytes += bytes;
                Ok(true)
            }
        }
    }

    /// Notes how many messages were in what was read.
    pub fn received(&mut self, messages: usize) {
        let bytes = std::mem::take(&mut self.read_bytes);
        self.rest.read(messages, bytes, self.last_heard);
    }

    /// Whatever the broker sends proves that it lives: the answer to a ping may stand behind all
    /// that we have not read for a while. Where it does not even take the ping it lives for others.
    fn heard(&mut self) {
        self.last_heard = Instant::now();
        if !self.subscribing && self.out.is_sent_to(self.asked_at) {
            self.grant_time();
        }
    }

    /// A broker that takes what stands before a ping lives, however slowly it reads.
    fn sent(&mut self, ping_was_sent: bool) {
        self.unflushed = true;
        self.last_sent = Instant::now();
        if !self.subscribing && !ping_was_sent {
            self.grant_time();
        }
    }

    /// The time for an answer that is due begins anew.
    fn grant_time(&mut self) {
        if let Some(due) = &mut self.answer_due {
            *due = Instant::now() + ANSWER_TIMEOUT;
        }
    }

    /// When the broker is to be asked whether it lives.
    fn ping_due(&self) -> Instant {
        self.last_sent.min(self.last_heard) + self.keep_alive
    }

    /// Ends the connection after what is written is sent.
    pub async fn end(mut self, parting: Parting, limit: Duration) {
        if parting == Parting::Goodbye && wire::write_disconnect(self.out.small()).is_err() {
            return;
        }
        let goodbye = async {
            poll_fn(|cx| match self.poll_send(cx) {
                Ok(()) if !self.out.is_empty() => Poll::Pending,
                sent => Poll::Ready(sent),
            })
            .await?;
            self.io.shutdown().await.map_err(ConnectError::from)
        };
        // Who does not listen to a goodbye cannot be helped.
        let _ = timeout(limit, goodbye).await;
    }

    /// Sends what is written, reads what is there, and watches the time.
    fn poll_progress(
        &mut self,
        cx: &mut Context<'_>,
        paused: bool,
        unsent_max: usize,
    ) -> Poll<Result<Progress, ConnectError>> {
        let was_full = self.out.len() >= unsent_max;
        self.poll_send(cx)?;
        if was_full && self.out.len() < unsent_max {
            return Poll::Ready(Ok(Progress::Room));
        }
        let rest = self.rest.until();
        if rest.is_none() && (!paused || self.framer.buffered() < READ_AHEAD_BYTES) {
            // The future keeps nothing between polls: what it reads is in the buffer at once.
            let mut space = self.framer.space();
            let read = pin!(self.io.read_buf(&mut space));
            if let Poll::Ready(read) = read.poll(cx) {
                return Poll::Ready(Ok(Progress::Read(read?)));
            }
        }
        let due = match self.answer_due {
            Some(answer) if !paused => answer.min(self.ping_due()),
            _ => self.ping_due(),
        };
        let due = rest.map_or(due, |rest| rest.min(due));
        if self.timer.deadline() != due {
            self.timer.as_mut().reset(due);
        }
        self.timer.as_mut().poll(cx).map(|()| Ok(Progress::Time))
    }

    /// Sends what is written, as far as the connection takes it.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<(), ConnectError> {
        while !self.out.is_empty() {
            let ping_was_sent = self.out.is_sent_to(self.asked_at);
            match self.out.poll_write(&mut self.io, cx) {
                Poll::Ready(Ok(0)) => return Err(ConnectError::Closed),
                Poll::Ready(Ok(_)) => self.sent(ping_was_sent),
                Poll::Ready(Err(error)) => return Err(error.into()),
                Poll::Pending => break,
            }
        }
        if self.unflushed
            && let Poll::Ready(flushed) = Pin::new(&mut self.io).poll_flush(cx)
        {
            flushed?;
            self.unflushed = false;
        }
        Ok(())
    }

    /// A time limit is reached: the broker is asked whether it lives, or taken for dead.
    fn on_time(&mut self, paused: bool) -> Result<(), ConnectError> {
        let now = Instant::now();
        self.rest.end(now);
        if !paused && self.answer_due.is_some_and(|due| due <= now) {
            return Err(ConnectError::Silent);
        }
        if self.ping_due() <= now {
            self.ping()?;
        }
        Ok(())
    }
}
