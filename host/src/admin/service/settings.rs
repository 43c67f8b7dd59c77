//! The settings in force.

use super::AdminService;
use crate::admin::error::ApiError;
use crate::api::{SettingView, SettingsAnswer};

/// Tables that take effect as soon as the file is saved.
const RELOADED: [&str; 2] = ["sources.", "providers."];

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
                && !RELOADED.iter().any(|table| setting.key.starts_with(table)),
            key: setting.key,
            value: setting.value,
            line: setting.line,
        };
        Ok(SettingsAnswer { file, items: found.into_iter().map(view).collect() })
    }
}
