//! The signatures in a request: found, split and counted, but not verified.

use std::borrow::Cow;

use super::VerifyError;
use super::scheme::{CandidateRule, Scheme, SignatureFormat};
use crate::bounds::EVENTS_PER_REQUEST_MAX;
use crate::request::{RequestView, SIGNED_HEADER_BYTES_MAX};
use crate::selector::Selector;

/// The maximum number of signatures that are read from one request, of any version.
pub const CANDIDATES_MAX: usize = 32;

/// The signatures of a request, still encoded.
#[derive(Debug)]
pub(super) struct Candidates<'a> {
    /// Those of the accepted version.
    pub(super) items: Vec<Cow<'a, [u8]>>,
    /// The family of header names that the signature header belongs to.
    pub(super) family: usize,
    /// The signature header if it is a key-value list, for other values in it.
    header: Option<&'a [u8]>,
}

impl<'a> Candidates<'a> {
    /// Finds the signatures of `scheme` in the request.
    pub(super) fn find(scheme: &Scheme, request: &RequestView<'a>) -> Result<Self, VerifyError> {
        let found = Self::find_any(scheme, request)?;
        if scheme.candidates == CandidateRule::One && found.items.len() > 1 {
            return Err(VerifyError::TooManySignatures);
        }
        Ok(found)
    }

    fn find_any(scheme: &Scheme, request: &RequestView<'a>) -> Result<Self, VerifyError> {
        // If each item of a batch carries the token, there are as many as items. Tokens that need a
        // public key are limited to a few.
        let most = match scheme.candidates {
            CandidateRule::All if scheme.jwt.is_none() => EVENTS_PER_REQUEST_MAX,
            CandidateRule::All | CandidateRule::Any | CandidateRule::One => CANDIDATES_MAX,
        };
        for source in &scheme.signature {
            match source {
                Selector::Headers(_) | Selector::Each(_) => {
                    let items = source.read_all(request)?;
                    if !items.is_empty() {
                        return Self::of_many(&scheme.format, items, most);
                    }
                }
                Selector::Header(names) => {
                    for (family, name) in names.iter().enumerate() {
                        if let Some(value) = request.single_header(name)? {
                            return Self::of_header(&scheme.format, value, family);
                        }
                    }
                }
                _ => {
                    if let Some(value) = source.read(request, 0)? {
                        return Self::of_one(&scheme.format, value);
                    }
                }
            }
        }
        Err(VerifyError::SignatureMissing)
    }

    fn of_header(
        format: &SignatureFormat,
        value: &'a [u8],
        family: usize,
    ) -> Result<Self, VerifyError> {
        let value = value.trim_ascii();
        if value.is_empty() {
            return Err(VerifyError::SignatureMissing);
        }
        let (separators, header) = match format {
            SignatureFormat::Prefix(prefix) => {
                let item = value.strip_prefix(prefix.as_bytes());
                let item = item.ok_or(VerifyError::SignatureMalformed)?;
                return Ok(Self { items: vec![Cow::Borrowed(item)], family, header: None });
            }
            SignatureFormat::List { separators, .. } => (separators, None),
            SignatureFormat::Pairs { separators, .. } => (separators, Some(value)),
        };
        let mut items = Vec::new();
        for (count, item) in split(value, separators).enumerate() {
            if count == CANDIDATES_MAX {
                return Err(VerifyError::TooManySignatures);
            }
            let signature = match format {
                SignatureFormat::Pairs { key, .. } => {
                    pair(item).filter(|(k, _)| *k == key.as_bytes()).map(|p| p.1)
                }
                SignatureFormat::List { prefix, .. } | SignatureFormat::Prefix(prefix) => {
                    item.strip_prefix(prefix.as_bytes())
                }
            };
            items.extend(signature.map(Cow::Borrowed));
        }
        if items.is_empty() {
            return Err(VerifyError::SignatureUnsupported);
        }
        Ok(Self { items, family, header })
    }

