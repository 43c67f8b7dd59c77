//! `state`: the handler's key-value store. Only these calls, and cancellations, wait for the store.

use crate::bindings::weir::handler::state::Host;
use crate::host_calls::{Answer, answer_or_stop};
use crate::instance::RunState;

impl Host for RunState {
    async fn get(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        match self.try_handling() {
            Ok(handling) => Ok(handling.state.get(&key).await?),
            Err(_) => Ok(None),
        }
    }

    async fn set(&mut self, key: String, value: String) -> Answer<()> {
        let done = match self.try_handling() {
            Ok(handling) => handling.state.set(&key, &value).await,
            Err(refusal) => Err(refusal.into()),
        };
        answer_or_stop(done)
    }

    async fn add(&mut self, key: String, delta: i64) -> Answer<i64> {
        let done = match self.try_handling() {
            Ok(handling) => handling.state.add(&key, delta).await,
            Err(refusal) => Err(refusal.into()),
        };
        answer_or_stop(done)
    }

    async fn expire(&mut self, key: String, seconds: u32) -> wasmtime::Result<()> {
        match self.try_handling() {
            Ok(handling) => Ok(handling.state.expire(&key, seconds).await?),
            Err(_) => Ok(()),
        }
    }

    async fn remove(&mut self, key: String) -> wasmtime::Result<()> {
        match self.try_handling() {
            Ok(handling) => Ok(handling.state.remove(&key)?),
            Err(_) => Ok(()),
        }
    }

    async fn keys(
        &mut self,
        prefix: String,
        after: String,
        limit: u32,
    ) -> wasmtime::Result<Vec<String>> {
        match self.try_handling() {
            Ok(handling) => Ok(handling.state.keys(&prefix, &after, limit).await?),
            Err(_) => Ok(Vec::new()),
        }
    }
}
