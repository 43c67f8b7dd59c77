//! `/api/v1/refusals`. A refusal is shown as a [`super::RefusalView`].

use serde::{Deserialize, Serialize};
use utoipa::IntoParams;
use weir_core::name::SourceName;

use super::params::Limit;
use super::schema;

/// Filters the list of remembered refusals.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct RefusalsQuery {
    #[param(inline, value_type = Option<schema::SourceNameText>)]
    pub source: Option<SourceName>,
    #[param(inline)]
    pub limit: Option<Limit>,
}
