//! A limit on log lines per second, for messages that senders can cause.

/// Lines in one second; further ones are only counted.
pub(crate) const LINES_PER_SECOND: u32 = 20;

/// The lines of the current second.
#[derive(Debug, Default)]
pub(crate) struct LogLimit {
    second: u64,
    lines: u32,
    missed: u64,
}

/// Write the line or skip it. `missed` counts the lines that were skipped before it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LineDecision {
    Write { missed: u64 },
    Skip,
}

impl LogLimit {
    /// Decides about a line at this time, in seconds.
    pub(crate) fn pass(&mut self, now_s: u64) -> LineDecision {
        if now_s != self.second {
            self.second = now_s;
            self.lines = 0;
        }
        if self.lines >= LINES_PER_SECOND {
            self.missed += 1;
            return LineDecision::Skip;
        }
        self.lines += 1;
        LineDecision::Write { missed: std::mem::take(&mut self.missed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_logged_as_its_first_lines_and_a_count() {
        let mut limit = LogLimit::default();
        let written = (0..1000).filter(|_| limit.pass(7) != LineDecision::Skip).count();
        assert_eq!(written, LINES_PER_SECOND as usize);
        assert_eq!(limit.pass(8), LineDecision::Write { missed: 1000 - written as u64 });
        assert_eq!(limit.pass(8), LineDecision::Write { missed: 0 }, "the count is reported once");
    }
}
