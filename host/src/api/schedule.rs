//! `/api/v1/schedules`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_core::time::Timestamp;

use super::schema;

/// A schedule: the hub emits an event of the source `schedule` at its times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScheduleView {
    /// Its name, which is the type of its events.
    pub name: String,
    /// Its times: a cron expression, or `every` and a period.
    pub timing: String,
    /// The rule for times while the hub was not running: `once`, `all` or `skip`.
    pub missed: String,
    /// The time of the next event.
    #[schema(value_type = Option<schema::TimestampText>)]
    pub next: Option<Timestamp>,
}
