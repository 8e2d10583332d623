//! What the connector tells about itself: logs, its state to the service manager, and by HTTP metrics,
//! readiness and the page. An [`Observer`] looks at the connector; everything else is made of what it sees.

mod advice;
mod health;
mod heartbeat;
mod history;
mod http;
mod last_words;
mod logs;
mod metrics;
mod observer;
#[cfg(feature = "otlp")]
mod otlp;
#[cfg(not(feature = "otlp"))]
#[path = "otlp/absent.rs"]
mod otlp;
mod process;
mod rates;
mod service_manager;
mod state;
mod summary;

pub use advice::advice;
pub use heartbeat::{OFFLINE, status as own_status};
pub use http::Server;
pub use last_words::last_words;
pub use logs::{init as init_logs, init_with_exports as init_logs_with_exports};
pub use observer::{CredentialsExpire, Facts, Observer, Snapshot, Started, StreamSnapshot};
pub use otlp::Exports;
pub use service_manager::ServiceManager;
pub use summary::summarize;
