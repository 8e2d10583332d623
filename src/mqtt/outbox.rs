//! Messages we publish, from their first sending until the broker has acknowledged them. They
//! are sent again after a reconnect, so a link that breaks loses no status.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

/// Most messages under way to the broker, whatever more it would take.
const WINDOW: usize = 64;

/// Most bytes under way to the broker; one message may exceed it alone.
const WINDOW_BYTES: usize = 1024 * 1024;

/// The highest packet id for publishes; the two above are those of SUBSCRIBE and UNSUBSCRIBE.
const LAST_PACKET_ID: u16 = u16::MAX - 2;

/// A message under way.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    /// Its packet id, kept when it is sent again.
    pub packet_id: u16,
    /// Where to.
    pub topic: Arc<str>,
    /// What.
    pub payload: Bytes,
    /// Whether the broker keeps it for those who subscribe later.
    pub retain: bool,
    /// Whether it was sent on any connection.
    sent_before: bool,
}

/// What is under way to the broker at QoS 1.
#[derive(Debug)]
pub(super) struct Outbox {
    /// In the order of sending.
    under_way: VecDeque<Outgoing>,
    /// How many of them, from the front, were sent on the present connection.
    sent: usize,
    /// Their payloads' bytes.
    bytes: usize,
    /// What the broker takes at a time (MQTT 5 Receive Maximum).
    broker_window: usize,
    /// The packet id given last.
    last_packet_id: u16,
}

impl Outbox {
    /// Nothing under way.
    pub fn new() -> Self {
        Outbox {
            under_way: VecDeque::new(),
            sent: 0,
            bytes: 0,
            broker_window: usize::from(u16::MAX),
            last_packet_id: 0,
        }
    }

    /// A new connection, to a broker that takes `broker_window` messages at a time: all that is
    /// under way is to be sent again.
    pub fn start_connection(&mut self, broker_window: u16) {
        self.broker_window = usize::from(broker_window).max(1);
        self.sent = 0;
    }

    /// The next message to send, and whether it was sent before; `None` where all are sent or the
    /// broker takes no more at the moment.
    pub fn next_to_send(&mut self) -> Option<(&Outgoing, bool)> {
        if self.sent >= self.broker_window {
            return None;
        }
        let message = self.under_way.get_mut(self.sent)?;
        self.sent += 1;
        let again = std::mem::replace(&mut message.sent_before, true);
        Some((message, again))
    }

    /// Whether another message may be sent.
    pub fn has_room(&self) -> bool {
        self.under_way.len() < WINDOW.min(self.broker_window)
            && (self.bytes < WINDOW_BYTES || self.under_way.is_empty())
    }

    /// The bytes of all payloads under way.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Notes a message as under way, with a packet id of its own.
    pub fn add(&mut self, topic: Arc<str>, payload: Bytes, retain: bool) {
        self.bytes += payload.len();
        let packet_id = self.free_packet_id();
        self.under_way.push_back(Outgoing {
            packet_id,
            topic,
            payload,
            retain,
            sent_before: false,
        });
    }

    fn free_packet_id(&mut self) -> u16 {
        // The window is far smaller than the ids there are, so a free one is near.
        loop {
            self.last_packet_id = if self.last_packet_id >= LAST_PACKET_ID {
                1
            } else {
                self.last_packet_id + 1
            };
            if !self
                .under_way
                .iter()
                .any(|message| message.packet_id == self.last_packet_id)
            {
                return self.last_packet_id;
            }
        }
    }

    /// The broker has this one, and it is not under way any more; `None` where it was not.
    pub fn acknowledged(&mut self, packet_id: u16) -> Option<Outgoing> {
        let place = self
            .under_way
            .iter()
            .position(|message| message.packet_id == packet_id);
        let place = place?;
        let message = self.under_way.remove(place)?;
        if place < self.sent {
            self.sent -= 1;
        }
        self.bytes -= message.payload.len();
        Some(message)
    }

    /// Gives up what cannot be sent any more.
    pub fn drop_where(&mut self, mut hopeless: impl FnMut(&Outgoing) -> bool) {
        let unsent = self.under_way.iter().skip(self.sent);
        let ids: Vec<u16> = unsent
            .filter(|message| hopeless(message))
            .map(|message| message.packet_id)
            .collect();
        for packet_id in ids {
            self.acknowledged(packet_id);
        }
    }

    /// Messages under way.
    pub fn len(&self) -> usize {
        self.under_way.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(outbox: &mut Outbox, payload: Vec<u8>) -> u16 {
        outbox.add("t".into(), Bytes::from(payload), false);
        outbox.next_to_send().unwrap().0.packet_id
    }

    #[test]
    fn keeps_within_the_windows() {
        let mut outbox = Outbox::new();
        outbox.start_connection(2);
        let first = send(&mut outbox, vec![1]);
        let second = send(&mut outbox, vec![2]);
        assert_ne!(first, second);
        assert!(!outbox.has_room());
        assert_eq!(&*outbox.acknowledged(first).unwrap().topic, "t");
        assert!(outbox.acknowledged(first).is_none());
        assert!(outbox.has_room());
        outbox.start_connection(u16::MAX);
        send(&mut outbox, vec![0; WINDOW_BYTES]);
        assert!(!outbox.has_room());
    }

    #[test]
    fn what_is_under_way_is_sent_again_within_a_smaller_window_too() {
        let mut outbox = Outbox::new();
        outbox.start_connection(10);
        let ids: Vec<u16> = (0..4).map(|n| send(&mut outbox, vec![n])).collect();
        assert!(outbox.acknowledged(ids[1]).is_some());
        outbox.start_connection(2);
        let mut again = Vec::new();
        while let Some((message, sent_before)) = outbox.next_to_send() {
            assert!(sent_before);
            again.push(message.packet_id);
        }
        assert_eq!(again, [ids[0], ids[2]]);
        assert!(outbox.acknowledged(ids[0]).is_some());
        assert_eq!(outbox.next_to_send().unwrap().0.packet_id, ids[3]);
        assert!(outbox.next_to_send().is_none());
    }

    #[test]
    fn what_cannot_be_sent_any_more_is_given_up() {
        let mut outbox = Outbox::new();
        outbox.start_connection(10);
        let small = send(&mut outbox, vec![0; 10]);
        send(&mut outbox, vec![0; 1000]);
        outbox.start_connection(10);
        outbox.drop_where(|message| message.payload.len() > 100);
        assert_eq!((outbox.len(), outbox.bytes), (1, 10));
        assert_eq!(outbox.next_to_send().unwrap().0.packet_id, small);
    }

    #[test]
    fn packet_ids_come_round_and_skip_what_is_under_way() {
        let mut outbox = Outbox::new();
        let stays = send(&mut outbox, vec![]);
        for _ in 0..LAST_PACKET_ID {
            let id = send(&mut outbox, vec![]);
            assert!(id != stays && (1..=LAST_PACKET_ID).contains(&id));
            outbox.acknowledged(id);
        }
    }
}
