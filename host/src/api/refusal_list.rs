//! `/api/v1/refusals`. A refusal is shown as a [`super::RefusalView`].

use serde::{Deserialize, Serialize};
use weir_core::name::SourceName;

use super::params::Limit;

/// Filters the list of remembered refusals.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusalsQuery {
    pub source: Option<SourceName>,
    pub limit: Option<Limit>,
}
