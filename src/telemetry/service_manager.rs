//! What systemd is told where it started us: ready, alive, stopping. Nothing happens elsewhere.

use std::time::Duration;

use sd_notify::NotifyState;

/// The service manager, where there is one (`NOTIFY_SOCKET` is set).
#[derive(Debug, Default)]
pub struct ServiceManager {
    /// How often it wants to hear that we live; `None` where it does not.
    heartbeat: Option<Duration>,
}

impl ServiceManager {
    /// As the environment says.
    pub fn from_environment() -> Self {
        ServiceManager {
            // It acts after the whole time without a word; half of it is what systemd recommends.
            heartbeat: sd_notify::watchdog_enabled().map(|limit| limit / 2),
        }
    }

    /// Whether one started us.
    pub fn is_there() -> bool {
        std::env::var_os("NOTIFY_SOCKET").is_some()
    }

    /// None: for tests and stand-ins.
    pub fn none() -> Self {
        ServiceManager::default()
    }

    /// How often to call [`ServiceManager::alive`]; `None` where nobody waits for it.
    pub fn heartbeat(&self) -> Option<Duration> {
        self.heartbeat
    }

    /// The connector works, connected or still trying.
    pub fn ready(&self) {
        tell(NotifyState::Ready);
    }

    /// The connector's loop turns.
    pub fn alive(&self) {
        if self.heartbeat.is_some() {
            tell(NotifyState::Watchdog);
        }
    }

    /// The connector drains.
    pub fn stopping(&self) {
        tell(NotifyState::Stopping);
    }
}

fn tell(state: NotifyState) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}
