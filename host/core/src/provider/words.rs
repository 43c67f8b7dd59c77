//! The words of a provider file: how its enums are written.

use serde::Deserialize;

use super::scheme_table::{AlgorithmName, RequestForm};
use super::table::OnRedelivery;
use crate::selector::BodyKind;
use crate::verify::{
    Algorithm, CandidateRule, Direction, Encoding, KeyForm, SchemePolicy, TimeUnit,
};

/// Defines a module that reads an enum from its words. The `Option` form is for fields that a
/// source may leave to its provider.
macro_rules! words {
    ($module:ident: Option<$type:ty> { $($text:literal => $value:expr,)* }) => {
        words!(@module $module, $type, Option<$type>, Some, $($text => $value,)*);
    };
    ($module:ident: $type:ty { $($text:literal => $value:expr,)* }) => {
        words!(@module $module, $type, $type, std::convert::identity, $($text => $value,)*);
    };
    (@module $module:ident, $type:ty, $out:ty, $wrap:expr, $($text:literal => $value:expr,)*) => {
        pub(super) mod $module {
            use super::*;

            const WORDS: &[&str] = &[$($text),*];

            pub(in crate::provider) fn deserialize<'de, D: serde::Deserializer<'de>>(
                d: D,
            ) -> Result<$out, D::Error> {
                let text = String::deserialize(d)?;
                let value: $type = match text.as_str() {
                    $($text => $value,)*
                    _ => return Err(serde::de::Error::unknown_variant(&text, WORDS)),
                };
                Ok(($wrap)(value))
            }
        }
    };
}

words!(policy: SchemePolicy {
    "strongest" => SchemePolicy::Strongest,
    "strongest-present" => SchemePolicy::StrongestPresent,
    "any" => SchemePolicy::Any,
});
words!(body: BodyKind {
    "json" => BodyKind::Json,
    "form" => BodyKind::Form,
    "auto" => BodyKind::Auto,
    "text" => BodyKind::Text,
    "opaque" => BodyKind::Opaque,
});
words!(request_form: RequestForm {
    "atlassian" => RequestForm::Atlassian,
});
words!(redelivery: OnRedelivery {
    "duplicate" => OnRedelivery::Duplicate,
    "requeue" => OnRedelivery::Requeue,
});
words!(encoding: Option<Encoding> {
    "hex" => Encoding::Hex,
    "hex-any-case" => Encoding::HexAnyCase,
    "base64" => Encoding::Base64,
    "base64url" => Encoding::Base64Url,
    "plain" => Encoding::Plain,
});
words!(key: Option<KeyForm> {
    "utf8" => KeyForm::Utf8,
    "base64" => KeyForm::Base64,
    "hex" => KeyForm::Hex,
    "whsec" => KeyForm::Whsec,
    "whpk" => KeyForm::Whpk,
    "whsec-only" => KeyForm::WhsecOnly,
    "whsec-or-utf8" => KeyForm::WhsecOrUtf8,
    "html-text" => KeyForm::HtmlText,
    "sha1" => KeyForm::Sha1,
    "public-key" => KeyForm::PublicKey,
    "nfkd" => KeyForm::Nfkd,
});
words!(unit: Option<TimeUnit> {
    "seconds" => TimeUnit::Seconds,
    "millis" => TimeUnit::Millis,
    "rfc3339" => TimeUnit::Rfc3339,
});
words!(direction: Option<Direction> {
    "both" => Direction::Both,
    "past" => Direction::Past,
});
words!(candidates: Option<CandidateRule> {
    "any" => CandidateRule::Any,
    "all" => CandidateRule::All,
    "one" => CandidateRule::One,
});

pub(super) mod algorithm {
    use super::*;

    const WORDS: &[&str] = &[
        "hmac-sha1",
        "hmac-sha256",
        "hmac-sha384",
        "hmac-sha512",
        "sha256-secret-prefix",
        "ed25519",
        "ecdsa-p256-sha256-der",
        "rsa-pkcs1-sha1",
        "rsa-pkcs1-sha256",
        "rsa-pss-sha512",
        "ecdsa-p256-sha256",
        "ecdsa-p384-sha384",
        "static-equals",
    ];

    pub(in crate::provider) fn deserialize<'de, D: serde::Deserializer<'de>>(
        d: D,
    ) -> Result<Option<AlgorithmName>, D::Error> {
        let text = String::deserialize(d)?;
        let known = match text.as_str() {
            "hmac-sha1" => Algorithm::HmacSha1,
            "hmac-sha256" => Algorithm::HmacSha256,
            "hmac-sha384" => Algorithm::HmacSha384,
            "hmac-sha512" => Algorithm::HmacSha512,
            "sha256-secret-prefix" => Algorithm::Sha256SecretPrefix,
            "ed25519" => Algorithm::Ed25519,
            "ecdsa-p256-sha256-der" => Algorithm::EcdsaP256Sha256Der,
            "rsa-pkcs1-sha1" => Algorithm::RsaPkcs1Sha1,
            "rsa-pkcs1-sha256" => Algorithm::RsaPkcs1Sha256,
            "rsa-pss-sha512" => Algorithm::RsaPssSha512,
            "ecdsa-p256-sha256" => Algorithm::EcdsaP256Sha256,
            "ecdsa-p384-sha384" => Algorithm::EcdsaP384Sha384,
            "static-equals" => Algorithm::StaticEquals,
            _ => match text.strip_prefix("hook:") {
                Some(name) => return Ok(Some(AlgorithmName::Hook(name.to_owned()))),
                None => return Err(serde::de::Error::unknown_variant(&text, WORDS)),
            },
        };
        Ok(Some(AlgorithmName::Known(known)))
    }
}
