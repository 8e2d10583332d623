//! Records that are larger than Firehose takes. They are rejected; where dead letters are kept they are
//! handed out before, one at a time, to be rejected and acknowledged once they are kept.

use bytes::Bytes;

use super::{Intake, IntakeSettings};
use crate::arn::DeliveryStreamArn;
use crate::code::Code;
use crate::mqtt::AckToken;
use crate::request::{RECORD_MAX_BYTES, Rejection};

/// A record that is too large.
#[derive(Debug)]
pub struct TooLarge {
    /// Where it was to go.
    pub stream: DeliveryStreamArn,
    /// The record where it is known by itself; of a JSON request, whose record was not even read, the
    /// whole request as it was published.
    pub data: Bytes,
    /// What its status will say.
    pub rejection: Rejection,
    /// What its message is owed.
    pub ack: Option<AckToken>,
}

/// What is said of a record that fits a Firehose record, and does not with what is done to it.
pub(super) fn message(
    record_bytes: usize,
    delimiter_bytes: usize,
    settings: &IntakeSettings,
) -> String {
    let most = settings.record_max_bytes;
    let compressed = if most < RECORD_MAX_BYTES {
        ", as what cannot be compressed grows (RECORD_COMPRESSION)"
    } else {
        ""
    };
    format!(
        "the record as it is sent is {} bytes long, its delimiter of {delimiter_bytes} included \
         (RECORD_DELIMITER); that is at most {most} bytes{compressed}",
        record_bytes + delimiter_bytes
    )
}

impl Intake {
    /// Rejects a request, or sets its record apart where that is too large and large ones are kept.
    /// `false`: its message is done with.
    pub(super) fn reject_or_keep(
        &mut self,
        rejection: Rejection,
        ack: Option<AckToken>,
        data: impl FnOnce() -> Bytes,
    ) -> bool {
        let keeps = self.settings.keeps_too_large && rejection.code == Code::RecordTooLarge;
        let stream = match &rejection.stream {
            None => Some(self.streams.acceptance.default_stream.clone()),
            // One that names no stream, or none that it may, goes nowhere, and not to the dead letters either.
            Some(arn) => self.streams.acceptance.accept(arn).ok(),
        };
        match stream.filter(|_| keeps) {
            Some(stream) => {
                self.too_large.push_back(TooLarge {
                    stream,
                    data: data(),
                    rejection,
                    ack,
                });
                true
            }
            None => {
                self.rejections.push(rejection);
                false
            }
        }
    }

    /// The next record that is too large, to be kept and then given to [`Intake::kept_too_large`].
    pub fn next_too_large(&mut self) -> Option<TooLarge> {
        self.too_large.pop_front()
    }

    /// A record that was too large is kept: its request is rejected, and its message done with.
    pub fn kept_too_large(&mut self, kept: TooLarge) -> Option<AckToken> {
        self.rejections.push(kept.rejection);
        self.publish_rejections();
        kept.ack
    }

    /// There is a new connection: what the broker keeps comes again, and of the rest ours is the only copy.
    pub(super) fn reconnected_too_large(&mut self, resumed: bool) {
        if resumed {
            self.too_large.retain(|too_large| too_large.ack.is_none());
        }
        for too_large in &mut self.too_large {
            too_large.ack = None;
        }
    }

    /// While stopping: rejects those whose message no broker keeps, and leaves the others to it.
    pub fn give_up_too_large(&mut self) {
        let left = std::mem::take(&mut self.too_large).into_iter();
        let lost = left.filter(|too_large| too_large.ack.is_none());
        self.rejections
            .extend(lost.map(|too_large| too_large.rejection));
        self.publish_rejections();
    }
}
