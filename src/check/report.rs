//! What steps say, and the order in which it is handed out: that of the list, not of arrival.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::sync::mpsc;

/// A thing that is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StepName {
    /// Whether the parameters make sense.
    Parameters,
    /// The files that they name.
    Files,
    /// Whether there is a broker: name, TCP, TLS.
    Broker,
    /// Whether it lets us in.
    Login,
    /// Whether requests may be read.
    Subscribe,
    /// Whether statuses may be published.
    Publish,
    /// Whether there are AWS credentials.
    Credentials,
    /// Whether the endpoint of the region answers.
    Endpoint,
    /// Whether the device's clock is right.
    Clock,
    /// Whether AWS takes the credentials.
    Access,
    /// The directory of the queue.
    Queue,
    /// The directory of the dead letters.
    DeadLetters,
    /// Whether a record arrives.
    Send,
    /// Whether the client id is ours alone. The last, as it may take the longest.
    ClientId,
}

impl StepName {
    /// All of them, in order.
    pub const ALL: [StepName; 14] = [
        StepName::Parameters,
        StepName::Files,
        StepName::Broker,
        StepName::Login,
        StepName::Subscribe,
        StepName::Publish,
        StepName::Credentials,
        StepName::Endpoint,
        StepName::Clock,
        StepName::Access,
        StepName::Queue,
        StepName::DeadLetters,
        StepName::Send,
        StepName::ClientId,
    ];

    /// As it is shown, to people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            StepName::Parameters => "parameters",
            StepName::Files => "files",
            StepName::Broker => "broker",
            StepName::Login => "login",
            StepName::Subscribe => "subscribe",
            StepName::Publish => "publish",
            StepName::Credentials => "credentials",
            StepName::Endpoint => "endpoint",
            StepName::Clock => "clock",
            StepName::Access => "access",
            StepName::Queue => "queue",
            StepName::DeadLetters => "dead-letters",
            StepName::Send => "send",
            StepName::ClientId => "client-id",
        }
    }
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It works, perhaps with something to know.
    Well,
    /// It does not.
    Failed,
    /// It was not tried, or could not be told.
    Skipped,
}

/// What a step says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Which one.
    pub name: StepName,
    /// What became of it.
    pub verdict: Verdict,
    /// What was found, or what is wrong.
    pub message: String,
    /// What to do, where something is wrong.
    pub advice: Option<String>,
    /// Each of several faults.
    pub details: Vec<String>,
}

impl Step {
    fn new(name: StepName, verdict: Verdict, message: impl Into<String>) -> Self {
        Step {
            name,
            verdict,
            message: message.into(),
            advice: None,
            details: Vec::new(),
        }
    }

    /// It works.
    pub(super) fn well(name: StepName, message: impl Into<String>) -> Self {
        Self::new(name, Verdict::Well, message)
    }

    /// It does not, and this is to be done.
    pub(super) fn failed(
        name: StepName,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Step {
            advice: Some(advice.into()),
            ..Self::new(name, Verdict::Failed, message)
        }
    }

    /// It was not tried, or could not be told.
    pub(super) fn skipped(name: StepName, message: impl Into<String>) -> Self {
        Self::new(name, Verdict::Skipped, message)
    }

    /// The same with several faults.
    pub(super) fn with_details(self, details: Vec<String>) -> Self {
        Step { details, ..self }
    }

    /// Whether it works.
    pub fn is_well(&self) -> bool {
        self.verdict == Verdict::Well
    }

    /// For programs: `step`, `result` (`ok`, `failed`, `skipped`), `message`, and where there are some `advice`
    /// and `details`.
    pub fn to_json(&self) -> Value {
        let result = match self.verdict {
            Verdict::Well => "ok",
            Verdict::Failed => "failed",
            Verdict::Skipped => "skipped",
        };
        let mut object =
            json!({"step": self.name.as_str(), "result": result, "message": self.message});
        if let Some(advice) = &self.advice {
            object["advice"] = json!(advice);
        }
        if !self.details.is_empty() {
            object["details"] = json!(self.details);
        }
        object
    }
}

