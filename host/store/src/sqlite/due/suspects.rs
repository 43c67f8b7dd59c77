//! Suspects: deliveries whose last run the host did not survive. They are claimed before other handlers' work, one
//! at a time, and nothing else of handlers is claimed meanwhile, so that another death has one possible cause.

use std::collections::BTreeMap;

use weir_core::time::Timestamp;

use super::{ActiveClaim, Due, Entry, Place, Taken};
use crate::sqlite::names::NameId;

/// By delivery, in the order in which they are tried.
pub(in crate::sqlite) type Suspects = BTreeMap<i64, (Place, Entry)>;

/// What there is to claim for handlers.
#[derive(Debug)]
pub(in crate::sqlite) enum Turn {
    /// Whatever is due.
    Anybodys,
    /// This one and nothing else.
    Suspects(Box<Taken>),
    /// Nothing: a suspect is claimed, or waits for what was claimed before it.
    Nobodys,
}

impl Due {
    pub(in crate::sqlite) fn suspect(&mut self, place: Place, entry: Entry) {
        self.suspects.insert(entry.n, (place, entry));
    }

    pub(in crate::sqlite) fn suspects(&self) -> usize {
        self.suspects.len()
    }

    /// It is like any other again. Returns whether it was one, and others may go on.
    pub(in crate::sqlite) fn clear_suspect(&mut self, n: i64) -> bool {
        let was = self.suspects.remove(&n).is_some();
        if was {
            self.announce_again();
        }
        was
    }

    /// Whose turn it is among the handlers that ask. A suspect waits until all other runs of handlers have ended.
    pub(in crate::sqlite) fn turn(
        &mut self,
        asking: &[NameId],
        is_handler: impl Fn(NameId) -> bool,
        now: Timestamp,
    ) -> Turn {
        // One that cannot be read is claimed for good, and must not stop the rest.
        let claimed = |n: &i64| self.claims.get(n).is_some_and(|claim| claim.token != 0);
        if self.suspects.keys().any(claimed) {
            return Turn::Nobodys;
        }
        let may_run = |(n, (place, entry)): &(&i64, &(Place, Entry))| {
            let in_order =
                entry.order_key.as_ref().is_none_or(|k| self.head(place.target, k) == Some(**n));
            asking.contains(&place.target)
                && entry.due_at.is_none_or(|at| at <= now)
                && !self.claims.contains_key(*n)
                && !self.is_held(*place)
                && in_order
        };
        let Some((place, entry)) =
            self.suspects.iter().find(may_run).map(|(_, found)| found.clone())
        else {
            return Turn::Anybodys;
        };
        if self.claims.values().any(|claim| claim.token != 0 && is_handler(claim.place.target)) {
            return Turn::Nobodys;
        }
        let line = self.targets.entry(place.target).or_default().line(place.source);
        if let Some(at) = entry.due_at {
            line.late.remove(&(at, entry.n));
        }
        let token = self.next_token;
        self.next_token += 1;
        self.claims
            .insert(entry.n, ActiveClaim { token, place, entry: entry.clone(), event: None });
        Turn::Suspects(Box::new(Taken { place, entry, token }))
    }

    /// Tells waiters of all there is once more.
    pub(super) fn announce_again(&mut self) {
        for queue in self.targets.values_mut() {
            queue.announced = [0; 2];
        }
    }
}
