//! The registry's entry of a handler, so that its last good version serves again after a
//! restart (INV-7), and its older versions can serve again.
//!
//! The JSON is a stored format: new fields need a default, and no field is ever renamed.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use weir_core::name::DestinationName;
use weir_core::probation::Probation;
use weir_core::route::{InvalidPattern, Pattern};
use weir_core::time::Timestamp;
use weir_core::word_enum;
use weir_engine::{Description, ModuleKind, Version};

use super::folder::FolderId;

/// Entries of the history that are kept.
const HISTORY_MAX: usize = 100;

/// The current version of a handler, and the older ones.
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
    /// The version of the form of the handler's state.
    #[serde(default)]
    pub(crate) state_version: u32,
    /// The destinations that the module says it sends to.
    #[serde(default)]
    pub(crate) needs: Vec<DestinationName>,
    /// The text of the sidecar file with which it was loaded.
    #[serde(default)]
    pub(crate) sidecar: Option<String>,
    /// The text of the signature file with which it was loaded.
    #[serde(default)]
    pub(crate) signature: Option<String>,
    /// The time from which this version is the current one.
    pub(crate) since: Timestamp,
    /// True once its file is gone for good: it has no subscriptions, and its deliveries are on
    /// hold.
    #[serde(default)]
    pub(crate) retired: bool,
    /// Versions whose bytes are kept, for programs that know no `versions`.
    #[serde(default)]
    pub(crate) kept: Vec<String>,
    /// The folder that it was read from.
    #[serde(default)]
    pub(crate) folder: Option<FolderId>,
    /// The known versions, the one that served last first.
    #[serde(default)]
    pub(crate) versions: Vec<KeptVersion>,
    /// The last changes, oldest first.
    #[serde(default)]
    pub(crate) history: Vec<VersionEvent>,
    /// Identifies the content of the files in the folder that were loaded last. They are not loaded
    /// again, also if another version serves since.
    #[serde(default)]
    pub(crate) file: Option<String>,
    /// The version of those files.
    #[serde(default)]
    pub(crate) file_version: Option<String>,
    #[serde(default)]
    pub(crate) pin: Option<Pin>,
    /// The version of the files in the folder while a pin keeps them from serving.
    #[serde(default)]
    pub(crate) candidate: Option<String>,
    #[serde(default)]
    pub(crate) probation: Option<StoredProbation>,
    /// True if a person chose the current version.
    #[serde(default)]
    pub(crate) chosen: bool,
}

/// A version that can serve again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptVersion {
    pub(crate) version: String,
    #[serde(with = "kind_word")]
    pub(crate) kind: ModuleKind,
    pub(crate) about: Option<String>,
    /// The subscriptions that the module asks for.
    pub(crate) subscriptions: Vec<String>,
    pub(crate) sidecar: Option<String>,
    /// The text of its signature.
    #[serde(default)]
    pub(crate) signature: Option<String>,
    /// Bytes of the module.
    pub(crate) size: u64,
    /// The form of state that it reads and writes.
    #[serde(default)]
    pub(crate) state_version: u32,
    /// The destinations that the module says it sends to.
    #[serde(default)]
    pub(crate) needs: Vec<DestinationName>,
    /// The version of the contract that it was built with.
    #[serde(default)]
    pub(crate) contract: Option<String>,
    /// The time of its first load.
    pub(crate) loaded_at: Timestamp,
    /// The last time at which it was known to serve; none for one that never did.
    #[serde(default)]
    pub(crate) served_at: Option<Timestamp>,
}

word_enum! {
    /// A change of the versions of a handler.
    VersionAct {
        /// A new file serves.
        Loaded = "loaded",
        /// Only its sidecar changed.
        Configured = "configured",
        /// A version that served before serves again.
        RolledBack = "rolled_back",
        /// The probation ended well.
        Passed = "passed",
        Pinned = "pinned",
        Unpinned = "unpinned",
        /// A new file waits for the end of a pin.
        Candidate = "candidate",
        Renamed = "renamed",
    }
}

