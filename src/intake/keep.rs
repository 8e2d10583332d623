//! The way into a queue on disk: records are handed to its writer, and their messages acknowledged
//! once they are synced.

use tokio::time::Instant;

use super::Intake;
use super::admit;
use super::staging::Staged;
use super::streams::SlotIndex;
use crate::mqtt::AckToken;
use crate::parameters::WhenFull;
use crate::queue::disk::{DiskStream, Door};
use crate::queue::{Id, Refusal, Stream};

/// What becomes of a record that finds no room.
enum Refused {
    /// It waits for some.
    Waits(Staged),
    /// It is rejected.
    For(Refusal, Staged),
}

impl Intake {
    /// Hands what is staged for one stream to the writer, under one lock.
    pub(super) fn keep_staged(
        &mut self,
        index: SlotIndex,
        stream: &Stream,
        disk: &DiskStream,
        staged: Vec<Staged>,
        now: Instant,
    ) {
        // Records of one stream keep their order: who comes later waits behind who waits already.
        let mut wait = self.streams.get_mut(index).parked > 0;
        let mut waiting = Vec::new();
        let mut door = disk.door(&stream.arn, now);
        for staged in staged {
            if wait {
                waiting.push(staged);
                continue;
            }
            match self.keep(&mut door, staged, stream, now) {
                Ok(()) => stream.account.received(1),
                Err(Refused::Waits(staged)) => {
                    wait = true;
                    waiting.push(staged);
                }
                Err(Refused::For(refusal, staged)) => self.refuse_staged(refusal, &staged),
            }
        }
        drop(door);
        for staged in waiting {
            self.park(index, stream, staged);
        }
    }

    /// Tries again to hand over a record that waits for room.
    ///
    /// # Errors
    /// Gives it back where there is none yet.
    pub(super) fn keep_parked(
        &mut self,
        index: SlotIndex,
        stream: &Stream,
        disk: &DiskStream,
        staged: Staged,
        now: Instant,
    ) -> Result<(), Staged> {
        let mut door = disk.door(&stream.arn, now);
        match self.keep(&mut door, staged, stream, now) {
            Ok(()) => stream.account.received(1),
            Err(Refused::Waits(staged)) => return Err(staged),
            Err(Refused::For(refusal, staged)) => {
                self.refuse_staged(refusal, &staged);
            }
        }
        drop(door);
        self.streams.get_mut(index).unpark();
        Ok(())
    }

    /// Acknowledges what is synced by now.
    pub fn acknowledge_synced(&mut self, mut acknowledge: impl FnMut(AckToken)) {
        let Some(disk) = &self.disk else { return };
        let synced = disk.synced();
        while let Some(&(ticket, token)) = self.unsynced.front()
            && ticket <= synced
        {
            acknowledge(token);
            self.unsynced.pop_front();
        }
    }

    /// Ends requests whose records could not be written before a stop and that no broker keeps.
    pub fn report_lost(&mut self, lost: &[Id]) {
        let ids = lost.iter().map(|id| id.as_str().to_owned());
        self.rejections.extend(ids.map(super::stopped));
        self.publish_rejections();
    }

    fn keep(
        &mut self,
        door: &mut Door<'_>,
        staged: Staged,
        stream: &Stream,
        now: Instant,
    ) -> Result<(), Refused> {
        let Staged {
            mut id,
            mut data,
            ack,
            charge,
        } = staged;
        loop {
            match door.push(id, data, ack.is_some()) {
                Ok(ticket) => {
                    self.unsynced.extend(ack.map(|token| (ticket, token)));
                    return Ok(());
                }
                Err((refusal, id_back, data_back)) => {
                    (id, data) = (id_back, data_back);
                    match self.settings.when_full {
                        WhenFull::Wait => stream.account.waits(refusal.bound()),
                        _ => stream.account.refuses(refusal.bound(), now),
                    }
                    let drops = self.settings.when_full == WhenFull::DropOldest;
                    if drops && refusal == Refusal::QueueFull && door.drop_oldest() {
                        continue;
                    }
                    let staged = Staged {
                        id,
                        data,
                        ack,
                        charge,
                    };
                    let waits = match self.settings.when_full {
                        WhenFull::Wait => true,
                        // Room on disk comes by and by.
                        WhenFull::DropOldest => {
                            refusal == Refusal::QueueDirFull && door.drop_a_segments_worth()
                        }
                        WhenFull::Reject => false,
                    };
                    return Err(if waits {
                        Refused::Waits(staged)
                    } else {
                        Refused::For(refusal, staged)
                    });
                }
            }
        }
    }

    fn refuse_staged(&mut self, refusal: Refusal, staged: &Staged) {
        let rejection = admit::refusal(refusal, staged.id.as_str(), self.settings.queue_size);
        self.rejections.push(rejection);
        // With ticket 0 it is due at the next look, behind whatever came before it.
        self.unsynced.extend(staged.ack.map(|token| (0, token)));
    }
}
