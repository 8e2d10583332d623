//! The Firehose stand-in, keeping a journal of what it accepts.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use kinesis_edge::local::{Endpoint, EndpointConfig};

use super::{PATIENCE, free_port};

/// One that has every stream.
pub async fn endpoint() -> Endpoint {
    endpoint_at(free_port()).await
}

/// The same on a port, where another was before.
pub async fn endpoint_at(port: u16) -> Endpoint {
    start(port, None).await
}

/// One that has these streams only.
pub async fn endpoint_with(streams: &[&str]) -> Endpoint {
    start(
        free_port(),
        Some(streams.iter().map(|&name| name.to_owned()).collect()),
    )
    .await
}

async fn start(port: u16, streams: Option<HashSet<String>>) -> Endpoint {
    let start = Instant::now();
    loop {
        let config = EndpointConfig {
            addr: ([127, 0, 0, 1], port).into(),
            storage: None,
            journal: true,
            streams: streams.clone(),
        };
        match Endpoint::start(config).await {
            Ok(endpoint) => return endpoint,
            // A program that another test starts holds what is open here, until it is itself: the listener too
            // that was there before.
            Err(error) if start.elapsed() < PATIENCE => {
                eprintln!("{error}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(error) => panic!("the endpoint starts: {error}"),
        }
    }
}
