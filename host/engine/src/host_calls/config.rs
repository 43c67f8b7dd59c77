//! `config`: the operator's settings for the handler.

use crate::bindings::weir::handler::config::Host;
use crate::instance::RunState;

impl Host for RunState {
    fn get(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        let handling = self.try_handling().ok();
        Ok(handling.and_then(|h| h.run.config.get(&key).cloned()))
    }
}
