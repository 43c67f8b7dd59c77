//! The live list of events: what is new since a cursor, a few rows at a time with the exact
//! count. It reads the store a few times a second and is no part of an event's path.

use tokio::sync::OwnedSemaphorePermit;
use weir_store::query::{EventFilter, PageRequest};

use super::{AdminService, views};
use crate::admin::error::ApiError;
use crate::admin::query::QueryError;
use crate::api::params::Cursor;
use crate::api::{EventsQuery, LiveFrame, LiveQuery};

/// Most rows of a frame: more cannot be read while they pass.
pub(crate) const ROWS_MAX: usize = 20;
/// Events that are read at once.
const PAGE: usize = 500;
/// Most pages of a frame. If more happened, the frame says that there is a gap.
const PAGES_MAX: usize = 4;
/// Most live lists at once: each reads the store twice a second.
pub(super) const STREAMS_MAX: usize = 16;

/// One reader's live list.
#[derive(Debug)]
pub(crate) struct LiveEvents {
    filter: EventFilter,
    /// Every event up to here was looked at.
    after: String,
    /// The newest event of all at the last look; nothing is new while it is the same.
    newest: Option<String>,
    _permit: OwnedSemaphorePermit,
}

impl AdminService {
    /// Begins a live list, after a cursor of another one or with what comes from now on.
    pub(crate) async fn live_events(
        &self,
        query: LiveQuery,
        after: Option<Cursor>,
    ) -> Result<LiveEvents, ApiError> {
        let permit = self.streams.clone().try_acquire_owned().map_err(|_| {
            let detail = format!("there are {STREAMS_MAX} live lists already; close one");
            ApiError::transient("too_many_streams", detail)
        })?;
        let LiveQuery { source, kind, category, status, handler, destination, key } = query;
        let query = EventsQuery {
            source,
            kind,
            category,
            status,
            handler,
            destination,
            key,
            ..EventsQuery::default()
        };
        self.check_names_of(&query).await?;
        let after = match after {
            Some(cursor) => {
                // A cursor of a page of older events would show what is not new.
                let is_live = |text: &String| text.starts_with('p');
                let not_live = || QueryError::invalid("Last-Event-ID", "give the id of a frame");
                Some(cursor.into_inner()).filter(is_live).ok_or_else(not_live)?
            }
            None => self.newest_event().await?.unwrap_or_else(|| BEGIN.to_owned()),
        };
        let filter = self.events_filter(&query);
        Ok(LiveEvents { filter, after, newest: None, _permit: permit })
    }

    /// The events since the last frame; none if there are none.
    pub(crate) async fn live_frame(
        &self,
        live: &mut LiveEvents,
    ) -> Result<Option<LiveFrame>, ApiError> {
        let newest = self.newest_event().await?;
        if newest == live.newest {
            return Ok(None);
        }
        live.newest = newest.clone();
        let mut frame = LiveFrame { rows: Vec::new(), count: 0, gap: true, cursor: String::new() };
        let mut after = live.after.clone();
        let mut latest = None;
        for _ in 0..PAGES_MAX {
            let request = PageRequest { limit: PAGE, after: Some(after.clone()) };
            let page = self.store.events(live.filter.clone(), request).await?;
            frame.count += page.items.len() as u64;
            let rows = page.items.iter().take(ROWS_MAX).map(views::event);
            frame.rows.splice(0..0, rows);
            frame.rows.truncate(ROWS_MAX);
            latest = page.newest.or(latest);
            match page.previous {
                Some(newer) => after = newer,
                None => {
                    frame.gap = false;
                    break;
                }
            }
        }
        // Events that came meanwhile may be on the page, but not before what was newest.
        let seen = if frame.gap { None } else { latest };
        live.after = seen.or(newest).unwrap_or(after);
        frame.cursor = live.after.clone();
        Ok((frame.count > 0 || frame.gap).then_some(frame))
    }

    /// The cursor after the newest event of all.
    pub(super) async fn newest_event(&self) -> Result<Option<String>, ApiError> {
        let request = PageRequest { limit: 1, after: None };
        Ok(self.store.events(EventFilter::default(), request).await?.newest)
    }
}

/// The cursor before every event.
const BEGIN: &str = "p0";

impl LiveEvents {
    /// The cursor from which a reader can go on.
    pub(crate) fn cursor(&self) -> &str {
        &self.after
    }
}
