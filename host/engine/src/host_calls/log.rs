//! `log`: what a handler writes into the record of its attempt.

use crate::bindings::weir::handler::log::Host;
use crate::instance::RunState;
use crate::log::Level;

impl Host for RunState {
    fn debug(&mut self, message: String) -> wasmtime::Result<()> {
        self.log.lock().line(Level::Debug, &message);
        Ok(())
    }

    fn info(&mut self, message: String) -> wasmtime::Result<()> {
        self.log.lock().line(Level::Info, &message);
        Ok(())
    }

    fn warn(&mut self, message: String) -> wasmtime::Result<()> {
        self.log.lock().line(Level::Warn, &message);
        Ok(())
    }

    fn error(&mut self, message: String) -> wasmtime::Result<()> {
        self.log.lock().line(Level::Error, &message);
        Ok(())
    }
}
