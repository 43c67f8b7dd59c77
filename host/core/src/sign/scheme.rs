//! Signs with one scheme: writes what verification reads.

use std::borrow::Cow;
use std::sync::Arc;

use ring::rand::SystemRandom;

use super::key::SigningKey;
use super::{RequestDraft, SignError, SigningInput, insert, jwt};
use crate::bounds::EVENTS_PER_REQUEST_MAX;
use crate::json_pointer::array_items;
use crate::selector::Selector;
use crate::time::Timestamp;
use crate::verify::{
    Encoding, HttpMessageRule, Scheme, SignatureContext, SignatureFormat, VerifyError,
    draft_http_message,
};

/// The draft, signed with `scheme`.
pub(super) fn signed(
    scheme: &Arc<Scheme>,
    signing: SigningInput<'_>,
    draft: &RequestDraft,
    now: Timestamp,
    random: &SystemRandom,
) -> Result<RequestDraft, SignError> {
    let name = scheme.name.to_string();
    let missing = |param: Box<str>| SignError::ParamMissing { scheme: name, param: param.into() };
    let scheme = scheme.with_params(signing.params).map_err(missing)?;
    let key = SigningKey::new(&scheme, signing.secret, random)?;
    let signer = SchemeSigner { scheme: &scheme, key: &key, now, random };
    if scheme.items.is_some() { signer.sign_items(draft) } else { signer.sign(draft) }
}

struct SchemeSigner<'a> {
    scheme: &'a Scheme,
    key: &'a SigningKey,
    now: Timestamp,
    random: &'a SystemRandom,
}

