//! Announces changes of a target's health: in the log, and as notices that become alerts.

use weir_core::breaker::BreakerChange;
use weir_core::name::Target;
use weir_core::time::Timestamp;

use super::flow_control::{BreakerRecord, FlowControl};
use crate::observe::notice::{Notice, Notices};

/// Announces a change of a target's breaker.
pub(super) fn announce(
    flow: &FlowControl,
    change: BreakerChange,
    notices: &Notices,
    now: Timestamp,
) {
    let target = &flow.target;
    match (change, flow.status(now).record) {
        (BreakerChange::Opened(_), Some(record)) => {
            let (reason, next_try) = (&record.reason, record.breaker.probe_at);
            tracing::warn!(
                %target, %reason, %next_try, "paused after failures, its deliveries wait"
            );
            notices.post(failing(target, record, now));
        }
        (BreakerChange::Reopened, Some(record)) => {
            let (reason, next_try) = (record.reason, record.breaker.probe_at);
            tracing::info!(%target, %reason, %next_try, "still failing");
        }
        (BreakerChange::Closed { opened_at }, _) => {
            let failed_for = now.since(opened_at);
            tracing::info!(%target, ?failed_for, "ok again, its deliveries are attempted");
            notices.post(match target.clone() {
                Target::Handler(handler) => {
                    Notice::HandlerReleased { handler, held_for: failed_for }
                }
                Target::Destination(destination) => {
                    Notice::DestinationOk { destination, at: now, failed_for }
                }
            });
        }
        // Another attempt, or another version of a handler, has closed the breaker since.
        (_, None) => {}
    }
}

fn failing(target: &Target, record: BreakerRecord, at: Timestamp) -> Notice {
    let (reason, next_try) = (record.reason, record.breaker.probe_at);
    match target.clone() {
        Target::Handler(handler) => Notice::HandlerHeld { handler, reason, at, next_try },
        Target::Destination(destination) => {
            Notice::DestinationFailing { destination, reason, at, next_try }
        }
    }
}
