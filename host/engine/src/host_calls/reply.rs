//! `reply`: the answer to the sender, if the handler is the responder of the source.

use crate::bindings::weir::handler::reply::Host;
use crate::host_calls::{Answer, answer};
use crate::instance::RunState;
use crate::recorder::{JSON, checked_json};

impl Host for RunState {
    fn set(&mut self, status: u16, content_type: String, body: Vec<u8>) -> Answer<()> {
        answer(
            self.try_handling().and_then(|h| h.recorder.reply(status, &content_type, body.into())),
        )
    }

    fn set_json(&mut self, json: String) -> Answer<()> {
        answer(self.try_handling().and_then(|h| h.recorder.reply(200, JSON, checked_json(json)?)))
    }

    fn set_header(&mut self, name: String, value: String) -> Answer<()> {
        answer(self.try_handling().and_then(|h| h.recorder.reply_header(&name, &value)))
    }
}
