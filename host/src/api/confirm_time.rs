//! `POST /api/v1/time/confirm`.

use serde::{Deserialize, Serialize};
use weir_core::time::Timestamp;

/// The time that the operator confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfirmTimeAnswer {
    pub time: Timestamp,
}
