//! The cache of compiled code: a folder that only this hub uses. Each entry proves that this hub
//! wrote it. Losing the folder costs only compile time.
//!
//! An entry is the code, which can be mapped as it is, and an HMAC-SHA256. The HMAC also covers the
//! module's hash and the settings of the compiler, so that an entry under another name is invalid.
//! An invalid entry is ignored and written again.
//!
//! An entry is written under a name of its own and then renamed. It is never changed in place: the
//! code in use is mapped from it.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::hash::{Hash as _, Hasher};
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use tracing::warn;

use weir_core::bounds::KIB;

use crate::precompiled::TrustedCode;
use crate::version::{ModuleKind, Version};

const MAC_BYTES: usize = 32;

/// Read at once to authenticate an entry.
const READ_BYTES: usize = 256 * KIB;

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

    /// The code of a version to map, if there is a valid entry.
    pub(crate) fn get(&self, version: Version, kind: ModuleKind) -> Option<TrustedCode> {
        let file = self.authentic(version, kind, |_| {})?;
        Some(TrustedCode::File(file))
    }

    /// The code of a version in memory, if there is a valid entry.
    pub(crate) fn read(&self, version: Version, kind: ModuleKind) -> Option<TrustedCode> {
        let mut code = Vec::new();
        self.authentic(version, kind, |bytes| code.extend_from_slice(bytes))?;
        Some(TrustedCode::Memory(code))
    }

    /// Authenticates an entry by reading it once, and hands out what was read. The result is the
    /// descriptor that it was read through.
    fn authentic(
        &self,
        version: Version,
        kind: ModuleKind,
        each: impl FnMut(&[u8]),
    ) -> Option<File> {
        let path = self.path(version);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                warn!(path = %path.display(), %error, "cannot read compiled code; compiling again");
                return None;
            }
        };
        if !self.verify(&file, version, kind, each).unwrap_or(false) {
            let path = path.display();
            warn!(%path, "compiled code is damaged or from another hub; compiling again");
            return None;
        }
        Some(file)
    }

    fn verify(
        &self,
        file: &File,
        version: Version,
        kind: ModuleKind,
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<bool> {
        let Some(code) = file.metadata()?.len().checked_sub(MAC_BYTES as u64) else {
            return Ok(false);
        };
        let mut mac = self.mac(version, kind).ok_or(io::ErrorKind::InvalidInput)?;
        let mut from = file;
        let mut buffer = vec![0; READ_BYTES];
        let mut left = code;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(READ_BYTES);
            let part = buffer.get_mut(..most).unwrap_or_default();
            from.read_exact(part)?;
            mac.update(part);
            each(part);
            left -= most as u64;
        }
        let mut written = [0; MAC_BYTES];
        from.read_exact(&mut written)?;
        Ok(mac.verify_slice(&written).is_ok())
    }

    /// Begins an entry. None if it cannot be written, which costs memory, and time at the next
    /// start, so it is only logged.
    pub(crate) fn entry(&self, version: Version, kind: ModuleKind) -> Option<Entry> {
        let path = self.path(version);
        // Processes or threads may write the same entry at once: each writes its own file, and the
        // last rename wins.
        let part = path.with_extension(format!(
            "{}-{:?}.part",
            std::process::id(),
            std::thread::current().id()
        ));
        let mac = self.mac(version, kind)?;
        match create(&part) {
            Ok(file) => Some(Entry { file, part, path, mac, failed: None }),
            Err(error) => {
                log_unwritable(&path, &error);
                None
            }
        }
    }

    /// Completes an entry whose code has been written, and gives it its name. None if it could not
    /// be written.
    pub(crate) fn put(&self, mut entry: Entry) -> Option<TrustedCode> {
        let done = match entry.failed.take() {
            Some(error) => Err(error),
            None => entry.complete(),
        };
        let code = done.inspect_err(|error| log_unwritable(&entry.path, error)).ok();
        if let Err(error) = self.prune() {
            warn!(dir = %self.dir.display(), %error, "cannot prune the cache of compiled code");
        }
        code.map(TrustedCode::File)
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

    fn mac(&self, version: Version, kind: ModuleKind) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        mac.update(b"weir compiled code 2\0");
        mac.update(kind.as_str().as_bytes());
        mac.update(&version.0);
        mac.update(&self.compatibility);
        Some(mac)
    }
}

/// An entry that is being written. It is removed when it is dropped before it is complete.
pub(crate) struct Entry {
    file: File,
    part: PathBuf,
    path: PathBuf,
    mac: Hmac<Sha256>,
    failed: Option<io::Error>,
}

impl Entry {
    fn complete(&mut self) -> io::Result<File> {
        let mac = self.mac.clone().finalize().into_bytes();
        self.file.write_all(&mac)?;
        // For reading only, before another process can find it.
        let file = File::open(&self.part)?;
        fs::rename(&self.part, &self.path)?;
        Ok(file)
    }
}

impl Write for Entry {
    /// Never fails, so that a compiler goes on. [`Cache::put`] reports the failure.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failed.is_none() {
            self.mac.update(bytes);
            self.failed = self.file.write_all(bytes).err();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // It is gone if the entry was completed.
        let _ = fs::remove_file(&self.part);
    }
}

fn log_unwritable(path: &Path, error: &io::Error) {
    let path = path.display();
    warn!(%path, %error, "cannot write compiled code: it stays in memory, and the next start compiles again");
}

/// Creates a file that only its owner can read, and that cannot be opened for writing again.
fn create(path: &Path) -> io::Result<File> {
    // Of a process that died and had the same id.
    let _ = fs::remove_file(path);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o400);
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
