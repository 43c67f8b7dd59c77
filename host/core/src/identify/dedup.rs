//! Dedup rules: what makes two events the same. Produces the bytes that a dedup key is made from;
//! the store hashes and remembers them.

use sha2::{Digest, Sha256};

use super::FactTemplate;
use crate::time::Timestamp;
use crate::verify::SignedDigest;

/// A provider's dedup rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DedupRule {
    /// The sender's id, which is signed.
    Id,
    /// The sender's id and the body's hash, for ids that are not signed: a captured body cannot be
    /// made to look new, nor a new body old.
    IdAndBody,
    /// The type and the body's hash, for senders that sign neither id nor type and send one body
    /// for several events.
    TypeAndBody,
    /// The body alone. An empty body never is a duplicate.
    Body,
    /// Certain fields, each with several selectors of which the first with a value counts.
    Fields(Vec<Vec<FactTemplate>>),
    /// No deduplication: every request is new.
    None,
}

/// The bytes that a dedup key is made from. Equal material means the same event. The encoding is
/// stable, because stored keys are made from it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DedupMaterial(Vec<u8>);

impl DedupMaterial {
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// True if it is made from all signed content, because there was no id.
    pub(super) fn is_of_request(&self) -> bool {
        self.0.first() == Some(&b't')
    }

    /// The material of the nth item of a batch.
    pub(super) fn numbered(mut self, index: usize) -> Self {
        self.0.push(b'#');
        self.0.extend_from_slice(&(index as u64).to_le_bytes());
        self
    }
}

/// The signed content of one event: its bytes, or the digest of other signed bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct SignedContent<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) signed: Option<SignedDigest>,
    /// The signed time, if the time is signed.
    pub(super) at: Option<Timestamp>,
}

impl SignedContent<'_> {
    fn digest(&self) -> SignedDigest {
        self.signed.unwrap_or_else(|| Sha256::digest(self.bytes).into())
    }

    fn is_empty(&self) -> bool {
        self.signed.is_none() && self.bytes.is_empty()
    }

    /// A short hash of the content. It shows that a sender used one id for different content.
    fn tag(&self) -> u32 {
        match &self.signed {
            Some(digest) => crc32fast::hash(digest),
            None => crc32fast::hash(self.bytes),
        }
    }

    /// The material of an event without an id: all signed content with the time. Without a signed
    /// time there is none, because a sender may send the same content twice; accepting a duplicate
    /// is better than losing an event.
    fn by_signed_time(&self) -> Option<DedupMaterial> {
        let at = self.at?;
        let mut out = Vec::with_capacity(48);
        out.push(b't');
        out.extend_from_slice(&at.as_millis().to_le_bytes());
        out.extend_from_slice(&self.digest());
        Some(DedupMaterial(out))
    }
}

impl DedupRule {
    /// The material of one event, and the tag of the content that may not differ between two events
    /// of equal material. If a field of the rule is missing, the signed content is used, provided
    /// that a time is signed.
    pub(super) fn material(
        &self,
        kind: &str,
        id: Option<&str>,
        content: SignedContent<'_>,
        fill: impl FnMut(&FactTemplate) -> Option<String>,
    ) -> (Option<DedupMaterial>, u32) {
        match self {
            Self::None => (None, 0),
            // Only the fields count; other differences, such as an attempt number, do not.
            Self::Fields(_) => {
                (self.by_rule(kind, id, content, fill).or_else(|| content.by_signed_time()), 0)
            }
            _ => (
                self.by_rule(kind, id, content, fill).or_else(|| content.by_signed_time()),
                content.tag(),
            ),
        }
    }

