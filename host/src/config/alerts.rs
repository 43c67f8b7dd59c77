//! `[alerts]`: when the hub tells of itself, and how much.

use std::time::Duration;

use weir_core::alert::FailureThreshold;

use super::context::LoadContext;
use super::destination::{Signing, Webhook, read_allow};
use super::server::at_most;
use super::tree::Section;
use super::url::{endpoint, reachable};
use crate::tls::TrustedRoots;

/// Most alerts in an hour.
const PER_HOUR_MAX: usize = 100_000;
/// Longest window, of which an account is kept.
const WINDOW_MAX: Duration = Duration::from_secs(86_400);
/// Longest time before a certificate's end: few are valid for longer.
const EXPIRING_MAX: Duration = Duration::from_secs(365 * 86_400);
/// How long `alert_url` may take: the process may be about to end.
const TIMEOUT: Duration = Duration::from_secs(5);

/// When the hub tells of itself.
#[derive(Debug)]
pub struct Alerts {
    /// Alerts in an hour, at most.
    pub per_hour: u32,
    /// A handler's attempts that failed.
    pub failing: FailureThreshold,
    /// A source's requests that were refused.
    pub refusing: FailureThreshold,
    /// How long before its end a listener's certificate is told of.
    pub expiring: Duration,
    /// Where alerts go that cannot be stored.
    pub fallback: Option<Box<Webhook>>,
}

pub(super) fn read(
    mut section: Section<'_>,
    trust: &TrustedRoots,
    context: &LoadContext<'_>,
) -> Option<Alerts> {
    let per_hour = section.checked("per_hour", |n| at_most(*n, PER_HOUR_MAX));
    let window = section.checked("window", |d: &Duration| match *d {
        d if d < Duration::from_secs(1) => Err("must be at least 1s".into()),
        d if d > WINDOW_MAX => Err("must be at most 1d".into()),
        _ => Ok(()),
    });
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
    Some(Alerts {
        per_hour: u32::try_from(per_hour?).ok()?,
        failing: too_much(failing?)?,
        refusing: too_much(refusing?)?,
        expiring: expiring?,
        fallback,
    })
}

fn fallback(
    section: &mut Section<'_>,
    trust: &TrustedRoots,
    context: &LoadContext<'_>,
) -> Option<Box<Webhook>> {
    let allow = read_allow(section, context.development);
    let trust = super::trust::with_ca(trust, section, context);
    let url = section.maybe::<String>("alert_url")?;
    match endpoint(&url) {
        Ok(url) => Some(Box::new(Webhook {
            url: {
                reachable(section, "alert_url", Some(&url), allow);
                url
            },
            signing: Signing::Standard,
            secrets: Vec::new(),
            headers: Vec::new(),
            timeout: TIMEOUT,
            allow,
            trust,
        })),
        Err(what) => {
            section.problem("alert_url", what);
            None
        }
    }
}
