//! The events of a backtest, a page at a time from the hub.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::sleep;
use weir_core::event::Event;
use weir_core::time::Clock as _;

use super::BacktestArgs;
use crate::api::params::{Cursor, Limit, PointInTime};
use crate::api::{ExportPage, ExportQuery};
use crate::cli::client::{AdminClient, ClientError};
use crate::cli::error::CommandError;
use crate::cli::exported::event_of;
use crate::runtime::clock::SystemClock;

/// Tries while the hub answers that it is busy, and the pause between two.
const BUSY_TRIES: usize = 30;
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// Reads events in the order in which they were stored.
pub(super) struct EventPages<'h> {
    hub: &'h AdminClient,
    query: ExportQuery,
    /// Events that the hub could not read.
    pub(super) unreadable: u64,
}

/// A page of events.
pub(super) struct NextPage {
    pub(super) events: Vec<Arc<Event>>,
    /// The cursor of the page after it.
    pub(super) cursor: Option<Cursor>,
}

impl<'h> EventPages<'h> {
    /// The events of a period that ends now, or before: those that arrive meanwhile do not count.
    pub(super) fn new(hub: &'h AdminClient, args: &BacktestArgs) -> Self {
        let now = SystemClock.now();
        let at = |moment: PointInTime| PointInTime::At(moment.resolve(now));
        let query = ExportQuery {
            source: args.source.clone(),
            since: Some(at(args.since)),
            until: Some(args.until.map_or(PointInTime::At(now), at)),
            sample: args.sample,
            limit: Some(Limit::clamped(Limit::MAX)),
            cursor: None,
        };
        Self { hub, query, unreadable: 0 }
    }

    pub(super) async fn next(&mut self, cursor: Option<Cursor>) -> Result<NextPage, CommandError> {
        let query = ExportQuery { cursor, ..self.query.clone() };
        let page = self.read(&query).await?;
        self.unreadable += page.unreadable;
        let cursor = page.next.and_then(|next| next.parse().ok());
        let events = page.items.into_iter().map(|event| event_of(event).map(Arc::new));
        Ok(NextPage { events: events.collect::<Result<_, _>>()?, cursor })
    }
}

impl EventPages<'_> {
    /// Reads a page. A hub that is busy is asked again.
    async fn read(&self, query: &ExportQuery) -> Result<ExportPage, CommandError> {
        for _ in 0..BUSY_TRIES {
            match self.hub.query("/api/v1/events/export", query).await {
                Err(ClientError::Refused { status, .. }) if is_busy(status) => {
                    sleep(BUSY_PAUSE).await;
                }
                page => return Ok(page?),
            }
        }
        Ok(self.hub.query("/api/v1/events/export", query).await?)
    }
}

/// True for an answer that only asks to wait.
fn is_busy(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}
