//! Acts of operators on a handler's state and name.

use rusqlite::{Connection, OptionalExtension, params};
use weir_core::name::{HandlerName, SourceName, Target};

use crate::handler_state::{HandlerRename, HandlerRenamed, StateChange, StateChanged};
use crate::hold::HoldScope;
use crate::registry::EntryKind;
use crate::sqlite::engine::group::{WriteError, Writing};
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::write::{registry, state};

/// Writes a handler's state within its quota.
pub(crate) fn change(
    writing: &mut Writing<'_>,
    change: &StateChange,
) -> Result<StateChanged, WriteError> {
    let StateChange { handler, writes, quota } = change;
    let handler = writing.name(&target_of(handler))?;
    match state::growth(writing.conn, handler, writes, *quota)? {
        Err(wanted) => Ok(StateChanged::Full(wanted)),
        Ok(_) => {
            state::write(writing, handler, writes)?;
            Ok(StateChanged::Written(state::size(writing.conn, handler)?))
        }
    }
}

/// Removes some keys with a prefix.
pub(crate) fn clear(
    writing: &mut Writing<'_>,
    handler: &HandlerName,
    prefix: &str,
    limit: usize,
) -> Result<usize, WriteError> {
    let Some(handler) = writing.shared.names.find(&target_of(handler)) else { return Ok(0) };
    Ok(state::remove_some(writing, handler, prefix, limit)?)
}

/// Renames a handler. State, deliveries, keyed effects and roll-ups refer to it by the number of
/// its name, so that the name alone changes.
pub(crate) fn rename(
    writing: &mut Writing<'_>,
    rename: &HandlerRename,
) -> Result<HandlerRenamed, WriteError> {
    let HandlerRename { from, to, entry } = rename;
    let Some(known) = registry::get(writing.conn, EntryKind::Handler, from.as_str())? else {
        return Ok(HandlerRenamed::Unknown);
    };
    let is_taken = registry::get(writing.conn, EntryKind::Handler, to.as_str())?.is_some();
    let [old, new] = [from, to].map(target_of);
    let new_state = match writing.shared.names.find(&new) {
        Some(name) => state::size(writing.conn, name)?.keys > 0,
        None => false,
    };
    if is_taken || new_state {
        return Ok(HandlerRenamed::Taken);
    }
    registry::cas(writing, EntryKind::Handler, from.as_str(), Some(known.version), None)?;
    registry::cas(writing, EntryKind::Handler, to.as_str(), None, Some(entry.clone()))?;
    move_breaker(writing, &old, &new)?;
    move_holds(writing, from, to)?;
    let names: Vec<_> = names_of(from).into_iter().zip(names_of(to)).collect();
    for (old, new) in &names {
        swap_names(writing.conn, old, new)?;
    }
    writing.post_commit.on_commit.push(Box::new(move |shared: &Shared| {
        for (old, new) in &names {
            shared.names.swap(old, new);
        }
    }));
    Ok(HandlerRenamed::Done)
}

/// The names of a handler: as a target, and as the source of what it emits.
pub(crate) fn names_of(handler: &HandlerName) -> [String; 2] {
    [target_of(handler), SourceName::emitted_by(handler).to_string()]
}

fn target_of(handler: &HandlerName) -> String {
    Target::Handler(handler.clone()).to_string()
}

fn move_breaker(writing: &mut Writing<'_>, old: &str, new: &str) -> Result<(), WriteError> {
    let Some(breaker) = registry::get(writing.conn, EntryKind::Breaker, old)? else {
        return Ok(());
    };
    let before = registry::get(writing.conn, EntryKind::Breaker, new)?.map(|entry| entry.version);
    registry::cas(writing, EntryKind::Breaker, old, Some(breaker.version), None)?;
    registry::cas(writing, EntryKind::Breaker, new, before, breaker.value)?;
    Ok(())
}

fn move_holds(
    writing: &mut Writing<'_>,
    from: &HandlerName,
    to: &HandlerName,
) -> rusqlite::Result<()> {
    let pairs = [
        (HoldScope::Handler(from.clone()), HoldScope::Handler(to.clone())),
        (
            HoldScope::Source(SourceName::emitted_by(from)),
            HoldScope::Source(SourceName::emitted_by(to)),
        ),
    ];
    for (old, new) in &pairs {
        writing
            .conn
            .prepare_cached("UPDATE hold SET scope = ?2 WHERE scope = ?1")?
            .execute(params![old.to_string(), new.to_string()])?;
    }
    writing.post_commit.on_commit.push(Box::new(move |shared: &Shared| {
        for (hold, _) in shared.holds.lock().in_force.values_mut() {
            for (old, new) in &pairs {
                if hold.hold.scope == *old {
                    hold.hold.scope = new.clone();
                }
            }
        }
    }));
    Ok(())
}

/// Exchanges two texts. The new one may be there from a handler that is gone, whose past then
/// carries the old name.
fn swap_names(conn: &Connection, old: &str, new: &str) -> rusqlite::Result<()> {
    let number = |text: &str| -> rusqlite::Result<Option<i64>> {
        conn.prepare_cached("SELECT n FROM name WHERE text = ?1")?
            .query_row([text], |row| row.get(0))
            .optional()
    };
    let (first, second) = (number(old)?, number(new)?);
    let mut set = conn.prepare_cached("UPDATE name SET text = ?2 WHERE n = ?1")?;
    if let Some(second) = second {
        set.execute(params![second, "\u{1}"])?;
    }
    if let Some(first) = first {
        set.execute(params![first, new])?;
    }
    if let Some(second) = second {
        set.execute(params![second, old])?;
    }
    Ok(())
}
