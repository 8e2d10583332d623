//! Whether the broker takes what the connector publishes: statuses, and its own status where that is asked for. Brokers
//! do not say what is allowed, so a message that says nothing is published.

use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use super::report::{Step, StepName, Verdict};
use super::{Limits, Unknown};
use crate::connector::will;
use crate::mqtt::{ConnectError, Protocol, ProtocolChoice, SessionSettings, Visit, Will};
use crate::parameters::Parameters;
use crate::request::Topics;

/// How long a message may take from us to the broker and back, before it is taken not to come.
const BACK: Duration = Duration::from_secs(2);

/// What is known of the right to publish.
enum Right {
    /// There is one, and how that is known.
    Allowed(&'static str),
    /// There is none, as the broker shows.
    Denied(String),
    /// The broker has told neither.
    Unclear,
    /// It could not be asked.
    Unasked(String),
    /// It was not answered, or there was no time to ask.
    Unknown(Unknown),
}

/// Asks for the right to publish statuses, and where the connector publishes its own, that too.
pub(super) async fn publish(
    parameters: &Parameters,
    visitor: &SessionSettings,
    topics: &Topics,
    limits: Limits,
) -> Step {
    let payload = harmless(parameters.connector_version.batches());
    let right = limits.wait(right_to_publish(visitor, topics.status(), &payload));
    let statuses = statuses(topics.status(), right.await.unwrap_or_else(Right::Unknown));
    let Some(will) = will(parameters, topics) else {
        return statuses;
    };
    if statuses.verdict == Verdict::Failed {
        return statuses;
    }
    let right = limits.wait(right_to_publish_own(visitor, will)).await;
    let own = own_status(
        topics.connector_status(),
        right.unwrap_or_else(Right::Unknown),
    );
    match (own.verdict, statuses.verdict) {
        (Verdict::Well, Verdict::Well) => {
            let message = format!("{}; {}", statuses.message, own.message);
            Step::well(StepName::Publish, message)
        }
        (Verdict::Well, _) => statuses,
        _ => own,
    }
}

fn statuses(topic: &str, right: Right) -> Step {
    let advice = "allow this user to write it at the broker (its access control list); otherwise apps never hear \
                  what became of their records";
    told(topic, right, "the broker does not take statuses", advice)
}

fn own_status(topic: &str, right: Right) -> Step {
    let advice = "allow this user to write it at the broker (its access control list), or leave CONNECTOR_STATUS_INTERVAL \
                  unset; some brokers do not let the connector in otherwise";
    told(
        topic,
        right,
        "the broker does not take the connector's own status",
        advice,
    )
}

/// What a right to a topic makes of the step.
fn told(topic: &str, right: Right, denied: &str, advice: &str) -> Step {
    let name = StepName::Publish;
    match right {
        Right::Allowed(how) => Step::well(name, format!("{topic} is allowed: {how}")),
        Right::Denied(reason) => {
            Step::failed(name, format!("{denied} on {topic}: {reason}"), advice)
        }
        Right::Unclear => Step::skipped(
            name,
            format!(
                "{topic} cannot be told: with MQTT 3.1.1 a broker drops what is not allowed without a word, and this user \
                 does not see its own message; make sure that it may write it"
            ),
        ),
        Right::Unasked(why) => Step::failed(name, format!("{topic}: {why}"), SEE_LOG),
        Right::Unknown(unknown) => unknown.step(name, topic, SEE_LOG),
    }
}

/// A document that no app takes for a status of its own: without any; for apps of version 1, which expect one,
/// under an id that none has given.
fn harmless(batches: bool) -> Vec<u8> {
    if batches {
        return json!({"response": []}).to_string().into_bytes();
    }
    let id = format!("kinesis-edge-check-{:016x}", fastrand::u64(..));
    let status = json!({"firehose_record_id": "", "status": "success"});
    json!({"response": status, "id": id})
        .to_string()
        .into_bytes()
}

/// What to do where the broker does not do its part.
const SEE_LOG: &str = "see the broker's log";

/// What is published on the topic of the connector's own status: an object that says nothing. It is not retained, so
/// that what the broker keeps stays.
const NO_STATUS: &[u8] = b"{}";

/// Asks for the right to the connector's own status. Some brokers judge a will when the client connects, as they do
/// with the connector's, others when they publish it.
async fn right_to_publish_own(visitor: &SessionSettings, will: Will) -> Right {
    let topic = will.topic.clone();
    let with_will = SessionSettings {
        will: Some(will),
        ..visitor.clone()
    };
    match Visit::begin(&with_will).await {
        // Nothing is done in between, as only a visit that ends with a goodbye leaves the will unsaid.
        Ok(visit) => visit.end().await,
        Err(ConnectError::Refused(reason)) => {
            return Right::Denied(format!("it refuses who has a last will there, {reason}"));
        }
        Err(error) => return Right::Unasked(format!("with a last will there, {error}")),
    }
    right_to_publish(visitor, &topic, NO_STATUS).await
}

/// Publishes, and sees what the broker says to it, or whether it comes back. Where that tells nothing, it is asked
/// in MQTT 5, which has words for it: rights do not depend on the version.
async fn right_to_publish(visitor: &SessionSettings, topic: &str, payload: &[u8]) -> Right {
    let right = ask(visitor, topic, payload).await;
    if !matches!(right, Right::Unclear) {
        return right;
    }
    let in_5 = SessionSettings {
        protocol: ProtocolChoice::Only(Protocol::V5),
        ..visitor.clone()
    };
    match ask(&in_5, topic, payload).await {
        // Then it does not speak MQTT 5.
        Right::Unasked(_) => Right::Unclear,
        right => right,
    }
}

async fn ask(visitor: &SessionSettings, topic: &str, payload: &[u8]) -> Right {
    let unasked = |error: ConnectError| Right::Unasked(error.to_string());
    let mut visit = match Visit::begin(visitor).await {
        Ok(visit) => visit,
        Err(error) => return unasked(error),
    };
    // The connector itself need not read it.
    let reads = match visit.subscribe(&[topic.to_owned()]).await {
        Ok(refused) => refused.iter().all(Option::is_none),
        Err(_) => {
            visit = match Visit::begin(visitor).await {
                Ok(visit) => visit,
                Err(error) => return unasked(error),
            };
            false
        }
    };
    let right = match visit.publish(topic, payload).await {
        Err(error) => return Right::Denied(format!("at a message there, {error}")),
        Ok(Some(reason)) => Right::Denied(reason),
        Ok(None) if reads && matches!(timeout(BACK, visit.until_back()).await, Ok(Ok(()))) => {
            Right::Allowed("a message without a status came back")
        }
        Ok(None) if visit.protocol() == Protocol::V5 => {
            Right::Allowed("the broker took a message without a status")
        }
        Ok(None) => Right::Unclear,
    };
    visit.end().await;
    right
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_a_status_of_nobody() {
        assert_eq!(harmless(true), br#"{"response":[]}"#);
        let single: serde_json::Value = serde_json::from_slice(&harmless(false)).unwrap();
        assert_eq!(single["response"]["status"], "success");
        assert!(
            single["id"]
                .as_str()
                .unwrap()
                .starts_with("kinesis-edge-check-")
        );
    }
}
