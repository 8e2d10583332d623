//! What the embedded Firehose endpoint does with one call: read it, hold it against the limits, ask
//! the fault knobs, commit, answer.

use std::collections::HashSet;
use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::connection::{Answer, Told};
use super::faults::{CallFault, CallPlan, FaultKnobs};
use super::journal::{Commit, Journal};
use super::protocol::{self, Call, MAX_REQUEST_BYTES, Operation, RecordAnswer, RecordIds, Refusal};
use super::storage::Storage;
use super::{LocalError, random_id};
use crate::utc::{http_date, signature_date};

/// How much of a request is read, in bytes. Twice the limit, so that a request over it is still
/// read, counted under its stream, and refused the way the service refuses it; beyond this the
/// connection is closed after the answer.
const MAX_READ_BYTES: usize = 2 * MAX_REQUEST_BYTES;

/// How far the date of a signature may be off (Signature Version 4: five minutes).
const SIGNATURE_DATE_OFF: Duration = Duration::from_secs(5 * 60);

/// The account in messages that name one.
const ACCOUNT: &str = "123456789012";

/// What every connection shares.
#[derive(Debug)]
pub(super) struct Service {
    /// What is to go wrong.
    pub faults: FaultKnobs,
    /// What has been seen and accepted; connections hold on to it to mark what the client has been
    /// told.
    pub journal: Arc<Journal>,
    /// Where accepted records are written, if anywhere.
    storage: Option<Storage>,
    /// The streams that exist, if not all do.
    streams: Option<HashSet<String>>,
    /// One source for all connections, so that ids never repeat.
    ids: RecordIds,
    /// Requests of any kind, to see that a client is there at all.
    calls: AtomicU64,
}

/// The connection is to die without an answer. Hyper closes a connection whose service fails, and
/// writes nothing.
#[derive(Debug, thiserror::Error)]
#[error("the connection was cut by a fault knob")]
pub(super) struct Cut;

/// Why a call is not answered with HTTP 200.
enum Interrupt {
    Refused(Refusal),
    Cut,
}

impl From<Refusal> for Interrupt {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// An answer with HTTP 200.
struct Reply {
    /// The body, usually JSON.
    body: Vec<u8>,
    /// The records it announces.
    commit: Option<Commit>,
}

impl Service {
    pub(super) fn new(
        storage: Option<PathBuf>,
        keep_records: bool,
        streams: Option<HashSet<String>>,
    ) -> Result<Self, LocalError> {
        Ok(Self {
            faults: FaultKnobs::default(),
            journal: Arc::new(Journal::new(keep_records)),
            storage: storage.map(Storage::open).transpose()?,
            streams,
            ids: RecordIds::default(),
            calls: AtomicU64::new(0),
        })
    }

