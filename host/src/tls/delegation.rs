//! The part of a verifier of servers that is the same in all: another one verifies signatures.

/// The methods of a `ServerCertVerifier` about signatures, by the verifier that an expression
/// gives.
macro_rules! signatures_verified_by {
    ($this:ident, $verifier:expr) => {
        fn verify_tls12_signature(
            &$this,
            message: &[u8],
            certificate: &rustls::pki_types::CertificateDer<'_>,
            signed: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            $verifier.verify_tls12_signature(message, certificate, signed)
        }

        fn verify_tls13_signature(
            &$this,
            message: &[u8],
            certificate: &rustls::pki_types::CertificateDer<'_>,
            signed: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            $verifier.verify_tls13_signature(message, certificate, signed)
        }

        fn supported_verify_schemes(&$this) -> Vec<rustls::SignatureScheme> {
            $verifier.supported_verify_schemes()
        }
    };
}

pub(crate) use signatures_verified_by;