    fn by_rule(
        &self,
        kind: &str,
        id: Option<&str>,
        content: SignedContent<'_>,
        mut fill: impl FnMut(&FactTemplate) -> Option<String>,
    ) -> Option<DedupMaterial> {
        let mut out = Vec::with_capacity(96);
        match self {
            Self::Id => {
                out.push(b'i');
                put(&mut out, id?);
            }
            Self::IdAndBody => {
                out.push(b'x');
                put(&mut out, id?);
                out.extend_from_slice(&content.digest());
            }
            Self::Body | Self::TypeAndBody if content.is_empty() => return None,
            Self::Body => {
                out.push(b'b');
                out.extend_from_slice(&content.digest());
            }
            Self::TypeAndBody => {
                out.push(b'k');
                put(&mut out, kind);
                out.extend_from_slice(&content.digest());
            }
            Self::Fields(fields) => {
                out.push(b'f');
                for alternatives in fields {
                    put(&mut out, &alternatives.iter().find_map(&mut fill)?);
                }
            }
            Self::None => return None,
        }
        Some(DedupMaterial(out))
    }
}

/// The length comes first, so that `ab`+`c` differs from `a`+`bc`.
fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(bytes: &[u8]) -> SignedContent<'_> {
        SignedContent { bytes, signed: None, at: None }
    }

    fn of(rule: &DedupRule, id: Option<&str>, content: SignedContent<'_>) -> Option<DedupMaterial> {
        rule.material("push", id, content, |_| None).0
    }

    #[test]
    fn fields_cannot_merge() {
        let field = FactTemplate::parse("/x").unwrap();
        let rule = DedupRule::Fields(vec![vec![field.clone()], vec![field]]);
        let of = |a: &str, b: &str| {
            let mut values = [b.to_owned(), a.to_owned()].to_vec();
            rule.material("", None, content(b""), |_| values.pop())
        };
        assert_ne!(of("ab", "c"), of("a", "bc"));
    }

    #[test]
    fn two_empty_bodies_are_not_duplicates() {
        let of = |body: &[u8]| of(&DedupRule::Body, None, content(body));
        assert_eq!(of(b""), None);
        assert!(of(b"a").is_some() && of(b"a") == of(b"a"));
    }

    #[test]
    fn an_unsigned_id_counts_only_with_its_body() {
        let of = |id, body: &[u8]| of(&DedupRule::IdAndBody, id, content(body));
        assert_eq!(of(Some("1"), b"a"), of(Some("1"), b"a"));
        assert_ne!(of(Some("1"), b"a"), of(Some("1"), b"b"));
        assert_eq!(of(None, b"a"), None);
    }

    #[test]
    fn only_signed_bytes_count() {
        let signed = |bytes, digest| SignedContent { signed: Some([digest; 32]), ..content(bytes) };
        for rule in [DedupRule::Id, DedupRule::IdAndBody, DedupRule::Body, DedupRule::TypeAndBody] {
            let of = |content| rule.material("push", Some("1"), content, |_| None);
            assert_eq!(of(signed(b"a=1", 7)), of(signed(b"a=1&zz=1", 7)), "{rule:?}");
            assert_ne!(of(signed(b"a=1", 7)), of(signed(b"a=1", 8)), "{rule:?}");
        }
    }

    #[test]
    fn a_signed_time_finds_a_replay_without_an_id() {
        let at = |secs| Some(Timestamp::from_millis(secs));
        let of = |bytes, at| of(&DedupRule::Id, None, SignedContent { at, ..content(bytes) });
        assert!(of(b"a", at(1)).is_some() && of(b"a", at(1)) == of(b"a", at(1)));
        assert_ne!(of(b"a", at(1)), of(b"a", at(2)));
        assert_ne!(of(b"a", at(1)), of(b"b", at(1)));
        assert_eq!(of(b"a", None), None);
    }

    #[test]
    fn one_body_with_two_types_is_two_events_by_type_and_body() {
        let of = |kind| DedupRule::TypeAndBody.material(kind, None, content(b"a"), |_| None).0;
        assert_eq!(of("orders/paid"), of("orders/paid"));
        assert_ne!(of("orders/paid"), of("orders/create"));
    }
}
