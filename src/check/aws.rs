//! AWS's side: credentials, the endpoint of the region, the clock that it shows, and whether it takes the
//! credentials. Only where it is asked for, a record is sent.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde_json::json;
use tokio::time::Instant;

use super::report::{Step, StepName, Steps, not_asked_for};
use super::{Limits, Unknown};
use crate::destination::{
    CallError, Destination, Firehose, FirehoseSettings, FoundCredentials, Greeting, Outcome,
    ServiceError,
};
use crate::envelope::Envelope;
use crate::parameters::Parameters;
use crate::request::Topics;
use crate::telemetry::advice;
use crate::utc::Utc;

/// How far a clock may be off before signatures are refused (Signature Version 4: five minutes).
const SKEW_MAX: Duration = Duration::from_secs(5 * 60);

/// How far it may be off before that is worth a word.
const SKEW_NOTED: Duration = Duration::from_secs(60);

/// What to do about a code that says nothing to us.
const AGAIN: &str = "try again; where it stays, the message says what AWS takes offence at";

/// The id of the test record, in its envelope.
const RECORD_ID: &str = "kinesis-edge-check";

/// Looks at everything of AWS's side.
pub(super) async fn look(parameters: &Parameters, send: bool, steps: &Steps, limits: Limits) {
    use StepName::{Access, Clock, Credentials, Endpoint};
    let stream = &parameters.default_delivery_stream_arn;
    let firehose = Firehose::new(FirehoseSettings {
        region: stream.region().to_owned(),
        identity: parameters.identity.clone(),
        ..FirehoseSettings::default()
    })
    .await;
    let (found, greeted) = tokio::join!(
        limits.wait(firehose.find_credentials()),
        limits.wait(firehose.greet(stream)),
    );
    let found = steps.tell(credentials(found, SystemTime::now()));
    let (endpoint, greeting) = endpoint(greeted, stream.region());
    let reached = steps.tell(endpoint);
    match greeting {
        Some(greeting) => drop(steps.tell(clock(&greeting))),
        None => steps.skip(&[Clock], Endpoint),
    }
    let accepted = if !found {
        steps.skip(&[Access], Credentials);
        false
    } else if !reached {
        steps.skip(&[Access], Endpoint);
        false
    } else {
        let answer = limits.wait(firehose.knock(stream)).await;
        steps.tell(access(answer, parameters))
    };
    if !send {
        steps.tell(not_asked_for());
    } else if !accepted {
        steps.skip(&[StepName::Send], Access);
    } else {
        steps.tell(send_one(&firehose, parameters, limits).await);
    }
}

fn credentials(
    found: Result<Result<FoundCredentials, ServiceError>, Unknown>,
    now: SystemTime,
) -> Step {
    let name = StepName::Credentials;
    let found = match found {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            let advice = advice(&error.code).unwrap_or(AGAIN);
            return Step::failed(name, error.message, advice);
        }
        Err(unknown) => {
            let advice = "whatever is to provide them does not answer: AWS IoT, the container's or Greengrass's provider, or \
                          the instance's; see IOT_CREDENTIAL_ENDPOINT, AWS_CONTAINER_CREDENTIALS_FULL_URI and \
                          AWS_EC2_METADATA_DISABLED";
            return unknown.step(name, "credentials", advice);
        }
    };
    let from = format!("from {} ({})", found.source, found.access_key_id);
    match found.expires {
        None => Step::well(name, format!("{from}; nothing says that they expire")),
        Some(end) if end <= now => Step::failed(
            name,
            format!("{from} expired at {}", Utc::from(end)),
            "renew them; is this device's clock right?",
        ),
        Some(end) => Step::well(name, format!("{from}, until {}", Utc::from(end))),
    }
}

fn endpoint(
    greeted: Result<Result<Greeting, (String, CallError)>, Unknown>,
    region: &str,
) -> (Step, Option<Greeting>) {
    let name = StepName::Endpoint;
    match greeted {
        Ok(Ok(greeting)) if !greeting.is_the_services => {
            let message = format!(
                "{} is answered by something else than Firehose: HTTP status {}, without the id that each answer of \
                 AWS has",
                greeting.url, greeting.status
            );
            let advice = advice("UnreadableResponse").unwrap_or(AGAIN);
            (Step::failed(name, message, advice), None)
        }
        Ok(Ok(greeting)) => {
            let step = Step::well(name, format!("{} answers", greeting.url));
            (step, Some(greeting))
        }
        Ok(Err((url, error))) => {
            let reason = error.error.message;
            let advice = on_the_way(&reason, region);
            let place = if url.is_empty() {
                format!("the endpoint of {region}")
            } else {
                url
            };
            (
                Step::failed(name, format!("{place}: {reason}"), advice),
                None,
            )
        }
        Err(unknown) => {
            let asked = format!("the endpoint of {region}");
            (unknown.step(name, &asked, &on_the_way("", region)), None)
        }
    }
}

