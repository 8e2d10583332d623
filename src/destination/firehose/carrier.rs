//! Takes a prepared body into a call of the SDK, and the answer out of it unread. All the rest of the
//! call - credentials, endpoint, signature, HTTP, errors - stays the SDK's.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use aws_sdk_firehose::config::interceptors::{
    BeforeDeserializationInterceptorContextMut, BeforeTransmitInterceptorContextMut,
};
use aws_sdk_firehose::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_firehose::error::BoxError;
use aws_smithy_types::body::SdkBody;
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

use super::answer_limit::AnswerLimit;

/// What the SDK is given to read in place of an answer.
const NO_ENTRIES: &[u8] = b"{\"FailedPutCount\":0,\"RequestResponses\":[]}";

/// The body and the answer of one call.
#[derive(Clone)]
pub(super) struct Carrier {
    /// What is sent.
    body: Bytes,
    /// How long the answer may be.
    limit: AnswerLimit,
    /// What came back so far.
    answer: Arc<Mutex<BytesMut>>,
}

impl Carrier {
    /// For a call with this body, of so many records.
    pub fn new(body: Bytes, records: usize) -> Self {
        Carrier {
            body,
            limit: AnswerLimit::of_batch(records),
            answer: Arc::default(),
        }
    }

    /// The answer of a call that has ended well.
    pub fn into_answer(self) -> Bytes {
        let mut answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *answer).freeze()
    }
}

/// Without the records: the SDK logs its parts.
impl fmt::Debug for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.body.len();
        f.debug_struct("Carrier").field("bytes", &bytes).finish()
    }
}

impl Intercept for Carrier {
    fn name(&self) -> &'static str {
        "Carrier"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        config.interceptor_state().store_put(self.limit);
        let request = context.request_mut();
        let length = self.body.len().to_string();
        request.headers_mut().insert("content-length", length);
        *request.body_mut() = SdkBody::from(self.body.clone());
        Ok(())
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        if response.status().is_success() {
            let body = std::mem::replace(response.body_mut(), SdkBody::taken());
            let length = body
                .content_length()
                .and_then(|length| usize::try_from(length).ok());
            let expected = length.unwrap_or_default().min(self.limit.bytes());
            let mut answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
            *answer = BytesMut::with_capacity(expected);
            *response.body_mut() = SdkBody::from_body_1_x(Aside {
                body: Some(body),
                answer: Arc::clone(&self.answer),
            });
        }
        Ok(())
    }
}

/// An answer that goes aside as it is read; what is read through here is [`NO_ENTRIES`].
struct Aside {
    /// `None` once it has ended.
    body: Option<SdkBody>,
    answer: Arc<Mutex<BytesMut>>,
}

impl Body for Aside {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        while let Some(body) = &mut self.body {
            match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let data = frame.into_data().unwrap_or_default();
                    let mut answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
                    answer.extend_from_slice(&data);
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    self.body = None;
                    let frame = Frame::data(Bytes::from_static(NO_ENTRIES));
                    return Poll::Ready(Some(Ok(frame)));
                }
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(if self.body.is_some() {
            NO_ENTRIES.len() as u64
        } else {
            0
        })
    }
}
