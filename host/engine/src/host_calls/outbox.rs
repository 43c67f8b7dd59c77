//! `outbox`: sends messages, emits events, and cancels those that are still queued. The recorder
//! keeps what was asked for; it is committed when the run settles.

use crate::bindings::weir::handler::outbox::Host;
use crate::host_calls::{Answer, answer};
use crate::instance::{HandleCall, RunState};
use crate::recorder::{CancelResult, JSON, checked_json};

impl Host for RunState {
    fn send(&mut self, destination: String, content_type: String, body: Vec<u8>) -> Answer<String> {
        let sent = self
            .try_handling()
            .and_then(|h| h.recorder.send(&destination, &content_type, body.into()));
        answer(sent.map(|id| id.to_string()))
    }

    fn send_json(&mut self, destination: String, json: String) -> Answer<String> {
        let sent = self
            .try_handling()
            .and_then(|h| h.recorder.send(&destination, JSON, checked_json(json)?));
        answer(sent.map(|id| id.to_string()))
    }

    fn forward(&mut self, destination: String) -> Answer<String> {
        let sent = self.try_handling().and_then(|h| h.recorder.forward(&destination));
        answer(sent.map(|id| id.to_string()))
    }

    fn emit(&mut self, type_: String, content_type: String, body: Vec<u8>) -> Answer<String> {
        let emitted =
            self.try_handling().and_then(|h| h.recorder.emit(&type_, &content_type, body.into()));
        answer(emitted.map(|id| id.to_string()))
    }

    fn emit_json(&mut self, type_: String, json: String) -> Answer<String> {
        let emitted =
            self.try_handling().and_then(|h| h.recorder.emit(&type_, JSON, checked_json(json)?));
        answer(emitted.map(|id| id.to_string()))
    }

    fn set_header(&mut self, id: String, name: String, value: String) -> Answer<()> {
        answer(self.try_handling().and_then(|h| h.recorder.set_header(&id, &name, &value)))
    }

    fn set_delay(&mut self, id: String, seconds: u32) -> Answer<()> {
        answer(self.try_handling().and_then(|h| h.recorder.set_delay(&id, seconds)))
    }

    fn set_key(&mut self, id: String, key: String) -> Answer<()> {
        answer(self.try_handling().and_then(|h| h.recorder.set_key(&id, &key)))
    }

    async fn cancel(&mut self, key: String) -> wasmtime::Result<bool> {
        self.cancel_ahead(key, 0).await
    }

    async fn cancel_ahead(&mut self, key: String, seconds: u32) -> wasmtime::Result<bool> {
        let Ok(HandleCall { recorder, run, .. }) = self.try_handling() else { return Ok(false) };
        match recorder.cancel(&key, seconds)? {
            CancelResult::Nothing => Ok(false),
            CancelResult::Own => Ok(true),
            CancelResult::AskStore => {
                Ok(run.state.has_queued(&key).await.map_err(crate::stop::Stop::State)?)
            }
        }
    }
}