/// What to do about it. The SDK gives no kinds of errors, so its words have to tell.
fn on_the_way(reason: &str, region: &str) -> String {
    if reason.contains("dns error") {
        format!(
            "the name is not known: check this device's DNS, and the region in DEFAULT_DELIVERY_STREAM_ARN ({region})"
        )
    } else if reason.contains("certificate") {
        "is there a proxy that opens TLS? then its authority must be among the system's; and is this device's clock \
         right?"
            .to_owned()
    } else {
        "is there a way to the Internet, or a proxy to be set (HTTPS_PROXY)? and is AWS_ENDPOINT_URL right, if it is set?"
            .to_owned()
    }
}

fn clock(greeting: &Greeting) -> Step {
    let name = StepName::Clock;
    let Some((theirs, ours)) = greeting.clocks else {
        let message = "cannot be told: the endpoint's answer has no date";
        return Step::skipped(name, message);
    };
    let (skew, ahead) = match ours.duration_since(theirs) {
        Ok(skew) => (skew, true),
        Err(behind) => (behind.duration(), false),
    };
    let off = format!(
        "this device's clock is {} s {} that of AWS",
        skew.as_secs(),
        if ahead { "ahead of" } else { "behind" }
    );
    if skew > SKEW_MAX {
        let advice = "set it right, with NTP for example: AWS refuses signatures from five minutes on, and certificates and \
                      expiry times are misjudged";
        return Step::failed(name, off, advice);
    }
    if skew > SKEW_NOTED {
        let message = format!(
            "{off}; from five minutes on signatures are refused, so let something keep it right"
        );
        return Step::well(name, message);
    }
    Step::well(name, "right to the minute, as AWS's is")
}

fn access(answer: Result<Result<(), CallError>, Unknown>, parameters: &Parameters) -> Step {
    let name = StepName::Access;
    let taken = "signature and token are taken; the right to the stream shows with --send";
    let error = match answer {
        Ok(Ok(())) => return Step::well(name, taken),
        Ok(Err(error)) => error.error,
        Err(unknown) => {
            let advice = "the endpoint answers slowly, or not at all any more; try again";
            return unknown.step(name, "the endpoint", advice);
        }
    };
    // Its rights are for PutRecord, so the refusal is as good as any.
    if error.code.starts_with("AccessDenied") && !sends_batches(parameters) {
        return Step::well(name, taken);
    }
    let advice = what_to_do(&error, parameters);
    Step::failed(name, error.to_string(), advice)
}

fn sends_batches(parameters: &Parameters) -> bool {
    let version = parameters.connector_version;
    version.batches_every(parameters.publish_interval)
}

/// What a person does about an answer of the service: what there is to say of its code, and more where the parameters
/// tell more.
fn what_to_do(error: &ServiceError, parameters: &Parameters) -> String {
    let stream = &parameters.default_delivery_stream_arn;
    match error.code.as_str() {
        "ResourceNotFoundException" => format!(
            "create the stream, or mend DEFAULT_DELIVERY_STREAM_ARN: its region ({}) and its name ({}), and whose account \
             the credentials are of",
            stream.region(),
            stream.stream_name()
        ),
        code if code.starts_with("AccessDenied") => {
            let action = if sends_batches(parameters) {
                "PutRecordBatch"
            } else {
                "PutRecord"
            };
            format!(
                "allow firehose:{action} on {stream} to these credentials: attach the policy that `kinesis-edge policy` prints"
            )
        }
        code => advice(code).unwrap_or(AGAIN).to_owned(),
    }
}

async fn send_one(firehose: &Firehose, parameters: &Parameters, limits: Limits) -> Step {
    let name = StepName::Send;
    let stream = &parameters.default_delivery_stream_arn;
    let record = match test_record(parameters) {
        Ok(record) => record,
        Err(error) => return Step::failed(name, error, "shorten what stands around records"),
    };
    let call = async {
        if sends_batches(parameters) {
            let outcomes = firehose.put_batch(stream, vec![record]).await?;
            Ok(outcomes.into_iter().next())
        } else {
            firehose.put_record(stream, record).await.map(Some)
        }
    };
    let error = match limits.wait(call).await {
        Ok(Ok(Some(Outcome::Delivered { record_id }))) => {
            let message = format!(
                "a test record is in {}, as {record_id}",
                stream.stream_name()
            );
            return Step::well(name, message);
        }
        Ok(Ok(Some(Outcome::Failed(error) | Outcome::Retry(error)))) => error,
        Ok(Ok(None)) => ServiceError::new(
            "MissingResponseEntry",
            "the answer says nothing of the record",
        ),
        Ok(Err::<_, CallError>(error)) => error.error,
        Err(unknown) => {
            let advice = "try again; the record may have arrived";
            return unknown.step(name, "the endpoint", advice);
        }
    };
    let advice = what_to_do(&error, parameters);
    Step::failed(name, error.to_string(), advice)
}

