//! The settings in force.

use super::AdminService;
use crate::admin::error::ApiError;
use crate::api::{SettingView, SettingsAnswer};

/// Tables that take effect as soon as the file is saved.
const RELOADED: [&str; 9] = [
    "sources.",
    "providers.",
    "route[",
    "schedule[",
    "handlers.",
    "destinations.",
    "defaults.",
    "alerts.",
    "retention.",
];
/// Settings of them that do not.
const RESTARTED: [&str; 7] = [
    "alerts.shapes",
    "alerts.alert_url",
    "alerts.format",
    "alerts.routing_key",
    "alerts.allow",
    "alerts.ca",
    "retention.hold_life",
];

impl AdminService {
    /// Every setting with the place that it comes from.
    pub(crate) async fn settings(&self) -> Result<SettingsAnswer, ApiError> {
        let settings = self.settings.clone();
        let file = settings.path().map(|path| path.display().to_string());
        let read = tokio::task::spawn_blocking(move || settings.now()).await;
        let failed = |why: String| {
            let detail = format!("the configuration file cannot be shown: {why}");
            ApiError::unavailable("settings_unreadable", detail)
        };
        let found = read.map_err(|error| failed(error.to_string()))?.map_err(failed)?;
        let view = |(setting, is_changed): (crate::config::EffectiveSetting, bool)| SettingView {
            after_restart: is_changed
                && (RESTARTED.iter().any(|key| setting.key.starts_with(key))
                    || !RELOADED.iter().any(|table| setting.key.starts_with(table))),
            key: setting.key,
            value: setting.value,
            line: setting.line,
        };
        Ok(SettingsAnswer { file, items: found.into_iter().map(view).collect() })
    }
}
