//! `log`: the handler's log lines, stored with the attempt.

use crate::bindings::weir::handler::log::Host;
use crate::instance::RunState;
use crate::log::LogLevel;

impl Host for RunState {
    fn debug(&mut self, message: String) -> wasmtime::Result<()> {
        self.log.lock().line(LogLevel::Debug, &message);
        Ok(())
    }

    fn info(&mut self, message: String) -> wasmtime::Result<()> {
        self.log.lock().line(LogLevel::Info, &message);
        Ok(())
    }

    fn warn(&mut self, message: String) -> wasmtime::Result<()> {
        self.log.lock().line(LogLevel::Warn, &message);
        Ok(())
    }

    fn error(&mut self, message: String) -> wasmtime::Result<()> {
        self.log.lock().line(LogLevel::Error, &message);
        Ok(())
    }
}
