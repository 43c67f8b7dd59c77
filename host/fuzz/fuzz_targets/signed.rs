//! Attacks signing and verifying as each other's reverse: a made-up body and URL, signed by any scheme of any provider.
//!
//! Holds: what was signed verifies, for the source that has the secret and for no other; and after a change to a byte
//! that is covered it does not verify.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_core::provider::{Provider, Selector};
use weir_core::sign::RequestDraft;
use weir_core::verify::{Encoding, Message, MessagePart, VerifyError, Scheme, UrlForm, Verification};
use weir_fuzz::input::{Input, number, pick};
use weir_fuzz::sources::{self, NOW, URL, Way};

fuzz_target!(init: weir_fuzz::seeds::write("signed"), |text: &[u8]| {
    let input = Input::parse(text);
    let provider = sources::provider(input.word(0));
    let Some(way) = way(provider, input.word(1)) else { return };
    let Some(draft) = draft(way, &input) else { return };
    // The draft lacks something that is signed.
    let Ok(signed) = way.sign(&draft) else { return };
    let outcome = way.verify(&signed);
    let name = format!("{} {}", provider.name, way.scheme.name);
    let proof = match outcome {
        Verification::Verified(proof) => proof,
        Verification::Refused(refusal) if is_bodys_fault(&way.scheme, refusal) => return,
        // Without a body it could be a captured `GET` that is sent by another method.
        Verification::Refused(VerifyError::QueryNotSigned) if draft.body.is_empty() => return,
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(proof.scheme, way.scheme.name);
    assert!(sources::seen(&signed, |view| way.verifier.carries_signature(&view)), "{name}");
    let stranger = sources::seen(&signed, |view| way.stranger.verify(&view, NOW));
    assert!(!matches!(stranger, Verification::Verified(_)), "{name}: another secret fits too");
    if let Some(changed) = changed(way, &draft, &signed, number(input.word(2))) {
        let outcome = way.verify(&changed);
        assert!(!matches!(outcome, Verification::Verified(_)), "{name}: {changed:?}");
    }
});

fn way(provider: &Provider, scheme: &str) -> Option<&'static Way> {
    let named = sources::ways_of(provider).find(|way| &*way.scheme.name == scheme);
    named.or_else(|| pick(&sources::ways_of(provider).collect::<Vec<_>>(), scheme).copied())
}

/// The input as a request that is yet to be signed: with the headers that a sample has besides its signature's, each
/// once, with the input's value where that is plain text.
fn draft(way: &Way, input: &Input<'_>) -> Option<RequestDraft> {
    let mut draft = sources::drafted(way.provider.samples.first()?);
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

/// True if a body that was signed may be refused all the same: it says things that the scheme judges besides.
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
        VerifyError::SignatureMissing => scheme.items.is_some() || scheme.signature.iter().any(in_body),
        _ => false,
    }
}

/// The request with a change to what is covered; `None` if this one is not.
fn changed(
    way: &Way,
    draft: &RequestDraft,
    signed: &RequestDraft,
    which: u64,
) -> Option<RequestDraft> {
    let scheme = &way.scheme;
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

/// True if the URL is signed as it is.
fn covers_url(scheme: &Scheme) -> bool {
    let signs = |message: &Message| message.parts().contains(&MessagePart::Url(UrlForm::AsIs));
    std::iter::once(&scheme.message).chain(&scheme.message_variants).all(signs)
        || scheme.http_message.is_some()
}

fn with_other_path(url: &str) -> Option<String> {
    let host = url.find("://")? + 3;
    let end = url[host..].find(['?', '#']).map_or(url.len(), |at| host + at);
    Some(format!("{}/other{}", &url[..end], &url[end..]))
}

/// The text with one bit of a byte turned; `None` where that is no change to a signature: white space around it,
/// padding, and the case of what may be written in either.
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
