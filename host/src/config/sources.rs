//! All sources of a configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_core::name::SourceName;

use super::source::Source;

pub type SourcesByName = BTreeMap<SourceName, Arc<Source>>;
