//! The list of metrics as instruments of the OpenTelemetry SDK, which asks each for its values when it exports. All
//! of one export are of one look, so that what adds up on the page adds up at the collector.
//!
//! The SDK has no histogram that is observed, only ones that count by themselves. Ours become what they are as
//! Prometheus text: counters `…_bucket` with the label `le`, `…_sum` and `…_count`.

use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter, MeterProvider};

use crate::ledger::Distribution;
use crate::telemetry::metrics::{Family, Sample, Values};

/// Makes an instrument, or three, of each metric that there is at the first look.
pub fn register(
    provider: &impl MeterProvider,
    scope: &'static str,
    look: impl Fn() -> Vec<Family> + Send + Sync + 'static,
) {
    let meter = provider.meter(scope);
    let looks = Arc::new(Looks::new(look));
    for family in looks.first() {
        let name = family.name;
        let source = |read| Source {
            looks: Arc::clone(&looks),
            name,
            read,
            seen: Mutex::new(0),
        };
        let help = family.help;
        match family.values {
            Values::Counter(_) => counter(&meter, name, help, source(samples)),
            Values::Gauge(_) => gauge(&meter, name, help, source(samples)),
            Values::Histogram(_) => {
                counter(&meter, &format!("{name}_bucket"), help, source(buckets));
                counter(&meter, &format!("{name}_sum"), help, source(sum));
                counter(&meter, &format!("{name}_count"), help, source(count));
            }
        }
    }
}

fn counter(meter: &Meter, name: &str, help: &'static str, source: Source) {
    meter
        .f64_observable_counter(name.to_owned())
        .with_description(help)
        .with_callback(move |instrument| source.observe(instrument))
        .build();
}

fn gauge(meter: &Meter, name: &str, help: &'static str, source: Source) {
    meter
        .f64_observable_gauge(name.to_owned())
        .with_description(help)
        .with_callback(move |instrument| source.observe(instrument))
        .build();
}

/// Where an instrument has its values from.
struct Source {
    looks: Arc<Looks>,
    /// Which metric it is.
    name: &'static str,
    /// What of the metric it tells.
    read: fn(&Values) -> Vec<Sample>,
    /// The number of the look that it told last, so that it tells none twice.
    seen: Mutex<u64>,
}

impl Source {
    fn observe(&self, instrument: &dyn AsyncInstrument<f64>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for sample in self.looks.read(&mut seen, self.name, self.read) {
            let label = sample.label.map(|(name, value)| KeyValue::new(name, value));
            instrument.observe(sample.value, label.as_slice());
        }
    }
}

/// Looks at the connector: once for all instruments that have not told the last look yet.
struct Looks {
    look: Box<dyn Fn() -> Vec<Family> + Send + Sync>,
    last: Mutex<Look>,
}

/// What was seen.
#[derive(Default)]
struct Look {
    /// Counted from 1.
    number: u64,
    families: Vec<Family>,
}

impl Looks {
    fn new(look: impl Fn() -> Vec<Family> + Send + Sync + 'static) -> Self {
        Looks {
            look: Box::new(look),
            last: Mutex::default(),
        }
    }

    /// What there is to tell of, whether it has values or not.
    fn first(&self) -> Vec<Family> {
        (self.look)()
    }

    /// Values of a metric, from a look that whoever has `seen` has not told yet.
    fn read(&self, seen: &mut u64, name: &str, read: fn(&Values) -> Vec<Sample>) -> Vec<Sample> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == last.number {
            last.families = (self.look)();
            last.number += 1;
        }
        *seen = last.number;
        let family = last.families.iter().find(|family| family.name == name);
        family.map_or_else(Vec::new, |family| read(&family.values))
    }
}

fn samples(values: &Values) -> Vec<Sample> {
    match values {
        Values::Counter(samples) | Values::Gauge(samples) => samples.clone(),
        Values::Histogram(_) => Vec::new(),
    }
}

fn buckets(values: &Values) -> Vec<Sample> {
    of_distribution(values, |distribution| {
        let bounds = distribution.cumulative();
        let bounds = bounds.map(|(bound, count)| (bound.to_string(), count));
        let all = ("+Inf".to_owned(), distribution.count());
        bounds
            .chain([all])
            .map(|(bound, count)| Sample::labelled("le", &bound, count as f64))
            .collect()
    })
}

fn sum(values: &Values) -> Vec<Sample> {
    of_distribution(values, |distribution| {
        vec![Sample::bare(distribution.sum_seconds)]
    })
}

fn count(values: &Values) -> Vec<Sample> {
    of_distribution(values, |distribution| {
        vec![Sample::bare(distribution.count() as f64)]
    })
}

fn of_distribution(values: &Values, read: impl Fn(&Distribution) -> Vec<Sample>) -> Vec<Sample> {
    match values {
        Values::Histogram(distribution) => read(distribution),
        Values::Counter(_) | Values::Gauge(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Two metrics whose values are the number of the look.
    fn numbered() -> Looks {
        let number = AtomicU64::new(0);
        Looks::new(move || {
            let value = number.fetch_add(1, Ordering::Relaxed) as f64;
            let family = |name| Family {
                name,
                help: "",
                values: Values::Gauge(vec![Sample::bare(value)]),
            };
            vec![family("one"), family("other")]
        })
    }

    #[test]
    fn all_of_one_export_are_of_one_look() {
        let looks = numbered();
        let (mut one, mut other) = (0, 0);
        let value = |seen: &mut u64, name| looks.read(seen, name, samples)[0].value;
        assert_eq!(
            (value(&mut one, "one"), value(&mut other, "other")),
            (0.0, 0.0)
        );
        assert_eq!(
            (value(&mut one, "one"), value(&mut other, "other")),
            (1.0, 1.0)
        );
        // Whoever is asked first.
        assert_eq!(
            (value(&mut other, "other"), value(&mut one, "one")),
            (2.0, 2.0)
        );
    }

    #[test]
    fn a_histogram_is_what_it_is_as_text() {
        let mut distribution = Distribution {
            sum_seconds: 40.5,
            ..Distribution::default()
        };
        distribution.counts[3] = 2;
        *distribution.counts.last_mut().expect("there are buckets") = 1;
        let values = Values::Histogram(distribution);
        let buckets = buckets(&values);
        assert_eq!(buckets[2], Sample::labelled("le", "0.0005", 0.0));
        assert_eq!(buckets[3], Sample::labelled("le", "0.001", 2.0));
        assert_eq!(buckets[16], Sample::labelled("le", "30", 2.0));
        assert_eq!(buckets[17], Sample::labelled("le", "+Inf", 3.0));
        assert_eq!(sum(&values), [Sample::bare(40.5)]);
        assert_eq!(count(&values), [Sample::bare(3.0)]);
    }
}
