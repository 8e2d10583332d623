//! Records that are too large on their way to the dead letters, one at a time: reading waits meanwhile,
//! so that one of them is in memory and no more.

use std::time::SystemTime;

use tokio::task::JoinSet;

use crate::blocking::Blocking;
use crate::dead_letters::{DeadLetters, Letter};
use crate::intake::TooLarge;
use crate::utc::unix_ms;

/// The record that is on its way.
pub(super) struct Burial {
    /// `None` where letters are not kept.
    dead_letters: Option<DeadLetters>,
    /// Where they are written.
    blocking: Blocking,
    /// A single task, or none.
    writing: JoinSet<()>,
    /// What it writes.
    under_way: Option<TooLarge>,
}

impl Burial {
    pub fn new(dead_letters: Option<DeadLetters>, blocking: Blocking) -> Self {
        Burial {
            dead_letters,
            blocking,
            writing: JoinSet::new(),
            under_way: None,
        }
    }

    pub fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Begins to write a letter.
    pub fn begin(&mut self, too_large: TooLarge) {
        let now = unix_ms(SystemTime::now());
        let letter = Letter {
            stream: too_large.stream.clone(),
            id: too_large.rejection.id.clone(),
            data: too_large.data.clone(),
            code: too_large.rejection.code.as_str().to_owned(),
            message: too_large.rejection.message.clone(),
            received_unix_ms: now,
            failed_unix_ms: now,
        };
        if let Some(dead_letters) = self.dead_letters.clone() {
            let blocking = self.blocking.clone();
            self.writing
                .spawn(async move { blocking.run(move || dead_letters.bury(&[letter])).await });
        }
        self.under_way = Some(too_large);
    }

    /// What was under way, however far its letter is; nobody waits for that any more.
    pub fn give_up(&mut self) -> Option<TooLarge> {
        self.writing.detach_all();
        self.under_way.take()
    }

    /// Whether there is a new connection: the message that is under way is nobody's any more.
    pub fn reconnected(&mut self) {
        if let Some(under_way) = &mut self.under_way {
            under_way.ack = None;
        }
    }

    /// Waits until the letter is written, or could not be; for ever where there is none.
    pub async fn done(&mut self) -> TooLarge {
        // A panic of the task is as a letter that could not be written.
        while self.writing.join_next().await.is_some() {}
        match self.under_way.take() {
            Some(too_large) => too_large,
            None => std::future::pending().await,
        }
    }
}
