//! The log of refusals: a limited number of lines a second, each with the id that the sender got in
//! its answer. The latest refusals stay in memory, so that an operator can look one up by its id.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use weir_core::id::RequestId;
use weir_core::time::Timestamp;

use super::refused::Refused;
use crate::runtime::log_limit::{LineDecision, LogLimit};

/// Refusals of requests for a known source that are kept.
const OF_SOURCES_MAX: usize = 2_000;
/// Other refusals that are kept: apart, so that a scan of paths does not push out those of sources.
const OTHERS_MAX: usize = 250;
/// Bytes of a reason that are kept.
const REASON_BYTES_MAX: usize = 300;

/// A refused request, as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusalRecord {
    /// The id in the answer.
    pub id: Box<str>,
    /// Time of arrival.
    pub at: Timestamp,
    /// The source, if there is one of that name.
    pub source: Option<Box<str>>,
    /// The sender's address.
    pub address: IpAddr,
    /// The HTTP status of the answer.
    pub status: u16,
    /// The stable code.
    pub code: &'static str,
    /// The reason, for the operator.
    pub reason: Box<str>,
}

#[derive(Debug, Default)]
struct Latest {
    of_sources: VecDeque<RefusalRecord>,
    others: VecDeque<RefusalRecord>,
}

impl Latest {
    fn add(&mut self, refusal: RefusalRecord) {
        let (ring, most) = match refusal.source {
            Some(_) => (&mut self.of_sources, OF_SOURCES_MAX),
            None => (&mut self.others, OTHERS_MAX),
        };
        if ring.len() >= most {
            ring.pop_front();
        }
        ring.push_back(refusal);
    }

    fn find(&self, id: &str) -> Option<&RefusalRecord> {
        self.of_sources.iter().chain(&self.others).rev().find(|refusal| *refusal.id == *id)
    }
}

#[derive(Debug)]
pub(crate) struct RefusalLog {
    limit: Mutex<LogLimit>,
    latest: Mutex<Latest>,
    seed: u64,
    count: AtomicU64,
}

impl RefusalLog {
    /// An empty log. `seed` keeps the ids of two processes apart.
    pub(crate) fn new(seed: u64) -> Self {
        Self { limit: Mutex::default(), latest: Mutex::default(), seed, count: AtomicU64::new(0) }
    }

    /// A new id for a refused request. It looks like a stored request's id with another prefix.
    pub(crate) fn next_id(&self, now: Timestamp) -> String {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let id = RequestId::from_parts(now, self.seed.wrapping_add(count).into());
        id.to_string().replacen(RequestId::PREFIX, "refused_", 1)
    }

    /// Keeps a refusal in memory, in place of the oldest.
    pub(crate) fn remember(
        &self,
        (id, at): (&str, Timestamp),
        source: Option<&str>,
        address: IpAddr,
        refused: &Refused,
    ) {
        let reason = refused.to_string();
        let reason = &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)];
        self.latest.lock().add(RefusalRecord {
            id: id.into(),
            at,
            source: source.map(Into::into),
            address,
            status: refused.status().as_u16(),
            code: refused.code(),
            reason: reason.into(),
        });
    }

    /// The refusal with this id, while it is in memory.
    pub(crate) fn find(&self, id: &str) -> Option<RefusalRecord> {
        self.latest.lock().find(id).cloned()
    }

    /// The refusals in memory, newest first, of one source or of all.
    pub(crate) fn latest(&self, source: Option<&str>, limit: usize) -> Vec<RefusalRecord> {
        let latest = self.latest.lock();
        let Latest { of_sources, others } = &*latest;
        let is_meant = |refusal: &&RefusalRecord| match source {
            Some(source) => refusal.source.as_deref() == Some(source),
            None => true,
        };
        let newest = of_sources.iter().rev().filter(is_meant).take(limit);
        let mut found: Vec<_> = newest.cloned().collect();
        if source.is_none() {
            found.extend(others.iter().rev().take(limit).cloned());
            found.sort_by_key(|refusal| std::cmp::Reverse(refusal.at));
            found.truncate(limit);
        }
        found
    }

    /// Writes a log line, unless this second has had its lines.
    pub(crate) fn write(&self, now: Timestamp, id: &str, source: Option<&str>, refused: &Refused) {
        let LineDecision::Write { missed } = self.limit.lock().pass(now.as_secs()) else { return };
        if missed > 0 {
            tracing::info!(missed, "some refusals were not logged");
        }
        let (code, source) = (refused.code(), source.unwrap_or("-"));
        let reason = tracing::field::display(refused);
        if refused.is_hub_fault() {
            tracing::warn!(
                request_id = id,
                source,
                code,
                reason,
                "request refused, the hub is at fault"
            );
        } else if source == "-" {
            tracing::debug!(request_id = id, source, code, reason, "request refused");
        } else {
            tracing::info!(request_id = id, source, code, reason, "request refused");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_refusals_are_kept() {
        let mut latest = Latest::default();
        let refusal = |id: String, source: Option<&str>| RefusalRecord {
            id: id.into(),
            at: Timestamp::from_millis(1),
            source: source.map(Into::into),
            address: [127, 0, 0, 1].into(),
            status: 401,
            code: "signature_mismatch",
            reason: "no".into(),
        };
        latest.add(refusal("ours".into(), Some("github")));
        for n in 0..10_000 {
            latest.add(refusal(format!("scan-{n}"), None));
        }
        assert!(latest.find("ours").is_some(), "a scan does not push it out");
        assert!(latest.find("scan-9999").is_some() && latest.find("scan-0").is_none());
        for n in 0..OF_SOURCES_MAX {
            latest.add(refusal(format!("more-{n}"), Some("github")));
        }
        assert!(latest.find("ours").is_none());
        assert_eq!((latest.of_sources.len(), latest.others.len()), (OF_SOURCES_MAX, OTHERS_MAX));
    }

    #[test]
    fn ids_of_refusals_differ_from_each_other_and_from_request_ids() {
        let log = RefusalLog::new(u64::MAX);
        let now = Timestamp::from_millis(1_760_000_000_000);
        let (one, other) = (log.next_id(now), log.next_id(now));
        assert_ne!(one, other);
        assert!(one.starts_with("refused_") && one.parse::<RequestId>().is_err());
    }
}
