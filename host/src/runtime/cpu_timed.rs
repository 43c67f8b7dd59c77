//! A future that measures its processor time. Wall-clock time says as much about other work on the
//! machine.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::clock::core_time;

/// A future, and the processor time that its polls took.
pub(crate) struct CpuTimed<F> {
    future: Pin<Box<F>>,
    spent: Duration,
}

impl<F: Future> CpuTimed<F> {
    pub(crate) fn new(future: F) -> Self {
        Self { future: Box::pin(future), spent: Duration::ZERO }
    }
}

impl<F: Future> Future for CpuTimed<F> {
    type Output = (F::Output, Duration);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let began = core_time();
        let polled = self.future.as_mut().poll(cx);
        // A poll begins and ends on the same thread.
        self.spent += core_time().saturating_sub(began);
        polled.map(|output| (output, self.spent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn computing_takes_processor_time_and_waiting_does_not() {
        let computing = async {
            let began = core_time();
            while core_time() - began < Duration::from_millis(15) {}
        };
        let (_, computed) = CpuTimed::new(computing).await;
        assert!(computed >= Duration::from_millis(15), "{computed:?}");
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let (waited, ()) = tokio::join!(CpuTimed::new(wait), async move {
            let began = core_time();
            while core_time() - began < Duration::from_millis(15) {}
            drop(go);
        });
        assert!(waited.1 < Duration::from_millis(10), "{waited:?}");
    }
}
