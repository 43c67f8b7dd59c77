//! The events of a source that the hub has.

use std::collections::HashSet;

use serde_json::Value;
use weir_core::time::Timestamp;

use super::Task;
use crate::api::params::{Cursor, Limit, PointInTime};
use crate::api::{EventView, EventsQuery, ExportPage, ExportQuery, ListPage};
use crate::cli::error::CommandError;
use crate::cli::exported::event_of;

/// Milliseconds before the period in which events of it may have been received: clocks differ.
const MARGIN_MS: u64 = 60 * 60 * 1_000;
/// Most pages of the hub that are read.
const PAGES_MAX: usize = 20_000;

impl Task<'_> {
    fn from(&self) -> PointInTime {
        let from = self.since.as_millis().saturating_sub(MARGIN_MS);
        PointInTime::At(Timestamp::from_millis(from))
    }

    /// The sender's ids of the events that the hub has received in the period.
    pub(super) async fn known_ids(&self) -> Result<HashSet<String>, CommandError> {
        let (mut ids, mut cursor) = (HashSet::new(), None::<Cursor>);
        for _ in 0..PAGES_MAX {
            let query = EventsQuery {
                source: vec![self.source.clone()].into(),
                since: Some(self.from()),
                limit: Some(Limit::clamped(Limit::MAX)),
                cursor: cursor.take(),
                ..EventsQuery::default()
            };
            let page: ListPage<EventView> = self.hub.query("/api/v1/events", &query).await?;
            ids.extend(page.items.into_iter().filter_map(|event| event.delivery_id));
            cursor = page.next.and_then(|next| next.parse().ok());
            if cursor.is_none() {
                return Ok(ids);
            }
        }
        Err(too_many())
    }

    /// Looks at the type and the body of each event that the hub has received in the period.
    pub(super) async fn each_known(
        &self,
        mut look: impl FnMut(&str, &Value),
    ) -> Result<(), CommandError> {
        let mut cursor = None::<Cursor>;
        for _ in 0..PAGES_MAX {
            let query = ExportQuery {
                source: Some(self.source.clone()),
                since: Some(self.from()),
                limit: Some(Limit::clamped(Limit::MAX)),
                cursor: cursor.take(),
                ..ExportQuery::default()
            };
            let page: ExportPage = self.hub.query("/api/v1/events/export", &query).await?;
            for event in page.items {
                let event = event_of(event)?;
                let body = serde_json::from_slice(&event.payload.body).unwrap_or_default();
                look(event.kind.as_str(), &body);
            }
            cursor = page.next.and_then(|next| next.parse().ok());
            if cursor.is_none() {
                return Ok(());
            }
        }
        Err(too_many())
    }
}

fn too_many() -> CommandError {
    CommandError::Usage("the hub has too many events in this period; look back less far".into())
}
