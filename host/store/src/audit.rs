//! The audit log: rows that say who did what through the API, and how it ended.

use serde::Serialize;
use weir_core::time::Timestamp;

use crate::error::StoreError;

/// Longest detail of an entry, in bytes.
pub const AUDIT_DETAIL_BYTES_MAX: usize = 4_096;

/// Longest other text of an entry, in bytes.
pub const AUDIT_TEXT_BYTES_MAX: usize = 512;

/// The end of an act. Its word is written to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditOutcome {
    Done,
    /// The caller was not allowed to, or asked for something that cannot be done.
    Refused,
    /// The hub could not do it.
    Failed,
}

impl AuditOutcome {
    pub const ALL: [Self; 3] = [Self::Done, Self::Refused, Self::Failed];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }

    /// The outcome with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }
}

/// An act to record. The store adds the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAudit {
    /// Name of the token or person.
    pub who: Box<str>,
    /// Role by which it was allowed, such as `operate`.
    pub role: Box<str>,
    /// The act, such as `replay`.
    pub act: Box<str>,
    /// Id or name of the thing that it was done to; empty if there is none.
    pub subject: Box<str>,
    /// JSON text, or empty.
    pub detail: Box<str>,
    pub outcome: AuditOutcome,
}

impl NewAudit {
    /// Checks the lengths of the texts.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] names the text that is too long.
    pub fn check(&self) -> Result<(), StoreError> {
        let texts = [
            ("who", &self.who),
            ("role", &self.role),
            ("act", &self.act),
            ("subject", &self.subject),
        ]
        .map(|(name, text)| (name, text, AUDIT_TEXT_BYTES_MAX));
        let detail = [("detail", &self.detail, AUDIT_DETAIL_BYTES_MAX)];
        for (name, text, limit) in texts.into_iter().chain(detail) {
            if text.len() > limit {
                return Err(StoreError::Invalid(format!(
                    "`{name}` of an audit entry has {} bytes, more than {limit}",
                    text.len()
                )));
            }
        }
        Ok(())
    }
}

/// A recorded act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditEntry {
    /// Number, rising in the order of the records.
    pub n: u64,
    pub at: Timestamp,
    pub who: Box<str>,
    pub role: Box<str>,
    pub act: Box<str>,
    pub subject: Box<str>,
    pub detail: Box<str>,
    pub outcome: AuditOutcome,
}

/// Filter of the audit log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    pub who: Option<Box<str>>,
    pub act: Option<Box<str>>,
    pub subject: Option<Box<str>>,
    pub outcome: Option<AuditOutcome>,
    /// Recorded at or after.
    pub since: Option<Timestamp>,
    /// Recorded before.
    pub until: Option<Timestamp>,
}
