//! Names that many rows share, stored as small numbers: sources, targets, schemes, secrets,
//! versions.
//!
//! The table is loaded at open and kept in memory. Only the writer adds to it, and removes what a
//! group added if its commit fails. Readers never see a row with a number that they cannot resolve.

use std::sync::Arc;

use parking_lot::RwLock;
use rusqlite::{Connection, params};
use rustc_hash::FxHashMap;

/// The number of a name.
pub(crate) type NameId = u32;

#[derive(Debug, Default)]
pub(crate) struct Names(RwLock<Inner>);

#[derive(Debug, Default)]
struct Inner {
    ids: FxHashMap<Arc<str>, NameId>,
    /// By number; numbers start at 1.
    texts: Vec<Arc<str>>,
}

impl Names {
    pub(crate) fn load(conn: &Connection) -> rusqlite::Result<Self> {
        let mut inner = Inner::default();
        let mut statement = conn.prepare("SELECT n, text FROM name ORDER BY n")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (id, text): (NameId, String) = (row.get(0)?, row.get(1)?);
            while inner.texts.len() + 1 < id as usize {
                inner.texts.push("".into());
            }
            inner.add(text.into());
        }
        Ok(Self(RwLock::new(inner)))
    }

    pub(crate) fn find(&self, text: &str) -> Option<NameId> {
        self.0.read().ids.get(text).copied()
    }

    /// The text of a stored number. An unknown number is the empty text, which is not a valid name.
    pub(crate) fn text(&self, id: NameId) -> Arc<str> {
        let inner = self.0.read();
        let index = (id as usize).wrapping_sub(1);
        inner.texts.get(index).cloned().unwrap_or_else(|| "".into())
    }

    /// The number of a name, which is added to the table if it is new. For the writer only, inside
    /// its transaction.
    pub(crate) fn intern(&self, conn: &Connection, text: &str) -> rusqlite::Result<NameId> {
        if let Some(id) = self.find(text) {
            return Ok(id);
        }
        let text: Arc<str> = text.into();
        let id = self.0.write().add(text.clone());
        conn.prepare_cached("INSERT INTO name (n, text) VALUES (?1, ?2)")?
            .execute(params![id, &*text])?;
        Ok(id)
    }

    /// Exchanges two texts, of which the second may have no number, after a commit that did the
    /// same. The first one still finds its number, until [`Names::end_alias`].
    pub(crate) fn swap(&self, first: &str, second: &str) {
        let mut inner = self.0.write();
        let [one, other] = [first, second].map(|text| inner.ids.get(text).copied());
        for (id, text) in [(one, second), (other, first)] {
            let slot = id.and_then(|id| inner.texts.get_mut((id as usize).wrapping_sub(1)));
            if let Some(slot) = slot {
                *slot = text.into();
            }
        }
        if let Some(one) = one {
            inner.ids.insert(second.into(), one);
        }
    }

    /// Lets a text find only the number that it is the text of.
    pub(crate) fn end_alias(&self, text: &str) {
        let mut inner = self.0.write();
        let own = inner.texts.iter().position(|known| **known == *text);
        match own.and_then(|index| NameId::try_from(index + 1).ok()) {
            Some(id) => inner.ids.insert(text.into(), id),
            None => inner.ids.remove(text),
        };
    }

    /// The number of names, for [`Names::forget_after`].
    pub(crate) fn mark(&self) -> usize {
        self.0.read().texts.len()
    }

    /// Removes the names that were added since the mark, after a rollback.
    pub(crate) fn forget_after(&self, mark: usize) {
        let mut inner = self.0.write();
        for text in inner.texts.split_off(mark) {
            inner.ids.remove(&text);
        }
    }
}

impl Inner {
    fn add(&mut self, text: Arc<str>) -> NameId {
        self.texts.push(text.clone());
        let id = NameId::try_from(self.texts.len()).unwrap_or(NameId::MAX);
        self.ids.insert(text, id);
        id
    }
}
