//! Dead letters in bulk: their causes, and acts on a set that was counted before.
//!
//! There is no act on everything by omission: an act carries the fingerprint of the set that the
//! operator saw, and is refused once the set is another one.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};
use weir_core::delivery::DeliveryState;
use weir_core::id::DeliveryId;
use weir_core::name::Target;
use weir_store::query::{DeliveryDetail, DeliveryFilter, EventFilter, PageRequest};
use weir_store::upkeep::{ReplayRequest, ReplaySelection};

use super::{AdminService, Principal};
use crate::admin::error::ApiError;
use crate::admin::query::QueryError;
use crate::api::params::Limit;
use crate::api::{
    DeadLetterActAnswer, DeadLetterActBody, DeadLetterCause, DeadLetterCauses, DeadLetterSelection,
    DeadLetterSet, TargetShare,
};

/// Most dead letters that one act changes.
const SET_MAX: usize = 2_000;
/// Dead letters whose causes are counted: a page is answered in a few milliseconds.
const COUNTED_MAX: usize = 500;
/// Most causes that are listed.
const CAUSES_MAX: usize = 20;
/// Longest cause, in characters.
const CAUSE_CHARS: usize = 160;

/// The subject of an act on a set, for the audit log.
fn subject_of(selection: &DeadLetterSelection) -> String {
    match &selection.ids[..] {
        [] => selection.target.clone().unwrap_or_else(|| "all".to_owned()),
        [id] => id.clone(),
        ids => format!("{} dead letters", ids.len()),
    }
}

impl AdminService {
    /// The causes of the newest dead letters.
    pub(crate) async fn dead_letter_causes(&self) -> Result<DeadLetterCauses, ApiError> {
        let (found, is_whole) = self.newest_dead(None, COUNTED_MAX).await?;
        let mut groups: BTreeMap<(Target, String), Vec<&DeliveryDetail>> = BTreeMap::new();
        for dead in &found {
            let cause = cause_of(dead.reason.as_deref());
            groups.entry((dead.target.clone(), cause)).or_default().push(dead);
        }
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_by_key(|(_, members)| std::cmp::Reverse(members.len()));
        groups.truncate(CAUSES_MAX);
        let mut items = Vec::with_capacity(groups.len());
        for ((target, cause), members) in groups {
            // The newest come first.
            let (Some(newest), Some(oldest)) = (members.first(), members.last()) else { continue };
            let newest_attempt = self.last_attempt(newest.id).await?;
            let first = self.last_attempt(oldest.id).await?.map(|(at, _)| at);
            items.push(DeadLetterCause {
                target,
                cause,
                count: members.len(),
                example: newest.id,
                outcome: newest_attempt.map(|(_, outcome)| outcome),
                first,
                last: newest_attempt.map(|(at, _)| at),
            });
        }
        Ok(DeadLetterCauses { items, counted: found.len(), is_whole })
    }

