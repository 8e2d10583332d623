//! What a connector has to do with that is not in the parameters: the network, the disks, the clock. Those of the
//! system; a simulation brings its own.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::SystemTime;

use super::ConnectorError;
use crate::blocking::Blocking;
use crate::dead_letters::DeadLetters;
use crate::files::{Directory, Files};
use crate::mqtt::{Dial, Network};
use crate::parameters::Parameters;

/// What a connector has to do with.
pub struct Surroundings<D> {
    /// Where records go.
    pub destination: D,
    /// The way to the broker.
    pub dial: Arc<dyn Dial>,
    /// The files of the queue; `None` where it is in memory.
    pub queue_files: Option<Arc<dyn Files>>,
    /// Where records are kept that fail for good; `None` where they are not.
    pub dead_letters: Option<DeadLetters>,
    /// Where work is done that may block.
    pub blocking: Blocking,
    /// What the machine's clock shows at the start.
    pub wall_clock: SystemTime,
    /// A number unlike that of any other run.
    pub random: u64,
}

impl<D> Surroundings<D> {
    /// Those of the system, as the parameters say.
    ///
    /// # Errors
    /// Where a directory cannot be used.
    pub fn of_the_system(parameters: &Parameters, destination: D) -> Result<Self, ConnectorError> {
        let queue = parameters.queue_dir.as_deref().map(Directory::hold);
        let queue = queue.transpose().map_err(ConnectorError::QueueDir)?;
        let dead_letters = parameters.dead_letter_dir.as_deref();
        let dead_letters = dead_letters
            .map(|path| DeadLetters::open(path, parameters.dead_letter_max_bytes))
            .transpose()
            .map_err(ConnectorError::DeadLetterDir)?;
        Ok(Surroundings {
            destination,
            dial: Arc::new(Network),
            queue_files: queue.map(|directory| Arc::new(directory) as _),
            dead_letters,
            blocking: Blocking::Threads,
            wall_clock: SystemTime::now(),
            // The standard library seeds its hashes from the system's random numbers.
            random: RandomState::new().hash_one(&parameters.mqtt.client_id),
        })
    }
}