    /// HTTP requests received so far.
    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Answers one HTTP request, or has its connection cut. `told` belongs to that connection.
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        told: Arc<Told>,
    ) -> Result<Response<Answer>, Cut> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        match self.call(request).await {
            Ok(reply) => Ok(self.response(
                StatusCode::OK,
                None,
                Answer::new(reply.body, reply.commit, told),
            )),
            Err(Interrupt::Refused(refusal)) => {
                tracing::debug!(
                    error.code = refusal.code,
                    error.message = refusal.message,
                    "the Firehose endpoint refused a call"
                );
                Ok(self.response(
                    refusal.status,
                    Some(refusal.code),
                    Answer::new(refusal.body(), None, told),
                ))
            }
            Err(Interrupt::Cut) => Err(Cut),
        }
    }

    async fn call(self: &Arc<Self>, request: Request<Incoming>) -> Result<Reply, Interrupt> {
        let operation = route(&request)?;
        require_authorization(&request)?;
        require_date(&request, self.now())?;
        let security_token = security_token(&request);
        let call = Call::parse(operation, &read(request).await?)?;
        self.journal.note_call(&call);
        let plan = self.faults.next(&call.stream, call.records.len());
        // As the service does: who calls is looked at first, what they want last.
        require_identity(plan.fault, &security_token)?;
        call.check()?;
        self.require_stream(&call.stream)?;

        // A sleep of zero is not free: it lasts until the timer's next tick.
        if !plan.latency.is_zero() {
            tokio::time::sleep(plan.latency).await;
        }
        match plan.fault {
            CallFault::None
            | CallFault::ShortAnswer
            | CallFault::ResetAfterCommit
            | CallFault::ExpiredToken
            | CallFault::BadSignature => self.accept(call, plan).await,
            CallFault::ResetBeforeCommit => Err(Interrupt::Cut),
            CallFault::Hang => pending().await,
            CallFault::Garbage => Ok(Reply {
                body: b"<html>this is not the answer you are looking for".to_vec(),
                commit: None,
            }),
            CallFault::ServerError if plan.unavailable => Err(Refusal::unavailable().into()),
            CallFault::ServerError => Err(Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalFailure",
                "An internal failure, on command.",
            )
            .into()),
            CallFault::Throttled => {
                Err(Refusal::bad_request("ThrottlingException", "Rate exceeded").into())
            }
            CallFault::NotRetryable => {
                Err(Refusal::invalid_argument("An invalid argument, on command.").into())
            }
            CallFault::AccessDenied => Err(access_denied(&call).into()),
        }
    }

    /// Commits what the plan lets through, and answers about it as far as the plan lets the answer
    /// go.
    async fn accept(self: &Arc<Self>, call: Call, plan: CallPlan) -> Result<Reply, Interrupt> {
        let Call {
            operation,
            stream,
            mut records,
            ..
        } = call;
        if plan.fault == CallFault::ShortAnswer {
            records.pop();
        }
        let mut answers = Vec::with_capacity(records.len());
        let mut accepted = Vec::with_capacity(records.len());
        for (data, fails) in records.into_iter().zip(plan.failing) {
            if fails {
                answers.push(RecordAnswer::failed());
            } else {
                let record_id = self.ids.next();
                answers.push(RecordAnswer::Accepted {
                    record_id: record_id.clone(),
                });
                accepted.push((record_id, data));
            }
        }
        let commit = self.commit(stream, accepted).await?;
        if plan.fault == CallFault::ResetAfterCommit {
            return Err(Interrupt::Cut);
        }
        Ok(Reply {
            body: protocol::answer(operation, &answers)?,
            commit,
        })
    }

    /// Writes and journals records. The two go together on a thread of their own, so that a client
    /// that leaves in between cannot part them.
    async fn commit(
        self: &Arc<Self>,
        stream: String,
        accepted: Vec<(String, Bytes)>,
    ) -> Result<Option<Commit>, Refusal> {
        if accepted.is_empty() {
            return Ok(None);
        }
        let bytes: usize = accepted.iter().map(|(_, data)| data.len()).sum();
        tracing::debug!(stream, records = accepted.len(), bytes, "accepting records");
        if self.storage.is_none() {
            return Ok(self.journal.commit(&stream, accepted));
        }
        let service = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            if let Some(storage) = &service.storage {
                let records = accepted.iter().map(|(_, data)| data);
                // Logged where it happened; the client is to send the records again.
                storage
                    .append(&stream, records, SystemTime::now())
                    .map_err(|_| Refusal::unavailable())?;
            }
            Ok(service.journal.commit(&stream, accepted))
        })
        .await
        .unwrap_or_else(|_| Err(Refusal::unavailable()))
    }

    fn response(
        &self,
        status: StatusCode,
        error: Option<&'static str>,
        answer: Answer,
    ) -> Response<Answer> {
        let mut response = Response::new(answer);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        // SDKs quote it in their errors.
        if let Ok(id) = HeaderValue::from_str(&random_id()) {
            headers.insert(HeaderName::from_static("x-amzn-requestid"), id);
        }
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-amz-json-1.1"),
        );
        if self.faults.clock_ahead() != 0 {
            // Otherwise the HTTP library dates the answer.
            if let Ok(date) = HeaderValue::from_str(&http_date(self.now())) {
                headers.insert(DATE, date);
            }
        }
        if let Some(code) = error {
            headers.insert(
                HeaderName::from_static("x-amzn-errortype"),
                HeaderValue::from_static(code),
            );
        }
        response
    }

    /// What the endpoint's clock shows.
    fn now(&self) -> SystemTime {
        let (now, ahead) = (SystemTime::now(), self.faults.clock_ahead());
        let moved = Duration::from_secs(ahead.unsigned_abs());
        if ahead < 0 { now - moved } else { now + moved }
    }

    fn require_stream(&self, stream: &str) -> Result<(), Refusal> {
        if self
            .streams
            .as_ref()
            .is_none_or(|streams| streams.contains(stream))
        {
            return Ok(());
        }
        let message = format!("Firehose {stream} not found under account {ACCOUNT}.");
        Err(Refusal::bad_request("ResourceNotFoundException", message))
    }
}

