//! Tasks: every task of the hub is spawned here, with a name and the meaning of its failure.
//!
//! A task runs in the tracing span in which it was spawned.

use std::future::Future;
use std::pin::Pin;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

/// The consequence of a task's panic for the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// Log it: the hub works without the task.
    Log,
    /// Stop the process: the hub needs the task.
    Stop,
}

/// Spawns and counts tasks. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    failed: CancellationToken,
}

impl Tasks {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns a named task on a runtime.
    pub fn spawn_on<F>(&self, name: &'static str, on_failure: OnFailure, on: &Handle, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn_boxed(name, on_failure, on, Box::pin(task));
    }

    /// The same for every type of task: the code of the runtime is compiled once, and not anew for
    /// each.
    fn spawn_boxed(
        &self,
        name: &'static str,
        on_failure: OnFailure,
        on: &Handle,
        task: Pin<Box<dyn Future<Output = ()> + Send>>,
    ) {
        let failed = self.failed.clone();
        let running = on.spawn(task.in_current_span());
        self.tracker.spawn_on(
            async move {
                let Err(error) = running.await else { return };
                if error.is_cancelled() {
                    return;
                }
                tracing::error!(task = name, %error, "task panicked");
                if on_failure == OnFailure::Stop {
                    failed.cancel();
                }
            },
            on,
        );
    }

    /// Spawns a named task on the current runtime.
    pub fn spawn<F>(&self, name: &'static str, on_failure: OnFailure, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn_on(name, on_failure, &Handle::current(), task);
    }

    /// Resolves when a task with [`OnFailure::Stop`] has panicked.
    pub async fn failed(&self) {
        self.failed.cancelled().await;
    }

    /// Resolves when every task has ended.
    pub async fn finished(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}
