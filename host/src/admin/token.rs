//! The admin token, which writes need: kept as a digest, made at the first start, read by the
//! command line.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rand::RngExt as _;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use thiserror::Error;

use crate::config::Config;

/// The file of the token in the data folder.
pub const TOKEN_FILE: &str = "admin-token";
/// Random bytes of a new token.
const TOKEN_RANDOM_BYTES: usize = 32;
/// Longest file that is read as a token.
const TOKEN_FILE_BYTES_MAX: u64 = 4_096;
/// Shortest token that is accepted, in bytes.
const TOKEN_BYTES_MIN: usize = 16;

/// A token that cannot be read or made.
#[derive(Debug, Error)]
pub enum TokenError {
    #[error("cannot read the admin token {}", .file.display())]
    Read {
        file: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("cannot make the admin token {}", .file.display())]
    Make {
        file: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    /// Others may have read it.
    #[error(
        "{} can be read by others (mode {mode:03o}): remove it to get a new one, or set its mode \
         to 600",
        .file.display()
    )]
    Exposed { file: PathBuf, mode: u32 },
    #[error("{} contains no token: remove it to get a new one", .file.display())]
    Unusable { file: PathBuf },
}

/// The digest of the token. The token itself is not kept in memory.
#[derive(Clone)]
pub struct Token {
    digest: [u8; 32],
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// A token that the operator configured.
    #[must_use]
    pub fn given(bytes: &[u8]) -> Self {
        Self { digest: Sha256::digest(bytes).into() }
    }

    /// The token that the configuration names, else the one of the data folder.
    pub fn from_config(config: &Config) -> Result<Self, TokenError> {
        match &config.admin.token {
            Some(token) => Ok(Self::given(token.expose())),
            None => Self::load_or_create(&config.data_dir),
        }
    }

    /// The token of a data folder, made if there is none.
    pub fn load_or_create(data_dir: &Path) -> Result<Self, TokenError> {
        let file = data_dir.join(TOKEN_FILE);
        if read_file(&file)?.is_none() {
            make(&file).map_err(|cause| TokenError::Make { file: file.clone(), cause })?;
        }
        // Read again: another process may have made the file first.
        match read_file(&file)? {
            Some(token) => Ok(Self::given(token.as_bytes())),
            None => Err(TokenError::Unusable { file }),
        }
    }

    /// True if this is the token. Takes the same time for every wrong one.
    #[must_use]
    pub fn matches(&self, presented: &[u8]) -> bool {
        let presented: [u8; 32] = Sha256::digest(presented).into();
        self.digest.ct_eq(&presented).into()
    }
}

/// The token in a data folder, for the command line to send. None if it was never made. Callers
/// must not print it.
pub fn read(data_dir: &Path) -> Result<Option<String>, TokenError> {
    read_file(&data_dir.join(TOKEN_FILE))
}

fn read_file(file: &Path) -> Result<Option<String>, TokenError> {
    let failed = |cause| TokenError::Read { file: file.to_owned(), cause };
    let open = match File::open(file) {
        Ok(open) => open,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mode = open.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(TokenError::Exposed { file: file.to_owned(), mode });
    }
    let mut text = String::new();
    open.take(TOKEN_FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    let token = text.trim_ascii();
    if token.len() < TOKEN_BYTES_MIN || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(TokenError::Unusable { file: file.to_owned() });
    }
    Ok(Some(token.to_owned()))
}

/// Writes another file and links it, so that the token's file is never half written and never
/// replaces another's.
fn make(file: &Path) -> std::io::Result<()> {
    let beside = file.with_extension(hex::encode(rand::rng().random::<[u8; 4]>()));
    let token = hex::encode(rand::rng().random::<[u8; TOKEN_RANDOM_BYTES]>());
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    let written = out.write_all(format!("{token}\n").as_bytes()).and_then(|()| out.sync_all());
    let linked = written.and_then(|()| match std::fs::hard_link(&beside, file) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        // Some file systems have no links.
        Err(_) => std::fs::rename(&beside, file),
        Ok(()) => Ok(()),
    });
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => linked.and(Err(error)),
        _ => linked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_only_its_owner_reads_it() {
        let data = tempfile::tempdir().unwrap();
        assert!(read(data.path()).unwrap().is_none());
        let made = Token::load_or_create(data.path()).unwrap();
        let text = read(data.path()).unwrap().unwrap();
        assert_eq!(text.len(), 2 * TOKEN_RANDOM_BYTES);
        assert!(made.matches(text.as_bytes()));
        assert!(Token::load_or_create(data.path()).unwrap().matches(text.as_bytes()));
        let mode = data.path().join(TOKEN_FILE).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 1, "no other file is left");
    }

    #[test]
    fn processes_that_start_together_agree_on_one_token() {
        let data = tempfile::tempdir().unwrap();
        let tokens: Vec<Token> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| Token::load_or_create(data.path()).unwrap()))
                .collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        let text = read(data.path()).unwrap().unwrap();
        assert!(tokens.iter().all(|token| token.matches(text.as_bytes())));
    }

    #[test]
    fn a_token_that_others_can_read_is_refused() {
        let data = tempfile::tempdir().unwrap();
        Token::load_or_create(data.path()).unwrap();
        let file = data.path().join(TOKEN_FILE);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        let refused = Token::load_or_create(data.path()).unwrap_err().to_string();
        assert!(refused.contains("mode 640"), "{refused}");
    }

    #[test]
    fn an_empty_file_is_refused() {
        let data = tempfile::tempdir().unwrap();
        let file = data.path().join(TOKEN_FILE);
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).unwrap();
        assert!(matches!(Token::load_or_create(data.path()), Err(TokenError::Unusable { .. })));
    }

    #[test]
    fn a_token_is_not_printed_and_matches_only_itself() {
        let token = Token::given(b"correct horse battery");
        assert_eq!(format!("{token:?}"), "Token(…)");
        assert!(token.matches(b"correct horse battery"));
        assert!(!token.matches(b"correct horse batterz") && !token.matches(b""));
    }
}
