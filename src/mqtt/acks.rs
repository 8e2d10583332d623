//! Acknowledgements, in the order the messages came (MQTT 4.6 asks for that), whatever the order
//! in which they become due.

use std::collections::VecDeque;

use super::unsent::Unsent;
use super::wire;

/// Most messages that are not acknowledged: eight times as many as there are packet ids, as some brokers send again
/// on one connection what is not acknowledged for a while.
pub(super) const OWED_MAX: usize = 8 << 16;

/// Stands for the acknowledgement that a message is owed. It names the connection the message
/// came on: after a reconnect the same packet id means another message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AckToken {
    /// Which connection.
    epoch: u64,
    /// Which message of that connection.
    number: u64,
}

impl AckToken {
    /// A token for tests of what holds it in between.
    #[cfg(test)]
    pub(crate) fn numbered(number: u64) -> Self {
        AckToken { epoch: 1, number }
    }
}

/// What is owed to the broker on the present connection.
#[derive(Debug, Default)]
pub(super) struct AckQueue {
    /// Goes up with every connection.
    epoch: u64,
    /// Number of the first owed message.
    first: u64,
    /// Owed messages in order: packet id, and whether its turn has come.
    owed: VecDeque<(u16, bool)>,
}

impl AckQueue {
    /// Forgets what was owed: the connection is gone, and the broker will send again.
    pub fn start_connection(&mut self) {
        self.epoch += 1;
        self.first = 0;
        // With its memory: a broker that has sent without end is rare.
        self.owed = VecDeque::new();
    }

    /// Notes a message that arrived.
    pub fn owe(&mut self, packet_id: u16) -> AckToken {
        self.owed.push_back((packet_id, false));
        AckToken {
            epoch: self.epoch,
            number: self.first + self.owed.len() as u64 - 1,
        }
    }

    /// The message is held: it may be acknowledged once all before it are. A token of an earlier
    /// connection is ignored.
    pub fn settle(&mut self, token: AckToken) {
        if token.epoch != self.epoch {
            return;
        }
        let place = token
            .number
            .checked_sub(self.first)
            .and_then(|place| usize::try_from(place).ok());
        if let Some(slot) = place.and_then(|place| self.owed.get_mut(place)) {
            slot.1 = true;
        }
    }

    /// Writes what is due, as long as less than `max_bytes` wait there to be sent: what is not written takes no more
    /// memory here than there.
    pub fn write_due(&mut self, out: &mut Unsent, max_bytes: usize) {
        while out.len() < max_bytes
            && let Some(packet_id) = self.next_due()
        {
            // Four bytes into a growing buffer.
            let _ = wire::write_puback(packet_id, out.small());
        }
    }

    /// The next packet id to acknowledge.
    fn next_due(&mut self) -> Option<u16> {
        let (packet_id, due) = *self.owed.front()?;
        if !due {
            return None;
        }
        self.owed.pop_front();
        self.first += 1;
        Some(packet_id)
    }

    /// Whether the broker has sent so many messages, without a regard for acknowledgements, that it would go on for ever.
    pub fn is_overfull(&self) -> bool {
        self.owed.len() >= OWED_MAX
    }

    /// Messages not acknowledged yet.
    pub fn owed(&self) -> usize {
        self.owed.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(queue: &mut AckQueue) -> Vec<u16> {
        std::iter::from_fn(|| queue.next_due()).collect()
    }

    #[test]
    fn goes_out_in_order_of_arrival() {
        let mut queue = AckQueue::default();
        queue.start_connection();
        let tokens: Vec<_> = [7, 8, 9, 7].into_iter().map(|id| queue.owe(id)).collect();
        queue.settle(tokens[1]);
        assert!(due(&mut queue).is_empty());
        queue.settle(tokens[0]);
        assert_eq!(due(&mut queue), [7, 8]);
        queue.settle(tokens[3]);
        queue.settle(tokens[2]);
        queue.settle(tokens[2]);
        assert_eq!(due(&mut queue), [9, 7]);
        assert_eq!(queue.owed(), 0);
    }

    #[test]
    fn a_token_of_an_old_connection_acknowledges_nothing() {
        let mut queue = AckQueue::default();
        queue.start_connection();
        let old = queue.owe(1);
        queue.start_connection();
        let new = queue.owe(1);
        queue.settle(old);
        assert!(due(&mut queue).is_empty());
        queue.settle(new);
        assert_eq!(due(&mut queue), [1]);
        // Nor does one that was acknowledged already.
        let next = queue.owe(2);
        queue.settle(new);
        assert!(due(&mut queue).is_empty());
        queue.settle(next);
        assert_eq!(due(&mut queue), [2]);
    }

    #[test]
    fn what_a_broker_sends_without_end_is_held_in_little_memory_and_only_as_long_as_it_is_connected()
     {
        let mut queue = AckQueue::default();
        queue.start_connection();
        while !queue.is_overfull() {
            queue.owe(1);
        }
        assert!(queue.owed.capacity() <= OWED_MAX);
        queue.start_connection();
        assert_eq!(queue.owed.capacity(), 0);
    }
}
