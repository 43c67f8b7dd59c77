//! `manifest`: the handler's description. Has an effect only in `describe`.

use crate::bindings::weir::handler::manifest::Host;
use crate::instance::{CallState, RunState};

impl Host for RunState {
    fn about(&mut self, text: String) -> wasmtime::Result<()> {
        if let CallState::Describing(draft) = &mut self.call {
            draft.about(&text);
        }
        Ok(())
    }

    fn subscribe(&mut self, pattern: String) -> wasmtime::Result<()> {
        if let CallState::Describing(draft) = &mut self.call {
            draft.subscribe(pattern);
        }
        Ok(())
    }

    fn state_version(&mut self, version: u32) -> wasmtime::Result<()> {
        if let CallState::Describing(draft) = &mut self.call {
            draft.state_version(version);
        }
        Ok(())
    }

    fn needs_destination(&mut self, name: String) -> wasmtime::Result<()> {
        if let CallState::Describing(draft) = &mut self.call {
            draft.needs_destination(name);
        }
        Ok(())
    }
}
