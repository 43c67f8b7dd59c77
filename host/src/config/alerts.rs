//! `[alerts]`: the thresholds and limits of alerts.

use std::time::Duration;

use weir_core::alert::FailureThreshold;

use super::alert_style;
use super::context::LoadContext;
use super::destination::{Webhook, read_allow};
use super::server::at_most;
use super::tree::Section;
use super::url::{endpoint, reachable};
use crate::tls::TrustedRoots;

const PER_HOUR_MAX: usize = 100_000;
/// Longest window.
const WINDOW_MAX: Duration = Duration::from_secs(86_400);
/// Longest time before the expiry of a certificate.
const EXPIRING_MAX: Duration = Duration::from_secs(365 * 86_400);
/// Timeout of `alert_url`, short because the process may be stopping.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The settings of alerts.
#[derive(Debug)]
pub struct AlertSettings {
    pub per_hour: u32,
    /// The same alert is raised once in this time at most.
    pub quiet: Duration,
    /// The threshold for failed attempts of a handler.
    pub failing: FailureThreshold,
    /// The threshold for refused requests of a source.
    pub refusing: FailureThreshold,
    /// Time before the expiry of a certificate at which alerts begin.
    pub expiring: Duration,
    /// True if changes of the fields of events are watched.
    pub shapes: bool,
    /// The webhook for alerts that cannot be stored.
    pub fallback: Option<Box<Webhook>>,
}

pub(super) fn read(
    mut section: Section<'_>,
    trust: &TrustedRoots,
    context: &LoadContext<'_>,
) -> Option<AlertSettings> {
    let per_hour = section.checked("per_hour", |n| at_most(*n, PER_HOUR_MAX));
    let second_to_day = |d: &Duration| match *d {
        d if d < Duration::from_secs(1) => Err("must be at least 1s".into()),
        d if d > WINDOW_MAX => Err("must be at most 1d".into()),
        _ => Ok(()),
    };
    let quiet = section.checked("quiet", second_to_day);
    let window = section.checked("window", second_to_day);
    let at_least = section.must::<u32>("at_least");
    let share = |share: &f64| match share {
        0.01..=1.0 => Ok(()),
        _ => Err(format!("must be between 0.01 and 1, not {share}")),
    };
    let failing = section.checked("failing", share);
    let refusing = section.checked("refusing", share);
    let expiring = section.checked("expiring", |d: &Duration| match *d {
        d if d > EXPIRING_MAX => Err("must be at most 365d".into()),
        _ => Ok(()),
    });
    let shapes = section.must::<bool>("shapes");
    let fallback = fallback(&mut section, trust, context);
    section.finish();
    let too_much = |share: f64| {
        let per_mille = Duration::try_from_secs_f64(share).map_or(1_000, |d| d.as_millis());
        Some(FailureThreshold {
            window: window?,
            at_least: at_least?.into(),
            per_mille: u16::try_from(per_mille).ok()?,
        })
    };
    Some(AlertSettings {
        per_hour: u32::try_from(per_hour?).ok()?,
        quiet: quiet?,
        failing: too_much(failing?)?,
        refusing: too_much(refusing?)?,
        expiring: expiring?,
        shapes: shapes?,
        fallback,
    })
}

fn fallback(
    section: &mut Section<'_>,
    trust: &TrustedRoots,
    context: &LoadContext<'_>,
) -> Option<Box<Webhook>> {
    let allow = read_allow(section, context.mode.is_development());
    let trust = super::trust::with_ca(trust, section, context);
    let alerts = alert_style::read(section, context);
    let url = section.maybe::<String>("alert_url")?;
    match endpoint(&url) {
        Ok(url) => {
            reachable(section, "alert_url", Some(&url), allow);
            let webhook = Webhook::plain(url, TIMEOUT, allow, trust);
            Some(Box::new(Webhook { alerts, ..webhook }))
        }
        Err(what) => {
            section.problem("alert_url", what);
            None
        }
    }
}