impl SchemeSigner<'_> {
    fn missing(&self, cause: VerifyError) -> SignError {
        SignError::Draft { scheme: self.scheme.name.to_string(), cause }
    }

    /// Signs every item of the array as if it were the body, from last to first, so that the
    /// positions of earlier items stay valid.
    fn sign_items(&self, draft: &RequestDraft) -> Result<RequestDraft, SignError> {
        let missing = || self.missing(VerifyError::SignedFieldMissing);
        let items = self.scheme.items.as_ref().ok_or_else(missing)?;
        let array = items.find(&draft.body).ok().flatten().ok_or_else(missing)?;
        let items = array_items(array.get().as_bytes(), EVENTS_PER_REQUEST_MAX);
        let start = draft.body.as_ptr().addr();
        let spans: Vec<_> = items
            .map_err(|_| missing())?
            .into_iter()
            .map(|item| {
                let at = item.get().as_ptr().addr() - start;
                at..at + item.get().len()
            })
            .collect();
        let mut out = draft.clone();
        for span in spans.into_iter().rev() {
            let item = RequestDraft { body: draft.body[span.clone()].to_vec(), ..draft.clone() };
            out.body.splice(span, self.sign(&item)?.body);
        }
        Ok(out)
    }

    fn sign(&self, draft: &RequestDraft) -> Result<RequestDraft, SignError> {
        let scheme = self.scheme;
        let mut out = draft.clone();
        let covered = out.view(|request| scheme.check_query_covered(&request));
        covered.map_err(|cause| self.missing(cause))?;
        let family = family_of(scheme, draft);
        for requirement in &scheme.require {
            if let (Selector::Header(names), Some(value)) =
                (&requirement.from, requirement.any_of.first())
                && let Some(header) = names.get(family).or(names.first())
                && !out.has_header(header)
            {
                out.headers.push((header.to_string(), value.to_string()));
            }
        }
        if let Some(rule) = &scheme.jwt {
            let text = jwt::make(scheme, rule, self.key, &out, self.now, self.random)?;
            self.put(&mut out, family, &text, None)?;
            return Ok(out);
        }
        if let Some(rule) = &scheme.http_message {
            return self.sign_http_message(rule, out);
        }
        let time = self.time_to_sign(&mut out, family)?;
        let signature = out.view(|request| {
            scheme.check_body_covered(&request).map_err(|cause| self.missing(cause))?;
            let url = scheme.message.url_forms(&out.url).swap_remove(0);
            let context = SignatureContext::new(time.as_deref().map(str::as_bytes), family, &url);
            let parts = scheme.message.resolve(&request, &context);
            self.key.sign(&parts.map_err(|cause| self.missing(cause))?, self.random)
        })?;
        let signature = scheme.encoding.encode(&signature);
        self.put(&mut out, family, &signature, time.as_deref())?;
        Ok(out)
    }

    fn sign_http_message(
        &self,
        rule: &HttpMessageRule,
        mut out: RequestDraft,
    ) -> Result<RequestDraft, SignError> {
        let unsupported = || SignError::Unsupported { scheme: self.scheme.name.to_string() };
        let algorithm = self.scheme.algorithm.http_name().ok_or_else(unsupported)?;
        let draft = out.view(|request| draft_http_message(rule, algorithm, &request, self.now));
        let draft = draft.map_err(|cause| self.missing(cause))?;
        let signature = self.key.sign(&[Cow::Owned(draft.base)], self.random)?;
        out.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-digest"));
        out.headers.extend([
            ("Content-Digest".to_owned(), draft.content_digest),
            ("Signature-Input".to_owned(), format!("weir={}", draft.input)),
            ("Signature".to_owned(), format!("weir=:{}:", Encoding::Base64.encode(&signature))),
        ]);
        Ok(out)
    }

    /// Puts the signature where the scheme has it.
    fn put(
        &self,
        draft: &mut RequestDraft,
        family: usize,
        signature: &str,
        time: Option<&str>,
    ) -> Result<(), SignError> {
        let text = write(self.scheme, signature, time);
        let source = self.scheme.signature.first();
        let header = match source {
            Some(Selector::Header(names)) => {
                names.get(family).or(names.first()).map(ToString::to_string)
            }
            Some(Selector::Headers(patterns)) => {
                patterns.first().map(|p| format!("{}{}", p.name, if p.numbered { "1" } else { "" }))
            }
            _ => None,
        };
        if let Some(header) = header {
            draft.headers.push((header, text));
            return Ok(());
        }
        let missing = || self.missing(VerifyError::SignatureMissing);
        let source = source.ok_or_else(missing)?;
        if draft.view(|request| request.payload_is_query()) {
            draft.url = insert::in_query(source, &draft.url, &text).ok_or_else(missing)?;
        } else {
            draft.body = insert::in_body(source, &draft.body, &text).ok_or_else(missing)?;
        }
        Ok(())
    }

    /// The time to sign: the draft's own if it has one, else now, written where the scheme has it.
    fn time_to_sign(
        &self,
        draft: &mut RequestDraft,
        family: usize,
    ) -> Result<Option<String>, SignError> {
        let Some(rule) = &self.scheme.timestamp else { return Ok(None) };
        for source in &rule.from {
            let text = draft.view(|request| match source.read(&request, family) {
                Ok(Some(text)) => Some(String::from_utf8_lossy(&text).into_owned()),
                _ => None,
            });
            if text.is_some() {
                return Ok(text);
            }
        }
        let text = rule.unit.write(self.now);
        for source in &rule.from {
            match source {
                Selector::Pair(_) => return Ok(Some(text)),
                Selector::Header(names) => {
                    let name = names.get(family).or(names.first());
                    draft.headers.extend(name.map(|name| (name.to_string(), text.clone())));
                    return Ok(Some(text));
                }
                _ => {}
            }
        }
        Err(self.missing(VerifyError::TimestampMissing))
    }
}

/// The header family of the draft.
fn family_of(scheme: &Scheme, draft: &RequestDraft) -> usize {
    let fields = scheme.message.fields().filter_map(|source| match source {
        Selector::Header(names) if names.len() > 1 => Some(names),
        _ => None,
    });
    fields
        .filter_map(|names| names.iter().position(|name| draft.has_header(name)))
        .next()
        .unwrap_or_default()
}

fn write(scheme: &Scheme, signature: &str, time: Option<&str>) -> String {
    match &scheme.format {
        SignatureFormat::Prefix(prefix) | SignatureFormat::List { prefix, .. } => {
            format!("{prefix}{signature}")
        }
        SignatureFormat::Pairs { separators, key } => {
            let from = scheme.timestamp.iter().flat_map(|rule| &rule.from);
            let beside = from.filter_map(|source| match source {
                Selector::Pair(key) => time.map(|time| Cow::Owned(format!("{key}={time}"))),
                _ => None,
            });
            let mut items: Vec<Cow<'_, str>> = beside.collect();
            items.push(Cow::Owned(format!("{key}={signature}")));
            items.join(separators.get(..1).unwrap_or(","))
        }
    }
}
