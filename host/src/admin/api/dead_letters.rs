//! `/api/v1/dead-letters`: deliveries that were given up, and making them due again.

use serde_json::json;
use weir_core::delivery::DeliveryState;
use weir_store::query::DeliveryDetail;
use weir_store::upkeep::{ReplayRequest, ReplaySelection};

use super::seek::{self, IdMatch};
use super::{
    AdminService, ApiError, ApiResult, Id, ServiceState, StatusCode, Uri, any_id, json, query,
};

/// Dead letters, newest first.
pub(in crate::admin) async fn list(hub: ServiceState, uri: Uri) -> ApiResult {
    let (filter, page) = query::dead_letters(uri.query(), hub.clock.now())?;
    let (source, target) = (filter.of.source.clone(), filter.target.clone());
    let found = hub.store.deliveries(filter, page).await?;
    if found.items.is_empty() {
        hub.must_know(source.as_ref(), target.as_ref()).await?;
    }
    json::answer(StatusCode::OK, &found)
}

/// One dead letter with its attempts.
pub(in crate::admin) async fn show(hub: ServiceState, path: Id, uri: Uri) -> ApiResult {
    query::none(uri.query())?;
    let delivery = find(&hub, &any_id(path)).await?;
    json::answer(StatusCode::OK, &delivery)
}

/// Makes one dead letter due again, with all its attempts before it.
pub(in crate::admin) async fn requeue(hub: ServiceState, path: Id, uri: Uri) -> ApiResult {
    query::none(uri.query())?;
    let delivery = find(&hub, &any_id(path)).await?;
    // The generation that is dead names the act, so that two people who press at once do it once.
    let request = format!("requeue:{}:{}", delivery.id, delivery.generation);
    let what = ReplaySelection::Delivery(delivery.id);
    let redriven =
        hub.store.replay(ReplayRequest { what, limit: 1, request, new_ids: false }).await?;
    if !redriven.deliveries.contains(&delivery.id) {
        return Err(not_dead("it is being requeued already"));
    }
    tracing::info!(delivery = %delivery.id, target = %delivery.target, "dead letter requeued");
    json::answer(StatusCode::OK, &json!({ "requeued": redriven.deliveries }))
}

async fn find(hub: &AdminService, id: &str) -> Result<DeliveryDetail, ApiError> {
    let delivery = match seek::seek(hub, id).await {
        Ok(IdMatch::Delivery { delivery, .. }) => hub.store.delivery(delivery).await?,
        Ok(_) => {
            let detail = "this is not the id of a delivery; `weir events ID` shows the deliveries of an event";
            return Err(ApiError::new(StatusCode::BAD_REQUEST, "invalid_id", detail));
        }
        Err(problem) if problem.code() == "event_not_found" => None,
        Err(problem) => return Err(problem),
    };
    let Some(delivery) = delivery else {
        let detail = "there is no delivery with this id; it may be past its retention";
        return Err(ApiError::not_found("dead_letter_not_found", detail));
    };
    match delivery.state {
        DeliveryState::DeadLetter => Ok(delivery),
        state => Err(not_dead(&format!("it is {state}"))),
    }
}

fn not_dead(why: &str) -> ApiError {
    let detail = format!("this delivery is not a dead letter: {why}");
    ApiError::new(StatusCode::CONFLICT, "not_a_dead_letter", detail)
}
