//! Following events: whole ones in the order in which they were stored, from a cursor on. Unlike
//! the live list, nothing is left out. It reads the store a few times a second while it waits.

use std::time::Duration;

use http::HeaderMap;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use weir_core::bounds::MIB;
use weir_store::query::{InOrderFilter, PageRequest};

use super::AdminService;
use super::export::exported;
use crate::admin::error::ApiError;
use crate::api::params::Cursor;
use crate::api::{FollowPage, FollowQuery, FollowedEvent};

/// Longest wait for an event. A request has 15 s.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Bytes of payloads on a page, if it has more than one event.
const PAGE_BYTES_MAX: usize = 4 * MIB;

impl AdminService {
    /// The next events after a cursor. Waits for one if the query says so and there is none. The
    /// permit is for the payloads of the page. `headers` prove who asks.
    pub(crate) async fn follow(
        &self,
        query: FollowQuery,
        headers: &HeaderMap,
    ) -> Result<(FollowPage, OwnedSemaphorePermit), ApiError> {
        let FollowQuery { source, since, wait, limit, cursor } = query;
        self.check_sources(source.values()).await?;
        let now = self.clock.now();
        let first = cursor.is_none().then(|| since.map_or(now, |moment| moment.resolve(now)));
        let mut filter = InOrderFilter {
            sources: source.into_values(),
            since: first,
            ..InOrderFilter::default()
        };
        let limit = limit.unwrap_or_default().get();
        let mut page = PageRequest { limit, after: cursor.map(Cursor::into_inner) };
        // Without a place to wait, the answer comes at once.
        let waits = wait == Some(true) && page.after.is_some();
        let place = self.streams.clone().try_acquire_owned().ok().filter(|_| waits);
        let until = Instant::now() + WAIT_MAX;
        let mut newest = None;
        loop {
            let permit = self.payload_permit()?;
            let seen = self.newest_event().await?;
            if newest.is_none() || newest != Some(seen.clone()) {
                let found = self
                    .store
                    .events_in_order(filter.clone(), page.clone(), PAGE_BYTES_MAX)
                    .await?;
                let is_empty = found.events.is_empty() && found.unreadable == 0;
                let goes_on = is_empty && (place.is_some() || found.next.is_some());
                if !goes_on || Instant::now() >= until {
                    let cursors = found.cursors.into_iter();
                    let items = cursors.zip(found.events.iter());
                    let item = |(cursor, event)| FollowedEvent { cursor, event: exported(event) };
                    let items = items.map(item).collect();
                    let (unreadable, next) = (found.unreadable, found.reached);
                    return Ok((FollowPage { items, unreadable, next }, permit));
                }
                // A cursor is exact; the time was only for the first page.
                filter.since = None;
                page.after = Some(found.reached);
                newest = found.next.is_none().then_some(seen);
            }
            drop(permit);
            if newest.is_none() {
                continue;
            }
            let is_over = self.pause(until, headers).await;
            if is_over && let Some(next) = page.after.clone() {
                let nothing = FollowPage { next, ..FollowPage::default() };
                return Ok((nothing, self.payload_permit()?));
            }
        }
    }

    /// Waits before the next look. True if there is none: the time is over, the hub ends, or the
    /// token of the client is no longer valid.
    async fn pause(&self, until: Instant, headers: &HeaderMap) -> bool {
        tokio::select! {
            () = self.drain.claiming_stopped() => return true,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        Instant::now() >= until || !self.identity.still_knows(headers).await
    }
}
