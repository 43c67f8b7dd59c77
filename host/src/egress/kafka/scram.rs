//! SCRAM: logs in with a password that does not cross the network, and checks that the server knows
//! it too. Pure.
//!
//! Source: RFC 5802 and RFC 7677. Without channel binding, which Kafka does not have.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};
use subtle::ConstantTimeEq as _;
use thiserror::Error;

use crate::config::SaslMechanism;

/// The most rounds that a server may ask for. More would keep a processor busy for seconds.
const ROUNDS_MAX: u32 = 1_000_000;

/// A server that does not follow the exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum ScramError {
    #[error("its answer is not one of SCRAM")]
    Malformed,
    #[error("it asks for {0} rounds of the password's hash, and {ROUNDS_MAX} is the most")]
    TooManyRounds(u32),
    #[error("it does not know the password itself")]
    Unproven,
}

/// The algorithms of a mechanism.
struct Algorithms {
    pbkdf2: pbkdf2::Algorithm,
    hmac: hmac::Algorithm,
    digest: &'static digest::Algorithm,
}

impl Algorithms {
    fn of(mechanism: SaslMechanism) -> Self {
        match mechanism {
            SaslMechanism::ScramSha512 => Self {
                pbkdf2: pbkdf2::PBKDF2_HMAC_SHA512,
                hmac: hmac::HMAC_SHA512,
                digest: &digest::SHA512,
            },
            SaslMechanism::Plain | SaslMechanism::ScramSha256 => Self {
                pbkdf2: pbkdf2::PBKDF2_HMAC_SHA256,
                hmac: hmac::HMAC_SHA256,
                digest: &digest::SHA256,
            },
        }
    }

    fn signed(&self, key: &[u8], text: &[u8]) -> hmac::Tag {
        hmac::sign(&hmac::Key::new(self.hmac, key), text)
    }
}

/// An exchange that has begun.
pub(super) struct ScramExchange<'a> {
    algorithms: Algorithms,
    password: &'a [u8],
    nonce: &'a str,
    /// The first message without its beginning, which says that there is no channel binding.
    bare: String,
}

impl<'a> ScramExchange<'a> {
    /// Begins an exchange. `nonce` is random, and printable ASCII without commas.
    pub(super) fn new(
        mechanism: SaslMechanism,
        user: &str,
        password: &'a [u8],
        nonce: &'a str,
    ) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let bare = format!("n={user},r={nonce}");
        Self { algorithms: Algorithms::of(mechanism), password, nonce, bare }
    }

    /// The first message to the server.
    pub(super) fn first(&self) -> String {
        format!("n,,{}", self.bare)
    }

    /// The second message, after the server's first, and the proof that it has to answer with.
    pub(super) fn second(&self, challenge: &[u8]) -> Result<(String, ServerProof), ScramError> {
        let challenge = std::str::from_utf8(challenge).map_err(|_| ScramError::Malformed)?;
        let field = |name: char| {
            let mut fields = challenge.split(',');
            fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
        };
        let nonce = field('r').filter(|nonce| nonce.starts_with(self.nonce));
        let nonce = nonce.ok_or(ScramError::Malformed)?;
        let salt = field('s').and_then(|salt| STANDARD.decode(salt).ok());
        let salt = salt.ok_or(ScramError::Malformed)?;
        let rounds: NonZeroU32 =
            field('i').and_then(|rounds| rounds.parse().ok()).ok_or(ScramError::Malformed)?;
        if rounds.get() > ROUNDS_MAX {
            return Err(ScramError::TooManyRounds(rounds.get()));
        }
        let Algorithms { pbkdf2, digest, .. } = self.algorithms;
        let mut salted = vec![0; digest.output_len()];
        pbkdf2::derive(pbkdf2, rounds, &salt, self.password, &mut salted);
        let client_key = self.algorithms.signed(&salted, b"Client Key");
        let stored_key = digest::digest(digest, client_key.as_ref());
        let without_proof = format!("c=biws,r={nonce}");
        let text = format!("{},{challenge},{without_proof}", self.bare);
        let signature = self.algorithms.signed(stored_key.as_ref(), text.as_bytes());
        let proof = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b);
        let proof = STANDARD.encode(proof.collect::<Vec<u8>>());
        let server_key = self.algorithms.signed(&salted, b"Server Key");
        let expected = self.algorithms.signed(server_key.as_ref(), text.as_bytes());
        let expected = ServerProof(expected.as_ref().to_vec());
        Ok((format!("{without_proof},p={proof}"), expected))
    }
}

/// The signature that only a server which knows the password can make.
pub(super) struct ServerProof(Vec<u8>);

impl ServerProof {
    /// Checks the server's last message.
    pub(super) fn check(&self, last: &[u8]) -> Result<(), ScramError> {
        let given = std::str::from_utf8(last).ok().and_then(|last| last.strip_prefix("v="));
        let given = given.and_then(|given| STANDARD.decode(given.split(',').next()?).ok());
        let given = given.ok_or(ScramError::Malformed)?;
        match bool::from(given.ct_eq(&self.0)) {
            true => Ok(()),
            false => Err(ScramError::Unproven),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHALLENGE: &[u8] =
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn exchange() -> ScramExchange<'static> {
        ScramExchange::new(SaslMechanism::ScramSha256, "user", b"pencil", "rOprNGfwEbeRWgbNEkqO")
    }

    /// The example of RFC 7677, section 3.
    #[test]
    fn the_published_exchange_is_followed() {
        assert_eq!(exchange().first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let (second, proof) = exchange().second(CHALLENGE).unwrap();
        assert_eq!(
            second,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(proof.check(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Ok(()));
        assert_eq!(
            proof.check(b"v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="),
            Err(ScramError::Unproven)
        );
        assert_eq!(proof.check(b"e=invalid-proof"), Err(ScramError::Malformed));
    }

    #[test]
    fn a_challenge_that_is_none_is_refused() {
        for (challenge, error) in [
            (&b""[..], ScramError::Malformed),
            (b"r=another,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", ScramError::Malformed),
            (b"r=rOprNGfwEbeRWgbNEkqOx,s=!,i=4096", ScramError::Malformed),
            (b"r=rOprNGfwEbeRWgbNEkqOx,s=QQ==,i=0", ScramError::Malformed),
            (
                b"r=rOprNGfwEbeRWgbNEkqOx,s=QQ==,i=4000000000",
                ScramError::TooManyRounds(4_000_000_000),
            ),
        ] {
            assert_eq!(exchange().second(challenge).err(), Some(error));
        }
    }

    #[test]
    fn a_user_may_have_the_characters_of_the_exchange() {
        let exchange = ScramExchange::new(SaslMechanism::ScramSha512, "a=b,c", b"x", "n");
        assert_eq!(exchange.first(), "n,,n=a=3Db=2Cc,r=n");
    }
}
