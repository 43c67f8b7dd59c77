//! `format` and `routing_key`: the service that alerts are made for, at a destination and at
//! `alert_url`.

use weir_core::alert::format::AlertFormat;
use weir_core::verify::Secret;

use super::context::LoadContext;
use super::secret;
use super::tree::Section;

/// The service that alerts are made for.
#[derive(Debug, Clone)]
pub struct AlertStyle {
    pub format: AlertFormat,
    /// The routing key of a PagerDuty service, which goes into the document.
    pub routing_key: Option<Secret>,
}

/// Reads `format` and `routing_key`.
pub(super) fn read(section: &mut Section<'_>, context: &LoadContext<'_>) -> Option<AlertStyle> {
    let word = section.maybe::<String>("format");
    let routing_key = secret::one(section, "routing_key", context);
    let Some(word) = word else {
        if section.has("routing_key") {
            section.problem("routing_key", "has no effect without format = \"pagerduty\"");
        }
        return None;
    };
    let Some(format) = AlertFormat::parse(&word) else {
        section.problem("format", "must be \"slack\", \"discord\", \"teams\" or \"pagerduty\"");
        return None;
    };
    let is_text = |key: &Secret| {
        std::str::from_utf8(key.expose()).is_ok_and(|key| key.bytes().all(|b| b.is_ascii_graphic()))
    };
    match (format, section.has("routing_key")) {
        (AlertFormat::PagerDuty, false) => {
            section.problem("routing_key", "is missing: the integration key of the service");
        }
        (AlertFormat::PagerDuty, true) if routing_key.as_ref().is_some_and(|key| !is_text(key)) => {
            section.problem("routing_key", "must be printable ASCII without spaces");
        }
        (AlertFormat::PagerDuty, true) => {}
        (_, true) => section.problem("routing_key", "has no effect without format = \"pagerduty\""),
        (_, false) => {}
    }
    Some(AlertStyle { format, routing_key })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::load::from_text;
    use crate::config::{Mode, TransportSettings};

    #[test]
    fn a_format_needs_a_routing_key_only_for_pagerduty() {
        let variable = |name: &str| (name == "PD").then(|| "R0UT1NG-KEY".into());
        let problems = |settings: &str| {
            let mut found = Vec::new();
            for table in [
                "[destinations.chat]\nkind = \"webhook\"\nurl = \"https://chat.example.com/\"\n",
                "[alerts]\nalert_url = \"https://chat.example.com/\"\n",
            ] {
                let text = format!("{table}{settings}\n");
                let read =
                    from_text("weir.toml", &text, Path::new(""), &variable, Mode::Production);
                let said = read.map(|_| ()).err().map(|errors| errors.problems).unwrap_or_default();
                let keys = said.into_iter().filter_map(|problem| {
                    problem.path.rsplit_once('.').map(|(_, key)| key.to_owned())
                });
                found.push(keys.collect::<Vec<_>>());
            }
            assert_eq!(found[0], found[1], "{settings}");
            found.remove(0)
        };
        let key = "routing_key = { env = \"PD\" }";
        for format in ["slack", "discord", "teams"] {
            assert!(problems(&format!("format = \"{format}\"")).is_empty(), "{format}");
            assert_eq!(problems(&format!("format = \"{format}\"\n{key}")), ["routing_key"]);
        }
        assert!(problems(&format!("format = \"pagerduty\"\n{key}")).is_empty());
        assert_eq!(problems("format = \"pagerduty\""), ["routing_key"]);
        assert_eq!(problems(key), ["routing_key"]);
        assert_eq!(problems("format = \"mattermost\""), ["format"]);
    }

    #[test]
    fn a_routing_key_is_not_printed() {
        let text = "[destinations.chat]\nkind = \"webhook\"\nurl = \"https://a.example/\"\n\
                    format = \"pagerduty\"\nrouting_key = { env = \"PD\" }";
        let variable = |name: &str| (name == "PD").then(|| "R0UT1NG-KEY".into());
        let read = from_text("weir.toml", text, Path::new(""), &variable, Mode::Production);
        let (config, _) = read.unwrap();
        let TransportSettings::Webhook(webhook) = &config.destinations["chat"].transport else {
            panic!("no webhook")
        };
        assert!(webhook.alerts.is_some() && !format!("{webhook:?}").contains("R0UT1NG"));
    }
}
