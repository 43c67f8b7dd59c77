//! What a run costs: the time for which it had a core, which says what a handler is like. The time that passed says as much
//! about whoever else wanted the core.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::runtime::clock::core_time;

/// A future, and the core time that it has had.
pub(crate) struct CpuTimed<F> {
    of: Pin<Box<F>>,
    spent: Duration,
}

impl<F: Future> CpuTimed<F> {
    /// Nothing spent yet.
    pub(crate) fn of(future: F) -> Self {
        Self { of: Box::pin(future), spent: Duration::ZERO }
    }
}

impl<F: Future> Future for CpuTimed<F> {
    type Output = (F::Output, Duration);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let began = core_time();
        let polled = self.of.as_mut().poll(cx);
        // A poll begins and ends on the same thread.
        self.spent += core_time().saturating_sub(began);
        polled.map(|output| (output, self.spent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn computing_is_an_effort_and_waiting_is_none() {
        let computing = async {
            let began = core_time();
            while core_time() - began < Duration::from_millis(15) {}
        };
        let (_, computed) = CpuTimed::of(computing).await;
        assert!(computed >= Duration::from_millis(15), "{computed:?}");
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let (waited, ()) = tokio::join!(CpuTimed::of(wait), async move {
            let began = core_time();
            while core_time() - began < Duration::from_millis(15) {}
            drop(go);
        });
        assert!(waited.1 < Duration::from_millis(10), "{waited:?}");
    }
}
