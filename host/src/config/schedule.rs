//! `[[schedule]]`: events that the hub emits at times.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use weir_core::bounds::KIB;
use weir_core::event::EventType;
use weir_core::schedule::{MissedTimes, Recurrence};
use weir_core::time::{Clock as _, Timestamp};
use weir_core::units::format_size;

use super::tree::Section;
use crate::runtime::clock::SystemClock;

/// Most schedules.
const SCHEDULES_MAX: usize = 200;
/// Largest body of an event, in bytes.
const BODY_BYTES_MAX: usize = 64 * KIB;

/// The settings of one schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Also the type of its events.
    pub name: EventType,
    pub timing: Recurrence,
    pub missed: MissedTimes,
    /// The body of its events, as JSON; by default it names the schedule and the time.
    pub body: Option<Bytes>,
}

pub(super) fn read(sections: Vec<Section<'_>>) -> Vec<Arc<Schedule>> {
    let now = SystemClock.now();
    let mut names = BTreeSet::new();
    let mut schedules = Vec::new();
    for (index, mut section) in sections.into_iter().enumerate() {
        if index == SCHEDULES_MAX {
            section.problem("", format!("is beyond the {SCHEDULES_MAX} schedules that a hub has"));
        }
        let name = section.must::<String>("name").and_then(|text| match EventType::new(&text) {
            Ok(name) => Some(name),
            Err(error) => {
                section.problem("name", error);
                None
            }
        });
        if let Some(name) = &name
            && !names.insert(name.clone())
        {
            section.problem("name", format!("`{}` is there twice", name.as_str()));
        }
        let timing = timing(&mut section, now);
        let missed = missed(&mut section);
        let body = body(&mut section);
        section.finish();
        if let (Some(name), Some(timing)) = (name, timing) {
            schedules.push(Arc::new(Schedule { name, timing, missed, body }));
        }
    }
    schedules
}

fn timing(section: &mut Section<'_>, now: Timestamp) -> Option<Recurrence> {
    let (every, cron) = (section.has("every"), section.has("cron"));
    let period = section.maybe::<Duration>("every");
    let text = section.maybe::<String>("cron");
    let (key, timing) = match (every, cron) {
        (true, false) => ("every", Recurrence::every(period?)),
        (false, true) => ("cron", Recurrence::cron(&text?, now)),
        (true, true) => {
            section.problem("cron", "is there beside `every`; keep one of them");
            return None;
        }
        (false, false) => {
            section.problem("", "says no time: set `every = \"15m\"` or `cron = \"0 3 * * *\"`");
            return None;
        }
    };
    timing.map_err(|error| section.problem(key, error)).ok()
}

fn missed(section: &mut Section<'_>) -> MissedTimes {
    let Some(word) = section.maybe::<String>("missed") else { return MissedTimes::Once };
    MissedTimes::parse(&word).unwrap_or_else(|| {
        let words: Vec<_> = MissedTimes::ALL.iter().map(|one| one.as_str()).collect();
        section.problem("missed", format!("is none of {}", words.join(", ")));
        MissedTimes::Once
    })
}

fn body(section: &mut Section<'_>) -> Option<Bytes> {
    let text = section.maybe::<String>("body")?;
    if text.len() > BODY_BYTES_MAX {
        section.problem("body", format!("is larger than {}", format_size(BODY_BYTES_MAX)));
    } else if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&text) {
        section.problem("body", format!("is not JSON: {error}"));
    }
    Some(text.into())
}