/// Where steps go as they are taken.
pub(super) struct Steps {
    out: mpsc::UnboundedSender<Step>,
    /// Whether a record is to be sent.
    send: bool,
}

/// Where they come out.
pub(super) struct Told(mpsc::UnboundedReceiver<Step>);

impl Steps {
    /// Both ends. `send` says whether a record is to be sent.
    pub(super) fn new(send: bool) -> (Self, Told) {
        let (out, told) = mpsc::unbounded_channel();
        (Steps { out, send }, Told(told))
    }

    /// A step is taken. Whether it works.
    pub(super) fn tell(&self, step: Step) -> bool {
        let well = step.is_well();
        // Nobody stops listening before the last one.
        let _ = self.out.send(step);
        well
    }

    /// These steps need one that failed.
    pub(super) fn skip(&self, names: &[StepName], because_of: StepName) {
        for &name in names {
            let why = format!("not tried, because of {}", because_of.as_str());
            self.tell(Step::skipped(name, why));
        }
    }

    /// Nothing behind the files can be tried.
    pub(super) fn skip_the_rest(&self) {
        for name in StepName::ALL.into_iter().skip(2) {
            self.tell(match name {
                StepName::Send if !self.send => not_asked_for(),
                _ => Step::skipped(name, "not tried: what is wrong above comes first"),
            });
        }
    }
}

/// The step that is only taken when it is asked for.
pub(super) fn not_asked_for() -> Step {
    let words = "not asked for; --send puts a test record into the default stream";
    Step::skipped(StepName::Send, words)
}

impl Told {
    /// Hands each step out once all before it are. Whether none has failed.
    pub(super) async fn in_order(mut self, mut tell: impl FnMut(&Step)) -> bool {
        let (mut waiting, mut well) = (BTreeMap::new(), true);
        let mut due = StepName::ALL.into_iter().peekable();
        while let Some(step) = self.0.recv().await {
            waiting.insert(step.name, step);
            while let Some(step) = due.peek().and_then(|name| waiting.remove(name)) {
                due.next();
                well &= step.verdict != Verdict::Failed;
                tell(&step);
            }
        }
        debug_assert!(due.peek().is_none(), "a step was forgotten");
        well
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn steps_are_told_in_their_order_whenever_they_come() {
        let (steps, told) = Steps::new(false);
        for name in StepName::ALL.into_iter().rev() {
            steps.tell(Step::well(name, ""));
        }
        drop(steps);
        let mut names = Vec::new();
        assert!(told.in_order(|step| names.push(step.name)).await);
        assert_eq!(names, StepName::ALL);
    }

    #[tokio::test]
    async fn what_was_skipped_is_no_failure_and_a_failure_is_one() {
        let (steps, told) = Steps::new(true);
        steps.tell(Step::well(StepName::Parameters, ""));
        steps.tell(Step::well(StepName::Files, ""));
        steps.skip_the_rest();
        drop(steps);
        assert!(told.in_order(|_| {}).await);

        let (steps, told) = Steps::new(true);
        steps.tell(Step::failed(StepName::Parameters, "", ""));
        steps.tell(Step::well(StepName::Files, ""));
        steps.skip_the_rest();
        drop(steps);
        assert!(!told.in_order(|_| {}).await);
    }

    #[test]
    fn programs_read_objects() {
        let step = Step::failed(StepName::ClientId, "m", "a").with_details(vec!["d".to_owned()]);
        let expected = json!({"step": "client-id", "result": "failed", "message": "m", "advice": "a", "details": ["d"]});
        assert_eq!(step.to_json(), expected);
        let step = Step::skipped(StepName::Send, "m");
        assert_eq!(
            step.to_json(),
            json!({"step": "send", "result": "skipped", "message": "m"})
        );
    }
}
