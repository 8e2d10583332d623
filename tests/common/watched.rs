//! A connector in this process that serves its page and metrics, with a broker, an endpoint and an app.

use std::net::SocketAddr;

use kinesis_edge::local::Endpoint;
use kinesis_edge::telemetry::Server;

use super::{
    App, Mosquitto, RunningConnector, endpoint, eventually, free_port, parameters, quick_firehose,
};

/// All of them, connected.
pub struct Watched {
    pub broker: Mosquitto,
    pub endpoint: Endpoint,
    pub app: App,
    /// Where the page and metrics are.
    pub address: SocketAddr,
    pub connector: RunningConnector,
    _server: Server,
}

impl Watched {
    /// Starts them with these parameters, beside those that bring them together.
    pub async fn start(more: &[(&str, &str)]) -> Self {
        let (broker, endpoint, address) = (Mosquitto::start(), endpoint().await, free_address());
        let (url, listen) = (broker.url(), address.to_string());
        let mut given = vec![
            ("MQTT_URL", url.as_str()),
            ("HTTP_LISTEN", &listen),
            ("PUBLISH_INTERVAL", "1"),
        ];
        // Of two values for a name the first one counts.
        given.splice(2..2, more.iter().copied());
        let parameters = parameters(&given);
        let destination = quick_firehose(&endpoint.url()).await;
        let connector = RunningConnector::start(&parameters, destination);
        let http = parameters.http.expect("it was given");
        let server = Server::start(&http, connector.observer());
        let app = App::connect(broker.port).await;
        eventually("it is connected", || connector.look().session.subscribed).await;
        Watched {
            broker,
            endpoint,
            app,
            address,
            connector,
            _server: server,
        }
    }
}

/// An address that nothing listens on at the moment.
pub fn free_address() -> SocketAddr {
    ([127, 0, 0, 1], free_port()).into()
}
