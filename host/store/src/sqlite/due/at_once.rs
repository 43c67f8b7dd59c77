//! Claims on what is only being stored: a delivery whose claim begins with its commit never waits in a queue.

use super::{ActiveClaim, Due, Entry, Place};

impl Due {
    /// A token for such a claim, unless what is stored at this place must wait like any other: it is on hold, or a
    /// suspect has to go first.
    pub(in crate::sqlite) fn may_claim_at_once(&mut self, place: Place) -> Option<u64> {
        if self.is_held(place) || self.suspects() > 0 {
            return None;
        }
        let token = self.next_token;
        self.next_token += 1;
        Some(token)
    }

    /// Begins the claim. Its delivery is stored by now.
    pub(in crate::sqlite) fn claim_at_once(&mut self, place: Place, mut entry: Entry, token: u64) {
        let event = entry.handoff.as_ref().map(|handoff| handoff.event.clone());
        if let Some(handoff) = &entry.handoff {
            match self.handoff_room.checked_sub(handoff.bytes()) {
                Some(left) => self.handoff_room = left,
                None => entry.handoff = None,
            }
        }
        self.claims.insert(entry.n, ActiveClaim { token, place, entry, event });
    }
}
