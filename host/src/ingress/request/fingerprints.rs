//! Fingerprints: what is stored in place of a secret.

use rand::TryRng;
use rand::rngs::SysRng;
use sha2::{Digest, Sha256};
use weir_store::registry::{CasOutcome, EntryKind};
use weir_store::{Registry, StoreError};

/// The registry key of the fingerprint key.
const REGISTRY_KEY: &str = "fingerprint";

/// Turns a secret into a text that differs for different secrets and reveals nothing else.
#[derive(Clone)]
pub(crate) struct Fingerprints {
    key: [u8; 32],
}

impl std::fmt::Debug for Fingerprints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprints(…)")
    }
}

impl Fingerprints {
    /// Without the key, a weak secret cannot be guessed from its fingerprint.
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// The fingerprint of a secret.
    pub(crate) fn of(&self, secret: &[u8]) -> String {
        let digest = Sha256::new().chain_update(self.key).chain_update(secret).finalize();
        format!("fingerprint-{}", hex::encode(&digest[..6]))
    }

    /// Fingerprints that differ after a restart.
    pub(crate) fn temporary() -> Self {
        Self::new(random())
    }

    /// The fingerprints of this installation, whose key is made at the first start.
    pub(crate) async fn load(store: &dyn Registry) -> Result<Self, StoreError> {
        let new: [u8; 32] = random();
        let secret = EntryKind::Secret;
        let written = store.cas(secret, REGISTRY_KEY, None, Some(new.to_vec())).await?;
        if let CasOutcome::Written { .. } = written {
            return Ok(Self::new(new));
        }
        let entry = store.get(secret, REGISTRY_KEY).await?;
        let key = entry.and_then(|entry| entry.value).and_then(|value| value.try_into().ok());
        let damaged = || StoreError::Damaged("the key of fingerprints is not 32 bytes long".into());
        key.map(Self::new).ok_or_else(damaged)
    }
}

/// Random bytes of the operating system.
#[expect(
    clippy::expect_used,
    reason = "a system without randomness cannot run this program safely"
)]
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).expect("the system gives no random bytes");
    bytes
}
