//! What an endpoint was given to know us by, masked in what it answers: its words are kept, and shown to people. Pure.

use crate::config::Webhook;

/// Shorter words are no secrets, and stand in many answers.
const BYTES_MIN: usize = 8;

/// The credentials of one endpoint.
pub(super) struct Mask(Vec<Box<[u8]>>);

impl Mask {
    /// Of its fixed headers and of what messages to it are signed with.
    pub(super) fn new(webhook: &Webhook) -> Self {
        let headers = webhook.headers.iter().map(|(_, value)| value.as_bytes());
        let secrets = webhook.secrets.iter().map(|secret| secret.expose());
        Self::of(headers.chain(secrets))
    }

    fn of<'s>(said: impl Iterator<Item = &'s [u8]>) -> Self {
        // `Bearer …`, `user=…`: the word alone is as good as the whole.
        let words = said.flat_map(|text| text.split(|byte| b" \t,;=\"".contains(byte)));
        Self(words.filter(|word| word.len() >= BYTES_MIN).map(Into::into).collect())
    }

    /// Bytes to read past those that are kept, so that none is cut in two.
    pub(super) fn longest(&self) -> usize {
        self.0.iter().map(|word| word.len()).max().unwrap_or(0)
    }

    /// Stars in the place of every credential.
    pub(super) fn cover(&self, text: &mut [u8]) {
        for word in &self.0 {
            let found: Vec<_> = memchr::memmem::find_iter(text, word).collect();
            for at in found {
                text[at..at + word.len()].fill(b'*');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(said: &[&str], text: &str) -> String {
        let mut text = text.as_bytes().to_vec();
        Mask::of(said.iter().map(|s| s.as_bytes())).cover(&mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_credential_is_covered_wherever_it_stands_and_whatever_stands_before_it() {
        let said = ["Bearer hunter2hunter2", "ops"];
        let text = "ops: hunter2hunter2hunter2hunter2, not hunter2";
        assert_eq!(covered(&said, text), format!("ops: {}, not hunter2", "*".repeat(28)));
        assert_eq!(covered(&[], "hunter2hunter2"), "hunter2hunter2");
    }
}
