//! Effects that wait under handlers' keys, and cancellations made before them.

use std::time::Duration;

use weir_core::delivery::DeliveryState;
use weir_core::time::Timestamp;

use super::{Keyed, Model};
use crate::world::Key;

impl Model {
    pub(super) fn is_untried(&self, delivery: &str) -> bool {
        let row = self.world.deliveries.get(delivery);
        row.is_some_and(|row| row.state == DeliveryState::Pending && row.attempts == 0)
    }

    pub(super) fn drop_waiting(&mut self, place: &(String, String)) {
        let Some(keyed) = self.keyed.get(place).cloned() else { return };
        for delivery in &keyed.deliveries {
            let still = self.hidden.get(delivery).is_some_and(|hidden| {
                hidden.keyed.as_ref().is_some_and(|(_, _, id)| *id == keyed.id)
            });
            if still && self.is_untried(delivery) && !self.claims.contains_key(delivery) {
                self.cancelled(delivery);
            }
        }
    }

    pub(super) fn cancelled(&mut self, delivery: &str) {
        if let Some(row) = self.world.deliveries.get_mut(delivery) {
            row.state = DeliveryState::Cancelled;
            row.due_at = None;
        }
    }

    pub(super) fn cancel(&mut self, handler: &str, key: &str, ahead_seconds: u32, now: Timestamp) {
        let place = (handler.to_owned(), key.to_owned());
        self.drop_waiting(&place);
        if ahead_seconds == 0 {
            self.tidy(handler, key);
            return;
        }
        let until = now.after(Duration::from_secs(ahead_seconds.into()));
        let id = self.take();
        let keyed =
            self.keyed.entry(place).or_insert(Keyed { id, deliveries: Vec::new(), until: None });
        keyed.until = Some(keyed.until.map_or(until, |earlier| earlier.max(until)));
        keyed.deliveries.clear();
    }

    /// Uses a key for a new effect. `Err` if an earlier cancellation drops it.
    pub(super) fn take_key(
        &mut self,
        handler: &str,
        key: Option<&str>,
        now: Timestamp,
    ) -> Result<Option<(String, String, u64)>, ()> {
        let Some(key) = key else { return Ok(None) };
        let place = (handler.to_owned(), key.to_owned());
        if self.keyed.get(&place).and_then(|k| k.until).is_some_and(|until| until > now) {
            return Err(());
        }
        self.drop_waiting(&place);
        let id = self.take();
        let fresh = Keyed { id, deliveries: Vec::new(), until: None };
        let keyed = self.keyed.entry(place).or_insert(fresh);
        (keyed.until, keyed.deliveries) = (None, Vec::new());
        Ok(Some((handler.to_owned(), key.to_owned(), keyed.id)))
    }

    pub(super) fn put_under(
        &mut self,
        under: &Result<Option<(String, String, u64)>, ()>,
        made: &[Key],
    ) {
        match under {
            Ok(None) => {}
            Ok(Some(under)) => {
                for delivery in made {
                    if let Some(hidden) = self.hidden.get_mut(delivery) {
                        hidden.keyed = Some(under.clone());
                    }
                }
                if let Some(keyed) = self.keyed.get_mut(&(under.0.clone(), under.1.clone())) {
                    keyed.deliveries = made.to_vec();
                }
            }
            Err(()) => made.iter().for_each(|delivery| self.cancelled(delivery)),
        }
    }

    pub(super) fn tidy(&mut self, handler: &str, key: &str) {
        let place = (handler.to_owned(), key.to_owned());
        let over = self.keyed.get(&place).is_some_and(|keyed| {
            keyed.until.is_none() && !keyed.deliveries.iter().any(|d| self.is_untried(d))
        });
        if over {
            self.keyed.remove(&place);
        }
    }
}
