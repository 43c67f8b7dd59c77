//! Attacks signing and verification as inverses: a made-up body and URL, signed with any scheme of
//! any provider.
//!
//! Must hold: a signed request verifies for the source that has the secret and for no other; after
//! a change to a covered byte it does not verify.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_core::provider::Provider;
use weir_core::selector::Selector;
use weir_core::sign::RequestDraft;
use weir_core::verify::{
    Encoding, MessagePart, Scheme, SignedMessage, Unverified, UrlForm, VerifyError,
};
use weir_fuzz::input::{Input, number, pick};
use weir_fuzz::sources::{self, NOW, SignedScheme, URL};

fuzz_target!(init: weir_fuzz::seeds::write("signed"), |text: &[u8]| {
    let input = Input::parse(text);
    let provider = sources::provider(input.word(0));
    let Some(keyed) = keyed_scheme(provider, input.word(1)) else { return };
    let Some(draft) = draft(keyed, &input) else { return };
    // The draft lacks a signed field.
    let Ok(signed) = keyed.sign(&draft) else { return };
    let outcome = keyed.verify(&signed);
    let name = format!("{} {}", provider.name, keyed.scheme.name);
    let proof = match outcome {
        Ok(proof) => proof,
        Err(Unverified::Refused(refusal)) if is_bodys_fault(&keyed.scheme, refusal) => return,
        // Without a body, it could be a captured `GET` sent with another method.
        Err(Unverified::Refused(VerifyError::QueryNotSigned)) if draft.body.is_empty() => return,
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(proof.scheme, keyed.scheme.name);
    assert!(sources::seen(&signed, |view| keyed.verifier.carries_signature(&view)), "{name}");
    let other = sources::seen(&signed, |view| keyed.other.verify(&view, NOW));
    assert!(other.is_err(), "{name}: another secret fits too");
    if let Some(changed) = changed(keyed, &draft, &signed, number(input.word(2))) {
        let outcome = keyed.verify(&changed);
        assert!(outcome.is_err(), "{name}: {changed:?}");
    }
});

fn keyed_scheme(provider: &Provider, scheme: &str) -> Option<&'static SignedScheme> {
    let named = sources::schemes_of(provider).find(|keyed| &*keyed.scheme.name == scheme);
    named.or_else(|| pick(&sources::schemes_of(provider).collect::<Vec<_>>(), scheme).copied())
}

/// The input as a draft, with the sample's headers except the signature's, each once, with the
/// input's value if that is plain text.
fn draft(keyed: &SignedScheme, input: &Input<'_>) -> Option<RequestDraft> {
    let mut draft = sources::drafted(keyed.provider.samples.first()?);
    for (name, value) in &mut draft.headers {
        let given = input.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        let text = given.and_then(|(_, value)| std::str::from_utf8(value).ok());
        let plain = |text: &&str| text.len() < 1000 && !text.contains(char::is_control);
        if let Some(text) = text.filter(plain) {
            *value = text.trim().to_owned();
        }
    }
    let url = input.url.starts_with("https://") && input.url.is_ascii();
    draft.url = if url { input.url.to_owned() } else { URL.to_owned() };
    draft.body = input.body.to_vec();
    Some(draft)
}

/// True if a signed body may be refused: it contains something else that the scheme checks.
fn is_bodys_fault(scheme: &Scheme, refusal: VerifyError) -> bool {
    let in_body = |source: &Selector| source.reads_body();
    match refusal {
        VerifyError::TimestampMissing
        | VerifyError::TimestampMalformed
        | VerifyError::TimestampStale { .. } => {
            scheme.timestamp.iter().flat_map(|rule| &rule.from).any(in_body)
        }
        VerifyError::FieldDuplicated => true,
        VerifyError::HeaderUnexpected => scheme.require.iter().any(|r| in_body(&r.from)),
        VerifyError::SignatureMalformed => !scheme.shapes.is_empty(),
        VerifyError::KeyUntrusted => scheme.fetched_key.is_some(),
        VerifyError::SignatureMissing => {
            scheme.items.is_some() || scheme.signature.iter().any(in_body)
        }
        _ => false,
    }
}

/// The request with a change to a covered part; `None` if this one is not covered.
fn changed(
    keyed: &SignedScheme,
    draft: &RequestDraft,
    signed: &RequestDraft,
    which: u64,
) -> Option<RequestDraft> {
    let scheme = &keyed.scheme;
    let mut changed = signed.clone();
    let place = usize::try_from(which >> 16).ok()?;
    let bit = 1 << (which >> 8 & 7);
    let body = scheme.covers_body() && scheme.items.is_none() || scheme.http_message.is_some();
    match which % 5 {
        0 if body => *changed.body.get_mut(place.checked_rem(signed.body.len())?)? ^= bit,
        1 if body => changed.body.push(b' '),
        2 if body => drop(changed.body.pop()?),
        3 if covers_url(scheme) => changed.url = with_other_path(&signed.url)?,
        4 => {
            let added = signed.headers.iter().skip(draft.headers.len()).count();
            let at = changed.headers.len() - 1 - place.checked_rem(added)?;
            let value = &mut changed.headers[at].1;
            *value = with_flipped(value, place >> 8, bit, scheme.encoding)?;
        }
        _ => return None,
    }
    Some(changed)
}

/// True if the URL is signed unchanged.
fn covers_url(scheme: &Scheme) -> bool {
    let signs =
        |message: &SignedMessage| message.parts().contains(&MessagePart::Url(UrlForm::AsIs));
    std::iter::once(&scheme.message).chain(&scheme.message_variants).all(signs)
        || scheme.http_message.is_some()
}

fn with_other_path(url: &str) -> Option<String> {
    let host = url.find("://")? + 3;
    let end = url[host..].find(['?', '#']).map_or(url.len(), |at| host + at);
    Some(format!("{}/other{}", &url[..end], &url[end..]))
}

/// The text with one bit of a byte flipped; `None` if that does not change a signature: white space
/// around it, padding, and the case of encodings that ignore it.
fn with_flipped(text: &str, place: usize, bit: u8, encoding: Encoding) -> Option<String> {
    let mut bytes = text.as_bytes().to_vec();
    let byte = bytes.get_mut(place.checked_rem(text.len())?)?;
    let before = std::mem::replace(byte, *byte ^ bit);
    let is_case = encoding == Encoding::HexAnyCase && before.eq_ignore_ascii_case(byte);
    let is_nothing = |b: u8| b.is_ascii_whitespace() || b == b'=';
    if is_case || is_nothing(before) || is_nothing(*byte) {
        None
    } else {
        String::from_utf8(bytes).ok()
    }
}