/// A line of JSON that says what it is, made as the connector makes records: in its envelope, with its delimiter,
/// compressed, so that whoever reads the stream can read this too.
fn test_record(parameters: &Parameters) -> Result<Bytes, String> {
    let now = SystemTime::now();
    let client_id = &parameters.mqtt.client_id;
    let told =
        json!({"kinesis_edge_check": {"client_id": client_id, "sent": Utc::from(now).to_string()}});
    let mut record = told.to_string().into_bytes();
    if parameters.record_envelope {
        let random = RandomState::new().hash_one(client_id);
        let start = Instant::now();
        let topic = Topics::new(&parameters.topic_prefix);
        record = Envelope::new(client_id, random, now, start)
            .wrap(topic.message(), RECORD_ID, &record, start)
            .map_err(|error| error.to_string())?;
    }
    if let Some(delimiter) = parameters.record_delimiter {
        record.extend_from_slice(delimiter.as_bytes());
    }
    let record = Bytes::from(record);
    match &parameters.aggregation {
        Some(aggregation) => aggregation
            .pack(&[record])
            .map_err(|error| error.to_string()),
        None => Ok(record),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::report::Verdict;

    fn off_by(seconds: i64) -> Step {
        let ours = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let skew = Duration::from_secs(seconds.unsigned_abs());
        let theirs = if seconds > 0 {
            ours - skew
        } else {
            ours + skew
        };
        clock(&Greeting {
            clocks: Some((theirs, ours)),
            ..Greeting::default()
        })
    }

    #[test]
    fn a_clock_is_wrong_from_five_minutes_on_and_noted_from_one() {
        for (seconds, verdict, words) in [
            (0, Verdict::Well, "right"),
            (60, Verdict::Well, "right"),
            (61, Verdict::Well, "61 s ahead of"),
            (-61, Verdict::Well, "61 s behind"),
            (300, Verdict::Well, "300 s ahead of"),
            (301, Verdict::Failed, "301 s ahead of"),
            (-301, Verdict::Failed, "301 s behind"),
        ] {
            let step = off_by(seconds);
            assert_eq!(step.verdict, verdict, "{step:?}");
            assert!(step.message.contains(words), "{step:?}");
        }
        assert_eq!(clock(&Greeting::default()).verdict, Verdict::Skipped);
    }

    #[test]
    fn who_has_no_use_for_batches_need_not_be_allowed_them() {
        for (variable, value, well) in [
            ("CONNECTOR_VERSION", "1", true),
            ("PUBLISH_INTERVAL", "0", true),
            ("CONNECTOR_VERSION", "5", false),
        ] {
            let arn = "arn:aws:firehose:us-east-1:123456789012:deliverystream/test";
            let parameters = crate::parameters::parse(&|parameter| match parameter.env {
                "DEFAULT_DELIVERY_STREAM_ARN" => Some(Ok(arn.to_owned())),
                name => (name == variable).then(|| Ok(value.to_owned())),
            })
            .unwrap();
            let refusal = || CallError {
                retryable: false,
                error: ServiceError::new("AccessDeniedException", "not authorized"),
            };
            let step = access(Ok(Err(refusal())), &parameters);
            assert_eq!(step.is_well(), well, "{step:?}");
            let action = if well {
                "firehose:PutRecord on"
            } else {
                "firehose:PutRecordBatch on"
            };
            let advice = what_to_do(&refusal().error, &parameters);
            assert!(advice.contains(action), "{advice}");
        }
    }

    #[test]
    fn credentials_that_are_over_are_named() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let until = |expires| {
            let found = FoundCredentials {
                source: "the instance".to_owned(),
                access_key_id: "AKIA…MNOP".to_owned(),
                expires,
            };
            credentials(Ok(Ok(found)), now)
        };
        assert!(until(None).is_well());
        assert!(until(Some(now + Duration::from_secs(1))).is_well());
        let over = until(Some(now));
        assert_eq!(over.verdict, Verdict::Failed);
        assert!(
            over.message.contains("expired at 2027-01-15T08:00:00"),
            "{over:?}"
        );
        assert!(over.message.contains("the instance"), "{over:?}");
    }
}
