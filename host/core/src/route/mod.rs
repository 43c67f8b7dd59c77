//! Routing: the rules that bind events to targets, and the table that applies them to an event.
//!
//! `pattern` matches on source, type and category; `rule` adds a condition and an order key;
//! `table` decides on one event; `stored` is the text of tables and decisions in the store.

mod pattern;
mod rule;
mod stored;
mod table;

pub use pattern::{Glob, InvalidPattern, Pattern};
pub use rule::{Decision, Rule, RuleDecision};
pub use stored::{
    CorruptTable, NotDelivered, StoredRule, decisions_text, read_decisions, read_table, table_text,
};
pub use table::{RouteTable, RoutedTo, TableHash, deliveries};
