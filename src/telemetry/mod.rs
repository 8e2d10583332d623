//! What the connector tells about itself: logs, and its state to the service manager.

mod logs;
mod service_manager;

pub use logs::init as init_logs;
pub use service_manager::ServiceManager;
