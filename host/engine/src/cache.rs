//! The cache of compiled code: a folder that only this hub uses. Each entry proves that this hub
//! wrote it. Losing the folder costs only compile time.
//!
//! An entry is an HMAC-SHA256 and the code. The HMAC also covers the module's hash and the settings
//! of the compiler, so that an entry under another name is invalid. An invalid entry is ignored and
//! written again.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::hash::{Hash as _, Hasher};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use tracing::warn;

use crate::precompiled::TrustedCode;
use crate::version::{ModuleKind, Version};

const MAC_BYTES: usize = 32;

/// Limit of entries. The least recently used are removed.
const ENTRIES_MAX: usize = 256;

pub(crate) struct Cache {
    dir: PathBuf,
    key: [u8; 32],
    /// Limit of all entries together.
    bytes_max: u64,
    /// Identifies the engine's build and settings.
    compatibility: [u8; 32],
}

impl fmt::Debug for Cache {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Cache {
    /// Opens or creates the folder, for its owner only.
    pub(crate) fn open(
        dir: PathBuf,
        (key, bytes_max): ([u8; 32], usize),
        engine: &wasmtime::Engine,
    ) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
        }
        let mut hasher = DigestHasher(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let cache = Self {
            dir,
            key,
            bytes_max: bytes_max as u64,
            compatibility: hasher.0.finalize().into(),
        };
        // The limit may be lower than before.
        cache.prune()?;
        Ok(cache)
    }

    /// The code of a version, if there is a valid entry.
    pub(crate) fn get(&self, version: Version, kind: ModuleKind) -> Option<TrustedCode> {
        let path = self.path(version);
        let entry = match fs::read(&path) {
            Ok(entry) => entry,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                warn!(path = %path.display(), %error, "cannot read compiled code; compiling again");
                return None;
            }
        };
        let verified = entry.split_at_checked(MAC_BYTES).is_some_and(|(mac, code)| {
            self.mac(version, kind, code).is_some_and(|right| right.verify_slice(mac).is_ok())
        });
        if !verified {
            let path = path.display();
            warn!(%path, "compiled code is damaged or from another hub; compiling again");
            return None;
        }
        Some(TrustedCode::authenticated(entry, MAC_BYTES))
    }

    /// Writes the code of a version. A failure costs only time at the next start, so it is logged.
    pub(crate) fn put(&self, version: Version, kind: ModuleKind, code: &[u8]) {
        let path = self.path(version);
        if let Err(error) = self.write(&path, version, kind, code) {
            let path = path.display();
            warn!(%path, %error, "cannot write compiled code; the next start compiles again");
        }
        if let Err(error) = self.prune() {
            warn!(dir = %self.dir.display(), %error, "cannot prune the cache of compiled code");
        }
    }

    fn write(
        &self,
        path: &Path,
        version: Version,
        kind: ModuleKind,
        code: &[u8],
    ) -> io::Result<()> {
        let mac = self.mac(version, kind, code).ok_or(io::ErrorKind::InvalidInput)?;
        // Processes or threads may write the same entry at once: each writes its own file, and the
        // last rename wins.
        let part = path.with_extension(format!(
            "{}-{:?}.part",
            std::process::id(),
            std::thread::current().id()
        ));
        let written = create(&part).and_then(|mut file| {
            file.write_all(&mac.finalize().into_bytes())?;
            file.write_all(code)
        });
        written.and_then(|()| fs::rename(&part, path)).inspect_err(|_| {
            let _ = fs::remove_file(&part);
        })
    }

    fn prune(&self) -> io::Result<()> {
        let mut entries: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            // It was removed meanwhile.
            let Ok(about) = entry.metadata() else { continue };
            let used = about.accessed().ok().max(about.modified().ok());
            entries.push((used.unwrap_or(SystemTime::UNIX_EPOCH), about.len(), entry.path()));
        }
        entries.sort_by(|a, b| b.cmp(a));
        let (mut count, mut bytes) = (0, 0_u64);
        for (_, length, path) in entries {
            count += 1;
            bytes = bytes.saturating_add(length);
            if count > ENTRIES_MAX || bytes > self.bytes_max {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn path(&self, version: Version) -> PathBuf {
        let compatibility = hex::encode(&self.compatibility[..8]);
        self.dir.join(format!("{}-{compatibility}.code", version.to_hex()))
    }

    fn mac(&self, version: Version, kind: ModuleKind, code: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        mac.update(b"weir compiled code 1\0");
        mac.update(kind.as_str().as_bytes());
        mac.update(&version.0);
        mac.update(&self.compatibility);
        mac.update(code);
        Some(mac)
    }
}

/// Creates a file for its owner only, also after a rename.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Hashes with SHA-256, which gives the same result in each build, unlike the standard hasher.
struct DigestHasher(Sha256);

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Not used: the digest is read from the inner hasher.
    fn finish(&self) -> u64 {
        0
    }
}