    /// The state of every target that can take deliveries.
    async fn target_words(&self) -> BTreeMap<Target, &'static str> {
        let handlers = self.handlers().await.into_iter().filter(|view| view.state != "missing");
        let handlers = handlers.map(|view| (Target::Handler(view.name), view.health.as_str()));
        let destinations = self.destinations().await.into_iter();
        let destinations =
            destinations.map(|view| (Target::Destination(view.name), view.state.as_str()));
        handlers.chain(destinations).collect()
    }

    async fn last_attempt(
        &self,
        id: DeliveryId,
    ) -> Result<Option<(weir_core::time::Timestamp, weir_core::delivery::Outcome)>, ApiError> {
        let delivery = self.store.delivery(id).await?;
        let last = delivery.and_then(|delivery| delivery.history.into_iter().next_back());
        Ok(last.map(|attempt| (attempt.started_at, attempt.outcome)))
    }

    /// Counts the dead letters that a selection means now, and says what would follow.
    pub(crate) async fn dead_letter_set(
        &self,
        selection: &DeadLetterSelection,
    ) -> Result<DeadLetterSet, ApiError> {
        let (chosen, is_whole) = self.chosen(selection).await?;
        let states = self.target_words().await;
        let mut counts: BTreeMap<Target, usize> = BTreeMap::new();
        for dead in &chosen {
            *counts.entry(dead.target.clone()).or_default() += 1;
        }
        let share = |(target, count): (Target, usize)| {
            let state = states.get(&target).copied().unwrap_or("missing").to_owned();
            TargetShare { target, count, state }
        };
        let targets = counts.into_iter().map(share).collect();
        Ok(DeadLetterSet { set: fingerprint(&chosen), count: chosen.len(), is_whole, targets })
    }

    /// Makes the dead letters of a set due again.
    pub(crate) async fn requeue_set(
        &self,
        body: DeadLetterActBody,
        by: Principal,
    ) -> Result<DeadLetterActAnswer, ApiError> {
        let subject = subject_of(&body.selection);
        let result = self.do_requeue_set(body, by.clone()).await;
        self.recorded(&by, "requeue", &subject, result).await
    }

    async fn do_requeue_set(
        &self,
        body: DeadLetterActBody,
        by: Principal,
    ) -> Result<DeadLetterActAnswer, ApiError> {
        let ids = self.counted(&body).await?;
        let count = ids.len();
        // A second request with the same set does nothing: its members are the same generation.
        let request = format!("requeue-set:{}", body.set);
        let what = ReplaySelection::DeadOf(ids);
        let replay = ReplayRequest { what, limit: SET_MAX, request, new_ids: body.new_ids };
        let changed = self.store.replay(replay).await?.deliveries.len();
        tracing::info!(deliveries = changed, new_ids = body.new_ids, %by, "dead letters requeued");
        Ok(DeadLetterActAnswer { changed, skipped: count - changed.min(count) })
    }

    /// Discards the dead letters of a set: they stay stored as cancelled and are never sent.
    pub(crate) async fn discard_set(
        &self,
        body: DeadLetterActBody,
        by: Principal,
    ) -> Result<DeadLetterActAnswer, ApiError> {
        let subject = subject_of(&body.selection);
        let result = self.do_discard_set(body, by.clone()).await;
        self.recorded(&by, "discard", &subject, result).await
    }

    async fn do_discard_set(
        &self,
        body: DeadLetterActBody,
        by: Principal,
    ) -> Result<DeadLetterActAnswer, ApiError> {
        let ids = self.counted(&body).await?;
        let count = ids.len();
        let changed = self.store.discard(ids).await?.len();
        tracing::info!(deliveries = changed, %by, "dead letters discarded");
        Ok(DeadLetterActAnswer { changed, skipped: count - changed.min(count) })
    }

    /// The members of a set, if they are still those that were counted.
    async fn counted(&self, body: &DeadLetterActBody) -> Result<Vec<DeliveryId>, ApiError> {
        let (chosen, _) = self.chosen(&body.selection).await?;
        if chosen.is_empty() || fingerprint(&chosen) != body.set {
            let detail = format!(
                "the selection is another one than was counted: it has {} dead letters now; count \
                 them again",
                chosen.len()
            );
            return Err(ApiError::conflict("set_changed", detail));
        }
        Ok(chosen.into_iter().map(|dead| dead.id).collect())
    }

    async fn chosen(
        &self,
        selection: &DeadLetterSelection,
    ) -> Result<(Vec<DeliveryDetail>, bool), ApiError> {
        let target: Option<Target> = selection
            .target
            .as_deref()
            .map(str::parse)
            .transpose()
            .map_err(|why| QueryError::invalid("target", why))?;
        if !selection.ids.is_empty() {
            return Ok((self.dead_of(&selection.ids).await?, true));
        }
        if target.is_none() && selection.cause.is_none() {
            let detail = "choose dead letters by `target`, `cause` or `ids`";
            return Err(ApiError::bad_request("malformed", detail));
        }
        let (mut found, is_whole) = self.newest_dead(target, SET_MAX).await?;
        if let Some(cause) = &selection.cause {
            found.retain(|dead| cause_of(dead.reason.as_deref()) == *cause);
        }
        Ok((found, is_whole))
    }

    async fn dead_of(&self, ids: &[String]) -> Result<Vec<DeliveryDetail>, ApiError> {
        if ids.len() > Limit::MAX {
            let detail = format!("at most {} ids", Limit::MAX);
            return Err(ApiError::bad_request("malformed", detail));
        }
        let mut found = Vec::new();
        for id in ids {
            let id: DeliveryId = id.parse().map_err(|error| ApiError::invalid_id(&error))?;
            let dead = self.store.delivery(id).await?;
            found.extend(dead.filter(|dead| dead.state == DeliveryState::DeadLetter));
        }
        Ok(found)
    }

    /// The newest dead letters, and true if these are all.
    async fn newest_dead(
        &self,
        target: Option<Target>,
        most: usize,
    ) -> Result<(Vec<DeliveryDetail>, bool), ApiError> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let filter = DeliveryFilter {
                states: vec![DeliveryState::DeadLetter],
                targets: target.clone().into_iter().collect(),
                of: EventFilter::default(),
            };
            let page = PageRequest { limit: Limit::MAX, after };
            let page = self.store.deliveries(filter, page).await?;
            found.extend(page.items);
            after = page.next;
            if after.is_none() || found.len() >= most {
                return Ok((found, after.is_none()));
            }
        }
    }
}

/// Stands for exactly these dead letters in these generations.
fn fingerprint(set: &[DeliveryDetail]) -> String {
    let mut members: Vec<_> = set.iter().map(|dead| (dead.id.bits(), dead.generation)).collect();
    members.sort_unstable();
    let mut hash = Sha256::new();
    for (id, generation) in members {
        hash.update(id.to_be_bytes());
        hash.update(generation.to_be_bytes());
    }
    hex::encode(&hash.finalize()[..12])
}

/// A reason without what differs between failures of the same cause: numbers from four digits on,
/// and words with digits in them. A status of HTTP stays.
pub(crate) fn cause_of(reason: Option<&str>) -> String {
    let line = reason.and_then(|reason| reason.lines().next()).unwrap_or_default().trim();
    if line.is_empty() {
        return "no reason was recorded".to_owned();
    }
    let mut cause = String::new();
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let end = if is_word(c) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else {
            c.len_utf8()
        };
        let (word, after) = rest.split_at(end);
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        let is_number = digits == word.len() && digits >= 4;
        let is_id = digits > 0 && digits < word.len() && word.len() >= 6;
        let is_numbered = digits > 0 && cause.ends_with('#');
        cause.push_str(if is_number || is_id || is_numbered { "…" } else { word });
        rest = after;
    }
    cause.chars().take(CAUSE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_that_differ_in_numbers_have_one_cause() {
        for (reason, cause) in [
            ("HTTP 422: amount_minor is required", "HTTP 422: amount_minor is required"),
            ("order #4823 has no line items", "order #… has no line items"),
            ("no customer 90210 in cus_R2f81", "no customer … in …"),
            ("no such key: region\n  at book", "no such key: region"),
            ("  ", "no reason was recorded"),
        ] {
            assert_eq!(cause_of(Some(reason)), cause);
        }
        assert_eq!(cause_of(None), "no reason was recorded");
        assert_eq!(cause_of(Some(&"ä".repeat(999))).chars().count(), CAUSE_CHARS);
    }
}
