//! Claims that never end, because their deliveries can be neither read nor settled.

use super::{Due, NameId};

impl Due {
    /// Keeps a claim even after its guard is dropped.
    pub(crate) fn set_aside(&mut self, n: i64, token: u64) {
        if let Some(claim) = self.claims.get_mut(&n).filter(|c| c.token == token) {
            claim.token = 0;
        }
    }

    /// Keeps any claim on a delivery. Returns its target.
    pub(crate) fn keep_claimed(&mut self, n: i64) -> Option<NameId> {
        let claim = self.claims.get_mut(&n)?;
        claim.token = 0;
        Some(claim.queue_key.target)
    }
}
