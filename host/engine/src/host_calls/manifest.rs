//! `manifest`: what a handler says about itself. Heard only in `describe`.

use crate::bindings::weir::handler::manifest::Host;
use crate::instance::{Doing, RunState};

impl Host for RunState {
    fn about(&mut self, text: String) -> wasmtime::Result<()> {
        if let Doing::Describing(draft) = &mut self.doing {
            draft.about(&text);
        }
        Ok(())
    }

    fn subscribe(&mut self, pattern: String) -> wasmtime::Result<()> {
        if let Doing::Describing(draft) = &mut self.doing {
            draft.subscribe(pattern);
        }
        Ok(())
    }
}
