//! Holds: the list, placing one, and releasing one.

use weir_store::hold::{Hold, HoldId, HoldScope, NewHold};

use super::{AdminService, Principal, ScopeError, views};
use crate::admin::error::ApiError;
use crate::api::params::{future_moment, reason};
use crate::api::{HoldView, HoldsQuery, ListPage, PlaceHoldBody};
use crate::delivery::breakers::{HUB, is_breaker_hold};

/// Most holds in force: every claim looks at each.
const HOLDS_MAX: usize = 1_000;

impl AdminService {
    /// Holds in force, oldest first, of one scope if the query names it.
    pub(crate) async fn holds(&self, query: HoldsQuery) -> Result<ListPage<HoldView>, ApiError> {
        let scope = query.scope.as_deref().map(str::parse::<HoldScope>).transpose();
        let scope = scope.map_err(ScopeError::Malformed)?;
        let holds = self.store.holds().await?;
        let is_meant = |held: &&Hold| scope.as_ref().is_none_or(|scope| held.hold.scope == *scope);
        let found: Vec<_> = holds.iter().filter(is_meant).map(views::hold).collect();
        // A name that left the configuration may still be held.
        if let (Some(text), true) = (&query.scope, found.is_empty()) {
            self.known_names().scope(text)?;
        }
        Ok(ListPage::whole(found))
    }

    /// The hold on the whole hub, if there is one.
    pub(crate) async fn hub_hold(&self) -> Option<Hold> {
        let holds = self.store.holds().await.unwrap_or_default();
        holds.into_iter().find(|held| held.hold.scope == HoldScope::Hub)
    }

    /// Places a hold.
    pub(crate) async fn place_hold(
        &self,
        body: PlaceHoldBody,
        by: Principal,
    ) -> Result<HoldView, ApiError> {
        let scope = body.scope.clone();
        let result = self.do_hold(body, by.clone()).await;
        self.recorded(&by, "hold", &scope, result).await
    }

    async fn do_hold(&self, body: PlaceHoldBody, by: Principal) -> Result<HoldView, ApiError> {
        let hold = self.new_hold(body, &by)?;
        if self.store.holds().await?.len() >= HOLDS_MAX {
            let detail = format!("there are {HOLDS_MAX} holds already; release some first");
            return Err(ApiError::conflict("too_many_holds", detail));
        }
        let id = self.store.hold(hold.clone()).await?;
        tracing::info!(hold = %id, scope = %hold.scope, reason = %hold.reason, %by, "hold placed");
        let placed = self.store.holds().await?.into_iter().find(|held| held.id == id);
        // It may have ended since.
        let placed = placed.unwrap_or_else(|| Hold { id, hold, at: self.clock.now() });
        Ok(views::hold(&placed))
    }

    fn new_hold(&self, body: PlaceHoldBody, by: &Principal) -> Result<NewHold, ApiError> {
        let scope = self.known_names().scope(&body.scope)?;
        let text = body.reason.unwrap_or_else(|| by.as_str().into());
        reason(&text)
            .map_err(|why| ApiError::bad_request("invalid_reason", format!("`reason`: {why}")))?;
        let until = body.until.map(|text| future_moment(&text, self.clock.now())).transpose();
        let until = until
            .map_err(|why| ApiError::bad_request("invalid_until", format!("`until`: {why}")))?;
        Ok(NewHold { scope, reason: text.into(), by: by.as_str().into(), until })
    }

    /// Releases a hold of an operator, or a breaker's: then one delivery is tried at once. The
    /// hub's other holds end when their cause is gone.
    pub(crate) async fn release_hold(
        &self,
        number: &str,
        by: Principal,
    ) -> Result<HoldView, ApiError> {
        let result = self.do_release(number, by.clone()).await;
        self.recorded(&by, "release", number, result).await
    }

    async fn do_release(&self, number: &str, by: Principal) -> Result<HoldView, ApiError> {
        let gone = || ApiError::not_found("hold_not_found", "there is no hold with this number");
        let number = number.parse().map(HoldId).map_err(|_| gone())?;
        let held = self.store.holds().await?.into_iter().find(|held| held.id == number);
        let held = held.ok_or_else(gone)?;
        let Hold { hold, .. } = &held;
        if &*hold.by == HUB && !is_breaker_hold(hold) {
            let detail = format!(
                "the hub itself holds {} ({}); the hold ends when the cause is gone",
                hold.scope, hold.reason
            );
            return Err(ApiError::conflict("held_by_the_hub", detail));
        }
        if !self.store.release(number).await? {
            return Err(gone());
        }
        tracing::info!(hold = %number, scope = %hold.scope, %by, "hold released");
        Ok(views::hold(&held))
    }
}
