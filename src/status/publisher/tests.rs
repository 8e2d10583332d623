//! What waits, what has room, and what is dropped.

use std::iter;

use super::backlog::USUAL_STATUS_BYTES;
use super::*;
use crate::queue::{Charge, MemoryBudget};

fn publisher(backlog_max_bytes: usize) -> Publisher {
    publisher_beside(backlog_max_bytes, &MemoryBudget::new(0))
}

fn publisher_beside(backlog_max_bytes: usize, memory: &MemoryBudget) -> Publisher {
    let settings = PublisherSettings {
        shape: Shape::List,
        document_max_bytes: 4096,
        backlog_max_bytes,
        left_bytes: 0,
    };
    Publisher::new(settings, memory.share())
}

/// Takes what memory streams can get.
fn fill(memory: &MemoryBudget) -> Vec<Charge> {
    let shares: Vec<_> = (0..4).map(|_| memory.share()).collect();
    iter::from_fn(|| shares.iter().find_map(|share| share.charge(1000))).collect()
}

fn has_room_for(publisher: &Publisher, statuses: usize) -> bool {
    publisher.room_for(statuses, false).is_some()
}

fn success(id: &str) -> (&str, Verdict<'_>) {
    (id, Verdict::Success { record_id: "r" })
}

#[test]
fn hands_out_in_order() {
    let publisher = publisher(100_000);
    publisher.publish([success("1"), success("2")]);
    publisher.publish([success("3")]);
    publisher.publish([]);
    assert_eq!(publisher.waiting(), 2);
    assert_eq!(publisher.pop().unwrap().statuses, 2);
    assert_eq!(publisher.pop().unwrap().statuses, 1);
    assert!(publisher.pop().is_none() && publisher.is_empty());
}

#[test]
fn a_broker_that_does_not_read_cannot_make_statuses_pile_up() {
    let publisher = publisher(10_000);
    let mut congested_before_any_drop = false;
    for number in 0..10_000 {
        publisher.publish([success(&number.to_string())]);
        assert!(publisher.inner.backlog().bytes <= 10_000);
        congested_before_any_drop |= publisher.is_congested() && publisher.dropped() == 0;
    }
    assert!(congested_before_any_drop);
    assert_eq!(publisher.waiting() + publisher.dropped(), 10_000);
    let first = publisher.pop().unwrap();
    assert!(!first.json.windows(7).any(|part| part == b"\"id\":\"0\""));
}

#[test]
fn calls_wait_for_room_as_long_as_the_broker_takes_anything() {
    let publisher = publisher(10_000);
    let all = 10_000 / USUAL_STATUS_BYTES;
    let usual = all / 4 * 3;
    assert!(has_room_for(&publisher, all + 1), "nobody to wait for");
    publisher.set_room(Room::Usual);
    assert!(has_room_for(&publisher, usual) && !has_room_for(&publisher, all));
    let expected = publisher.room_for(usual, false);
    assert!(!has_room_for(&publisher, 1));
    assert!(
        publisher.room_for(500, true).is_some(),
        "another stream's first"
    );
    assert!(
        publisher.room_for(501, true).is_none(),
        "of records that are joined"
    );
    publisher.set_room(Room::Reserve);
    assert!(has_room_for(&publisher, all - usual));
    drop(expected);
    assert!(has_room_for(&publisher, all));
    while publisher.inner.backlog().bytes < 9_000 {
        publisher.publish([success("1")]);
    }
    assert_eq!(publisher.dropped(), 0);
    assert!(publisher.room_for(500, true).is_none() && !has_room_for(&publisher, 500));
    publisher.set_room(Room::NoMatter);
    assert!(publisher.room_for(1000, true).is_some());
}

#[test]
fn borrows_free_memory_and_gives_it_back() {
    let memory = MemoryBudget::new(100_000);
    let publisher = publisher_beside(10_000, &memory);
    publisher.set_room(Room::Reserve);
    // Half of the memory may be borrowed.
    assert!(has_room_for(&publisher, 60_000 / USUAL_STATUS_BYTES));
    assert!(!has_room_for(&publisher, 60_000 / USUAL_STATUS_BYTES + 1));

    let mut waiting = 0;
    while publisher.dropped() == 0 {
        publisher.publish([success("1")]);
        waiting += 1;
        let bytes = publisher.inner.backlog().bytes;
        assert_eq!(memory.used_bytes(), bytes.saturating_sub(10_000));
    }
    assert!(waiting > 200 && publisher.waiting() == waiting - 1);
    assert!(memory.used_bytes() > 49_000);
    while publisher.pop().is_some() {
        let bytes = publisher.inner.backlog().bytes;
        assert_eq!(memory.used_bytes(), bytes.saturating_sub(10_000));
    }
}

