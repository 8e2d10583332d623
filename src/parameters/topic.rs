//! What a parameter is about. Help and README show the parameters in these groups; in the table those of
//! a group stand together, so that every list of them has the same order.

/// A group of parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// What the Greengrass connector could be told.
    Streams,
    /// The way to the broker, and the topics there.
    Broker,
    /// Who the device is towards AWS.
    Identity,
    /// When records leave, how many at most, and what happens where too many come.
    Pace,
    /// The queue on disk.
    Queue,
    /// Records that failed for good.
    DeadLetters,
    /// What a Firehose record holds, and so what it costs.
    Cost,
    /// The process: its end, its log, what it tells of itself.
    Operation,
}

impl Topic {
    /// What stands over the group.
    pub fn heading(self) -> &'static str {
        match self {
            Topic::Streams => "Streams and delivery",
            Topic::Broker => "MQTT broker",
            Topic::Identity => "AWS credentials",
            Topic::Pace => "Pace and full queues",
            Topic::Queue => "Queue on disk",
            Topic::DeadLetters => "Dead letters",
            Topic::Cost => "Records and cost",
            Topic::Operation => "Operation",
        }
    }
}
