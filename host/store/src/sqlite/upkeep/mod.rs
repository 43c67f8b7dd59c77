//! Opening, checking and pruning a store. Imports all folders above.

pub(crate) mod backup;
pub(crate) mod check;
pub(crate) mod host_lost;
pub(crate) mod integrity;
pub(crate) mod integrity_checks;
pub(crate) mod prune;
pub(crate) mod rebuild;
