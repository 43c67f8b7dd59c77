//! The registry's entry of a handler, so that its last good version serves again after a
//! restart (INV-7).
//!
//! The JSON is a stored format: new fields need a default, and no field is ever renamed.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use weir_core::route::{InvalidPattern, Pattern};
use weir_core::time::Timestamp;
use weir_engine::{ModuleKind, Version};

use super::folder::FolderId;

/// Versions of each handler whose bytes are kept, the current one included.
pub(crate) const VERSIONS_KEPT: usize = 5;

/// The current version of a handler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The hash of the module, in hex. The module's bytes are in the registry under it.
    pub(crate) version: String,
    #[serde(with = "kind_word")]
    pub(crate) kind: ModuleKind,
    /// The handler's description of itself.
    pub(crate) about: Option<String>,
    /// The subscriptions that the module asks for. The sidecar or the configuration may replace
    /// them.
    pub(crate) subscriptions: Vec<String>,
    /// The text of the sidecar file with which it was loaded.
    #[serde(default)]
    pub(crate) sidecar: Option<String>,
    /// The time from which this version is the current one.
    pub(crate) since: Timestamp,
    /// True once its file is gone for good: it has no subscriptions, and its deliveries are on
    /// hold.
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
    #[error("stored manifest is damaged")]
    Json(#[from] serde_json::Error),
    /// The version is not a hash.
    #[error("stored manifest has no version")]
    Version,
    /// A later version of the hub wrote it.
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

    pub(crate) fn patterns(&self) -> Result<Vec<Pattern>, ManifestError> {
        Ok(self.subscriptions.iter().map(|text| Pattern::parse(text)).collect::<Result<_, _>>()?)
    }

    /// The versions to keep after `version` has become the current one.
    pub(crate) fn kept_with(before: Option<&Self>, version: &str) -> Vec<String> {
        let older = before.into_iter().flat_map(|m| &m.kept).filter(|v| *v != version);
        std::iter::once(version)
            .chain(older.map(String::as_str))
            .take(VERSIONS_KEPT)
            .map(Into::into)
            .collect()
    }
}

/// A module's kind, stored as its word.
mod kind_word {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};
    use weir_engine::ModuleKind;

    pub(super) fn serialize<S: Serializer>(kind: &ModuleKind, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(kind.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<ModuleKind, D::Error> {
        let word = String::deserialize(from)?;
        [ModuleKind::Component, ModuleKind::Command]
            .into_iter()
            .find(|kind| kind.as_str() == word)
            .ok_or_else(|| D::Error::custom(format!("unknown kind of module `{word}`")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            version: "ab".repeat(32),
            kind: ModuleKind::Component,
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
    fn a_manifest_reads_back_as_written() {
        let read = Manifest::decode(&manifest().encode().unwrap()).unwrap();
        assert_eq!(read, manifest());
        assert_eq!(read.version().unwrap(), Version([0xab; 32]));
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let mut value = serde_json::to_value(manifest()).unwrap();
        value["later"] = serde_json::json!({ "field": 1 });
        let read = Manifest::decode(value.to_string().as_bytes()).unwrap();
        assert_eq!(read, manifest());
    }

    #[test]
    fn fields_that_are_absent_have_their_defaults() {
        let mut value = serde_json::to_value(manifest()).unwrap();
        let fields = value.as_object_mut().unwrap();
        for later in ["sidecar", "retired", "kept"] {
            fields.remove(later).unwrap();
        }
        fields["kind"] = "command".into();
        let read = Manifest::decode(value.to_string().as_bytes()).unwrap();
        assert_eq!((read.retired, read.sidecar.as_ref(), read.kept.len()), (false, None, 0));
        assert_eq!(read.kind, ModuleKind::Command);
    }

    #[test]
    fn the_last_versions_are_kept_each_once() {
        let mut current: Option<Manifest> = None;
        for version in ["1", "2", "3", "2", "4", "5", "6"] {
            let kept = Manifest::kept_with(current.as_ref(), version);
            current = Some(Manifest { kept, ..manifest() });
        }
        assert_eq!(current.unwrap().kept, ["6", "5", "4", "2", "3"]);
    }
}
