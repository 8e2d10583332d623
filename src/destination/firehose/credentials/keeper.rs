//! Keeps credentials: one task asks for them, however many calls want some, and again ahead of their end, so that
//! calls find them at hand, and so does a device on which nothing happens. While that fails, what is held is used to
//! its end. What the service refuses is asked for anew, and used until there is other: it refuses each call itself, and
//! what it refuses for one stream may be good for all others.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future::ProvideCredentials as Provided;
use aws_sdk_firehose::config::{Credentials, ProvideCredentials, SharedCredentialsProvider};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::super::failure::no_credentials;
use super::Unavailable;
use crate::arn::DeliveryStreamArn;
use crate::destination::ServiceError;
use crate::utc::{Utc, whole_ms};

/// How long one attempt may take.
const ATTEMPT_MAX: Duration = Duration::from_secs(20);

/// Credentials are renewed when this part of their time is left, and no sooner than [`AHEAD_MAX`] before their end.
const AHEAD_PART: u32 = 4;
const AHEAD_MAX: Duration = Duration::from_secs(15 * 60);

/// How soon credentials without an end are looked for again: a file may hold others by then.
const ENDLESS: Duration = Duration::from_secs(5 * 60);

/// How soon those are renewed that were found when they had ended already: by a clock that is wrong, perhaps.
const ENDED: Duration = Duration::from_secs(60);

/// The least time from one renewal to the next.
const LEAST: Duration = Duration::from_secs(1);

/// The wait after the first attempt that fails; it doubles up to the second.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The least time between two attempts because of calls that were refused.
const REFUSED_WAIT: Duration = Duration::from_secs(30);

/// The same where only streams are refused that were before, and another one is not: it is hardly the credentials then.
/// A region that the account has not enabled, say, refuses good ones for ever.
const REFUSED_BESIDE_OTHERS_WAIT: Duration = Duration::from_secs(5 * 60);

/// Most streams that are remembered to be served: more than have a queue at a time.
const SERVED_MAX: usize = 256;

/// The longest sleep: whether it is time is seen by the clock, which may be set meanwhile, or have stood still.
const SLEEP_MAX: Duration = Duration::from_secs(5 * 60);

/// Shows the time of day.
type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Holds credentials, and renews them for as long as it lives.
#[derive(Debug)]
pub(in super::super) struct Keeper {
    kept: Kept,
    /// Asks for them.
    task: JoinHandle<()>,
}

impl Keeper {
    /// Of what this provider finds. It is asked for the first time when somebody wants credentials.
    pub fn new(source: SharedCredentialsProvider) -> Self {
        Self::with_clock(source, Arc::new(SystemTime::now))
    }

    fn with_clock(source: SharedCredentialsProvider, clock: Clock) -> Self {
        let (ended, attempts) = watch::channel(0);
        let kept = Kept(Arc::new(Shared {
            held: Mutex::default(),
            wanted: Notify::new(),
            attempts,
            clock,
        }));
        let task = tokio::spawn(keep(kept.clone(), source, ended));
        Keeper { kept, task }
    }

    /// The provider that the SDK asks.
    pub fn provider(&self) -> SharedCredentialsProvider {
        SharedCredentialsProvider::new(self.kept.clone())
    }

    /// Those that are held, found first where that has not been tried yet.
    ///
    /// # Errors
    /// Why there are none.
    pub async fn credentials(&self) -> Result<Credentials, ServiceError> {
        self.kept.credentials().await
    }

    /// When those end that are held.
    pub fn expire(&self) -> Option<SystemTime> {
        let held = self.kept.held();
        held.credentials.as_ref().and_then(Credentials::expiry)
    }

    /// The service took those that a call for this stream had, which began at this time.
    pub fn taken(&self, stream: &DeliveryStreamArn, call_began: Instant) {
        self.kept.held().take(stream, call_began);
    }

    /// Whether the last call for this stream that said so took them.
    #[cfg(test)]
    pub fn serve(&self, stream: &DeliveryStreamArn) -> bool {
        self.kept.held().served.contains(stream)
    }

