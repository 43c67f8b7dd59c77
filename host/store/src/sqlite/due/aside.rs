//! Claims that are kept for good, because their deliveries can be neither read nor settled.

use super::{Due, NameId};

impl Due {
    /// Keeps a claim for good, whatever happens to its guard.
    pub(in crate::sqlite) fn set_aside(&mut self, n: i64, token: u64) {
        if let Some(claim) = self.claims.get_mut(&n).filter(|c| c.token == token) {
            claim.token = 0;
        }
    }

    /// The same for any claim on a delivery. Returns its target.
    pub(in crate::sqlite) fn keep_claimed(&mut self, n: i64) -> Option<NameId> {
        let claim = self.claims.get_mut(&n)?;
        claim.token = 0;
        Some(claim.place.target)
    }
}
