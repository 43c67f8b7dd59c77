//! What makes two requests the same. Gives the bytes that a dedup key is made from; hashing and remembering
//! them is the store's.

use sha2::{Digest, Sha256};

use super::FactTemplate;

/// A provider's rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DedupRule {
    /// The sender's id, which its signature covers.
    Id,
    /// The sender's id and the body's hash, where the id is not signed: a forger who keeps a genuine body
    /// cannot make it look new, nor a new body look old.
    IdAndBody,
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

    /// The same for the nth item of a batch.
    pub(super) fn numbered(mut self, index: usize) -> Self {
        self.0.push(b'#');
        self.0.extend_from_slice(&(index as u64).to_le_bytes());
        self
    }
}

impl DedupRule {
    /// The material of one event. Where a field that the rule needs is missing there is none: better twice
    /// than never.
    pub(super) fn material(
        &self,
        id: Option<&str>,
        body: &[u8],
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
                out.extend_from_slice(&Sha256::digest(body));
            }
            Self::Body if body.is_empty() => return None,
            Self::Body => {
                out.push(b'b');
                out.extend_from_slice(&Sha256::digest(body));
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

    #[test]
    fn fields_cannot_run_into_one_another() {
        let field = FactTemplate::parse("/x").unwrap();
        let rule = DedupRule::Fields(vec![vec![field.clone()], vec![field]]);
        let of = |a: &str, b: &str| {
            let mut values = [b.to_owned(), a.to_owned()].to_vec();
            rule.material(None, b"", |_| values.pop())
        };
        assert_ne!(of("ab", "c"), of("a", "bc"));
    }

    #[test]
    fn two_that_say_nothing_are_not_the_same() {
        let of = |body: &[u8]| DedupRule::Body.material(None, body, |_| None);
        assert_eq!(of(b""), None);
        assert!(of(b"a").is_some() && of(b"a") == of(b"a"));
    }

    #[test]
    fn an_unsigned_id_counts_only_with_its_body() {
        let of = |id, body: &[u8]| DedupRule::IdAndBody.material(id, body, |_| None);
        assert_eq!(of(Some("1"), b"a"), of(Some("1"), b"a"));
        assert_ne!(of(Some("1"), b"a"), of(Some("1"), b"b"));
        assert_eq!(of(None, b"a"), None);
    }
}