/// An entry of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VersionEvent {
    pub(crate) at: Timestamp,
    pub(crate) act: VersionAct,
    /// The version that it is about.
    pub(crate) version: String,
    /// The version that served before, if another one did.
    #[serde(default)]
    pub(crate) before: Option<String>,
    /// The person, or `weir` for the hub.
    pub(crate) by: String,
    #[serde(default)]
    pub(crate) reason: Option<String>,
}

/// A person's word that no other version may serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pin {
    pub(crate) at: Timestamp,
    pub(crate) by: String,
    #[serde(default)]
    pub(crate) reason: Option<String>,
}

/// The probation of the current version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredProbation {
    /// The version before.
    pub(crate) old: String,
    pub(crate) course: Probation,
}

/// Limits on older versions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeepLimits {
    pub(crate) versions: usize,
    pub(crate) life: Duration,
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
        hash(&self.version)
    }

    pub(crate) fn patterns(&self) -> Result<Vec<Pattern>, ManifestError> {
        patterns(&self.subscriptions)
    }

    /// A version by its hash.
    pub(crate) fn kept(&self, version: &str) -> Option<&KeptVersion> {
        self.versions.iter().find(|kept| kept.version == version)
    }

    /// The manifest of a handler that has never served.
    pub(crate) fn first(version: &KeptVersion, since: Timestamp) -> Self {
        Self {
            version: version.version.clone(),
            kind: version.kind,
            about: version.about.clone(),
            subscriptions: version.subscriptions.clone(),
            state_version: version.state_version,
            needs: version.needs.clone(),
            sidecar: version.sidecar.clone(),
            signature: version.signature.clone(),
            since,
            retired: false,
            kept: Vec::new(),
            folder: None,
            versions: Vec::new(),
            history: Vec::new(),
            file: None,
            file_version: None,
            pin: None,
            candidate: None,
            probation: None,
            chosen: false,
        }
    }

    /// True for the content of files that were loaded, and that another version serves instead of:
    /// after a rollback, or while a pin holds.
    pub(crate) fn leaves(&self, content: Version) -> bool {
        let serves = self.file_version.as_ref().is_none_or(|version| *version == self.version);
        self.file.as_ref() == Some(&content.to_hex()) && !serves
    }

    /// The version that serves. A program that knew no `versions` wrote only the rest.
    pub(crate) fn current(&self) -> KeptVersion {
        self.kept(&self.version).cloned().unwrap_or_else(|| KeptVersion {
            version: self.version.clone(),
            kind: self.kind,
            about: self.about.clone(),
            subscriptions: self.subscriptions.clone(),
            sidecar: self.sidecar.clone(),
            signature: self.signature.clone(),
            size: 0,
            state_version: self.state_version,
            needs: self.needs.clone(),
            contract: None,
            loaded_at: self.since,
            served_at: Some(self.since),
        })
    }

    /// Makes a version the current one.
    pub(crate) fn make_current(&mut self, version: &KeptVersion, now: Timestamp) {
        let mut before = self.current();
        before.served_at = Some(now);
        if before.version != version.version {
            self.since = now;
            self.put(before);
        }
        self.put(KeptVersion { served_at: Some(now), ..version.clone() });
        self.version.clone_from(&version.version);
        self.kind = version.kind;
        self.about.clone_from(&version.about);
        self.subscriptions.clone_from(&version.subscriptions);
        self.state_version = version.state_version;
        self.needs.clone_from(&version.needs);
        self.sidecar.clone_from(&version.sidecar);
        self.signature.clone_from(&version.signature);
    }

    /// Adds or replaces a version, which is the first then.
    pub(crate) fn put(&mut self, version: KeptVersion) {
        let loaded_at =
            self.kept(&version.version).map_or(version.loaded_at, |known| known.loaded_at);
        self.versions.retain(|known| known.version != version.version);
        self.versions.insert(0, KeptVersion { loaded_at, ..version });
    }

    pub(crate) fn remember(&mut self, event: VersionEvent) {
        self.history.push(event);
        let surplus = self.history.len().saturating_sub(HISTORY_MAX);
        self.history.drain(..surplus);
    }

    /// The versions that something refers to, whatever their number and age.
    fn referred(&self, version: &str) -> bool {
        let of_probation = self.probation.as_ref().map(|probation| &*probation.old);
        self.version == version
            || self.candidate.as_deref() == Some(version)
            || of_probation == Some(version)
    }

    /// Drops versions above the limits.
    pub(crate) fn trim(&mut self, limits: KeepLimits, now: Timestamp) {
        let current = self.current();
        if self.kept(&current.version).is_none() {
            self.put(current);
        }
        let mut older = 0;
        let mut versions = std::mem::take(&mut self.versions);
        versions.retain(|kept| {
            if self.referred(&kept.version) {
                return true;
            }
            older += 1;
            let last = kept.served_at.unwrap_or(kept.loaded_at);
            older <= limits.versions && now.since(last) <= limits.life
        });
        self.versions = versions;
        self.kept = self.versions.iter().map(|kept| kept.version.clone()).collect();
    }

    /// The version to go back to if none is named: the one before a probation, else the one that
    /// served last.
    pub(crate) fn previous(&self) -> Option<&KeptVersion> {
        if let Some(probation) = &self.probation {
            return self.kept(&probation.old);
        }
        let others = self.versions.iter().filter(|kept| kept.version != self.version);
        others.filter(|kept| kept.served_at.is_some()).max_by_key(|kept| kept.served_at)
    }

    /// The versions whose hash begins with this text.
    pub(crate) fn beginning_with(&self, text: &str) -> Vec<&KeptVersion> {
        self.versions.iter().filter(|kept| kept.version.starts_with(text)).collect()
    }
}

