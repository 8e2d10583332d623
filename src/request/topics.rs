//! The three topics of the contract and one of our own under their prefix, and what a message's topic says about it.

/// The topics of one connector: where requests come in and where statuses go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    /// JSON requests, and the beginning that binary requests share.
    message: String,
    /// Binary requests, without the slash that an id follows.
    binary: String,
    /// Status documents.
    status: String,
    /// The connector's own status.
    connector_status: String,
}

/// What kind of input a topic carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input<'a> {
    /// A JSON request.
    Json,
    /// A record as it is.
    Binary {
        /// All that follows `binary/`, slashes too; empty where nothing does.
        id: &'a str,
    },
}

impl Topics {
    /// The topics under `prefix` (`kinesisfirehose` in the contract).
    pub fn new(prefix: &str) -> Self {
        Topics {
            message: format!("{prefix}/message"),
            binary: format!("{prefix}/message/binary"),
            status: format!("{prefix}/message/status"),
            connector_status: format!("{prefix}/connector/status"),
        }
    }

    /// Where JSON requests are published.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Where a binary request with this id is published.
    pub fn binary(&self, id: &str) -> String {
        format!("{}/{id}", self.binary)
    }

    /// Where status documents are published.
    pub fn status(&self) -> &str {
        &self.status
    }

    /// Where the connector publishes its own status.
    pub fn connector_status(&self) -> &str {
        &self.connector_status
    }

    /// The filters to subscribe to.
    pub fn filters(&self) -> Vec<String> {
        vec![self.message.clone(), format!("{}/#", self.binary)]
    }

    /// What a message on this topic is; `None` for a topic that is not ours.
    ///
    /// `…/binary` itself matches the filter `…/binary/#` on brokers that follow the standard
    /// (Mosquitto does, AWS IoT Core does not): it is binary input without an id.
    pub fn input<'a>(&self, topic: &'a str) -> Option<Input<'a>> {
        if topic == self.message {
            return Some(Input::Json);
        }
        match topic.strip_prefix(self.binary.as_str())?.strip_prefix('/') {
            Some(id) => Some(Input::Binary { id }),
            None if topic.len() == self.binary.len() => Some(Input::Binary { id: "" }),
            None => None,
        }
    }
}
