//! What a seed chooses.

use std::ops::Range;
use std::time::Duration;

use fastrand::Rng;

use crate::plan::{
    BrokerPlan, DiskFault, End, EndPlan, Kind, Plan, RequestPlan, Spell, Trouble, TroubleKind,
    Weather,
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A whole round of what may have to be waited for, once faults are over: a call without an answer, a broker that
/// refused, the longest back-off, records held back meanwhile, the window of a slow broker.
const TO_DELIVER: Duration = Duration::from_secs(180);

fn chance(dice: &mut Rng, percent: u32) -> bool {
    dice.u32(..100) < percent
}

fn one<T: Clone>(dice: &mut Rng, of: &[T]) -> T {
    of[dice.usize(..of.len())].clone()
}

fn time(dice: &mut Rng, within: Range<Duration>) -> Duration {
    let (from, to) = (
        within.start.as_millis() as u64,
        within.end.as_millis() as u64,
    );
    Duration::from_millis(dice.u64(from..to.max(from + 1)))
}

impl Plan {
    pub fn of(seed: u64) -> Self {
        let mut dice = Rng::with_seed(seed);
        let dice = &mut dice;
        let active = time(dice, 10 * SECOND..60 * SECOND);
        let is_about_isolation = chance(dice, 12);
        let on_disk = chance(dice, 55);
        let ends = if is_about_isolation {
            Vec::new()
        } else {
            ends(dice, on_disk, active)
        };
        let crashes = ends.iter().any(|end| end.how != End::Stop);
        let seconds = one(dice, &[0, 1, 1, 2, 5, 10]);
        let version_1 = chance(dice, 8);
        let mut given = vec![
            // Otherwise it has the name of the machine.
            ("MQTT_CLIENT_ID", "simulated".to_owned()),
            ("PUBLISH_INTERVAL", seconds.to_string()),
            ("PUBLISH_WHEN_FULL", dice.bool().to_string()),
            (
                "COMMIT_INTERVAL_MS",
                one(dice, &[0, 2, 20, 500]).to_string(),
            ),
        ];
        let mut give = |name, value: &str| given.push((name, value.to_owned()));
        if version_1 {
            give("CONNECTOR_VERSION", "1");
        }
        let when_full = match is_about_isolation {
            true => "reject",
            false => one(dice, &["reject", "wait", "wait", "drop-oldest"]),
        };
        give("WHEN_FULL", when_full);
        let mut compression = "none";
        if seconds > 0 && !version_1 && chance(dice, 35) {
            give("RECORD_AGGREGATION", "delimited");
            give(
                "AGGREGATION_MAX_BYTES",
                one(dice, &["5120", "10240", "102400"]),
            );
            if chance(dice, 30) {
                compression = one(dice, &["gzip", "zstd"]);
                give("RECORD_COMPRESSION", compression);
            }
        } else if chance(dice, 30) {
            give("RECORD_DELIMITER", "\\n");
        }
        if chance(dice, 20) {
            give("RECORD_ENVELOPE", "true");
        }
        let record_max_age =
            (chance(dice, 25) && !is_about_isolation).then(|| Duration::from_secs(dice.u64(2..40)));
        if let Some(age) = record_max_age {
            give("RECORD_MAX_AGE", &age.as_secs().to_string());
        }
        let shutdown_timeout = Duration::from_secs(one(dice, &[0, 1, 5, 20]));
        give("SHUTDOWN_TIMEOUT", &shutdown_timeout.as_secs().to_string());
        if chance(dice, 20) {
            give("STATUS_MAX_BYTES", "4096");
        }
        if chance(dice, 20) {
            give("CONNECTOR_STATUS_INTERVAL", "5");
        }
        let is_limited = chance(dice, 15) && !is_about_isolation;
        if is_limited {
            give("MAX_RECORDS_PER_SECOND", one(dice, &["20", "100", "500"]));
            if dice.bool() {
                give("MAX_BYTES_PER_SECOND", one(dice, &["20000", "200000"]));
            }
            if dice.bool() {
                give("MAX_REQUESTS_PER_SECOND", one(dice, &["2", "20"]));
            }
        }
        let knows_5 = chance(dice, 65);
        let versions: &[&str] = match knows_5 {
            true => &["auto", "5", "3.1.1"],
            false => &["auto", "3.1.1"],
        };
        give("MQTT_VERSION", one(dice, versions));
        let dead_letters = chance(dice, 30);
        if dead_letters {
            give("DEAD_LETTER_DIR", "/simulated-letters");
        }
        let is_large = chance(dice, 6) && !is_about_isolation;
        if on_disk {
            give("QUEUE_DIR", "/simulated-queue");
            // A full queue rejects what was promised nothing; after a crash nobody knows whether it did.
            let is_full_some_time = is_large && !crashes;
            if is_full_some_time || !is_large && dice.bool() {
                // Segments of a quarter of a megabyte.
                give("QUEUE_DIR_MAX_BYTES", "8388608");
            }
        }
        if is_large {
            let least = if compression == "none" {
                32_768
            } else {
                38_912
            };
            give("MEMORY_SIZE", &least.to_string());
        }
        let is_small = !(is_about_isolation || on_disk && crashes) && chance(dice, 55);
        let queue_size = is_small.then(|| one(dice, &[5, 20, 100]));
        let streams: Vec<_> = (0..dice.usize(1..6).max(1 + usize::from(is_about_isolation)))
            .map(|number| match is_about_isolation && number == 0 {
                true => Vec::new(),
                false => weather(dice, active),
            })
            .collect();
        let requests = requests(dice, active, streams.len(), is_large, crashes);
        let broker = broker(dice, active, knows_5, is_about_isolation);
        let mut disk = Vec::new();
        while on_disk && !is_about_isolation && chance(dice, 40) {
            let what = one(
                dice,
                &[
                    DiskFault::Sync,
                    DiskFault::Write,
                    DiskFault::Full,
                    DiskFault::ReadOnly,
                    DiskFault::Read,
                ],
            );
            disk.push(spell(dice, active, what));
        }
        Plan {
            seed,
            given,
            queue_size,
            on_disk,
            dead_letters,
            publish_interval: match version_1 {
                true => Duration::ZERO,
                false => Duration::from_secs(seconds as u64),
            },
            record_max_age,
            shutdown_timeout,
            compression,
            when_full,
            streams,
            broker,
            disk,
            disk_takes: one(dice, &[Duration::ZERO, 3 * MS, 3 * MS, 200 * MS])
                .min(if is_about_isolation { 3 * MS } else { SECOND }),
            ends,
            is_tight: is_large,
            to_deliver: TO_DELIVER + slowest(&requests, is_limited, queue_size, seconds),
            active,
            is_about_isolation,
            requests,
        }
    }
}

/// How long requests take under the tightest limits per second, and where a small queue is sent once in an interval.
fn slowest(
    requests: &[RequestPlan],
    is_limited: bool,
    queue_size: Option<usize>,
    interval: usize,
) -> Duration {
    let mut seconds = 0;
    if is_limited {
        let bytes: usize = requests.iter().map(|request| request.bytes + 500).sum();
        seconds += bytes / 20_000 + requests.len() / 2;
    }
    if let Some(queue_size) = queue_size {
        seconds += (requests.len() / queue_size + 1) * interval;
    }
    Duration::from_secs(seconds as u64)
}

fn spell<T>(dice: &mut Rng, active: Duration, what: T) -> Spell<T> {
    let from = time(dice, Duration::ZERO..active);
    let lasts = one(dice, &[50 * MS, SECOND, 5 * SECOND, 20 * SECOND]);
    Spell {
        from,
        until: (from + lasts).min(active),
        what,
    }
}

fn weather(dice: &mut Rng, active: Duration) -> Vec<Spell<Weather>> {
    let mut spells = Vec::new();
    while chance(dice, 65) {
        let what = one(
            dice,
            &[
                Weather::Throttled,
                Weather::Gone,
                Weather::AnswersLost,
                Weather::Partly,
                Weather::Picky,
                Weather::Refusing,
                Weather::Slow,
                Weather::Short,
            ],
        );
        spells.push(spell(dice, active, what));
    }
    spells
}

fn ends(dice: &mut Rng, on_disk: bool, active: Duration) -> Vec<EndPlan> {
    let mut ends = Vec::new();
    let mut from = Duration::ZERO;
    // Most runs without: what a crash excuses hides what is wrong without one.
    while ends.len() < 4 && chance(dice, 45) {
        let at = time(dice, from..active);
        let operation = dice.usize(1..60);
        let how = match on_disk {
            _ if chance(dice, 40) => End::Stop,
            true => one(
                dice,
                &[
                    End::Kill,
                    End::KillAtOperation(operation),
                    End::PowerLoss(0),
                    End::PowerLoss(2),
                    End::PowerLossAtOperation(operation, 0),
                    End::PowerLossAtOperation(operation, 2),
                ],
            ),
            false => one(dice, &[End::Stop, End::Kill]),
        };
        let away = one(dice, &[10 * MS, SECOND, 10 * SECOND]);
        from = at + away;
        ends.push(EndPlan { at, how, away });
        if from >= active {
            break;
        }
    }
    ends
}

fn requests(
    dice: &mut Rng,
    active: Duration,
    streams: usize,
    is_large: bool,
    crashes: bool,
) -> Vec<RequestPlan> {
    let count = one(dice, &[20, 60, 150, 300]);
    let mut requests = Vec::with_capacity(count);
    while requests.len() < count {
        let burst = one(dice, &[1, 1, 1, 5, 40]);
        let at = time(dice, Duration::ZERO..active);
        for _ in 0..burst.min(count - requests.len()) {
            let kind = match dice.u32(..100) {
                0..45 => Kind::Text,
                45..60 => Kind::Object,
                60..94 => Kind::Binary,
                94..96 => Kind::NoData,
                96..98 => Kind::BadArn,
                _ if is_large => Kind::TooLarge,
                _ => Kind::Text,
            };
            let named = dice.usize(..=streams);
            requests.push(RequestPlan {
                at,
                kind,
                stream: (named < streams && kind != Kind::Binary).then_some(named),
                bytes: match is_large {
                    true => one(dice, &[100, 40_000, 200_000]),
                    false => one(dice, &[20, 200, 200, 3000]),
                },
                at_least_once: crashes || chance(dice, 90),
            });
        }
    }
    requests.sort_by_key(|request| request.at);
    requests
}

fn broker(dice: &mut Rng, active: Duration, knows_5: bool, is_well: bool) -> BrokerPlan {
    let mut troubles = Vec::new();
    while !is_well && chance(dice, 75) {
        let kind = one(
            dice,
            &[
                TroubleKind::Cut,
                TroubleKind::Cut,
                TroubleKind::Cut,
                TroubleKind::Down,
                TroubleKind::Forgetful,
                TroubleKind::Refuses,
                TroubleKind::Hangs,
                TroubleKind::Deaf,
                TroubleKind::Unsure,
            ],
        );
        let Spell { from, until, .. } = spell(dice, active, ());
        troubles.push(Trouble {
            at: from,
            lasts: until - from,
            kind,
        });
    }
    troubles.sort_by_key(|trouble| trouble.at);
    BrokerPlan {
        knows_5,
        window: match is_well {
            true => 1000,
            false => one(dice, &[10, 20, 100, 1000]),
        },
        receive_maximum: one(dice, &[1, 10, 65_535]),
        packet_max_bytes: chance(dice, 10).then_some(8192),
        latency: one(dice, &[Duration::ZERO, MS, 30 * MS]).min(if is_well { MS } else { SECOND }),
        line_bytes: one(dice, &[100, 4096, 65_536]),
        troubles,
        breaks: match is_well {
            true => 0,
            false => one(dice, &[0, 0, 40, 80]),
        },
    }
}