    /// It refused them.
    pub fn refused(&self, stream: &DeliveryStreamArn, call_began: Instant) {
        if self.kept.held().refuse(stream, call_began) {
            self.kept.0.wanted.notify_one();
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is held, for whoever asks.
#[derive(Clone)]
struct Kept(Arc<Shared>);

struct Shared {
    held: Mutex<Held>,
    /// Somebody waits for an attempt.
    wanted: Notify,
    /// Counts attempts when they have ended.
    attempts: watch::Receiver<u64>,
    clock: Clock,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept")
    }
}

impl ProvideCredentials for Kept {
    fn provide_credentials<'a>(&'a self) -> Provided<'a>
    where
        Self: 'a,
    {
        Provided::new(async {
            let found = self.credentials().await;
            found.map_err(|error| CredentialsError::provider_error(Unavailable(error)))
        })
    }
}

impl Kept {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn credentials(&self) -> Result<Credentials, ServiceError> {
        let mut attempts = self.0.attempts.clone();
        loop {
            // Marked before looking, so that an attempt that ends in between is not waited for in vain.
            attempts.mark_unchanged();
            let asked = self.held().ask((self.0.clock)());
            match asked {
                Asked::Known(found) => return found,
                Asked::Wait => self.0.wanted.notify_one(),
                Asked::UnderWay => {}
            }
            if attempts.changed().await.is_err() {
                let message = "nothing looks for credentials any more";
                return Err(ServiceError::new("NoCredentials", message));
            }
        }
    }

    /// An attempt has ended.
    fn attempted(&self, found: Result<Credentials, ServiceError>) {
        let (clock, now, jitter) = ((self.0.clock)(), Instant::now(), fastrand::f64());
        let mut held = self.held();
        match found {
            Ok(credentials) => held.found(credentials, clock, now, jitter),
            Err(error) => held.failed(error, clock, now, jitter),
        }
    }

    /// Returns when the next attempt is due.
    async fn until_due(&self) {
        loop {
            let left = self.held().due_in((self.0.clock)(), Instant::now());
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(left.min(SLEEP_MAX)) => {}
                // It may have become due sooner.
                () = self.0.wanted.notified() => {}
            }
        }
    }
}

/// Asks for credentials again and again, from when somebody wants some.
async fn keep(kept: Kept, source: SharedCredentialsProvider, ended: watch::Sender<u64>) {
    kept.0.wanted.notified().await;
    loop {
        kept.held().under_way = true;
        let found = match timeout(ATTEMPT_MAX, source.provide_credentials()).await {
            Ok(found) => found,
            Err(_) => Err(CredentialsError::provider_timed_out(ATTEMPT_MAX)),
        };
        let found = found.map_err(|error| no_credentials(&error));
        kept.attempted(found);
        ended.send_modify(|attempts| *attempts += 1);
        kept.until_due().await;
    }
}

/// What is known. It has no clock of its own.
#[derive(Default)]
struct Held {
    /// Those that were found last, ended or not.
    credentials: Option<Credentials>,
    /// Until when they are used; `None` where nothing says so that can be believed.
    until: Option<SystemTime>,
    /// When they are to be renewed.
    renewal: Option<SystemTime>,
    /// How long after they were found others are due because the service refused them; `None` where it did not.
    refused: Option<Duration>,
    /// Streams whose last call was not refused.
    served: HashSet<DeliveryStreamArn>,
    /// Whether they are being asked for.
    under_way: bool,
    /// When they were found.
    found_at: Option<Instant>,
    /// Attempts that failed since the last one that did not.
    trouble: Option<Trouble>,
}

/// Attempts that fail.
struct Trouble {
    /// What the last of them said.
    error: ServiceError,
    /// When the first of them ended.
    since: Instant,
    /// How many.
    attempts: u32,
    /// When the next one is due.
    retry: Instant,
}

/// What somebody is told who wants credentials.
enum Asked {
    /// They are there, or are known not to be.
    Known(Result<Credentials, ServiceError>),
    /// There is to be an attempt.
    Wait,
    /// There is one.
    UnderWay,
}

impl Held {
    fn ask(&self, clock: SystemTime) -> Asked {
        match &self.credentials {
            Some(held) if !self.have_ended(clock) => Asked::Known(Ok(held.clone())),
            _ if self.under_way => Asked::UnderWay,
            _ => match &self.trouble {
                Some(trouble) => Asked::Known(Err(trouble.error.clone())),
                None => Asked::Wait,
            },
        }
    }

    fn have_ended(&self, clock: SystemTime) -> bool {
        self.until.is_some_and(|until| until <= clock)
    }

    /// Whether a call that began then had those that are held.
    fn were_there(&self, call_began: Instant) -> bool {
        self.found_at.is_some_and(|at| at <= call_began)
    }

