//! Secrets in memory: wiped when dropped, never printed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

/// The bytes of a secret as configured.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The bytes. The caller must keep them out of logs, errors and responses.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The parameters of a source, by the names in its provider's file. Some are secret, so all are
/// kept like secrets.
pub type Params = BTreeMap<String, Secret>;

/// A secret of a source. Its name is recorded with each request that it verifies.
#[derive(Debug, Clone)]
pub struct NamedSecret {
    /// The operator's name for the secret, such as `current`.
    pub name: Arc<str>,
    /// The only scheme that may use the secret; `None` offers it to every scheme whose key form it
    /// has.
    pub scheme: Option<Box<str>>,
    pub value: Secret,
}

impl NamedSecret {
    /// A secret that any scheme may use.
    #[must_use]
    pub fn new(name: &str, value: Secret) -> Self {
        Self { name: name.into(), scheme: None, value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        let secret = NamedSecret::new("current", Secret::new("hunter2"));
        assert!(!format!("{secret:?}").contains("hunter2"));
    }
}
