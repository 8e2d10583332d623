//! How long an answer may be, whoever it is that answers: the SDK reads one to its end, however far that is.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aws_sdk_firehose::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_firehose::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_firehose::error::BoxError;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// The longest answer that is read, but for the records of a batch: a record id has about 220 bytes, and an error
/// that quotes a call with its session token a few thousand.
const ANSWER_MAX_BYTES: usize = 16 * 1024;

/// What each record of a batch adds to that: its entry has about 250 bytes, those of errors fewer. It is what the
/// memory budget reckons with for a record beside its bytes.
const ENTRY_MAX_BYTES: usize = 512;

/// The longest answer of a call that is under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct AnswerLimit(usize);

impl Storable for AnswerLimit {
    type Storer = StoreReplace<Self>;
}

impl AnswerLimit {
    /// Of a call with so many records, if it goes well.
    pub fn of_batch(records: usize) -> Self {
        AnswerLimit(ANSWER_MAX_BYTES + records * ENTRY_MAX_BYTES)
    }

    /// In bytes.
    pub fn bytes(self) -> usize {
        self.0
    }
}

/// Bounds the answers to all calls of a client.
#[derive(Debug)]
pub(super) struct LimitAnswers;

impl Intercept for LimitAnswers {
    fn name(&self) -> &'static str {
        "LimitAnswers"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        let limit = config.load::<AnswerLimit>();
        let limit = limit.filter(|_| response.status().is_success());
        let body = std::mem::replace(response.body_mut(), SdkBody::taken());
        *response.body_mut() = limited(body, limit.map_or(ANSWER_MAX_BYTES, |limit| limit.bytes()));
        Ok(())
    }
}

/// The same body, of which no more than this is read.
pub(super) fn limited(body: SdkBody, max_bytes: usize) -> SdkBody {
    SdkBody::from_body_1_x(Limited {
        body,
        max_bytes,
        read_bytes: 0,
    })
}

/// A body that is an error from where it is too long. What is left of it is not read: the connection goes.
struct Limited {
    body: SdkBody,
    max_bytes: usize,
    read_bytes: usize,
}

impl Body for Limited {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            self.read_bytes += frame.data_ref().map_or(0, Bytes::len);
            if self.read_bytes > self.max_bytes {
                self.body = SdkBody::empty();
                let error = format!("the answer is longer than {} bytes", self.max_bytes);
                return Poll::Ready(Some(Err(error.into())));
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
