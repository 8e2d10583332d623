//! What would go wrong, before it does: each thing that the connector needs is tried by itself, and what
//! fails is named with its cause and what to do. Nothing is changed by that, and a connector that runs
//! on the device meanwhile is disturbed for a moment at most.
//!
//! The broker, AWS and the directories are looked at side by side; steps of one of these that need an
//! earlier one are skipped where that failed. `broker`, `publish` and `client_id` ask the broker, `aws` asks AWS,
//! `files` and `directories` look at the disk, `connections` at the system's, `root` at whose rights that
//! shows, and `report` is what they say.

mod aws;
mod broker;
mod client_id;
mod connections;
mod directories;
mod files;
mod publish;
mod report;
mod root;

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::parameters::{Faults, Parameters};

use report::Steps;
pub use report::{Step, StepName, Verdict};

/// How long a step may take.
const STEP: Duration = Duration::from_secs(10);

/// How long all of them may take together. Whoever types a command waits for half a minute, and the
/// clients that contend for a client id come back within that.
const ALL: Duration = Duration::from_secs(28);

/// The least time that is worth a try.
const LEAST: Duration = Duration::from_secs(1);

/// Why nothing is known of a step.
#[derive(Debug)]
enum Unknown {
    /// It was waited for so long, in vain.
    Silence(Duration),
    /// The steps before it left no time for it.
    NoTime,
}

impl Unknown {
    /// What that makes of the step. `asked` is who did not answer, `advice` what to do then.
    fn step(self, name: StepName, asked: &str, advice: &str) -> Step {
        match self {
            Unknown::Silence(limit) => {
                let seconds = limit.as_secs_f64();
                let message = format!("{asked}: no answer within {seconds:.0} s");
                Step::failed(name, message, advice)
            }
            Unknown::NoTime => {
                let message = "not tried: the steps before it took all the time there is";
                Step::skipped(name, message)
            }
        }
    }
}

/// Bounds what steps wait for.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// When all has to be over.
    end: Instant,
}

impl Limits {
    /// The time for one step that begins now.
    fn step(self) -> Duration {
        STEP.min(self.left())
    }

    /// What is left of all the time.
    fn left(self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// Waits for a step, if there is time for it.
    ///
    /// # Errors
    /// Says whether it was waited for.
    async fn wait<T>(self, step: impl Future<Output = T>) -> Result<T, Unknown> {
        let limit = self.step();
        if limit < LEAST {
            return Err(Unknown::NoTime);
        }
        let waited = timeout(limit, step).await;
        waited.map_err(|_| Unknown::Silence(limit))
    }
}

/// Takes every step, and hands each out as soon as it is known, in the order of [`StepName::ALL`].
/// `send` puts a record into the default stream at the end. `config_file` is where parameters were read from, beside
/// flags and environment. Whether all is well.
///
/// With faulty parameters nothing else is tried: what would be tried is not what will be run.
pub async fn run(
    loaded: Result<Parameters, Faults>,
    config_file: Option<&Path>,
    send: bool,
    tell: impl FnMut(&Step),
) -> bool {
    let limits = Limits {
        end: Instant::now() + ALL,
    };
    let (steps, told) = Steps::new(send);
    let all = async move {
        let usable = files::look(&loaded, config_file, &steps);
        match loaded {
            Ok(parameters) if usable => {
                // Before anything here holds it to look into it.
                let held_here = directories::queue_is_held(&parameters);
                tokio::join!(
                    broker::look(&parameters, held_here, &steps, limits),
                    aws::look(&parameters, send, &steps, limits),
                    directories::look(&parameters, &steps, limits),
                );
            }
            _ => steps.skip_the_rest(),
        }
    };
    let ((), well) = tokio::join!(all, told.in_order(tell));
    well
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_there_is_no_time_for_is_skipped_and_what_does_not_answer_has_failed() {
        let told = async |left: u64, step_takes: u64| {
            let end = Instant::now() + Duration::from_secs(left);
            let step = tokio::time::sleep(Duration::from_secs(step_takes));
            let waited = Limits { end }.wait(step).await;
            waited.map_err(|unknown| unknown.step(StepName::Login, "the broker", "wait"))
        };
        assert_eq!(told(28, 9).await, Ok(()));
        for (left, seconds) in [(28, 10), (3, 3)] {
            let step = told(left, 60).await.unwrap_err();
            assert_eq!(step.verdict, Verdict::Failed);
            let expected = format!("the broker: no answer within {seconds} s");
            assert_eq!(step.message, expected);
        }
        let step = told(0, 0).await.unwrap_err();
        assert_eq!(step.verdict, Verdict::Skipped);
        assert!(step.message.starts_with("not tried"), "{step:?}");
    }
}
