//! `context`: facts about the run.

use std::time::Duration;

use rand_chacha::rand_core::Rng as _;
use weir_core::bounds::{RANDOM_BYTES_PER_CALL_MAX, RETRY_AFTER_SECONDS_MAX};

use crate::bindings::weir::handler::context::Host;
use crate::instance::RunState;

impl Host for RunState {
    fn attempt(&mut self) -> wasmtime::Result<u32> {
        Ok(self.try_handling().map_or(1, |h| h.run.attempt))
    }

    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(self.try_handling().map_or(0, |h| h.run.now.as_millis()))
    }

    fn random(&mut self, length: u32) -> wasmtime::Result<Vec<u8>> {
        let mut bytes = vec![0; length.min(RANDOM_BYTES_PER_CALL_MAX) as usize];
        if let Ok(handling) = self.try_handling() {
            handling.random().fill_bytes(&mut bytes);
        }
        Ok(bytes)
    }

    fn parent(&mut self) -> wasmtime::Result<Option<String>> {
        let handling = self.try_handling().ok();
        Ok(handling.and_then(|h| h.run.event.lineage.map(|l| l.parent.to_string())))
    }

    fn retry_after(&mut self, seconds: u32) -> wasmtime::Result<()> {
        if let Ok(handling) = self.try_handling() {
            let seconds = seconds.min(RETRY_AFTER_SECONDS_MAX);
            handling.retry_after = Some(Duration::from_secs(u64::from(seconds)));
        }
        Ok(())
    }
}
