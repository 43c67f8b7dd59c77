//! Proof that the checks can fail: for each promise a store that breaks it, and the promise that
//! the simulator reports.

#![expect(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use weir_sim::invariants::{self, Ledger};
use weir_sim::model::{Settles, Stored};
use weir_sim::world::World;
use weir_sim::{Bench, Settings};

/// The promises that were reported as broken while the store's rows were changed after each step.
fn found(sql: &'static str) -> BTreeSet<&'static str> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let bench = Bench::new().unwrap();
    let settings = Settings { tamper: Some(sql), only_crashes: true, ..Settings::default() };
    let lives = (0..8).map(|seed| runtime.block_on(weir_sim::live(&bench, seed, &settings)));
    lives.filter_map(Result::err).map(|failure| failure.broken.promise).collect()
}

fn assert_found(promise: &'static str, sql: &'static str) {
    let found = found(sql);
    assert!(found.contains(promise), "{found:?}");
}

#[test]
fn a_store_that_loses_an_event_breaks_inv_1() {
    assert_found("INV-1", "DELETE FROM event WHERE n = (SELECT min(n) FROM event)");
    assert_found("INV-1", "DELETE FROM delivery WHERE n = (SELECT min(n) FROM delivery)");
}

#[test]
fn rows_that_say_two_things_of_a_delivery_break_inv_2() {
    // The store's own check refuses such a file at the next start.
    assert_found("soundness", "UPDATE delivery SET due_at = 5 WHERE state = 3");
    let none = BTreeSet::new();
    let told = ["it is processed, and due".to_owned()];
    let broken = invariants::each_delivery_is_in_one_state(&World::default(), &none, &none, &told);
    assert_eq!(broken.unwrap_err().promise, "INV-2");
}

#[test]
fn half_a_settlement_breaks_inv_3() {
    assert_found("INV-3", "DELETE FROM state");
    assert_found("INV-3", "UPDATE delivery SET state = 0, attempts = 0 WHERE state = 3");
    assert_found("INV-3", "UPDATE event SET type = 'other' WHERE outward IS NOT NULL");
}

#[test]
fn a_settlement_that_was_overtaken_and_is_applied_breaks_inv_4() {
    let broken = invariants::fenced("s1", Settles::Superseded, Settles::Applied).unwrap_err();
    assert_eq!(broken.promise, "INV-4");
    let refused = invariants::fenced("s1", Settles::Applied, Settles::Superseded).unwrap_err();
    assert_eq!(refused.promise, "INV-4");
}

#[test]
fn an_outward_id_that_changes_or_is_used_twice_breaks_inv_5() {
    let saying = |body: &str| (1, "orders".into(), "ops".into(), "text".into(), body.into(), 0);
    let mut ledger = Ledger::default();
    ledger.note(saying("a"), 1).unwrap();
    ledger.note(saying("a"), 1).unwrap();
    assert_eq!(ledger.note(saying("a"), 2).unwrap_err().promise, "INV-5");
    assert_eq!(ledger.note(saying("b"), 1).unwrap_err().promise, "INV-5");
    let other = invariants::a_message_keeps_its_id("m", (1, b"a"), (1, b"b"));
    assert_eq!(other.unwrap_err().promise, "INV-5");
}

#[test]
fn a_key_that_is_forgotten_breaks_inv_6() {
    assert_found("INV-6", "UPDATE event SET key = NULL");
    let (first, second) = (Stored::DuplicateOf("s1".into()), Stored::DuplicateOf("s2".into()));
    assert!(invariants::a_duplicate_names_the_first(&first, &second).is_err());
    let alive = BTreeMap::new();
    invariants::once_in(&World::default(), &alive).unwrap();
}

#[test]
fn rows_that_contradict_each_other_are_found_at_the_next_start() {
    assert_found("soundness", "DELETE FROM payload WHERE n = (SELECT max(n) FROM payload)");
}
