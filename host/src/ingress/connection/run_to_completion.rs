//! Work that is finished even if the connection that asked for it closes.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

use crate::runtime::tasks::{OnFailure, Tasks};

/// A future that becomes a task when it is dropped after it has started. A client that goes away
/// ends its request, but not what the store has already been asked for.
pub(crate) struct RunToCompletion<'a, T: Send + 'static> {
    tasks: &'a Tasks,
    work: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    started: bool,
}

impl<'a, T: Send + 'static> RunToCompletion<'a, T> {
    /// Work that starts when it is first polled.
    pub(crate) fn new(tasks: &'a Tasks, work: impl Future<Output = T> + Send + 'static) -> Self {
        Self { tasks, work: Some(Box::pin(work)), started: false }
    }
}

impl<T: Send + 'static> Future for RunToCompletion<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        self.started = true;
        let Some(work) = &mut self.work else { return Poll::Pending };
        let polled = work.as_mut().poll(cx);
        if polled.is_ready() {
            self.work = None;
        }
        polled
    }
}

impl<T: Send + 'static> Drop for RunToCompletion<'_, T> {
    fn drop(&mut self) {
        if let (Some(work), true, Ok(runtime)) =
            (self.work.take(), self.started, Handle::try_current())
        {
            self.tasks.spawn_on("abandoned request", OnFailure::Log, &runtime, async move {
                work.await;
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn started_work_is_finished_without_its_caller() {
        let tasks = Tasks::new();
        let (go, wait) = oneshot::channel::<()>();
        let (finish, finished) = oneshot::channel();
        let mut work = RunToCompletion::new(&tasks, async move {
            let _ = wait.await;
            let _ = finish.send("done");
        });
        assert!(futures_util::poll!(&mut work).is_pending());
        drop(work);
        go.send(()).unwrap();
        assert_eq!(finished.await.unwrap(), "done");
        tasks.finished().await;
    }

    #[tokio::test]
    async fn work_that_was_not_started_never_runs() {
        let (finish, finished) = oneshot::channel();
        drop(RunToCompletion::new(&Tasks::new(), async move { finish.send(()) }));
        assert!(finished.await.is_err());
    }
}
