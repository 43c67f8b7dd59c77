//! The export of events: whole, in the order in which they were stored.

use weir_core::bounds::MIB;
use weir_core::event::{Event, Lineage};
use weir_store::query::{InOrderFilter, PageRequest};

use super::AdminService;
use super::views;
use crate::admin::error::ApiError;
use crate::api::params::Cursor;
use crate::api::{ExportPage, ExportQuery, ExportedEvent, LineageView};

/// Bytes of payloads on a page, if it has more than one event.
const PAGE_BYTES_MAX: usize = 4 * MIB;

impl AdminService {
    /// A page of events, oldest first.
    pub(crate) async fn export(&self, query: ExportQuery) -> Result<ExportPage, ApiError> {
        let ExportQuery { source, since, until, sample, limit, cursor } = query;
        self.check_names(source.as_ref(), None).await?;
        let now = self.clock.now();
        let filter = InOrderFilter {
            sources: source.into_iter().collect(),
            since: since.map(|moment| moment.resolve(now)),
            until: until.map(|moment| moment.resolve(now)),
            every: sample.unwrap_or(1),
        };
        let limit = limit.unwrap_or_default().get();
        let page = PageRequest { limit, after: cursor.map(Cursor::into_inner) };
        let found = self.store.events_in_order(filter, page, PAGE_BYTES_MAX).await?;
        Ok(ExportPage {
            items: found.events.iter().map(exported).collect(),
            unreadable: found.unreadable,
            next: found.next,
        })
    }
}

pub(super) fn exported(event: &Event) -> ExportedEvent {
    let lineage = |Lineage { root, parent, depth }| LineageView { root, parent, depth };
    ExportedEvent {
        id: event.id,
        outward_id: (event.public_id != event.id).then_some(event.public_id),
        source: event.source.clone(),
        kind: event.kind.clone(),
        category: event.category,
        delivery_id: event.delivery_id.as_deref().map(str::to_owned),
        received_at: event.received_at,
        lineage: event.lineage.map(lineage),
        payload: views::payload(&event.payload, usize::MAX),
    }
}
