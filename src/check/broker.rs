//! The broker's side: whether it is there, lets us in, and allows what the connector does. The visits are made under
//! a client id of their own, derived from the connector's, and leave nothing behind.

use super::client_id::{self, Under};
use super::publish::publish;
use super::report::{Step, StepName, Steps};
use super::{Limits, Unknown};
use crate::connector::{session_settings, topics};
use crate::mqtt::{
    ConnectError, SessionSettings, Unreachable, Visit, advice, host_and_port, reach,
};
use crate::parameters::Parameters;
use crate::request::Topics;

/// Looks at everything of the broker's side. `held_here` says whether a process of this device holds `QUEUE_DIR`.
pub(super) async fn look(parameters: &Parameters, held_here: bool, steps: &Steps, limits: Limits) {
    use StepName::{Broker, ClientId, Login, Publish, Subscribe};
    let topics = topics(parameters);
    let settings = match session_settings(&parameters.mqtt, Vec::new()) {
        Ok(settings) => settings,
        Err(error) => {
            steps.tell(Step::failed(
                Broker,
                error.to_string(),
                "see the step `files`",
            ));
            return steps.skip(&[Login, Subscribe, Publish, ClientId], Broker);
        }
    };
    let addresses = match limits.wait(reach(&settings)).await {
        Ok(Ok(addresses)) => addresses,
        Ok(Err(error)) => {
            steps.tell(unreachable(&settings, &error));
            return steps.skip(&[Login, Subscribe, Publish, ClientId], Broker);
        }
        Err(unknown) => {
            let advice = "check the host and port in MQTT_URL, and what is on the way: a firewall, \
                          or a port that speaks something else";
            steps.tell(unknown.step(Broker, &place(&settings), advice));
            return steps.skip(&[Login, Subscribe, Publish, ClientId], Broker);
        }
    };
    let trusted = if settings.tls.is_some() {
        ", and its certificate is trusted"
    } else {
        ""
    };
    steps.tell(Step::well(
        Broker,
        format!("{} answers{trusted}", place(&settings)),
    ));

    let visitor = visitor(&settings);
    let mut visit = match limits.wait(Visit::begin(&visitor)).await {
        Ok(Ok(visit)) => visit,
        other => {
            steps.tell(not_let_in(&settings, other.map(Result::err)));
            return steps.skip(&[Subscribe, Publish, ClientId], Login);
        }
    };
    let protocol = visit.protocol();
    let who = match &settings.credentials {
        Some(credentials) => format!("as user {:?}", credentials.username),
        None => "without a user".to_owned(),
    };
    steps.tell(Step::well(
        Login,
        format!("let in {who}, with MQTT {protocol}"),
    ));

    let filters = filters(parameters, &topics);
    steps.tell(subscribe(&mut visit, &filters, limits).await);
    visit.end().await;
    steps.tell(publish(parameters, &visitor, &topics, limits).await);
    let under = Under {
        addresses: &addresses,
        held_here,
    };
    steps.tell(client_id::look(settings, under, limits).await);
}

/// Where the broker is, as it would stand in `MQTT_URL`, without the user.
fn place(settings: &SessionSettings) -> String {
    let scheme = if settings.tls.is_some() {
        "mqtts"
    } else {
        "mqtt"
    };
    let address = host_and_port(&settings.host, settings.port);
    format!("{scheme}://{address}")
}

/// What to try to subscribe to. Not to the group's own subscription: its messages would come here meanwhile, and
/// nobody else would get them.
fn filters(parameters: &Parameters, topics: &Topics) -> Vec<String> {
    match &parameters.shared_subscription_group {
        None => topics.filters(),
        Some(group) => {
            let apart = format!("{group}-check-{:08x}", fastrand::u32(..));
            topics.clone().shared(&apart, "").filters()
        }
    }
}

/// The same broker for a short visit that leaves nothing behind.
fn visitor(settings: &SessionSettings) -> SessionSettings {
    SessionSettings {
        client_id: format!("{}-check-{:08x}", settings.client_id, fastrand::u32(..)),
        clean: true,
        ..settings.clone()
    }
}

