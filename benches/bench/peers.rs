//! What the peers did, quoted: the project measured them side by side on another machine of two cores,
//! which broker, publisher and endpoint shared as here (200-byte messages at QoS 1, 500 records a call,
//! a plain HTTP endpoint that checks every record, medians of three runs). Only ratios within one run
//! compare fairly with figures from elsewhere, so the floor of that run is here too.

/// A figure, or the lowest and the highest where the runs told no better.
#[derive(Debug, Clone, Copy)]
pub struct Range(pub f64, pub f64);

impl Range {
    const fn one(figure: f64) -> Option<Self> {
        Some(Range(figure, figure))
    }

    /// The middle.
    pub fn middle(self) -> f64 {
        self.0.midpoint(self.1)
    }
}

/// One that was measured there.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    pub name: &'static str,
    /// Through mosquitto, records per second.
    pub mosquitto_rate: Option<Range>,
    /// Through mosquitto, its own CPU seconds per million.
    pub mosquitto_cpu: Option<Range>,
    /// Through mosquitto, mosquitto's CPU seconds per million.
    pub broker_cpu: Option<Range>,
    /// Fed without limit, records per second.
    pub fed_rate: Option<Range>,
    /// Fed without limit, CPU seconds per million.
    pub fed_cpu: Option<Range>,
    /// In MB.
    pub peak_mb: Option<Range>,
    /// In MB.
    pub idle_mb: Option<Range>,
}

/// The floor of that run.
pub const FLOOR: Peer = Peer {
    name: "rumqttc that only receives and acks",
    mosquitto_rate: Some(Range(107_000.0, 112_000.0)),
    mosquitto_cpu: Range::one(4.0),
    broker_cpu: Range::one(8.9),
    fed_rate: Range::one(1_940_000.0),
    fed_cpu: Range::one(0.5),
    peak_mb: Range::one(3.5),
    idle_mb: None,
};

/// The others.
pub const PEERS: [Peer; 4] = [
    Peer {
        name: "Vector 0.58, payload as is (no statuses, no JSON)",
        mosquitto_rate: Range::one(119_000.0),
        mosquitto_cpu: Range::one(8.6),
        broker_cpu: Range::one(6.2),
        fed_rate: Range::one(190_000.0),
        fed_cpu: Range::one(9.2),
        peak_mb: Range::one(53.0),
        idle_mb: Range::one(34.0),
    },
    Peer {
        name: "Vector 0.58, JSON decoded (no statuses)",
        mosquitto_rate: Range::one(105_000.0),
        mosquitto_cpu: Range::one(10.4),
        broker_cpu: None,
        fed_rate: Range::one(158_000.0),
        fed_cpu: Range::one(10.3),
        peak_mb: Range::one(60.0),
        idle_mb: None,
    },
    Peer {
        name: "Fluent Bit 5.1, behind a bridge (no statuses)",
        mosquitto_rate: Range::one(97_000.0),
        mosquitto_cpu: Range::one(6.2),
        broker_cpu: None,
        fed_rate: Range::one(233_000.0),
        fed_cpu: Some(Range(4.1, 4.4)),
        peak_mb: Some(Range(92.0, 104.0)),
        idle_mb: Range::one(10.0),
    },
    Peer {
        name: "Python, boto3 and paho, as the original connector",
        mosquitto_rate: Range::one(29_000.0),
        mosquitto_cpu: Range::one(36.0),
        broker_cpu: None,
        fed_rate: Range::one(28_000.0),
        fed_cpu: Range::one(36.0),
        peak_mb: Range::one(48.0),
        idle_mb: Range::one(45.0),
    },
];
