//! What a metric is, whoever it is for: a name, a help text, and values with their labels.

use crate::ledger::{ByCode, Distribution};
use crate::telemetry::observer::{Snapshot, StreamSnapshot};

/// A metric with all its values of one moment.
#[derive(Debug, Clone)]
pub struct Family {
    /// By the conventions of Prometheus, unit and `_total` included.
    pub name: &'static str,
    /// For a person.
    pub help: &'static str,
    /// What it is now.
    pub values: Values,
}

/// The values of a metric; none where there is nothing to tell at the moment.
#[derive(Debug, Clone)]
pub enum Values {
    /// What only grows, from the start of the process on.
    Counter(Vec<Sample>),
    /// What comes and goes.
    Gauge(Vec<Sample>),
    /// How long something took, since the start of the process.
    Histogram(Distribution),
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its label's name and value; no metric has two.
    pub label: Option<(&'static str, String)>,
    /// Counts too: they are exact up to 2⁵³.
    pub value: f64,
}

impl Sample {
    /// A value without a label.
    pub fn bare(value: f64) -> Self {
        Sample { label: None, value }
    }

    /// A value with its label.
    pub fn labelled(name: &'static str, label: &str, value: f64) -> Self {
        Sample {
            label: Some((name, label.to_owned())),
            value,
        }
    }
}

/// The metrics, in their order.
#[derive(Debug, Default)]
pub(super) struct Families(pub(super) Vec<Family>);

impl Families {
    pub(super) fn add(&mut self, name: &'static str, help: &'static str, values: Values) {
        self.0.push(Family { name, help, values });
    }

    pub(super) fn counter(&mut self, name: &'static str, help: &'static str, value: u64) {
        let samples = vec![Sample::bare(value as f64)];
        self.add(name, help, Values::Counter(samples));
    }

    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str, value: f64) {
        self.add(name, help, Values::Gauge(vec![Sample::bare(value)]));
    }

    pub(super) fn by_code(
        &mut self,
        name: &'static str,
        help: &'static str,
        by_code: &ByCode,
        always: &[&str],
    ) {
        let absent = always.iter().copied();
        let absent = absent.filter(|code| !by_code.contains_key(*code));
        let all = by_code
            .iter()
            .map(|(code, &count)| (code.as_str(), count))
            .chain(absent.map(|code| (code, 0)));
        let samples = all.map(|(code, count)| Sample::labelled("code", code, count as f64));
        self.add(name, help, Values::Counter(samples.collect()));
    }

    pub(super) fn streams(
        &mut self,
        name: &'static str,
        help: &'static str,
        snapshot: &Snapshot,
        value: impl Fn(&StreamSnapshot) -> Option<f64>,
    ) {
        let samples = snapshot.streams.iter().filter_map(|stream| {
            let value = value(stream)?;
            Some(Sample::labelled("stream", stream.arn.as_str(), value))
        });
        self.add(name, help, Values::Gauge(samples.collect()));
    }

    pub(super) fn histogram(
        &mut self,
        name: &'static str,
        help: &'static str,
        distribution: Distribution,
    ) {
        self.add(name, help, Values::Histogram(distribution));
    }
}
