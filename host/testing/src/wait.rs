//! Waiting for a state. No test waits for a time.

use std::time::Duration;

/// Waits no longer than this: the state will not come.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Time between two looks at the state.
const INTERVAL: Duration = Duration::from_millis(20);

/// Waits until `state` returns `Ok`.
///
/// # Panics
/// After a minute, with the last `Err`, which says what was seen instead.
pub async fn until<T>(what: &str, mut state: impl AsyncFnMut() -> Result<T, String>) -> T {
    let mut ticks = tokio::time::interval(INTERVAL);
    let started = tokio::time::Instant::now();
    loop {
        ticks.tick().await;
        match state().await {
            Ok(found) => return found,
            Err(seen) if started.elapsed() > WAIT_MAX => panic!("waited for {what}; saw {seen}"),
            Err(_) => {}
        }
    }
}

/// Waits until `is_so` returns true.
///
/// # Panics
/// After a minute.
pub async fn until_true(what: &str, is_so: impl Fn() -> bool) {
    until(what, async || if is_so() { Ok(()) } else { Err("not yet".to_owned()) }).await;
}