    /// Reads one value that is not from a header; it may hold a list.
    fn of_one(format: &SignatureFormat, value: Cow<'a, [u8]>) -> Result<Self, VerifyError> {
        let SignatureFormat::List { separators, prefix } = format else {
            return Self::of_many(format, vec![value], 1);
        };
        let mut items = Vec::new();
        for (count, item) in split(&value, separators).enumerate() {
            if count == CANDIDATES_MAX {
                return Err(VerifyError::TooManySignatures);
            }
            let signature = item.strip_prefix(prefix.as_bytes());
            items.extend(signature.map(|signature| Cow::Owned(signature.to_vec())));
        }
        if items.is_empty() {
            return Err(VerifyError::SignatureUnsupported);
        }
        Ok(Self { items, family: 0, header: None })
    }

    fn of_many(
        format: &SignatureFormat,
        mut items: Vec<Cow<'a, [u8]>>,
        most: usize,
    ) -> Result<Self, VerifyError> {
        if items.len() > most {
            return Err(VerifyError::TooManySignatures);
        }
        if items.iter().any(|item| item.len() > SIGNED_HEADER_BYTES_MAX) {
            return Err(VerifyError::HeaderTooLong);
        }
        // No known scheme has lists inside several values; `provider` refuses to describe one.
        if !matches!(format, SignatureFormat::Prefix(_)) {
            return Err(VerifyError::SignatureUnsupported);
        }
        if let SignatureFormat::Prefix(prefix) = format
            && !prefix.is_empty()
        {
            items.retain_mut(|item| match item.strip_prefix(prefix.as_bytes()) {
                Some(rest) => {
                    *item = Cow::Owned(rest.to_vec());
                    true
                }
                None => false,
            });
        }
        if items.is_empty() {
            return Err(VerifyError::SignatureUnsupported);
        }
        Ok(Self { items, family: 0, header: None })
    }

    /// The one value of `key` in a key-value signature header; two values are refused.
    pub(super) fn pair(
        &self,
        format: &SignatureFormat,
        key: &str,
    ) -> Result<Option<&'a [u8]>, VerifyError> {
        let (Some(header), SignatureFormat::Pairs { separators, .. }) = (self.header, format)
        else {
            return Ok(None);
        };
        let mut values =
            split(header, separators).filter_map(pair).filter(|(k, _)| *k == key.as_bytes());
        let value = values.next();
        if values.next().is_some() {
            return Err(VerifyError::HeaderDuplicated);
        }
        Ok(value.map(|(_, value)| value))
    }
}

fn split<'a>(value: &'a [u8], separators: &str) -> impl Iterator<Item = &'a [u8]> {
    value
        .split(move |b| separators.as_bytes().contains(b))
        .map(<[u8]>::trim_ascii)
        .filter(|item| !item.is_empty())
}

fn pair(item: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(b'=', item)?;
    Some((&item[..at], &item[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs() -> SignatureFormat {
        SignatureFormat::Pairs { separators: ",".into(), key: "v1".into() }
    }

    #[test]
    fn only_the_accepted_version_is_a_candidate() {
        let found = Candidates::of_header(&pairs(), b"t=1, v1=aa,v0=bb,v1=cc", 0).unwrap();
        assert_eq!(found.items, [&b"aa"[..], b"cc"]);
        assert_eq!(found.pair(&pairs(), "t"), Ok(Some(&b"1"[..])));
        assert_eq!(
            Candidates::of_header(&pairs(), b"t=1,v0=bb", 0).err(),
            Some(VerifyError::SignatureUnsupported)
        );
    }

    #[test]
    fn two_times_in_one_header_are_refused() {
        let found = Candidates::of_header(&pairs(), b"t=1,t=2,v1=aa", 0).unwrap();
        assert_eq!(found.pair(&pairs(), "t"), Err(VerifyError::HeaderDuplicated));
    }

    #[test]
    fn too_many_signatures_are_refused_before_any_is_tried() {
        let flood = "v9=a,".repeat(CANDIDATES_MAX + 1);
        assert_eq!(
            Candidates::of_header(&pairs(), flood.as_bytes(), 0).err(),
            Some(VerifyError::TooManySignatures)
        );
    }
}
