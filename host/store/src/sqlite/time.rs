//! The store's time: the wall clock, and the line that due times stand on, which is ahead of it by as much as it was
//! ever set back. How much that is, is kept with what was written by it, so that a restart changes nothing.

use std::time::Duration;

use rusqlite::Connection;
use weir_core::time::{Clock, DueClock, Timestamp, millis};

use super::group::Job;
use super::{Shared, num, schema};

/// What time it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Now {
    /// By the wall clock.
    pub(super) wall: Timestamp,
    /// On the line of due times.
    pub(super) due: Timestamp,
    /// By the steady clock.
    pub(super) monotonic: Duration,
}

/// The line as the process before this one left it. If the wall clock reads less than it did then, it was set back
/// in between, and by at least so much.
pub(super) fn open(conn: &Connection, clock: &dyn Clock) -> rusqlite::Result<DueClock> {
    let kept = schema::meta::<i64>(conn, "due_ahead")?.map_or(0, num::count);
    let latest = schema::meta::<i64>(conn, "latest_due")?.map_or(Timestamp::default(), num::time);
    let (monotonic, wall) = (clock.monotonic(), clock.now());
    let ahead = kept.max(millis(latest.since(wall)));
    Ok(DueClock::new(wall, monotonic, Duration::from_millis(ahead)))
}

impl Shared {
    /// What time it is, for the writer: it writes down with its group how far the line is ahead.
    pub(super) fn writers_now(&self) -> Now {
        self.look().0
    }

    /// What time it is. That the clock was set back is written down soon.
    pub(super) fn now(&self) -> Now {
        let (now, set_back) = self.look();
        if set_back {
            // Every group does that, so this one has nothing else to do. What is refused, the next makes up for.
            let (run, _answer) = self.job_run("note that the clock was set back", |_| Ok(()));
            let _made_up_for = self.queue.put_job(Job { run, bytes: 0 });
        }
        now
    }

    /// Says too whether the clock was set back since somebody looked.
    fn look(&self) -> (Now, bool) {
        let mut line = self.line.lock();
        let (monotonic, wall) = (self.clock.monotonic(), self.clock.now());
        let before = line.ahead();
        let due = line.advance(wall, monotonic);
        let by = line.ahead() - before;
        if !by.is_zero() {
            tracing::warn!(?by, "the clock was set back; what waits is due as if it had not been");
        }
        (Now { wall, due, monotonic }, !by.is_zero())
    }

    /// When that is by the wall clock, as it is set now.
    pub(super) fn wall_time(&self, due: Timestamp) -> Timestamp {
        due.before(self.line.lock().ahead())
    }
}
