//! Suspects: deliveries whose last run the hub did not survive. They are claimed before other
//! handlers' deliveries, one at a time and alone, so that another death has one possible cause.

use std::collections::BTreeMap;

use weir_core::time::Timestamp;

use super::{ActiveClaim, Due, DueEntry, QueueKey, TakenDelivery};
use crate::sqlite::format::names::NameId;

/// Suspects by delivery, in the order in which they are claimed.
pub(crate) type Suspects = BTreeMap<i64, (QueueKey, DueEntry)>;

/// Deliveries that handlers may claim now.
#[derive(Debug)]
pub(crate) enum HandlerTurn {
    /// All due deliveries.
    Any,
    /// Only this suspect.
    Suspect(Box<TakenDelivery>),
    /// None: a suspect is claimed, or waits for earlier claims to end.
    Wait,
}

impl Due {
    pub(crate) fn suspect(&mut self, queue_key: QueueKey, entry: DueEntry) {
        self.suspects.insert(entry.n, (queue_key, entry));
    }

    pub(crate) fn suspects(&self) -> usize {
        self.suspects.len()
    }

    /// Removes a suspect. True if it was one, so that others may be claimed.
    pub(crate) fn clear_suspect(&mut self, n: i64) -> bool {
        let was = self.suspects.remove(&n).is_some();
        if was {
            self.announce_again();
        }
        was
    }

    /// The turn among the handlers that ask. A suspect waits until all other runs of handlers have
    /// ended.
    pub(crate) fn turn(
        &mut self,
        asking: &[NameId],
        is_handler: impl Fn(NameId) -> bool,
        now: Timestamp,
    ) -> HandlerTurn {
        // An unreadable suspect is claimed for good, and must not stop the others.
        let claimed = |n: &i64| self.claims.get(n).is_some_and(|claim| claim.token != 0);
        if self.suspects.keys().any(claimed) {
            return HandlerTurn::Wait;
        }
        let may_run = |(n, (queue_key, entry)): &(&i64, &(QueueKey, DueEntry))| {
            let in_order = entry
                .order_key
                .as_ref()
                .is_none_or(|k| self.head(queue_key.target, k) == Some(**n));
            asking.contains(&queue_key.target)
                && entry.due_at.is_none_or(|at| at <= now)
                && !self.claims.contains_key(*n)
                && !self.is_held(*queue_key)
                && in_order
        };
        let Some((queue_key, entry)) =
            self.suspects.iter().find(may_run).map(|(_, found)| found.clone())
        else {
            return HandlerTurn::Any;
        };
        if self.claims.values().any(|claim| claim.token != 0 && is_handler(claim.queue_key.target))
        {
            return HandlerTurn::Wait;
        }
        let line = self.targets.entry(queue_key.target).or_default().line(queue_key.source);
        if let Some(at) = entry.due_at {
            line.late.remove(&(at, entry.n));
        }
        let token = self.next_token;
        self.next_token += 1;
        self.claims
            .insert(entry.n, ActiveClaim { token, queue_key, entry: entry.clone(), event: None });
        HandlerTurn::Suspect(Box::new(TakenDelivery { queue_key, entry, token }))
    }

    /// Announces all waiting work again.
    pub(crate) fn announce_again(&mut self) {
        for queue in self.targets.values_mut() {
            queue.announced = [0; 2];
        }
    }
}