impl KeptVersion {
    pub(crate) fn hash(&self) -> Result<Version, ManifestError> {
        hash(&self.version)
    }

    /// The description of the version, as its `describe` gave it.
    pub(crate) fn description(&self) -> Result<Description, ManifestError> {
        Ok(Description {
            about: self.about.clone(),
            subscriptions: patterns(&self.subscriptions)?,
            state_version: self.state_version,
            needs: self.needs.clone(),
        })
    }
}

fn hash(hex: &str) -> Result<Version, ManifestError> {
    let mut hash = [0; 32];
    hex::decode_to_slice(hex, &mut hash).map_err(|_| ManifestError::Version)?;
    Ok(Version(hash))
}

fn patterns(texts: &[String]) -> Result<Vec<Pattern>, ManifestError> {
    Ok(texts.iter().map(|text| Pattern::parse(text)).collect::<Result<_, _>>()?)
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

    const DAY: Duration = Duration::from_secs(86_400);
    const LIMITS: KeepLimits = KeepLimits { versions: 3, life: DAY };

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn version(hash: &str) -> KeptVersion {
        KeptVersion {
            version: hash.into(),
            kind: ModuleKind::Component,
            about: None,
            subscriptions: vec!["github:push".into()],
            state_version: 2,
            needs: vec![DestinationName::new("ops").unwrap()],
            sidecar: None,
            signature: None,
            size: 7,
            contract: None,
            loaded_at: at(1),
            served_at: Some(at(1)),
        }
    }

    fn manifest() -> Manifest {
        let folder = Some((1, 2, 3));
        Manifest { folder, ..Manifest::first(&version(&"ab".repeat(32)), at(1)) }
    }

    fn with(versions: &[&str]) -> Manifest {
        let mut manifest = Manifest { version: versions[0].into(), ..manifest() };
        for (n, hash) in (1..).zip(versions) {
            manifest.make_current(&version(hash), at(n));
        }
        manifest
    }

    fn hashes(manifest: &Manifest) -> Vec<&str> {
        manifest.versions.iter().map(|kept| &*kept.version).collect()
    }

    #[test]
    fn a_manifest_reads_back_as_written() {
        let mut written = manifest();
        written.make_current(&version(&"cd".repeat(32)), at(5));
        written.pin = Some(Pin { at: at(2), by: "ada".into(), reason: None });
        written.probation =
            Some(StoredProbation { old: "ab".into(), course: Probation::new(at(3)) });
        let read = Manifest::decode(&written.encode().unwrap()).unwrap();
        assert_eq!(read, written);
        assert_eq!(read.version().unwrap(), Version([0xcd; 32]));
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
        for later in ["sidecar", "retired", "kept", "state_version", "needs", "versions"] {
            fields.remove(later).unwrap();
        }
        for later in ["history", "file", "file_version", "pin", "candidate", "probation", "chosen"]
        {
            fields.remove(later).unwrap();
        }
        fields["kind"] = "command".into();
        let mut read = Manifest::decode(value.to_string().as_bytes()).unwrap();
        assert_eq!((read.retired, read.sidecar.as_ref(), read.kept.len()), (false, None, 0));
        assert_eq!(read.kind, ModuleKind::Command);
        read.trim(LIMITS, at(2));
        assert_eq!(read.kept, [read.version.clone()], "the current version is kept");
    }

    #[test]
    fn the_last_versions_are_kept_each_once() {
        let mut manifest = with(&["1", "2", "3", "2", "4", "5", "6"]);
        manifest.trim(LIMITS, at(9));
        assert_eq!(hashes(&manifest), ["6", "5", "4", "2"]);
    }

    #[test]
    fn a_version_is_dropped_some_time_after_it_served() {
        let mut manifest = with(&["1", "2", "3"]);
        manifest.trim(LIMITS, at(3).after(DAY));
        assert_eq!(hashes(&manifest), ["3", "2"]);
        manifest.trim(LIMITS, at(4).after(DAY));
        assert_eq!(hashes(&manifest), ["3"], "the one that serves stays");
    }

    #[test]
    fn versions_that_something_refers_to_are_kept() {
        let mut manifest = with(&["1", "2", "3", "4", "5"]);
        manifest.probation =
            Some(StoredProbation { old: "1".into(), course: Probation::new(at(3)) });
        manifest.put(KeptVersion { served_at: None, ..version("next") });
        manifest.candidate = Some("next".into());
        manifest.trim(KeepLimits { versions: 0, life: Duration::ZERO }, at(9).after(DAY));
        assert_eq!(hashes(&manifest), ["next", "5", "1"]);
    }

    #[test]
    fn the_previous_version_is_the_one_that_served_last() {
        let mut manifest = with(&["1", "2", "3"]);
        let previous = |manifest: &Manifest| manifest.previous().map(|v| v.version.clone());
        assert_eq!(previous(&manifest).as_deref(), Some("2"));
        manifest.put(KeptVersion { served_at: None, ..version("next") });
        assert_eq!(previous(&manifest).as_deref(), Some("2"), "a candidate never served");
        manifest.probation =
            Some(StoredProbation { old: "1".into(), course: Probation::new(at(3)) });
        assert_eq!(previous(&manifest).as_deref(), Some("1"));
        assert_eq!(previous(&with(&["1"])), None);
    }

    #[test]
    fn files_that_another_version_serves_instead_of_are_left() {
        let mut manifest = with(&["1", "2"]);
        let [files, others] = [Version([2; 32]), Version([1; 32])];
        (manifest.file, manifest.file_version) = (Some(files.to_hex()), Some("2".into()));
        assert!(!manifest.leaves(files), "they serve");
        manifest.make_current(&version("1"), at(9));
        assert!(manifest.leaves(files) && !manifest.leaves(others));
    }

    #[test]
    fn the_history_is_bounded() {
        let mut manifest = manifest();
        for n in 0..250 {
            let event = VersionEvent {
                at: at(n),
                act: VersionAct::Loaded,
                version: n.to_string(),
                before: None,
                by: "weir".into(),
                reason: None,
            };
            manifest.remember(event);
        }
        assert_eq!((manifest.history.len(), &*manifest.history[0].version), (100, "150"));
    }
}
