//! Compiled code on disk: a folder that only this host reads and writes, where each entry proves that this host
//! wrote it. Losing the folder costs compile time and nothing else.
//!
//! An entry is a 32-byte HMAC-SHA256 and the code. The code covers the module's hash, what it was compiled for and
//! how, so an entry under another name is no entry. What does not verify is ignored and written anew.

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

/// Entries kept, whatever their size; those that were not used for longest go.
const ENTRIES_MAX: usize = 256;

/// The folder and the key.
pub(crate) struct Cache {
    dir: PathBuf,
    key: [u8; 32],
    /// Bytes of all entries together.
    bytes_max: u64,
    /// What code compiled by this engine is good for.
    compatibility: [u8; 32],
}

impl fmt::Debug for Cache {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Cache {
    /// Opens the folder, making it if need be, readable by its owner alone.
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
        // The limit may have been lowered since.
        cache.prune()?;
        Ok(cache)
    }

    /// The code of a version, if it is there and verifies.
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
            warn!(path = %path.display(), "compiled code is damaged or not ours; compiling again");
            return None;
        }
        Some(TrustedCode::authenticated(entry, MAC_BYTES))
    }

    /// Keeps the code of a version. A failure costs the next start some time, so it is only told.
    pub(crate) fn put(&self, version: Version, kind: ModuleKind, code: &[u8]) {
        let path = self.path(version);
        if let Err(error) = self.write(&path, version, kind, code) {
            warn!(path = %path.display(), %error, "cannot keep compiled code; the next start compiles again");
        }
        if let Err(error) = self.prune() {
            warn!(dir = %self.dir.display(), %error, "cannot tidy the cache of compiled code");
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
        // Two hosts or threads may write the same entry at once: each into a file of its own, the last rename stays.
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
            // One that goes away meanwhile needs no room.
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

/// A file that nobody else reads or writes, wherever it is moved to.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Feeds what is hashed into SHA-256, whose result, unlike the standard hasher's, is the same in every build.
struct DigestHasher(Sha256);

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest is taken from the inside; nobody asks for 64 bits of it.
    fn finish(&self) -> u64 {
        0
    }
}
