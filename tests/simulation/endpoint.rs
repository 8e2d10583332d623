//! The endpoint: takes records, refuses them, or leaves the connector without an answer, as the weather of each
//! stream is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use kinesis_edge::arn::DeliveryStreamArn;
use kinesis_edge::destination::{CallError, Destination, Outcome, ServiceError};
use tokio::time::sleep;

use crate::book::{REFUSAL, arn, numbers};
use crate::common::decompressed;
use crate::plan::{Weather, at};
use crate::world::{Life, World};

const MS: Duration = Duration::from_millis(1);

/// The endpoint as one run of the connector sees it.
#[derive(Clone)]
pub struct Endpoint {
    pub world: Arc<World>,
    pub life: Arc<Life>,
    pub calls: Arc<AtomicUsize>,
}

/// A record as it came, and what becomes of it.
struct Judged {
    inside: Vec<usize>,
    outcome: Outcome,
}

impl Endpoint {
    fn weather(&self, stream: &str) -> Option<Weather> {
        let world = &self.world;
        let streams = &world.plan.streams;
        let number = (0..streams.len()).find(|&number| arn(number) == stream)?;
        match world.is_calm() {
            true => None,
            false => at(&streams[number], world.start.elapsed()).copied(),
        }
    }

    async fn call(&self, stream: &str, records: &[Bytes]) -> Result<Vec<Outcome>, CallError> {
        let world = &self.world;
        let weather = self.weather(stream);
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let name = &stream[stream.len().saturating_sub(8)..];
        world.say(format_args!(
            "endpoint: call {call} to {name} with {} records, {weather:?}",
            records.len()
        ));
        world.audit();
        let (there, back) = world.dice(|dice| (dice.u32(..40), dice.u32(..40)));
        sleep(there * MS).await;
        if let Some(Weather::Slow) = weather {
            sleep(world.dice(|dice| dice.u32(1..15_000)) * MS).await;
        }
        self.unless_over().await;
        match weather {
            Some(Weather::Throttled) => return Err(error(true, "ThrottlingException")),
            Some(Weather::Gone) => {
                sleep(world.dice(|dice| dice.u32(1..20_000)) * MS).await;
                return Err(error(true, "Timeout"));
            }
            Some(Weather::Refusing) => {
                let all = records.iter().flat_map(|record| self.inside(record));
                let all: Vec<usize> = all.collect();
                sleep(back * MS).await;
                self.unless_over().await;
                for number in all {
                    world.book().requests[number].refused += 1;
                }
                return Err(error(false, REFUSAL));
            }
            _ => {}
        }
        let mut judged: Vec<Judged> = records
            .iter()
            .map(|record| self.judge(stream, record, weather))
            .collect();
        sleep(back * MS).await;
        self.unless_over().await;
        if let Some(Weather::AnswersLost) = weather {
            world.say(format_args!("endpoint: the answer to call {call} is lost"));
            return Err(error(true, "Timeout"));
        }
        if let Some(Weather::Short) = weather {
            judged.truncate(world.dice(|dice| dice.usize(..=judged.len())));
        }
        world.say(format_args!("endpoint: call {call} is answered"));
        for Judged { inside, outcome } in &judged {
            match outcome {
                Outcome::Delivered { .. } => world.book().is_known(inside, world.repeats()),
                Outcome::Failed(_) => inside
                    .iter()
                    .for_each(|&number| world.book().requests[number].refused += 1),
                Outcome::Retry(_) => {}
            }
        }
        Ok(judged.into_iter().map(|judged| judged.outcome).collect())
    }

    /// What a killed connector began goes no further.
    async fn unless_over(&self) {
        if self.life.is_over() {
            std::future::pending().await
        }
    }

    fn inside(&self, record: &[u8]) -> Vec<usize> {
        numbers(&decompressed(self.world.plan.compression, record))
    }

    /// Takes a record, or not.
    fn judge(&self, stream: &str, record: &Bytes, weather: Option<Weather>) -> Judged {
        let world = &self.world;
        let inside = self.inside(record);
        if inside.is_empty() {
            world.wrong(format_args!(
                "a record without a request arrived: {record:?}"
            ));
        }
        let is_hit = world.dice(|dice| dice.u32(..100)) < 30;
        let outcome = match weather {
            Some(Weather::Partly) if is_hit => Outcome::Retry(service_error("InternalFailure")),
            Some(Weather::Picky) if is_hit => Outcome::Failed(service_error(REFUSAL)),
            _ => {
                let now = world.start.elapsed();
                let mut book = world.book();
                let record_id = format!("record-{}", book.records.len());
                let taken = book.arrives(&record_id, &inside, stream, now, world.repeats());
                drop(book);
                world.say(format_args!("endpoint: {inside:?} arrive as {record_id}"));
                if let Err(wrong) = taken {
                    world.wrong(format_args!("{wrong}"));
                }
                Outcome::Delivered {
                    record_id: record_id.into(),
                }
            }
        };
        Judged { inside, outcome }
    }
}

impl Destination for Endpoint {
    async fn put_batch(
        &self,
        stream: &DeliveryStreamArn,
        records: Vec<Bytes>,
    ) -> Result<Vec<Outcome>, CallError> {
        self.call(stream.as_str(), &records).await
    }

    async fn put_record(
        &self,
        stream: &DeliveryStreamArn,
        record: Bytes,
    ) -> Result<Outcome, CallError> {
        let outcomes = self.call(stream.as_str(), &[record]).await?;
        let missing = || Outcome::Retry(service_error("InternalFailure"));
        Ok(outcomes.into_iter().next().unwrap_or_else(missing))
    }
}

fn service_error(code: &str) -> ServiceError {
    ServiceError::new(code, "as the weather is")
}

fn error(retryable: bool, code: &str) -> CallError {
    CallError {
        retryable,
        error: service_error(code),
    }
}
