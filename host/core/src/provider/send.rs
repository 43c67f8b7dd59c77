//! The sending side of a [`Provider`]: its samples, signed requests and fresh secrets.
//!
//! The work is done in `sign` and `sample`, which know no provider.

use ring::rand::SystemRandom;

use super::Provider;
use crate::sample::Sample;
use crate::sign::{self, RequestDraft, SecretForm, SecretPair, SignError, SigningInput};
use crate::time::Timestamp;

impl Provider {
    /// The sample with this name.
    #[must_use]
    pub fn sample(&self, name: &str) -> Option<&Sample> {
        self.samples.iter().find(|sample| sample.name == name)
    }

    /// Signs `draft` as a genuine request of this provider. The signature goes into headers, or
    /// into the body or query, where the draft must have a place for it. Uses the first scheme
    /// whose key the secret is and whose fields the draft has.
    pub fn sign_request(
        &self,
        signing: SigningInput<'_>,
        draft: &RequestDraft,
        now: Timestamp,
        random: &SystemRandom,
    ) -> Result<RequestDraft, SignError> {
        sign::sign_request(&self.schemes, signing, draft, now, random)
    }

    /// Generates a secret for a scheme: the named one, else the first with a shared secret, which
    /// more senders support than key pairs.
    pub fn generate_secret(
        &self,
        scheme: Option<&str>,
        random: &SystemRandom,
    ) -> Result<SecretPair, SignError> {
        sign::generate_secret(&self.schemes, scheme, self.secret_form(), random)
    }

    /// The form of the provider's shared secrets, if it has its own.
    #[must_use]
    pub fn secret_form(&self) -> Option<&SecretForm> {
        self.params.iter().find(|param| param.name == "secret")?.form.as_ref()
    }

    /// The prefix of the provider's secrets, if they have one.
    #[must_use]
    pub fn secret_prefix(&self) -> Option<&str> {
        self.secret_form().map(SecretForm::prefix).filter(|prefix| prefix.ends_with('_'))
    }
}