fn route(request: &Request<Incoming>) -> Result<Operation, Refusal> {
    let target = request
        .headers()
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok());
    let ours = request.method() == Method::POST && request.uri().path() == "/";
    Operation::from_target(target.filter(|_| ours))
}

/// The signature itself is never checked: the endpoint knows nobody's secret key. A client that
/// forgot to sign is told, though.
fn require_authorization(request: &Request<Incoming>) -> Result<(), Refusal> {
    if request.headers().contains_key(AUTHORIZATION) {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::FORBIDDEN,
        "MissingAuthenticationTokenException",
        "Missing Authentication Token",
    ))
}

/// Of the signature its date is checked, against the endpoint's clock.
fn require_date(request: &Request<Incoming>, now: SystemTime) -> Result<(), Refusal> {
    let date = request.headers().get("x-amz-date");
    let Some(date) = date.and_then(|date| date.to_str().ok()) else {
        return Ok(());
    };
    // They have the same length, so they sort as text.
    let (now_text, off) = (signature_date(now), SIGNATURE_DATE_OFF);
    let (earliest, latest) = (signature_date(now - off), signature_date(now + off));
    let message = if date < earliest.as_str() {
        format!("Signature expired: {date} is now earlier than {earliest} ({now_text} - 5 min.)")
    } else if date > latest.as_str() {
        format!(
            "Signature not yet current: {date} is still later than {latest} ({now_text} + 5 min.)"
        )
    } else {
        return Ok(());
    };
    Err(Refusal::new(
        StatusCode::FORBIDDEN,
        "InvalidSignatureException",
        message,
    ))
}

/// The session token that the call came with; empty where it came without.
fn security_token(request: &Request<Incoming>) -> String {
    let token = request.headers().get("x-amz-security-token");
    let token = token.and_then(|token| token.to_str().ok());
    token.unwrap_or_default().to_owned()
}

/// Refuses whoever calls, on command.
fn require_identity(fault: CallFault, security_token: &str) -> Result<(), Refusal> {
    match fault {
        CallFault::ExpiredToken => Err(Refusal::bad_request(
            "ExpiredTokenException",
            "The security token included in the request is expired",
        )),
        CallFault::BadSignature => Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "InvalidSignatureException",
            format!(
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key \
                 and signing method. Consult the service documentation for details.\n\nThe Canonical String for this \
                 request should have been\n'POST\n/\n\nx-amz-security-token:{security_token}\n'"
            ),
        )),
        _ => Ok(()),
    }
}

async fn read(request: Request<Incoming>) -> Result<Bytes, Interrupt> {
    match Limited::new(request.into_body(), MAX_READ_BYTES)
        .collect()
        .await
    {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(protocol::too_large().into()),
        // The client went away in the middle: there is nobody to answer.
        Err(_) => Err(Interrupt::Cut),
    }
}

fn access_denied(call: &Call) -> Refusal {
    let Call {
        operation, stream, ..
    } = call;
    let message = format!(
        "User: arn:aws:sts::{ACCOUNT}:assumed-role/local/local is not authorized to perform: \
         firehose:{} on resource: arn:aws:firehose:us-east-1:{ACCOUNT}:deliverystream/{stream}",
        operation.name(),
    );
    Refusal::bad_request("AccessDeniedException", message)
}
