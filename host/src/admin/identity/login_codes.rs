//! Codes that sign one browser in, once. Pure except for a lock: the time is an argument.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use subtle::ConstantTimeEq as _;

use super::{Owner, SecretDigest};

/// The life of a code.
pub(super) const LIFE: Duration = Duration::from_secs(60);
/// Most codes at once; the oldest one is dropped for a new one.
const CODES_MAX: usize = 64;

/// The codes that nothing used yet, oldest first.
#[derive(Debug, Default)]
pub(super) struct LoginCodes(Mutex<Vec<WaitingCode>>);

#[derive(Debug)]
struct WaitingCode {
    digest: SecretDigest,
    owner: Owner,
    made: Instant,
}

impl LoginCodes {
    pub(super) fn add(&self, digest: SecretDigest, owner: Owner, now: Instant) {
        let codes = &mut *self.0.lock();
        codes.retain(|code| is_fresh(code, now));
        if codes.len() >= CODES_MAX {
            codes.remove(0);
        }
        codes.push(WaitingCode { digest, owner, made: now });
    }

    /// Takes a code out: it works once.
    pub(super) fn take(&self, digest: &SecretDigest, now: Instant) -> Option<Owner> {
        let codes = &mut *self.0.lock();
        let found = codes.iter().position(|code| code.digest.ct_eq(digest).into())?;
        let code = codes.remove(found);
        is_fresh(&code, now).then_some(code.owner)
    }
}

fn is_fresh(code: &WaitingCode, now: Instant) -> bool {
    now.saturating_duration_since(code.made) < LIFE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_works_once_and_for_a_minute() {
        let (codes, start) = (LoginCodes::default(), Instant::now());
        codes.add([1; 32], Owner::Operator, start);
        codes.add([2; 32], Owner::Operator, start);
        assert_eq!(codes.take(&[1; 32], start), Some(Owner::Operator));
        assert_eq!(codes.take(&[1; 32], start), None);
        assert_eq!(codes.take(&[2; 32], start + LIFE), None);
        assert_eq!(codes.take(&[3; 32], start), None);
    }

    #[test]
    fn the_number_of_codes_is_bounded() {
        let (codes, now) = (LoginCodes::default(), Instant::now());
        for n in 0..=CODES_MAX {
            codes.add([u8::try_from(n).unwrap(); 32], Owner::Operator, now);
        }
        assert_eq!(codes.take(&[0; 32], now), None);
        assert!(codes.take(&[1; 32], now).is_some());
    }
}
