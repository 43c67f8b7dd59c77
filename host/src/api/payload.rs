//! Headers and bodies as they were received or sent.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Headers and a body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PayloadView {
    pub headers: Vec<HeaderView>,
    pub body: BodyView,
}

/// A header. Its value is `text`, or `base64` if it is not UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeaderView {
    pub name: String,
    #[serde(flatten)]
    pub value: BytesView,
}

/// A body or its first bytes, as `text`, or as `base64` if it is not UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BodyView {
    /// The size of the whole body in bytes.
    pub size: usize,
    /// True if only the first bytes are here.
    pub truncated: bool,
    #[serde(flatten)]
    pub shown: BytesView,
}

/// Bytes as text or as base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BytesView {
    Text(String),
    Base64(String),
}
