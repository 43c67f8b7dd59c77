//! What the registry keeps of a handler, so that the last good version serves again after a restart (INV-7).
//!
//! The JSON is a format that stored data keeps: fields are added with a default, never renamed.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use weir_core::route::{InvalidPattern, Pattern};
use weir_core::time::Timestamp;
use weir_engine::{ModuleKind, Version};

use super::folder::FolderId;

/// Versions of each handler whose bytes are kept, the current one included.
pub(crate) const VERSIONS_KEPT: usize = 5;

/// The current version of a handler, with what it said about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The hash of the module, in hex; its bytes are in the registry under it.
    pub(crate) version: String,
    /// `component` or `command`.
    pub(crate) kind: String,
    /// What it says it does.
    pub(crate) about: Option<String>,
    /// The patterns that it asks for itself. What holds may be another word's: the sidecar's or the operator's.
    pub(crate) subscriptions: Vec<String>,
    /// The text of the sidecar file that it passed its checks with.
    #[serde(default)]
    pub(crate) sidecar: Option<String>,
    /// Since when this version is the current one.
    pub(crate) since: Timestamp,
    /// Whether its file is gone for good: it has no subscriptions and its deliveries are on hold.
    #[serde(default)]
    pub(crate) retired: bool,
    /// Versions whose bytes are kept, newest first.
    #[serde(default)]
    pub(crate) kept: Vec<String>,
    /// The folder that it was read from.
    #[serde(default)]
    pub(crate) folder: Option<FolderId>,
}

/// A stored manifest that cannot be used.
#[derive(Debug, Error)]
pub(crate) enum ManifestError {
    /// It is not what was written.
    #[error("stored manifest is damaged")]
    Json(#[from] serde_json::Error),
    /// Its version is no hash.
    #[error("stored manifest has no version")]
    Version,
    /// A pattern of it means nothing to this program.
    #[error("stored manifest has an unknown pattern")]
    Pattern(#[from] InvalidPattern),
}

impl Manifest {
    pub(crate) fn decode(stored: &[u8]) -> Result<Self, ManifestError> {
        Ok(serde_json::from_slice(stored)?)
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    pub(crate) fn version(&self) -> Result<Version, ManifestError> {
        let mut hash = [0; 32];
        hex::decode_to_slice(&self.version, &mut hash).map_err(|_| ManifestError::Version)?;
        Ok(Version(hash))
    }

    pub(crate) fn kind(&self) -> ModuleKind {
        if self.kind == ModuleKind::Command.as_str() {
            ModuleKind::Command
        } else {
            ModuleKind::Component
        }
    }

    pub(crate) fn patterns(&self) -> Result<Vec<Pattern>, ManifestError> {
        Ok(self.subscriptions.iter().map(|text| Pattern::parse(text)).collect::<Result<_, _>>()?)
    }

    /// What is kept after `version` became current.
    pub(crate) fn kept_with(before: Option<&Self>, version: &str) -> Vec<String> {
        let older = before.into_iter().flat_map(|m| &m.kept).filter(|v| *v != version);
        std::iter::once(version)
            .chain(older.map(String::as_str))
            .take(VERSIONS_KEPT)
            .map(Into::into)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            version: "ab".repeat(32),
            kind: "component".into(),
            about: None,
            subscriptions: vec!["github:push".into()],
            sidecar: None,
            since: Timestamp::from_millis(1),
            retired: false,
            kept: vec!["a".into()],
            folder: Some((1, 2, 3)),
        }
    }

    #[test]
    fn a_manifest_survives_storage() {
        let read = Manifest::decode(&manifest().encode().unwrap()).unwrap();
        assert_eq!(read, manifest());
        assert_eq!(read.version().unwrap(), Version([0xab; 32]));
    }

    #[test]
    fn fields_of_a_later_program_do_not_hurt() {
        let mut value = serde_json::to_value(manifest()).unwrap();
        value["later"] = serde_json::json!({ "field": 1 });
        let read = Manifest::decode(value.to_string().as_bytes()).unwrap();
        assert_eq!(read, manifest());
    }

    #[test]
    fn fields_that_came_later_have_their_defaults() {
        let mut value = serde_json::to_value(manifest()).unwrap();
        let fields = value.as_object_mut().unwrap();
        for later in ["sidecar", "retired", "kept"] {
            fields.remove(later).unwrap();
        }
        fields["kind"] = "command".into();
        let read = Manifest::decode(value.to_string().as_bytes()).unwrap();
        assert_eq!((read.retired, read.sidecar.as_ref(), read.kept.len()), (false, None, 0));
        assert_eq!(read.kind(), ModuleKind::Command);
    }

    #[test]
    fn the_last_few_versions_are_kept_and_each_once() {
        let mut current: Option<Manifest> = None;
        for version in ["1", "2", "3", "2", "4", "5", "6"] {
            let kept = Manifest::kept_with(current.as_ref(), version);
            current = Some(Manifest { kept, ..manifest() });
        }
        assert_eq!(current.unwrap().kept, ["6", "5", "4", "2", "3"]);
    }
}
