//! The time for writers and readers, and noting that the clock was set back.

use weir_core::time::Timestamp;

use crate::sqlite::engine::group::Job;
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::memory::time::Now;

impl Shared {
    /// The time, for the writer. It stores with its group how far due times are ahead.
    pub(crate) fn writers_now(&self) -> Now {
        self.look().0
    }

    /// The time. If the clock was set back, that is stored soon.
    pub(crate) fn now(&self) -> Now {
        let (now, set_back) = self.look();
        if set_back {
            // Every group stores it, so this job does nothing else. If it is refused, the next one
            // does it.
            let (run, _answer) = self.job_run("note that the clock was set back", |_| Ok(()));
            let _made_up_for = self.queue.put_job(Job { run, bytes: 0 });
        }
        now
    }

    /// The time, and whether the clock was set back since the last call.
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

    /// A due time by the wall clock as it is set now.
    pub(crate) fn wall_time(&self, due: Timestamp) -> Timestamp {
        due.before(self.line.lock().ahead())
    }
}
