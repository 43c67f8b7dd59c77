//! `/api/v1/events/live`: server-sent events.
//!
//! The next frame is made when the reader has taken the one before, so that a slow reader gets
//! fewer rows and nothing is kept for it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use http::{HeaderMap, HeaderValue};

use super::{ApiError, Query, Service};
use crate::admin::query::QueryError;
use crate::admin::service::AdminService;
use crate::admin::service::live::LiveEvents;
use crate::api::params::Cursor;
use crate::api::{LiveFrame, LiveQuery};

/// Time between two frames.
const FRAME_TIME: Duration = Duration::from_millis(500);
/// The time after which a browser connects again.
const RECONNECT: Duration = Duration::from_secs(1);

/// New events as they are stored, with at most 20 rows and the exact count every half second. The
/// `id` of a frame is the `Last-Event-ID` from which another stream goes on.
#[utoipa::path(
    get,
    path = "/api/v1/events/live",
    tag = "events",
    params(
        LiveQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last frame")
    ),
    responses((
        status = 200,
        body = LiveFrame,
        content_type = "text/event-stream",
        description = "Events named `events`, each with a frame as its data"
    ))
)]
pub(super) async fn live(
    service: Service,
    headers: HeaderMap,
    Query(query): Query<LiveQuery>,
) -> Result<Response, ApiError> {
    let invalid = |why: String| QueryError::invalid("Last-Event-ID", why);
    let after = headers.get("last-event-id").map(HeaderValue::to_str).transpose();
    let after = after.map_err(|_| invalid("give the id of a frame".to_owned()))?;
    let after = after.filter(|id| !id.is_empty()).map(str::parse::<Cursor>).transpose();
    let after = after.map_err(|why| invalid(why.to_string()))?;
    let live = service.live_events(query, after).await?;
    let tail = Tail { service: service.0.clone(), live, headers, is_first: true };
    let frames = stream::unfold(tail, async |mut tail| Some((Ok(tail.next().await?), tail)));
    Ok(streamed(frames))
}

/// An answer of these frames, which no proxy may keep back.
pub(super) fn streamed<S>(frames: S) -> Response
where
    S: stream::Stream<Item = Result<Event, Infallible>> + Send + 'static,
{
    let frames = Sse::new(frames).keep_alive(KeepAlive::default());
    let mut response = frames.into_response();
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// A live list with what it needs.
struct Tail {
    service: Arc<AdminService>,
    live: LiveEvents,
    /// Those of the request, with the proof of its client.
    headers: HeaderMap,
    is_first: bool,
}

impl Tail {
    /// The next frame; none in a drain, when the store fails, and when the client's token or
    /// session has ended.
    async fn next(&mut self) -> Option<Event> {
        if std::mem::take(&mut self.is_first) {
            // What is there is sent at once, and otherwise where to go on.
            let frame = self.service.live_frame(&mut self.live).await.ok()?;
            let cursor = self.live.cursor().to_owned();
            let frame = frame.unwrap_or(LiveFrame { cursor, ..LiveFrame::default() });
            return event(&frame).map(|event| event.retry(RECONNECT));
        }
        loop {
            tokio::select! {
                () = self.service.drain.claiming_stopped() => return None,
                () = tokio::time::sleep(FRAME_TIME) => {}
            }
            if !self.service.identity.still_knows(&self.headers).await {
                return None;
            }
            match self.service.live_frame(&mut self.live).await {
                Ok(Some(frame)) => return event(&frame),
                Ok(None) => {}
                Err(error) if error.is_transient() => {}
                Err(_) => return None,
            }
        }
    }
}

fn event(frame: &LiveFrame) -> Option<Event> {
    let data = super::json_bytes(frame).ok()?;
    let data = std::str::from_utf8(&data).ok()?.trim_end();
    Some(Event::default().event("events").id(&frame.cursor).data(data))
}
