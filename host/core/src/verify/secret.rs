//! Secrets in memory: wiped when dropped, and nothing prints them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

/// The bytes of a secret, as configured.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The bytes. Whoever calls this must not let them reach a log, an error or an answer.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// True if there is nothing in it.
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

/// What a source was given besides its secrets, by the names of its provider's parameters. Some are secret, so
/// all are kept like secrets.
pub type Params = BTreeMap<String, Secret>;

/// A live secret of a source. Its name is what is recorded with a request.
#[derive(Debug, Clone)]
pub struct NamedSecret {
    /// The operator's name for it, such as `current`.
    pub name: Arc<str>,
    /// The only scheme it is for; `None` offers it to every scheme whose key form it has.
    pub scheme: Option<Box<str>>,
    /// The secret.
    pub value: Secret,
}

impl NamedSecret {
    /// A secret for whichever scheme accepts it.
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