#[test]
fn the_room_that_a_call_found_is_there_when_it_ends() {
    let memory = MemoryBudget::new(1_000_000);
    let publisher = publisher_beside(10_000, &memory);
    publisher.set_room(Room::Usual);
    let before = publisher.room_for(20, false).unwrap();
    publisher.set_room(Room::Reserve);
    let call = publisher.room_for(1000, false).unwrap();
    publisher.set_room(Room::Usual);
    // Streams take what memory there is meanwhile.
    let _held = fill(&memory);
    (0..1020).for_each(|_| publisher.publish([success("1")]));
    drop((before, call));
    // One that nobody expected.
    publisher.publish([success("rejected")]);
    assert_eq!(publisher.dropped(), 0);
}

#[test]
fn what_was_kept_for_a_call_is_given_back_when_it_brings_less() {
    let memory = MemoryBudget::new(1_000_000);
    let publisher = publisher_beside(10_000, &memory);
    publisher.set_room(Room::Reserve);
    let mut call = publisher.room_for(1000, false).unwrap();
    let all = 1000 * USUAL_STATUS_BYTES;
    assert_eq!(memory.used_bytes(), all - 10_000);
    call.change_to(500);
    publisher.publish([success("1")]);
    assert!(memory.used_bytes() < all / 2 && memory.used_bytes() > all / 2 - 20_000);
    drop(call);
    assert_eq!(memory.used_bytes(), 0);
}

#[test]
fn has_a_reserve_until_a_call_finds_no_room_in_it() {
    let memory = MemoryBudget::new(1_000_000);
    let publisher = publisher_beside(10_000, &memory);
    assert!(publisher.has_reserve());
    let _taken = memory.share().charge(900_000).unwrap();
    assert!(!publisher.has_reserve());
}

#[test]
fn calls_that_begin_without_room_do_not_make_a_reserve() {
    let publisher = publisher_beside(10_000, &MemoryBudget::new(100_000));
    while publisher.dropped() == 0 {
        publisher.publish([success("1")]);
    }
    publisher.set_room(Room::NoMatter);
    let _call = publisher.room_for(500, true).unwrap();
    assert!(!publisher.has_reserve());
}

#[test]
fn what_nobody_expected_does_not_take_the_room_of_a_call() {
    let memory = MemoryBudget::new(1_000_000);
    let publisher = publisher_beside(10_000, &memory);
    publisher.set_room(Room::Reserve);
    let call = publisher.room_for(1000, false).unwrap();
    (0..500).for_each(|_| publisher.publish([success("rejected")]));
    let _held = fill(&memory);
    let record_id = "A".repeat(200);
    let delivered = Verdict::Success {
        record_id: &record_id,
    };
    (0..50).for_each(|_| publisher.publish((0..20).map(|_| ("1", delivered))));
    drop(call);
    assert_eq!(publisher.dropped(), 0);
}

#[test]
fn short_statuses_leave_room_for_longer_ones() {
    let publisher = publisher(1_000_000);
    publisher.set_room(Room::Usual);
    let ids: Vec<String> = (0..500).map(|n| format!("device-{n}")).collect();
    let refused = Verdict::Fail {
        code: "QueueFull",
        message: "full",
    };
    publisher.publish(ids.iter().map(|id| (id.as_str(), refused)));
    let mut calls = Vec::new();
    while let Some(call) = publisher.room_for(500, false) {
        calls.push(call);
    }
    assert!(!calls.is_empty());
    let record_id = "A".repeat(220);
    let delivered = Verdict::Success {
        record_id: &record_id,
    };
    for _ in &calls {
        publisher.publish(ids.iter().map(|id| (id.as_str(), delivered)));
    }
    assert_eq!(publisher.dropped(), 0);
}

#[test]
fn a_broker_may_take_less_than_configured() {
    let publisher = publisher(1_000_000);
    publisher.set_broker_max_bytes(1000);
    let ids: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    publisher.publish(ids.iter().map(|id| success(id)));
    while let Some(document) = publisher.pop() {
        assert!(document.json.len() <= 1000);
    }
}

#[test]
fn that_statuses_are_dropped_is_told_once_and_so_is_the_end_of_it() {
    let lines = crate::logged::lines(|| {
        let publisher = publisher(10_000);
        for _ in 0..2 {
            while publisher.dropped() == 0 {
                publisher.publish([success("1")]);
            }
            // The broker takes some, and more come.
            for _ in 0..100 {
                publisher.pop();
                (0..2).for_each(|_| publisher.publish([success("1")]));
            }
            while publisher.pop().is_some() {}
        }
    });
    let told: Vec<_> = lines
        .iter()
        .map(|line| (line["level"].as_str(), line["dropped_statuses"].as_u64()))
        .collect();
    let (begins, ends) = (Some("WARN"), Some("INFO"));
    let [
        (one, None),
        (two, Some(many)),
        (three, None),
        (four, Some(fewer)),
    ] = told[..]
    else {
        panic!("{told:?}")
    };
    assert_eq!([one, two, three, four], [begins, ends, begins, ends]);
    assert_eq!((many, fewer), (101, 51));
}
