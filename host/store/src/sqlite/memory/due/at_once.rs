//! Claims that begin with the commit of their delivery, which never waits in a queue.

use super::{ActiveClaim, Due, DueEntry, QueueKey};

impl Due {
    /// A token for such a claim. None if the queue is on hold or a suspect goes first.
    pub(crate) fn may_claim_at_once(&mut self, queue_key: QueueKey) -> Option<u64> {
        if self.is_held(queue_key) || self.suspects() > 0 {
            return None;
        }
        let token = self.next_token;
        self.next_token += 1;
        Some(token)
    }

    /// Begins the claim of a delivery that is stored now.
    pub(crate) fn claim_at_once(&mut self, queue_key: QueueKey, mut entry: DueEntry, token: u64) {
        let event = entry.handoff.as_ref().map(|handoff| handoff.event.clone());
        if let Some(handoff) = &entry.handoff {
            match self.handoff_room.checked_sub(handoff.bytes()) {
                Some(left) => self.handoff_room = left,
                None => entry.handoff = None,
            }
        }
        self.claims.insert(entry.n, ActiveClaim { token, queue_key, entry, event });
    }
}
