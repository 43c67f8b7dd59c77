//! Alerts in the form of the service that a destination belongs to. Pure.

use bytes::Bytes;
use weir_core::alert::format::AlertFormat;
use zeroize::Zeroizing;

use crate::config::AlertStyle;

/// Makes documents of alerts for one service.
#[derive(Debug, Clone)]
pub(crate) struct StyledAlerts {
    format: AlertFormat,
    routing_key: Option<Zeroizing<String>>,
    /// The URL of the console, if people can open it.
    console: Option<String>,
}

impl StyledAlerts {
    pub(crate) fn new(style: &AlertStyle, console: Option<&str>) -> Self {
        let key = style
            .routing_key
            .as_ref()
            .map(|key| Zeroizing::new(String::from_utf8_lossy(key.expose()).into_owned()));
        Self { format: style.format, routing_key: key, console: console.map(str::to_owned) }
    }

    /// The document for an alert; none if it is not JSON.
    pub(crate) fn document(&self, alert: &[u8]) -> Option<Bytes> {
        let alert = serde_json::from_slice(alert).ok()?;
        let key = self.routing_key.as_ref().map(|key| key.as_str());
        let document = self.format.document(&alert, self.console.as_deref(), key);
        Some(document.to_string().into())
    }
}
