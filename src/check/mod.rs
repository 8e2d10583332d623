//! What would go wrong, before it does: each thing that the connector needs is tried by itself, and what
//! fails is named with its cause and what to do. Nothing is changed by that, and a connector that runs
//! on the device meanwhile is disturbed for a moment at most.
//!
//! The broker, AWS and the directories are looked at side by side; steps of one of these that need an
//! earlier one are skipped where that failed. `broker`, `publish` and `client_id` ask the broker, `aws` asks AWS,
//! `files` and `directories` look at the disk, `connections` at the system's, and `report` is what they
//! say.

mod aws;
mod broker;
mod client_id;
mod connections;
mod directories;
mod files;
mod publish;
mod report;

use std::future::Future;
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

    /// Waits for a step.
    ///
    /// # Errors
    /// Says how long it was waited for in vain.
    async fn wait<T>(self, step: impl Future<Output = T>) -> Result<T, String> {
        let limit = self.step();
        let waited = timeout(limit, step).await;
        waited.map_err(|_| format!("no answer within {:.0} s", limit.as_secs_f64().max(1.0)))
    }
}

/// Takes every step, and hands each out as soon as it is known, in the order of [`StepName::ALL`].
/// `send` puts a record into the default stream at the end. Whether all is well.
///
/// With faulty parameters nothing else is tried: what would be tried is not what will be run.
pub async fn run(loaded: Result<Parameters, Faults>, send: bool, tell: impl FnMut(&Step)) -> bool {
    let limits = Limits {
        end: Instant::now() + ALL,
    };
    let (steps, told) = Steps::new(send);
    let all = async move {
        let usable = files::look(&loaded, &steps);
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
