//! What is kept on disk: the queue, and the dead letters.

use crate::parameters::parameter::{DefaultValue, PLAIN, Parameter};
use crate::parameters::topic::Topic;

pub(in crate::parameters) const QUEUE_DIR: Parameter = Parameter {
    env: "QUEUE_DIR",
    flag: "queue-dir",
    topic: Topic::Queue,
    value_name: "DIR",
    valid: "a directory, or a path whose parent directory exists; neither the same as DEAD_LETTER_DIR, \
            nor in it, nor around it",
    example: "/var/lib/kinesis-edge/queue",
    help: "The directory of the queue on disk: records in it survive a crash and a loss of power, and are \
           acknowledged to the broker only once they are synced. It is created if missing, and is for one \
           process at a time. Without it the queue is in memory.",
    ..PLAIN
};

pub(in crate::parameters) const QUEUE_DIR_MAX_BYTES: Parameter = Parameter {
    env: "QUEUE_DIR_MAX_BYTES",
    flag: "queue-dir-max-bytes",
    topic: Topic::Queue,
    value_name: "BYTES",
    default: DefaultValue::Value("1073741824"),
    valid: "a whole number of bytes, 8388608 (8 MiB) to 1099511627776 (1 TiB)",
    example: "4294967296",
    help: "How much all files in QUEUE_DIR may take together. Records that do not fit are treated as \
           WHEN_FULL says. No effect without QUEUE_DIR.",
    ..PLAIN
};

pub(in crate::parameters) const COMMIT_INTERVAL_MS: Parameter = Parameter {
    env: "COMMIT_INTERVAL_MS",
    flag: "commit-interval-ms",
    topic: Topic::Queue,
    value_name: "MS",
    default: DefaultValue::Value("2"),
    valid: "a whole number of milliseconds, 0 to 1000",
    example: "10",
    help: "How long records are gathered before they are written to QUEUE_DIR and synced together; a full \
           group is written at once. More of it spares the disk and delays acknowledgements. No effect \
           without QUEUE_DIR.",
    ..PLAIN
};

pub(in crate::parameters) const DEAD_LETTER_DIR: Parameter = Parameter {
    env: "DEAD_LETTER_DIR",
    flag: "dead-letter-dir",
    topic: Topic::DeadLetters,
    value_name: "DIR",
    valid: "a directory, or a path whose parent directory exists; neither the same as QUEUE_DIR, nor in \
            it, nor around it",
    example: "/var/lib/kinesis-edge/dead-letters",
    help: "The directory where records are kept that failed for a reason an operator can mend: no such \
           stream, access denied, expired. It is created if missing. Without it such records are gone once \
           their status is published.",
    ..PLAIN
};

pub(in crate::parameters) const DEAD_LETTER_MAX_BYTES: Parameter = Parameter {
    env: "DEAD_LETTER_MAX_BYTES",
    flag: "dead-letter-max-bytes",
    topic: Topic::DeadLetters,
    value_name: "BYTES",
    default: DefaultValue::Value("67108864"),
    valid: "a whole number of bytes, 1048576 (1 MiB) to 1099511627776 (1 TiB)",
    example: "268435456",
    help: "How much all files in DEAD_LETTER_DIR may take together; the oldest records go first. No effect \
           without DEAD_LETTER_DIR.",
    ..PLAIN
};
