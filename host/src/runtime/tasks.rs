//! Named tasks: every long-lived task is spawned here, with what its failure means.

use std::future::Future;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What the end of a task by panic means for the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// Log it: the process can do its job without.
    Log,
    /// Stop the process: it cannot.
    Stop,
}

/// Spawns and counts tasks. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    failed: CancellationToken,
}

impl Tasks {
    /// No tasks yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns a task by name on a runtime.
    pub fn spawn_on<F>(&self, name: &'static str, on_failure: OnFailure, on: &Handle, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let failed = self.failed.clone();
        let running = on.spawn(task);
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

    /// Spawns a task by name on the current runtime.
    pub fn spawn<F>(&self, name: &'static str, on_failure: OnFailure, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn_on(name, on_failure, &Handle::current(), task);
    }

    /// Resolves when a task failed whose failure means to stop.
    pub async fn failed(&self) {
        self.failed.cancelled().await;
    }

    /// Resolves when every task has ended.
    pub async fn finished(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}
