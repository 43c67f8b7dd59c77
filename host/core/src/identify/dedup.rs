//! What makes two requests the same. Gives the bytes that a dedup key is made from; hashing and remembering
//! them is the store's.

use sha2::{Digest, Sha256};

use super::FactTemplate;
use crate::time::Timestamp;
use crate::verify::SignedDigest;

/// A provider's rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DedupRule {
    /// The sender's id, which its signature covers.
    Id,
    /// The sender's id and the body's hash, where the id is not signed: a forger who keeps a genuine body
    /// cannot make it look new, nor a new body look old.
    IdAndBody,
    /// The type and the body's hash, for senders that sign neither id nor type and send one body for several events.
    TypeAndBody,
    /// The body alone. One that is empty says nothing, and is nobody's twin.
    Body,
    /// Certain fields, each with the places of which the first that has it counts.
    Fields(Vec<Vec<FactTemplate>>),
    /// Nothing: every request is new.
    None,
}

/// The bytes that a dedup key is made from. Equal material, same event; the encoding is stable, because keys
/// made from it are stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DedupMaterial(Vec<u8>);

impl DedupMaterial {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// True if it is made of all that is signed, for want of an id.
    pub(super) fn is_of_request(&self) -> bool {
        self.0.first() == Some(&b't')
    }

    /// The same for the nth item of a batch.
    pub(super) fn numbered(mut self, index: usize) -> Self {
        self.0.push(b'#');
        self.0.extend_from_slice(&(index as u64).to_le_bytes());
        self
    }
}

/// What the sender vouches for of one event: its bytes, or where others are signed, the digest of those.
#[derive(Debug, Clone, Copy)]
pub(super) struct SignedContent<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) signed: Option<SignedDigest>,
    /// When it was signed, if that is signed too.
    pub(super) at: Option<Timestamp>,
}

impl SignedContent<'_> {
    fn digest(&self) -> SignedDigest {
        self.signed.unwrap_or_else(|| Sha256::digest(self.bytes).into())
    }

    fn is_empty(&self) -> bool {
        self.signed.is_none() && self.bytes.is_empty()
    }

    /// A tag of it, by which an id that a sender used twice for different things is told.
    fn tag(&self) -> u32 {
        match &self.signed {
            Some(digest) => crc32fast::hash(digest),
            None => crc32fast::hash(self.bytes),
        }
    }

    /// What makes a request that was sent once more the same one though it says no id: all that is signed, the time
    /// among it. Without a time there is none, for a sender may say the same thing twice: better twice than never.
    fn repeated(&self) -> Option<DedupMaterial> {
        let at = self.at?;
        let mut out = Vec::with_capacity(48);
        out.push(b't');
        out.extend_from_slice(&at.as_millis().to_le_bytes());
        out.extend_from_slice(&self.digest());
        Some(DedupMaterial(out))
    }
}

impl DedupRule {
    /// The material of one event, and the tag of what may not differ between two of the same material. Where a field
    /// that the rule needs is missing, what is signed stands in, if a time is signed.
    pub(super) fn material(
        &self,
        kind: &str,
        id: Option<&str>,
        said: SignedContent<'_>,
        fill: impl FnMut(&FactTemplate) -> Option<String>,
    ) -> (Option<DedupMaterial>, u32) {
        match self {
            Self::None => (None, 0),
            // The fields are all that counts: what differs beside them, such as an attempt's number, does not.
            Self::Fields(_) => (self.stated(kind, id, said, fill).or_else(|| said.repeated()), 0),
            _ => (self.stated(kind, id, said, fill).or_else(|| said.repeated()), said.tag()),
        }
    }

    fn stated(
        &self,
        kind: &str,
        id: Option<&str>,
        said: SignedContent<'_>,
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
                out.extend_from_slice(&said.digest());
            }
            Self::Body | Self::TypeAndBody if said.is_empty() => return None,
            Self::Body => {
                out.push(b'b');
                out.extend_from_slice(&said.digest());
            }
            Self::TypeAndBody => {
                out.push(b'k');
                put(&mut out, kind);
                out.extend_from_slice(&said.digest());
            }
            Self::Fields(fields) => {
                out.push(b'f');
                for places in fields {
                    put(&mut out, &places.iter().find_map(&mut fill)?);
                }
            }
            Self::None => return None,
        }
        Some(DedupMaterial(out))
    }
}

/// Length first, so that `ab`+`c` is not `a`+`bc`.
fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(bytes: &[u8]) -> SignedContent<'_> {
        SignedContent { bytes, signed: None, at: None }
    }

    fn of(rule: &DedupRule, id: Option<&str>, said: SignedContent<'_>) -> Option<DedupMaterial> {
        rule.material("push", id, said, |_| None).0
    }

    #[test]
    fn fields_cannot_run_into_one_another() {
        let field = FactTemplate::parse("/x").unwrap();
        let rule = DedupRule::Fields(vec![vec![field.clone()], vec![field]]);
        let of = |a: &str, b: &str| {
            let mut values = [b.to_owned(), a.to_owned()].to_vec();
            rule.material("", None, said(b""), |_| values.pop())
        };
        assert_ne!(of("ab", "c"), of("a", "bc"));
    }

    #[test]
    fn two_that_say_nothing_are_not_the_same() {
        let of = |body: &[u8]| of(&DedupRule::Body, None, said(body));
        assert_eq!(of(b""), None);
        assert!(of(b"a").is_some() && of(b"a") == of(b"a"));
    }

    #[test]
    fn an_unsigned_id_counts_only_with_its_body() {
        let of = |id, body: &[u8]| of(&DedupRule::IdAndBody, id, said(body));
        assert_eq!(of(Some("1"), b"a"), of(Some("1"), b"a"));
        assert_ne!(of(Some("1"), b"a"), of(Some("1"), b"b"));
        assert_eq!(of(None, b"a"), None);
    }

    #[test]
    fn what_is_signed_counts_and_not_the_bytes_around_it() {
        let signed = |bytes, digest| SignedContent { signed: Some([digest; 32]), ..said(bytes) };
        for rule in [DedupRule::Id, DedupRule::IdAndBody, DedupRule::Body, DedupRule::TypeAndBody] {
            let of = |said| rule.material("push", Some("1"), said, |_| None);
            assert_eq!(of(signed(b"a=1", 7)), of(signed(b"a=1&zz=1", 7)), "{rule:?}");
            assert_ne!(of(signed(b"a=1", 7)), of(signed(b"a=1", 8)), "{rule:?}");
        }
    }

    #[test]
    fn a_signed_time_tells_a_replay_of_what_has_no_id() {
        let at = |secs| Some(Timestamp::from_millis(secs));
        let of = |bytes, at| of(&DedupRule::Id, None, SignedContent { at, ..said(bytes) });
        assert!(of(b"a", at(1)).is_some() && of(b"a", at(1)) == of(b"a", at(1)));
        assert_ne!(of(b"a", at(1)), of(b"a", at(2)));
        assert_ne!(of(b"a", at(1)), of(b"b", at(1)));
        assert_eq!(of(b"a", None), None);
    }

    #[test]
    fn one_body_for_two_types_is_two_events_where_the_type_counts() {
        let of = |kind| DedupRule::TypeAndBody.material(kind, None, said(b"a"), |_| None).0;
        assert_eq!(of("orders/paid"), of("orders/paid"));
        assert_ne!(of("orders/paid"), of("orders/create"));
    }
}
