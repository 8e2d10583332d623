//! Whether the client id is the connector's alone. A broker has one client under an id and ends the
//! connection of the one that was there before, so two connectors with one id end each other's without end.
//! No broker tells who is connected: a visit under the id itself has to see whether it is thrown out.
//!
//! What that does to a connector that runs: its connection ends, and it is back within a tenth of a
//! second, which throws the visit out. The visit keeps the session (clean start off, the same expiry), subscribes to
//! nothing and acknowledges nothing, so the broker sends what it had sent again; at QoS 0 it may be
//! lost, as at any reconnect. That this client is on this device shows in the system's list of connections, and there
//! it shows too when somebody else ends its connection while it is watched, which takes up to half a minute:
//! so long wait clients that throw each other out.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::Limits;
use super::connections::{Connections, are_listed, to_broker};
use super::report::{Step, StepName};
use crate::mqtt::{ConnectError, SessionSettings, Visit};

/// How long it is waited for somebody who comes back. Connectors do after a tenth of a second, other
/// clients after a few.
const QUIET: Duration = Duration::from_secs(5);

/// How often the list of connections is read. A client that comes back does so over another connection, so
/// nothing is missed in between.
const GLANCE: Duration = Duration::from_millis(250);

/// How long it is waited before the list is taken for that client: whoever else connected in the same moment, to
/// publish something and go, is gone by then.
const SETTLE: Duration = Duration::from_secs(1);

/// What is kept of all the time to say what was seen.
const RESERVE: Duration = Duration::from_millis(200);

/// What is known of this device.
pub(super) struct Under<'a> {
    /// Where the broker is.
    pub addresses: &'a [SocketAddr],
    /// Whether a process of this device holds `QUEUE_DIR`.
    pub held_here: bool,
}

/// Visits the broker under the connector's own client id.
pub(super) async fn look(settings: SessionSettings, under: Under<'_>, limits: Limits) -> Step {
    let id = format!("{:?}", settings.client_id);
    let settings = SessionSettings {
        clean: false,
        filters: Vec::new(),
        receive_maximum: 1,
        ..settings
    };
    let before = to_broker(under.addresses);
    let mut visit = match limits.wait(Visit::begin(&settings)).await {
        Ok(Ok(visit)) => visit,
        Ok(Err(error)) => return refused(&id, &error.to_string()),
        Err(unknown) => {
            return unknown.step(StepName::ClientId, &format!("as {id}"), REFUSED);
        }
    };
    let quiet = QUIET.min(limits.left().saturating_sub(RESERVE));
    let Ok(ended) = timeout(quiet, visit.until_ended()).await else {
        visit.end().await;
        let seconds = quiet.as_secs();
        let message = format!("nobody else is connected as {id}; watched for {seconds} s");
        return Step::well(StepName::ClientId, message);
    };
    drop(visit);
    if !is_take_over(&ended) {
        return refused(&id, &ended.to_string());
    }
    let back: Connections = to_broker(under.addresses)
        .difference(&before)
        .copied()
        .collect();
    if back.is_empty() {
        return elsewhere(&id, under.held_here);
    }
    watch(&id, &back, under.addresses, limits).await
}

/// With MQTT 3.1.1 the connection just ends.
fn is_take_over(ended: &ConnectError) -> bool {
    matches!(
        ended,
        ConnectError::TakenOver | ConnectError::Closed | ConnectError::Io(_)
    )
}

/// The client is on this device. Whether it is left in peace.
async fn watch(id: &str, back: &Connections, addresses: &[SocketAddr], limits: Limits) -> Step {
    let start = Instant::now();
    sleep(SETTLE.min(limits.left())).await;
    let settled: Connections = to_broker(addresses).intersection(back).copied().collect();
    let mut is_up = !settled.is_empty();
    while is_up && limits.left() > RESERVE {
        sleep(GLANCE).await;
        is_up = to_broker(addresses).is_superset(&settled);
    }
    if !is_up {
        return Step::failed(
            StepName::ClientId,
            format!(
                "the client on this device that is connected as {id} was thrown out within {:.1} s: another one has the same \
                 client id, or the broker ended",
                start.elapsed().as_secs_f64()
            ),
            advice(),
        );
    }
    let seconds = start.elapsed().as_secs();
    let message = format!(
        "a client on this device is connected as {id}, the running connector it seems, and nobody threw it out within \
         {seconds} s"
    );
    Step::well(StepName::ClientId, message)
}

/// The client is not to be seen on this device.
fn elsewhere(id: &str, held_here: bool) -> Step {
    if held_here && !are_listed() {
        let message = format!(
            "a client is connected as {id}: the connector that holds QUEUE_DIR on this device, most likely. The \
             system does not list connections here, so whether it is another one cannot be told while that runs"
        );
        return Step::skipped(StepName::ClientId, message);
    }
    let though = if held_here {
        ", though a connector here holds QUEUE_DIR"
    } else {
        ""
    };
    let message = format!(
        "another client is connected as {id}: it took the session back, and no connection of this device shows \
         that it is here{though}"
    );
    Step::failed(StepName::ClientId, message, advice())
}

fn advice() -> &'static str {
    "give each connector an MQTT_CLIENT_ID of its own; where two have one, each ends the other's connection for ever. (A \
     connector in a container of its own on this device counts as another: stop it and check again)"
}

/// What to do where the broker does not let the client id in.
const REFUSED: &str = "allow MQTT_CLIENT_ID at the broker, or set it to an id that is allowed";

fn refused(id: &str, reason: &str) -> Step {
    Step::failed(
        StepName::ClientId,
        format!("the broker does not let us in as {id}: {reason}"),
        REFUSED,
    )
}
