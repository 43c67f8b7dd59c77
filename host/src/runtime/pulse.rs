//! A sign of life of a loop: it answers when it is asked, so that the watchdog knows that it runs.

use std::convert::Infallible;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::sync::Notify;

/// The questions to one loop and its answers. Cheap to clone; one clone asks, one answers.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<Exchange>);

#[derive(Debug, Default)]
struct Exchange {
    asked: Notify,
    answered: Notify,
}

impl Pulse {
    /// Resolves when the loop has answered.
    pub async fn ask(&self) {
        // An answer to an earlier question says nothing about now.
        let _late = self.0.answered.notified().now_or_never();
        self.0.asked.notify_one();
        self.0.answered.notified().await;
    }

    /// Answers each question. The loop polls it beside its work, and may drop it at any time.
    pub async fn answer(&self) -> Infallible {
        loop {
            self.0.asked.notified().await;
            self.0.answered.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_loop_that_does_not_run_gives_no_answer() {
        let pulse = Pulse::default();
        assert!(pulse.ask().now_or_never().is_none());
        let asked_and_answered = tokio::select! {
            () = async { pulse.ask().await; pulse.ask().await } => true,
            never = pulse.answer() => match never {},
        };
        assert!(asked_and_answered);
        assert!(pulse.ask().now_or_never().is_none(), "the loop was dropped");
    }

    #[tokio::test]
    async fn a_late_answer_does_not_count() {
        let pulse = Pulse::default();
        assert!(pulse.ask().now_or_never().is_none());
        assert!(pulse.answer().now_or_never().is_none(), "it answers the question of before");
        assert!(pulse.ask().now_or_never().is_none());
    }
}
