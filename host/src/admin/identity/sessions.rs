//! Sessions of browsers, in memory: a restart ends them. Pure except for a lock and the random
//! secrets: the time is an argument.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Owner, SecretDigest, digest, random_hex};

/// A session ends when it was not used for this long.
const IDLE: Duration = Duration::from_secs(12 * 60 * 60);
/// A session ends this long after the sign-in.
pub(super) const LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Most sessions at once; the one that is idle longest is ended for a new one.
const SESSIONS_MAX: usize = 256;

/// The sessions that have begun, by the digest of their secret.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<SecretDigest, Session>>);

#[derive(Debug)]
struct Session {
    owner: Owner,
    form_token: Arc<str>,
    begun: Instant,
    used: Instant,
}

/// A session that has just begun, with the secret for its cookie.
pub(in crate::admin) struct NewSession {
    pub(super) secret: String,
}

impl std::fmt::Debug for NewSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewSession(…)")
    }
}

impl Sessions {
    /// Begins a session.
    pub(super) fn begin(&self, owner: Owner, now: Instant) -> NewSession {
        let secret = random_hex();
        let sessions = &mut *self.0.lock();
        sessions.retain(|_, session| session.is_open(now));
        if sessions.len() >= SESSIONS_MAX {
            let idlest = sessions.iter().min_by_key(|(_, session)| session.used);
            if let Some(key) = idlest.map(|(key, _)| *key) {
                sessions.remove(&key);
            }
        }
        let form_token = random_hex().into();
        let session = Session { owner, form_token, begun: now, used: now };
        sessions.insert(digest(secret.as_bytes()), session);
        NewSession { secret }
    }

    /// The owner and the form token of a session, which is used now.
    pub(super) fn find(&self, key: &SecretDigest, now: Instant) -> Option<(Owner, Arc<str>)> {
        let sessions = &mut *self.0.lock();
        let session = sessions.get_mut(key).filter(|session| session.is_open(now))?;
        session.used = now;
        Some((session.owner.clone(), session.form_token.clone()))
    }

    /// The owner of a session, which is not used by that.
    pub(super) fn peek(&self, key: &SecretDigest, now: Instant) -> Option<Owner> {
        let sessions = &*self.0.lock();
        let session = sessions.get(key).filter(|session| session.is_open(now))?;
        Some(session.owner.clone())
    }

    pub(super) fn end(&self, key: &SecretDigest) {
        self.0.lock().remove(key);
    }
}

impl Session {
    fn is_open(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.used) < IDLE
            && now.saturating_duration_since(self.begun) < LIFE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(session: &NewSession) -> SecretDigest {
        digest(session.secret.as_bytes())
    }

    #[test]
    fn a_session_ends_when_idle_and_after_a_week() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        let idle = key(&sessions.begin(Owner::Operator, start));
        let used = key(&sessions.begin(Owner::Operator, start));
        let mut now = start;
        while now.duration_since(start) < LIFE {
            assert!(sessions.find(&used, now).is_some());
            now += IDLE / 2;
        }
        assert!(sessions.find(&used, now).is_none() && sessions.find(&idle, now).is_none());
    }

    #[test]
    fn the_idlest_session_is_ended_for_one_too_many() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        let begin = |n: usize| {
            key(&sessions.begin(Owner::Operator, start + u32::try_from(n).unwrap() * IDLE / 1_000))
        };
        let all: Vec<_> = (0..SESSIONS_MAX).map(begin).collect();
        let now = start + IDLE / 2;
        assert!(sessions.find(&all[0], now).is_some());
        sessions.begin(Owner::Operator, now);
        assert!(sessions.find(&all[0], now).is_some() && sessions.find(&all[1], now).is_none());
    }

    #[test]
    fn an_ended_session_is_gone() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let session = sessions.begin(Owner::Operator, now);
        assert_eq!(format!("{session:?}"), "NewSession(…)");
        sessions.end(&key(&session));
        assert!(sessions.find(&key(&session), now).is_none());
    }
}
