//! `/api/v1/settings`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The settings in force, with the place that each comes from. Secrets are masked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SettingsAnswer {
    /// The configuration file; null for development mode without a file.
    pub file: Option<String>,
    pub items: Vec<SettingView>,
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SettingView {
    /// Its key with those of its tables, such as `server.listen`.
    pub key: String,
    /// The value as it is written in TOML.
    pub value: String,
    /// The line of the file; null for a default.
    pub line: Option<usize>,
    /// True if the file was changed since the start, and the value needs a restart.
    pub after_restart: bool,
}
