//! A stand-in for what of AWS looks at credentials: Firehose and the Security Token Service, which know some access
//! keys and refuse the others as AWS does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use kinesis_edge::utc::{Utc, http_date, signature_date};
use tokio::net::TcpListener;

/// What is known and what came.
#[derive(Default)]
struct State {
    /// Access keys that are taken.
    keys: Vec<&'static str>,
    /// How far its clock is ahead, in seconds.
    clock_ahead_s: i64,
    /// Streams for which none is.
    refused_streams: Vec<&'static str>,
    /// Of each access key, how many calls it signed, refused ones too.
    calls: HashMap<String, usize>,
    /// The records that were taken, in base64.
    records: Vec<String>,
    /// The forms that asked to assume a role.
    assumed: Vec<String>,
    /// What asking that is answered; the credentials of a role where nothing is set.
    role_refusal: Option<&'static str>,
}

/// The service.
#[derive(Clone)]
pub struct Amazon {
    pub url: String,
    state: Arc<Mutex<State>>,
}

/// The access key of whoever assumed a role.
pub const ROLES_KEY: &str = "ASIAROLEROLEROLEROLE";

impl Amazon {
    /// One that takes these access keys.
    pub async fn start(keys: &[&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let amazon = Amazon {
            url: format!("http://{}", listener.local_addr().unwrap()),
            state: Arc::default(),
        };
        amazon.take(keys);
        let serving = amazon.clone();
        let router = Router::new().fallback(move |headers: HeaderMap, body: String| {
            let serving = serving.clone();
            async move {
                let (status, body) = serving.answer(&headers, &body);
                let date = http_date(serving.now());
                (status, [("date", date)], body)
            }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        amazon
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes these access keys from now on, and no others.
    pub fn take(&self, keys: &[&'static str]) {
        self.state().keys = keys.to_vec();
    }

    /// Puts its clock ahead by so many seconds, or behind: calls that are dated otherwise are refused, answers are dated
    /// by it, and the credentials of a role end by it.
    pub fn set_clock_ahead(&self, seconds: i64) {
        self.state().clock_ahead_s = seconds;
    }

    /// Refuses whatever key a call for this stream has, as a region does that the account has not enabled.
    pub fn refuse_stream(&self, name: &'static str) {
        self.state().refused_streams.push(name);
    }

    /// Refuses to let anybody assume a role, as XML.
    pub fn refuse_roles(&self, answer: Option<&'static str>) {
        self.state().role_refusal = answer;
    }

    /// How many calls this key signed.
    pub fn calls_of(&self, key: &str) -> usize {
        self.state().calls.get(key).copied().unwrap_or_default()
    }

    /// The records that were taken.
    pub fn records(&self) -> usize {
        self.state().records.len()
    }

    /// The forms that asked to assume a role.
    pub fn assumed(&self) -> Vec<String> {
        self.state().assumed.clone()
    }

    /// What its clock shows.
    fn now(&self) -> SystemTime {
        let ahead_s = self.state().clock_ahead_s;
        let by = Duration::from_secs(ahead_s.unsigned_abs());
        if ahead_s < 0 {
            SystemTime::now() - by
        } else {
            SystemTime::now() + by
        }
    }

    fn answer(&self, headers: &HeaderMap, body: &str) -> (StatusCode, String) {
        let now = self.now();
        let mut state = self.state();
        let signature = headers.get("authorization").map(|it| it.to_str().unwrap());
        let key = signature
            .and_then(|signature| signature.split_once("Credential="))
            .and_then(|(_, scope)| scope.split_once('/'))
            .map_or("", |(key, _)| key);
        *state.calls.entry(key.to_owned()).or_default() += 1;
        let is_taken = state.keys.contains(&key);
        let is_misdated = state.clock_ahead_s != 0 && !is_dated(headers, now);
        if body.contains("Action=AssumeRole") {
            let end = Utc::from(now + Duration::from_secs(3600));
            return role(&mut state, is_taken, is_misdated, end, body);
        }
        if is_misdated {
            let refusal = r#"{"__type":"InvalidSignatureException","message":"Signature expired"}"#;
            return (StatusCode::FORBIDDEN, refusal.to_owned());
        }
        let mut refused = state.refused_streams.iter();
        if refused.any(|name| body.contains(&format!(r#""DeliveryStreamName":"{name}""#))) {
            let refusal = r#"{"__type":"UnrecognizedClientException","message":"The security token included in the request is invalid."}"#;
            return (StatusCode::BAD_REQUEST, refusal.to_owned());
        }
        if !is_taken {
            let refusal = r#"{"__type":"ExpiredTokenException","message":"The security token included in the request is expired"}"#;
            return (StatusCode::BAD_REQUEST, refusal.to_owned());
        }
        let records: Vec<_> = body.split(r#""Data":""#).skip(1).collect();
        let entries: Vec<_> = records.iter().map(|_| r#"{"RecordId":"r"}"#).collect();
        let answer = format!(
            r#"{{"FailedPutCount":0,"RequestResponses":[{}]}}"#,
            entries.join(",")
        );
        state.records.extend(records.into_iter().map(str::to_owned));
        (StatusCode::OK, answer)
    }
}

/// Whether a call is dated within the five minutes that AWS allows.
fn is_dated(headers: &HeaderMap, now: SystemTime) -> bool {
    let minutes = Duration::from_secs(300);
    let date = headers.get("x-amz-date").map(|date| date.to_str().unwrap());
    date.is_some_and(|date| {
        *signature_date(now - minutes) < *date && *date < *signature_date(now + minutes)
    })
}

/// What the Security Token Service answers.
fn role(
    state: &mut State,
    is_taken: bool,
    is_misdated: bool,
    end: Utc,
    form: &str,
) -> (StatusCode, String) {
    state.assumed.push(form.to_owned());
    let error = |code: &str, message: &str| {
        format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
        )
    };
    if is_misdated {
        let refusal = error("SignatureDoesNotMatch", "Signature expired");
        return (StatusCode::FORBIDDEN, refusal);
    }
    if let Some(message) = state.role_refusal {
        return (StatusCode::FORBIDDEN, error("AccessDenied", message));
    }
    if !is_taken {
        return (
            StatusCode::FORBIDDEN,
            error("ExpiredToken", "The security token is expired"),
        );
    }
    let granted = format!(
        "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>{ROLES_KEY}</AccessKeyId>\
         <SecretAccessKey>hidden-secret</SecretAccessKey><SessionToken>hidden-token</SessionToken>\
         <Expiration>{end}</Expiration></Credentials><AssumedRoleUser><Arn>arn:aws:sts::210987654321:assumed-role/writer/press-7</Arn>\
         <AssumedRoleId>AROA:press-7</AssumedRoleId></AssumedRoleUser></AssumeRoleResult></AssumeRoleResponse>"
    );
    (StatusCode::OK, granted)
}
