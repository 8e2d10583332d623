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
    /// The group that shares the messages.
    group: Option<String>,
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
            group: None,
        }
    }

    /// The same for a member of a group: it shares the messages with the others, and has a topic for its own
    /// status, as each status there takes the place of the one before.
    pub fn shared(self, group: &str, client_id: &str) -> Self {
        Topics {
            connector_status: format!("{}/{client_id}", self.connector_status),
            group: Some(group.to_owned()),
            ..self
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

    /// The filters to subscribe to; those of a shared subscription (MQTT 5.0 section 4.8.2) in a group.
    pub fn filters(&self) -> Vec<String> {
        let own = self.own_filters();
        match &self.group {
            None => own.into(),
            Some(group) => own.map(|filter| format!("$share/{group}/{filter}")).into(),
        }
    }

    /// The filters that a session may still have from the time before the group: by them each message would come
    /// once more.
    pub fn former_filters(&self) -> Vec<String> {
        match &self.group {
            None => Vec::new(),
            Some(_) => self.own_filters().into(),
        }
    }

    fn own_filters(&self) -> [String; 2] {
        [self.message.clone(), format!("{}/#", self.binary)]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_shares_the_messages_and_nothing_else() {
        let alone = Topics::new("p");
        assert_eq!(alone.filters(), ["p/message", "p/message/binary/#"]);
        assert!(alone.former_filters().is_empty());
        let shared = alone.clone().shared("g", "edge-1");
        assert_eq!(
            shared.filters(),
            ["$share/g/p/message", "$share/g/p/message/binary/#"]
        );
        assert_eq!(shared.former_filters(), alone.filters());
        // Messages come on the topics that they were published to.
        assert_eq!(
            shared.input("p/message/binary/7"),
            Some(Input::Binary { id: "7" })
        );
        assert_eq!(shared.status(), alone.status());
        assert_eq!(shared.connector_status(), "p/connector/status/edge-1");
    }
}
