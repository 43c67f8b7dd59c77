//! Parses one step, and formats answers of the host. It never calls the host.

use crate::Failure;
use crate::weir::handler::types::{Refusal, RefusalCode};
use serde_json::{Value, json};

pub struct Step<'a>(&'a Value);

impl<'a> Step<'a> {
    pub fn new(value: &'a Value) -> Self {
        Self(value)
    }

    pub fn op(&self) -> Result<&'a str, Failure> {
        self.text("op")
    }

    /// True if the step applies to this attempt, by its `on_attempt` and `before_attempt`.
    pub fn applies(&self, attempt: u32) -> Result<bool, Failure> {
        let on = self.number_or("on_attempt", attempt.into())?;
        let before = self.number_or("before_attempt", u64::MAX)?;
        Ok(on == u64::from(attempt) && u64::from(attempt) < before)
    }

    pub fn value(&self, key: &str) -> Option<&'a Value> {
        self.0.get(key)
    }

    pub fn flag(&self, key: &str) -> bool {
        self.0[key] == true
    }

    pub fn text(&self, key: &str) -> Result<&'a str, Failure> {
        self.0[key].as_str().ok_or_else(|| self.wrong(key, "text"))
    }

    pub fn text_or(&self, key: &str, or: &str) -> String {
        self.0[key].as_str().unwrap_or(or).to_owned()
    }

    pub fn number_or(&self, key: &str, or: u64) -> Result<u64, Failure> {
        match self.0.get(key) {
            None => Ok(or),
            Some(value) => value.as_u64().ok_or_else(|| self.wrong(key, "a whole number")),
        }
    }

    pub fn number<N: TryFrom<i64>>(&self, key: &str) -> Result<N, Failure> {
        let number = self.0[key].as_i64().and_then(|number| N::try_from(number).ok());
        number.ok_or_else(|| self.wrong(key, "a whole number in range"))
    }

    /// The step's content: `json`, `json_text` (sent unchanged, valid or not), `body`, or `size`
    /// bytes of `x`.
    pub fn content(&self) -> Result<Content, Failure> {
        if let Some(json) = self.value("json") {
            return Ok(Content::Json(json.to_string()));
        }
        if let Some(json) = self.value("json_text") {
            return Ok(Content::Json(json.as_str().unwrap_or_default().to_owned()));
        }
        let media_type = self.text_or("content_type", "text/plain");
        if self.value("size").is_some() {
            return Ok(Content::Bytes(media_type, vec![b'x'; self.number("size")?]));
        }
        Ok(Content::Bytes(media_type, self.text("body")?.as_bytes().to_vec()))
    }

    /// A mistake in the test, which is not an answer of the host.
    pub fn wrong(&self, key: &str, wanted: &str) -> Failure {
        Failure::Reject(format!("probe: {key} must be {wanted} in the step {}", self.0))
    }
}

pub enum Content {
    Json(String),
    Bytes(String, Vec<u8>),
}

const CODES: [(RefusalCode, &str); 8] = [
    (RefusalCode::NotGranted, "not-granted"),
    (RefusalCode::NotFound, "not-found"),
    (RefusalCode::Invalid, "invalid"),
    (RefusalCode::TooLarge, "too-large"),
    (RefusalCode::TooMany, "too-many"),
    (RefusalCode::Quota, "quota"),
    (RefusalCode::Unavailable, "unavailable"),
    (RefusalCode::Other, "other"),
];

/// A failure as JSON: `{"refused": "CODE", "message": "..."}`, `{"retry": "..."}` or `{"reject":
/// "..."}`.
pub fn told(failure: &Failure) -> Value {
    match failure {
        Failure::Retry(reason) => json!({ "retry": reason }),
        Failure::Reject(reason) => json!({ "reject": reason }),
        Failure::Refused(refusal) => {
            let code = CODES.iter().find(|(code, _)| *code == refusal.code).map(|(_, name)| name);
            json!({ "refused": code, "message": refusal.message })
        }
    }
}

/// The refusal that a step gives in full.
pub fn refusal(step: &Step) -> Result<Failure, Failure> {
    let name = step.text_or("code", "other");
    let (code, _) = CODES
        .into_iter()
        .find(|(_, known)| *known == name)
        .ok_or_else(|| step.wrong("code", "a refusal code"))?;
    let message = step.text_or("message", "a refusal of the probe's own making");
    Ok(Failure::Refused(Refusal { code, message }))
}
