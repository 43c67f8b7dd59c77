//! Holds in force, in memory beside their rows, so that a claim reads no table.

use std::collections::BTreeMap;

use rusqlite::Connection;
use weir_core::name::{DestinationName, HandlerName, SourceName, Target};

use crate::hold::{Hold, HoldId, HoldScope, NewHold};
use crate::sqlite::format::names::{NameId, Names};
use crate::sqlite::format::num;
use crate::sqlite::memory::due::{Due, HeldKey};

#[derive(Debug, Default)]
pub(crate) struct Holds {
    pub(crate) in_force: BTreeMap<HoldId, (Hold, HeldKey)>,
}

/// The name of a scope.
pub(crate) fn name_of(scope: &HoldScope) -> String {
    match scope {
        HoldScope::Hub => scope.to_string(),
        HoldScope::Source(source) => source.to_string(),
        HoldScope::Handler(handler) => Target::Handler(handler.clone()).to_string(),
        HoldScope::Destination(destination) => Target::Destination(destination.clone()).to_string(),
    }
}

pub(crate) fn held(scope: &HoldScope, name: NameId) -> HeldKey {
    match scope {
        HoldScope::Hub => HeldKey::Hub,
        HoldScope::Source(_) => HeldKey::Source(name),
        HoldScope::Handler(_) | HoldScope::Destination(_) => HeldKey::Target(name),
    }
}

pub(crate) fn parse(scope: &str) -> Option<HoldScope> {
    if scope == HoldScope::Hub.to_string() {
        return Some(HoldScope::Hub);
    }
    match scope.split_once(':')? {
        ("source", name) => Some(HoldScope::Source(SourceName::stored(name))),
        ("handler", name) => HandlerName::new(name).ok().map(HoldScope::Handler),
        ("destination", name) => DestinationName::new(name).ok().map(HoldScope::Destination),
        _ => None,
    }
}

impl Holds {
    pub(crate) fn load(conn: &Connection, names: &Names, due: &mut Due) -> rusqlite::Result<Self> {
        let mut holds = Self::default();
        let mut statement =
            conn.prepare("SELECT n, scope, reason, placed_by, placed_at, until FROM hold")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let scope: String = row.get(1)?;
            let Some(scope) = parse(&scope) else { continue };
            let Some(name) = names.find(&name_of(&scope)) else { continue };
            let held = held(&scope, name);
            let id = HoldId(num::count(row.get(0)?));
            let hold = NewHold {
                scope,
                reason: row.get::<_, String>(2)?.into(),
                by: row.get::<_, String>(3)?.into(),
                until: row.get::<_, Option<i64>>(5)?.map(num::time),
            };
            due.hold(held);
            holds.in_force.insert(id, (Hold { id, hold, at: num::time(row.get(4)?) }, held));
        }
        Ok(holds)
    }
}
