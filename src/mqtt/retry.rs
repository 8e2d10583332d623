//! When the next attempt to connect is made, and with which version of MQTT. Pure: randomness
//! comes in as an argument.

use std::time::Duration;

use super::error::ConnectError;
use super::settings::{Protocol, ProtocolChoice};

/// The first wait before connecting again, and the longest while the broker may come back by
/// itself: it is to be found within two seconds of its return.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(1);

/// The longest wait where a person has to act first.
const LONGEST_REFUSED: Duration = Duration::from_secs(30);

/// How old a connection is when its end counts as the first failure again.
pub(super) const STEADY: Duration = Duration::from_secs(5);

/// How many connections over TLS in a row the broker may hang up on before that counts as a refusal of our certificate:
/// AWS IoT Core says no more where it does not know one, or its policy forbids to connect or to subscribe. A broker that
/// restarts hangs up once, and then cannot be reached.
const HANG_UPS: u32 = 5;

/// How many connections in a row that break at once are worth a line in the log each.
const BRIEF_LOGGED: u32 = 2;

/// What was learnt from the attempts so far.
#[derive(Debug)]
pub(super) struct Retry {
    /// As configured.
    choice: ProtocolChoice,
    /// Whether the broker is shown a certificate of ours.
    has_certificate: bool,
    /// What the next attempt speaks.
    protocol: Protocol,
    /// Whether that is a guess, good for one attempt.
    guessed: bool,
    /// Failed attempts in a row.
    failures: u32,
    /// Connections in a row that broke before they proved steady.
    brief: u32,
    /// The same, with those that were closed without an answer.
    hang_ups: u32,
}

impl Retry {
    pub fn new(choice: ProtocolChoice, has_certificate: bool) -> Self {
        let protocol = match choice {
            ProtocolChoice::Auto => Protocol::V5,
            ProtocolChoice::Only(protocol) => protocol,
        };
        Retry {
            choice,
            has_certificate,
            protocol,
            guessed: false,
            failures: 0,
            brief: 0,
            hang_ups: 0,
        }
    }

    /// What the next attempt speaks.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The broker accepted the connection.
    pub fn accepted(&mut self) {
        self.guessed = false;
    }

    /// Whether connections that break at once have become so many that the log is spared.
    pub fn is_flapping(&self) -> bool {
        self.brief > BRIEF_LOGGED
    }

    /// An attempt failed, or a connection of this age broke. How long to wait; `None`: the other
    /// version of MQTT is tried at once.
    pub fn failed(
        &mut self,
        error: &ConnectError,
        age: Option<Duration>,
        dice: f64,
    ) -> Option<Duration> {
        // A connection that breaks at once is no reason to hurry: two clients with one client id
        // end each other's for ever.
        match age {
            Some(age) if age >= STEADY => (self.failures, self.brief) = (0, 0),
            Some(_) => self.brief = self.brief.saturating_add(1),
            None => {}
        }
        self.count_hang_ups(error, age);
        if self.choice == ProtocolChoice::Auto && self.try_other_version(error, age.is_some()) {
            return None;
        }
        let is_refused = self.has_certificate && self.hang_ups > HANG_UPS;
        let longest = if is_refused || error.needs_a_person() {
            LONGEST_REFUSED
        } else {
            LONGEST
        };
        let wait = FIRST
            .saturating_mul(1 << self.failures.min(16))
            .min(longest);
        self.failures = self.failures.saturating_add(1);
        Some(wait.mul_f64(0.5 + 0.5 * dice.clamp(0.0, 1.0)))
    }

    fn count_hang_ups(&mut self, error: &ConnectError, age: Option<Duration>) {
        let hung_up = match age {
            Some(age) => age < STEADY,
            None => matches!(error, ConnectError::ClosedUnanswered),
        };
        self.hang_ups = if hung_up {
            self.hang_ups.saturating_add(1)
        } else {
            0
        };
    }

    /// Chooses the version of the next attempt. Whether it is to be made at once.
    fn try_other_version(&mut self, error: &ConnectError, was_up: bool) -> bool {
        match error {
            ConnectError::UnsupportedVersion(spoken) => {
                self.protocol = other(*spoken);
                *spoken == Protocol::V5
            }
            // Some brokers of 3.1.1 just close. So does one that is shutting down: thus only the
            // next attempt speaks 3.1.1.
            ConnectError::ClosedUnanswered | ConnectError::Protocol(_) if !was_up => {
                self.guessed = self.protocol == Protocol::V5;
                self.protocol = other(self.protocol);
                self.guessed
            }
            _ => {
                if self.guessed && !was_up {
                    self.protocol = Protocol::V5;
                    self.guessed = false;
                }
                false
            }
        }
    }
}