fn unreachable(settings: &SessionSettings, error: &Unreachable) -> Step {
    let advice = match error {
        Unreachable::Name(_) => "check the host in MQTT_URL, and this device's DNS".to_owned(),
        Unreachable::Tcp(_) => {
            "is the broker running there? check the host and port in MQTT_URL".to_owned()
        }
        Unreachable::Tls(error) => advice(error, settings).unwrap_or_else(|| {
            "does the port in MQTT_URL speak TLS? mqtt:// is for one that does not".to_owned()
        }),
    };
    Step::failed(
        StepName::Broker,
        format!("{}: {error}", place(settings)),
        advice,
    )
}

/// Why the broker does not let us in; `Err` where it says nothing.
fn not_let_in(settings: &SessionSettings, error: Result<Option<ConnectError>, Unknown>) -> Step {
    let error = match error {
        Ok(Some(error)) => error,
        Ok(None) => ConnectError::Closed,
        Err(unknown) => {
            let advice = "does the port in MQTT_URL speak MQTT? mqtts:// is for one with TLS";
            return unknown.step(StepName::Login, "the broker", advice);
        }
    };
    let user = match &settings.credentials {
        Some(credentials) => format!(
            "the user {:?} (MQTT_USERNAME) and its password",
            credentials.username
        ),
        None => "whether the broker wants a user: MQTT_USERNAME and MQTT_PASSWORD_FILE".to_owned(),
    };
    let id = &settings.client_id;
    let advice = match &error {
        ConnectError::Refused(reason) if reason.contains("Client") => format!(
            "the broker takes other client ids: check MQTT_CLIENT_ID ({id:?}), and allow {id}-check-… to \
             whoever runs this command"
        ),
        ConnectError::Refused(_) => format!(
            "check {user}. Where a broker ties rights to client ids, it must let {id}-check-… in for this command"
        ),
        ConnectError::Busy(_) => "try again in a while".to_owned(),
        ConnectError::UnsupportedVersion(_) => "set MQTT_VERSION=auto".to_owned(),
        ConnectError::ClosedUnanswered => format!(
            "does the port in MQTT_URL speak MQTT, without TLS if it is mqtt://? or check {user}"
        ),
        error => advice(error, settings).unwrap_or_else(|| "see the broker's log".to_owned()),
    };
    let message = match &error {
        ConnectError::Refused(reason) => {
            format!("the broker refuses the connection: {}", in_words(reason))
        }
        error => error.to_string(),
    };
    Step::failed(StepName::Login, message, advice)
}

/// A reason of the protocol as a person says it.
fn in_words(reason: &str) -> String {
    let words = [
        ("BadUserNamePassword", "wrong user or password"),
        (
            "NotAuthorized",
            "wrong user or password, or no right to connect",
        ),
        ("BadClientId", "the client id is not taken"),
        ("ClientIdentifierNotValid", "the client id is not taken"),
        ("Banned", "this client is banned"),
    ];
    let known = words.iter().find(|(code, _)| reason.starts_with(code));
    known.map_or_else(
        || reason.to_owned(),
        |(_, words)| format!("{words} ({reason})"),
    )
}

async fn subscribe(visit: &mut Visit, filters: &[String], limits: Limits) -> Step {
    let name = StepName::Subscribe;
    let all = filters.join(" and ");
    let advice = if filters.iter().any(|filter| filter.starts_with("$share/")) {
        "allow this user to read them at the broker (its access control list), and see whether it has shared \
         subscriptions at all: without, leave SHARED_SUBSCRIPTION_GROUP unset"
    } else {
        "allow this user to read them at the broker (its access control list)"
    };
    let refused = match limits.wait(visit.subscribe(filters)).await {
        Ok(Ok(refused)) => refused,
        Ok(Err(error)) => {
            let message = format!("asked for {all}, {error}");
            return Step::failed(name, message, advice);
        }
        Err(unknown) => return unknown.step(name, &all, "see the broker's log"),
    };
    let refusals: Vec<String> = filters
        .iter()
        .zip(&refused)
        .filter_map(|(filter, reason)| Some(format!("{filter} ({})", reason.as_ref()?)))
        .collect();
    if refusals.is_empty() {
        return Step::well(
            name,
            format!("{all} are granted; whether messages follow, `kinesis-edge send` shows"),
        );
    }
    Step::failed(
        name,
        format!("the broker refuses {}", refusals.join(" and ")),
        advice,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_said_in_words() {
        let said = in_words("NotAuthorized: go away");
        assert!(
            said.contains("password") && said.contains("go away"),
            "{said}"
        );
        assert_eq!(in_words("SomethingNew"), "SomethingNew");
    }
}
