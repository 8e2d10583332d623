//! Where work is done that may block: on threads of its own, or right here. The second is for a clock that
//! stands still, under which nothing may happen in an order that a thread decides.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How long a piece of work takes, by the clock that stands still.
pub type Takes = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Where work is done that may block. Cheap to clone.
#[derive(Clone)]
pub enum Blocking {
    /// On a thread of its own, where it delays nobody.
    Threads,
    /// Among the tasks, once the time is over that it takes.
    Here(Takes),
}

impl Blocking {
    /// Among the tasks, and at once.
    pub fn at_once() -> Self {
        Blocking::Here(Arc::new(|| Duration::ZERO))
    }

    /// Does a piece of work. A panic in it is one of whoever waits here.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        // In a box it is in the program once, and not once for each way to do it.
        let work: Box<dyn FnOnce() -> T + Send> = Box::new(work);
        match self {
            Blocking::Threads => match tokio::task::spawn_blocking(work).await {
                Ok(done) => done,
                // Nobody cancels it, so it panicked: that is told to whoever waits for this task.
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            },
            Blocking::Here(takes) => {
                pass(takes()).await;
                work()
            }
        }
    }
}

/// Lets time go by; nobody else has a turn where it is none.
pub async fn pass(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

impl fmt::Debug for Blocking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Blocking::Threads => "Threads",
            Blocking::Here(_) => "Here",
        })
    }
}
