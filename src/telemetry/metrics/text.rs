//! Metrics as Prometheus text. The only user of the `prometheus` crate, which writes the format.

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};
use prometheus::{TEXT_FORMAT, TextEncoder};

use super::family::{Family, Sample, Values};
use crate::ledger::Distribution;

/// What [`write`] writes.
pub const CONTENT_TYPE: &str = TEXT_FORMAT;

/// The metrics in the text format of Prometheus; those without values are not in it.
pub fn write(families: Vec<Family>) -> String {
    let families: Vec<MetricFamily> = families.into_iter().map(family).collect();
    let families: Vec<_> = families
        .into_iter()
        .filter(|family| !family.get_metric().is_empty())
        .collect();
    // An error would be a family without metrics, and there is none.
    TextEncoder::new()
        .encode_to_string(&families)
        .unwrap_or_default()
}

fn family(family: Family) -> MetricFamily {
    let (kind, metrics) = match family.values {
        Values::Counter(samples) => (MetricType::COUNTER, each(samples, counter)),
        Values::Gauge(samples) => (MetricType::GAUGE, each(samples, gauge)),
        Values::Histogram(distribution) => (MetricType::HISTOGRAM, vec![histogram(&distribution)]),
    };
    let mut written = MetricFamily::default();
    written.set_name(family.name.to_owned());
    written.set_help(family.help.to_owned());
    written.set_field_type(kind);
    written.set_metric(metrics);
    written
}

fn each(samples: Vec<Sample>, metric: fn(f64) -> Metric) -> Vec<Metric> {
    let metrics = samples.into_iter().map(|sample| {
        let mut metric = metric(sample.value);
        metric.set_label(sample.label.into_iter().map(label).collect());
        metric
    });
    metrics.collect()
}

fn label((name, value): (&str, String)) -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value);
    label
}

fn counter(value: f64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value);
    let mut metric = Metric::default();
    metric.set_counter(counter);
    metric
}

fn gauge(value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    Metric::from_gauge(gauge)
}

fn histogram(distribution: &Distribution) -> Metric {
    let buckets = distribution.cumulative().map(|(bound, count)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(count);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(distribution.count());
    histogram.set_sample_sum(distribution.sum_seconds);
    let mut metric = Metric::default();
    metric.set_histogram(histogram);
    metric
}
