//! The call of a module's `describe`, in an instance of its own.

use std::time::Duration;

use crate::bindings::HandlerPre;
use crate::description::{DescribeError, Description};
use crate::engine::Engine;
use crate::guard;
use crate::instance::{CallState, RunState};
use crate::module::{LinkedCode, Module};
use crate::reason;
use crate::run::RunEnd;

const DESCRIBE_TIME: Duration = Duration::from_secs(1);
/// The log is kept only for the reason of a crash.
const DESCRIBE_LOG_BYTES: usize = 64 * 1024;

impl Engine {
    /// Calls a module's `describe`, with one second and nothing granted. A command has an empty
    /// description.
    pub async fn describe(&self, module: &Module) -> Result<Description, DescribeError> {
        match module.code() {
            LinkedCode::Command(_) => Ok(Description::default()),
            LinkedCode::Component(component) => {
                let _slot = self.describe_slot().await;
                describe(&self.inner.wasmtime, component, self.inner.max_memory).await
            }
        }
    }
}

async fn describe(
    engine: &wasmtime::Engine,
    component: &HandlerPre<RunState>,
    memory_max: usize,
) -> Result<Description, DescribeError> {
    let state = RunState::describing(memory_max, DESCRIBE_LOG_BYTES);
    let mut store = guard::store(engine, state, DESCRIBE_TIME);
    let ended = guard::within(DESCRIBE_TIME, async {
        let instance = component.instantiate_async(&mut store).await?;
        instance.call_describe(&mut store).await
    })
    .await;
    let RunState { guard, log, call, .. } = store.into_data();
    match (ended, call) {
        (Ok(()), CallState::Describing(draft)) => draft.finish(),
        (Ok(()), CallState::Handling(_)) => Ok(Description::default()),
        (Err(error), _) => match reason::of_trap(&error, &guard, &log.lock()) {
            RunEnd::Failed { reason, .. } => Err(DescribeError::Failed { reason }),
            RunEnd::Ok => Ok(Description::default()),
        },
    }
}
