//! What is answered on which path, and what every answer says to a browser.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::assets;
use super::events::{self, Events};
use super::host::AllowedHosts;
use crate::telemetry::health::Readiness;
use crate::telemetry::metrics;
use crate::telemetry::observer::Observer;
use crate::telemetry::process::Process;

/// The page runs its own scripts and styles and talks to this server; nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What answers need.
#[derive(Clone)]
pub(super) struct App {
    pub observer: Observer,
    pub events: Events,
}

/// All there is to ask for.
pub(super) fn app(observer: Observer, hosts: AllowedHosts) -> Router {
    let events = Events::start(observer.clone());
    let mut router = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/events", get(events::stream));
    for asset in assets::ALL {
        router = router.route(asset.path, get(move || async move { asset.response() }));
    }
    router
        .fallback(|| async { (StatusCode::NOT_FOUND, "there is nothing here; see /\n") })
        .layer(from_fn_with_state(Arc::new(hosts), guard))
        .with_state(App { observer, events })
}

/// Refuses requests that name a host that is not ours or that another site makes through a browser, and tells browsers
/// what they may do with answers.
async fn guard(State(hosts): State<Arc<AllowedHosts>>, request: Request, next: Next) -> Response {
    let named = request.headers().get_all(HOST).iter();
    let mut named: Vec<&str> = named
        .map(|host| host.to_str().unwrap_or_default())
        .collect();
    named.extend(request.uri().host());
    let is_ours = !named.is_empty() && named.iter().all(|host| hosts.allows(host));
    let mut response = if is_ours && is_of_another_site(request.headers()) {
        let text = "other sites may link here, and not load what is here\n";
        (StatusCode::FORBIDDEN, text).into_response()
    } else if is_ours {
        next.run(request).await
    } else {
        let text =
            "this Host is not served here; ask for localhost, or list it in HTTP_ALLOWED_HOSTS\n";
        (StatusCode::FORBIDDEN, text).into_response()
    };
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Whether a page of another site asks, where it is no link that somebody follows. It could not read the answer, and would
/// cost the device all the same. Browsers say so (Fetch Metadata); nobody else does.
fn is_of_another_site(request: &HeaderMap) -> bool {
    let is = |name, value| {
        request
            .get(name)
            .is_some_and(|found: &HeaderValue| found == value)
    };
    let is_followed = is("sec-fetch-mode", "navigate") && is("sec-fetch-dest", "document");
    is("sec-fetch-site", "cross-site") && !is_followed
}

/// The process is alive: it answers.
async fn healthz() -> Response {
    json(StatusCode::OK, "{\"ok\":true}".to_owned())
}

/// Whether the connector is ready, and the reason of each part.
async fn readyz(State(app): State<App>) -> Response {
    let readiness = Readiness::of(&app.observer.look());
    let status = if readiness.ok {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json(
        status,
        serde_json::to_string(&readiness).unwrap_or_default(),
    )
}

async fn metrics(State(app): State<App>) -> Response {
    let text = metrics::render(&app.observer.look(), Process::look());
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
}

fn json(status: StatusCode, mut text: String) -> Response {
    text.push('\n');
    (status, [(CONTENT_TYPE, "application/json")], text).into_response()
}
