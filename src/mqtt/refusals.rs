//! What the broker refuses of what we publish, by topic: rights are given by topic, and so it may take the
//! statuses of records and refuse the connector's own.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// Shortest time between the end of a refusal in the log and the next of the same topic: a quota that is
/// used up and freed all the time does not fill the log.
const PAUSE: Duration = Duration::from_secs(10);

/// What one connection refused. It holds the topics that were ever refused on it, of the few that the
/// connector publishes to.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    topics: Vec<Refused>,
}

/// A topic on which messages were refused.
#[derive(Debug)]
struct Refused {
    topic: Arc<str>,
    /// Why the last message was refused; `None` where it was taken.
    reason: Option<String>,
    /// Messages that were refused since it was last told that they are taken.
    messages: u64,
    /// Whether it was told since then.
    is_told: bool,
    /// When it was last told that they are taken.
    taken_at: Option<Instant>,
}

impl Refusals {
    /// Notes the broker's answer to a message, and logs it where that is news. Whether
    /// [`Refusals::reason`] may be another now.
    pub fn note(&mut self, topic: &Arc<str>, refused: Option<String>, now: Instant) -> bool {
        let place = self.topics.iter().position(|known| known.topic == *topic);
        let place = match (place, &refused) {
            (Some(place), _) => place,
            (None, None) => return false,
            (None, Some(_)) => {
                self.topics.push(Refused {
                    topic: Arc::clone(topic),
                    reason: None,
                    messages: 0,
                    is_told: false,
                    taken_at: None,
                });
                self.topics.len() - 1
            }
        };
        self.topics[place].note(refused, now)
    }

    /// What is refused at present, and why.
    pub fn reason(&self) -> Option<String> {
        self.topics
            .iter()
            .find_map(|Refused { topic, reason, .. }| {
                let reason = reason.as_ref()?;
                Some(format!(
                    "the broker refuses our messages on {topic}: {reason}"
                ))
            })
    }
}

impl Refused {
    fn note(&mut self, refused: Option<String>, now: Instant) -> bool {
        match &refused {
            Some(reason) => {
                self.messages += 1;
                let recently = |at| now.duration_since(at) < PAUSE;
                if !self.is_told && !self.taken_at.is_some_and(recently) {
                    tracing::warn!(
                        topic = %self.topic,
                        %reason,
                        "the broker refuses our messages on this topic, and they are lost; allow this client to publish there"
                    );
                    self.is_told = true;
                }
            }
            None if self.is_told => {
                tracing::info!(
                    topic = %self.topic,
                    refused = self.messages,
                    "the broker takes our messages on this topic again"
                );
                self.messages = 0;
                self.is_told = false;
                self.taken_at = Some(now);
            }
            None => {}
        }
        let is_other = self.reason != refused;
        self.reason = refused;
        is_other
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logged;

    const SECOND: Duration = Duration::from_secs(1);

    fn not_authorized() -> Option<String> {
        Some("NotAuthorized".to_owned())
    }

    fn topics() -> [Arc<str>; 2] {
        ["p/message/status".into(), "p/connector/status".into()]
    }

    #[test]
    fn one_topic_that_is_refused_is_told_once_whatever_is_taken_on_another() {
        let [statuses, own] = topics();
        let mut refusals = Refusals::default();
        let now = Instant::now();
        let lines = logged::lines(|| {
            assert!(!refusals.note(&statuses, None, now));
            assert!(refusals.note(&own, not_authorized(), now));
            for number in 0..100 {
                let now = now + 3 * number * SECOND;
                assert!(!refusals.note(&statuses, None, now));
                assert!(!refusals.note(&own, not_authorized(), now));
                let reason = refusals.reason().expect("it is refused still");
                assert!(reason.contains(&*own) && reason.contains("NotAuthorized"));
            }
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(lines[0]["topic"], *own);
        assert_eq!(lines[0]["reason"], "NotAuthorized");
    }

    #[test]
    fn each_topic_is_told_and_its_end_with_how_many_were_refused() {
        let [statuses, own] = topics();
        let mut refusals = Refusals::default();
        let now = Instant::now();
        let lines = logged::lines(|| {
            for _ in 0..3 {
                refusals.note(&statuses, not_authorized(), now);
            }
            refusals.note(&own, not_authorized(), now);
            assert!(refusals.note(&statuses, None, now));
            assert!(refusals.reason().unwrap().contains(&*own));
            assert!(refusals.note(&own, None, now));
            assert_eq!(refusals.reason(), None);
        });
        let told: Vec<_> = lines
            .iter()
            .map(|line| (line["topic"].as_str().unwrap(), line["refused"].as_u64()))
            .collect();
        let (statuses, own) = (&*statuses, &*own);
        let expected = [
            (statuses, None),
            (own, None),
            (statuses, Some(3)),
            (own, Some(1)),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn what_comes_and_goes_is_told_now_and_then_and_all_of_it_is_counted() {
        let [topic, _] = topics();
        let mut refusals = Refusals::default();
        let start = Instant::now();
        let lines = logged::lines(|| {
            for number in 0..21 {
                let now = start + number * SECOND / 2;
                refusals.note(&topic, Some("QuotaExceeded".to_owned()), now);
                refusals.note(&topic, None, now);
            }
        });
        let counted: Vec<_> = lines
            .iter()
            .filter_map(|line| line["refused"].as_u64())
            .collect();
        assert_eq!((lines.len(), counted), (4, vec![1, 20]));
    }
}