fn other(protocol: Protocol) -> Protocol {
    match protocol {
        Protocol::V5 => Protocol::V311,
        Protocol::V311 => Protocol::V5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(retry: &mut Retry, error: &ConnectError, count: usize) -> Vec<u64> {
        (0..count)
            .filter_map(|_| retry.failed(error, None, 1.0))
            .map(|wait| wait.as_millis() as u64)
            .collect()
    }

    #[test]
    fn waits_grow_further_where_a_person_has_to_act() {
        let only = ProtocolChoice::Only(Protocol::V5);
        let found = waits(&mut Retry::new(only, false), &ConnectError::Timeout, 6);
        assert_eq!(found, [100, 200, 400, 800, 1000, 1000]);
        let refused = ConnectError::Refused("NotAuthorized".into());
        let found = waits(&mut Retry::new(only, false), &refused, 12);
        assert_eq!(found[4..6], [1600, 3200]);
        assert_eq!(found[11], 30_000);
    }

    /// Each attempt costs a handshake, and that the data of a metered link. A connection that just breaks is no verdict.
    #[test]
    fn what_tls_refuses_is_tried_ever_more_slowly_and_what_breaks_in_it_is_not() {
        use std::io::{Error, ErrorKind};
        use tokio_rustls::rustls::{AlertDescription, Error as RustlsError};
        let refused = || {
            let alert = RustlsError::AlertReceived(AlertDescription::CertificateExpired);
            Error::new(ErrorKind::InvalidData, alert)
        };
        let broken = || Error::from(ErrorKind::UnexpectedEof);
        for (error, longest) in [
            (ConnectError::Tls(refused()), 30_000),
            (ConnectError::Io(refused()), 30_000),
            (ConnectError::Tls(broken()), 1000),
            (ConnectError::Io(broken()), 1000),
        ] {
            let mut retry = Retry::new(ProtocolChoice::Only(Protocol::V5), false);
            assert_eq!(waits(&mut retry, &error, 12)[11], longest, "{error:?}");
        }
    }

    #[test]
    fn a_broker_that_keeps_hanging_up_on_our_certificate_is_asked_ever_more_slowly() {
        let brief = Some(Duration::from_secs(1));
        for (age, error) in [
            (None, ConnectError::ClosedUnanswered),
            (brief, ConnectError::Closed),
        ] {
            for (has_certificate, longest) in [(true, LONGEST_REFUSED), (false, LONGEST)] {
                let mut retry = Retry::new(ProtocolChoice::Only(Protocol::V5), has_certificate);
                let mut wait = || retry.failed(&error, age, 1.0);
                let first: Vec<_> = (0..HANG_UPS).filter_map(|_| wait()).collect();
                assert!(first.iter().all(|wait| *wait <= LONGEST));
                let last = (0..12).filter_map(|_| wait()).last();
                assert_eq!(last, Some(longest), "{error}");
                // It was away: now it restarts.
                let wait = retry.failed(&ConnectError::Timeout, None, 1.0);
                assert_eq!(wait, Some(LONGEST));
            }
        }
    }

    #[test]
    fn a_steady_connection_begins_anew_and_brief_ones_do_not() {
        let mut retry = Retry::new(ProtocolChoice::Only(Protocol::V5), false);
        for number in 0..5 {
            assert_eq!(retry.is_flapping(), number > 2);
            retry.failed(&ConnectError::Closed, Some(Duration::from_secs(1)), 1.0);
        }
        let wait = retry.failed(&ConnectError::Closed, Some(Duration::ZERO), 1.0);
        assert_eq!(wait, Some(LONGEST));
        let wait = retry.failed(&ConnectError::Closed, Some(STEADY), 0.0);
        assert_eq!(wait, Some(FIRST / 2));
        assert!(!retry.is_flapping());
    }

    #[test]
    fn auto_learns_the_version_from_a_refusal_and_guesses_it_from_silence() {
        let mut retry = Retry::new(ProtocolChoice::Auto, false);
        assert_eq!(
            retry.failed(&ConnectError::UnsupportedVersion(Protocol::V5), None, 1.0),
            None
        );
        assert_eq!(retry.protocol(), Protocol::V311);
        // The broker was replaced by one that knows 5 only.
        retry.failed(&ConnectError::UnsupportedVersion(Protocol::V311), None, 1.0);
        assert_eq!(retry.protocol(), Protocol::V5);
        // Closed without an answer: 3.1.1 once, and 5 again.
        assert_eq!(
            retry.failed(&ConnectError::ClosedUnanswered, None, 1.0),
            None
        );
        assert_eq!(retry.protocol(), Protocol::V311);
        assert!(retry.failed(&ConnectError::Timeout, None, 1.0).is_some());
        assert_eq!(retry.protocol(), Protocol::V5);
        // A connection that was up and is closed says nothing about versions.
        retry.failed(&ConnectError::ClosedUnanswered, Some(STEADY), 1.0);
        assert_eq!(retry.protocol(), Protocol::V5);
    }

    #[test]
    fn a_fixed_version_is_kept() {
        let mut retry = Retry::new(ProtocolChoice::Only(Protocol::V5), false);
        for error in [
            ConnectError::UnsupportedVersion(Protocol::V5),
            ConnectError::ClosedUnanswered,
        ] {
            assert!(retry.failed(&error, None, 1.0).is_some());
            assert_eq!(retry.protocol(), Protocol::V5);
        }
    }
}