    fn take(&mut self, stream: &DeliveryStreamArn, call_began: Instant) {
        if !self.were_there(call_began) || self.served.contains(stream) {
            return;
        }
        if self.served.len() >= SERVED_MAX {
            // Apps name streams; those that are in use are soon here again.
            self.served.clear();
        }
        self.served.insert(stream.clone());
    }

    /// Whether they are to be asked for sooner because of that.
    fn refuse(&mut self, stream: &DeliveryStreamArn, call_began: Instant) -> bool {
        if !self.were_there(call_began) {
            return false;
        }
        let was_served = self.served.remove(stream);
        let wait = if was_served || self.served.is_empty() {
            REFUSED_WAIT
        } else {
            REFUSED_BESIDE_OTHERS_WAIT
        };
        let is_sooner = self.refused.is_none_or(|due| wait < due);
        if is_sooner {
            self.refused = Some(wait);
        }
        is_sooner
    }

    /// How long it is to the next attempt.
    fn due_in(&self, clock: SystemTime, now: Instant) -> Duration {
        if let Some(trouble) = &self.trouble {
            return trouble.retry.saturating_duration_since(now);
        }
        let renewal = self.renewal.unwrap_or(clock);
        let renewal = renewal.duration_since(clock).unwrap_or_default();
        let refused = self.refused.map(|wait| {
            let last = self.found_at.unwrap_or(now);
            (last + wait).saturating_duration_since(now)
        });
        refused.map_or(renewal, |refused| refused.min(renewal))
    }

    fn found(&mut self, credentials: Credentials, clock: SystemTime, now: Instant, jitter: f64) {
        let left = credentials
            .expiry()
            .map(|end| end.duration_since(clock).unwrap_or_default());
        // Whether what has just been found has really ended is for the service to say.
        self.until = credentials.expiry().filter(|end| clock < *end);
        self.renewal = clock.checked_add(renewal_in(left, jitter));
        if let Some(trouble) = self.trouble.take() {
            let failing_s = now.saturating_duration_since(trouble.since).as_secs();
            let failed_attempts = trouble.attempts;
            let words = match self.credentials {
                Some(_) => "the AWS credentials are renewed again",
                None => "AWS credentials are found",
            };
            tracing::info!(failed_attempts, failing_s, "{words}");
        }
        self.credentials = Some(credentials);
        self.refused = None;
        self.under_way = false;
        self.found_at = Some(now);
    }

    fn failed(&mut self, error: ServiceError, clock: SystemTime, now: Instant, jitter: f64) {
        let (since, attempts) = match &self.trouble {
            Some(trouble) => (trouble.since, trouble.attempts + 1),
            None => (now, 1),
        };
        let wait = wait_after(attempts, jitter);
        // Where there were none before, whoever wants some tells it.
        if attempts == 1 && self.credentials.is_some() {
            tracing::warn!(
                error.code = %error.code,
                error.message = %error.message,
                retry_in_ms = whole_ms(wait),
                ends = self.until.map(|until| Utc::from(until).to_string()),
                "{}",
                if self.have_ended(clock) {
                    "the AWS credentials have ended and cannot be renewed; records are kept until they can"
                } else if self.refused.is_some() {
                    "the AWS credentials are refused and cannot be renewed; records for which they are refused are kept"
                } else {
                    "the AWS credentials cannot be renewed; those at hand are used until they end"
                },
            );
        }
        self.trouble = Some(Trouble {
            error,
            since,
            attempts,
            retry: now + wait,
        });
        self.under_way = false;
    }
}

/// How long after they were found credentials are renewed that have this long left. `jitter`, 0 to 1, keeps devices
/// apart that found theirs together.
fn renewal_in(left: Option<Duration>, jitter: f64) -> Duration {
    match left {
        None => ENDLESS,
        Some(Duration::ZERO) => ENDED,
        Some(left) => {
            let ahead = (left / AHEAD_PART)
                .min(AHEAD_MAX)
                .mul_f64(1.0 - jitter / 2.0);
            (left - ahead).max(LEAST)
        }
    }
}

/// How long to wait after so many attempts that failed.
fn wait_after(attempts: u32, jitter: f64) -> Duration {
    let doubled = 2u32.saturating_pow(attempts.saturating_sub(1));
    let wait = FIRST_WAIT.saturating_mul(doubled).min(LONGEST_WAIT);
    wait.mul_f64(1.0 - jitter / 2.0)
}

#[cfg(test)]
mod tests;
