//! The host functions of components, one file for each interface of the contract. They only convert
//! types and call the recorder, the state view or the log.

mod config;
mod context;
mod log;
mod manifest;
mod outbox;
mod reply;
pub(crate) mod request;
mod state;

use crate::bindings::weir::handler::types::{self, Failure, RefusalCode};
use crate::instance::RunState;
use crate::refusal::{Code, Refusal};
use crate::stop::HostCallError;

/// The result of a host function that can refuse.
type Answer<T> = wasmtime::Result<Result<T, Failure>>;

impl types::Host for RunState {}

impl From<Refusal> for Failure {
    fn from(Refusal { code, message }: Refusal) -> Self {
        let code = match code {
            Code::NotGranted => RefusalCode::NotGranted,
            Code::NotFound => RefusalCode::NotFound,
            Code::Invalid => RefusalCode::Invalid,
            Code::TooLarge => RefusalCode::TooLarge,
            Code::TooMany => RefusalCode::TooMany,
            Code::Quota => RefusalCode::Quota,
            Code::Unavailable => RefusalCode::Unavailable,
            Code::Other => RefusalCode::Other,
        };
        Self::Refused(types::Refusal { code, message })
    }
}

impl From<types::Refusal> for Refusal {
    fn from(types::Refusal { code, message }: types::Refusal) -> Self {
        let code = match code {
            RefusalCode::NotGranted => Code::NotGranted,
            RefusalCode::NotFound => Code::NotFound,
            RefusalCode::Invalid => Code::Invalid,
            RefusalCode::TooLarge => Code::TooLarge,
            RefusalCode::TooMany => Code::TooMany,
            RefusalCode::Quota => Code::Quota,
            RefusalCode::Unavailable => Code::Unavailable,
            RefusalCode::Other => Code::Other,
        };
        Self { code, message }
    }
}

/// Returns a refusal to the guest.
fn answer<T>(done: Result<T, Refusal>) -> Answer<T> {
    Ok(done.map_err(Failure::from))
}

/// Returns a refusal to the guest; a stop ends the run.
fn answer_or_stop<T>(done: Result<T, HostCallError>) -> Answer<T> {
    match done {
        Ok(value) => Ok(Ok(value)),
        Err(HostCallError::Refused(refusal)) => Ok(Err(refusal.into())),
        Err(HostCallError::Stop(stop)) => Err(stop.into()),
    }
}
