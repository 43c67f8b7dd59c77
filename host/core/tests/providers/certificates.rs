//! The certificates of senders: their addresses, documents and authorities.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use weir_core::provider::Provider;
use weir_core::time::Timestamp;
use weir_core::verify::{
    Authorities, FetchedDocument, KeyAnswer, KeyError, KeyRef, KeyRing, Params, Secret, Verifier,
};

use crate::keys::{at, needed, signed, without_key};
use crate::support::{NOW, Request, code, provider, verified};

const RSA_PRIVATE: &str = include_str!("rsa-private.pem");

/// The authorities that browsers trust.
fn public() -> Authorities {
    Authorities::new(webpki_roots::TLS_SERVER_ROOTS.iter().cloned())
}

fn read(
    key: &KeyRef,
    document: &str,
    issuers: &[&str],
    authorities: &Authorities,
    now: Timestamp,
) -> Result<KeyAnswer, KeyError> {
    let issuers: Vec<_> = issuers.iter().map(|pem| pem.as_bytes().to_vec()).collect();
    let document = document.as_bytes();
    key.read(FetchedDocument { document, issuers: &issuers, authorities, now })
}

/// A test authority.
struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
}

impl Authority {
    fn root(name: &str) -> Self {
        let (params, key) = Self::parts(name);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { params, key, pem }
    }

    fn below(&self, name: &str) -> Self {
        let (params, key) = Self::parts(name);
        let pem = params.signed_by(&key, &self.issuer()).unwrap().pem();
        Self { params, key, pem }
    }

    fn parts(name: &str) -> (CertificateParams, KeyPair) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params, KeyPair::generate().unwrap())
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    /// A certificate of the test RSA key for these names.
    fn certificate(&self, names: &[&str]) -> String {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        params.signed_by(&rsa(), &self.issuer()).unwrap().pem()
    }

    fn trusted(&self) -> Authorities {
        let mut authorities = Authorities::default();
        assert_eq!(authorities.add_pem(self.pem.as_bytes()), Ok(1));
        authorities
    }
}

fn rsa() -> KeyPair {
    KeyPair::from_pem(RSA_PRIVATE).unwrap()
}

fn self_signed(name: &str) -> String {
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.self_signed(&rsa()).unwrap().pem()
}

/// The result for a genuine SNS request whose certificate is this document.
fn with_certificate(document: &str, issuers: &[&str], authorities: &Authorities) -> String {
    of_provider("sns", document, issuers, authorities)
}

fn of_provider(name: &str, document: &str, issuers: &[&str], authorities: &Authorities) -> String {
    let provider = provider(name);
    let (verifier, request) = (without_key(provider), signed(provider));
    let mut ring = KeyRing::default();
    let key = needed(at(&request, &verifier, &ring, NOW));
    match read(&key, document, issuers, authorities, NOW) {
        Ok(KeyAnswer::Keys(set)) => {
            ring.insert(&key, set, NOW);
            match at(&request, &verifier, &ring, NOW) {
                Ok(_) => "verified".into(),
                refused => code(refused).into(),
            }
        }
        Ok(KeyAnswer::NeedIssuer(url)) => url,
        Err(error) => format!("{error:?}"),
    }
}

#[test]
fn an_sns_message_verifies_by_a_public_authority() {
    let sns = provider("sns");
    let topic = "arn:aws:sns:us-east-2:295079676684:publish-and-verify-62674b1d-4295-426b-88e7-5fb75652a04e";
    let params = Params::from([("topic_arn".to_owned(), Secret::new(topic))]);
    let verifier = sns.verifier_with(&[], &params).unwrap();
    let request = Request::new(include_str!("sns/amazon-message.json"));
    let (leaf, issuer) =
        (include_str!("sns/amazon-2021.pem"), include_str!("sns/amazon-issuer.pem"));
    let then = Timestamp::from_millis(1_659_043_450_000);
    let mut ring = KeyRing::default();
    let key = needed(at(&request, &verifier, &ring, then));
    let wanted = read(&key, leaf, &[], &public(), then);
    let address = "http://crt.sca1b.amazontrust.com/sca1b.crt".to_owned();
    assert_eq!(wanted, Ok(KeyAnswer::NeedIssuer(address)));
    let Ok(KeyAnswer::Keys(set)) = read(&key, leaf, &[issuer], &public(), then) else { panic!() };
    ring.insert(&key, set, then);
    verified(at(&request, &verifier, &ring, then));

    let late = read(&key, leaf, &[issuer], &public(), NOW);
    assert_eq!(late, Err(KeyError::NotValidNow), "it ended in 2022");
    let none = read(&key, leaf, &[issuer], &Authorities::default(), then);
    assert!(!matches!(none, Ok(KeyAnswer::Keys(_))), "{none:?}");
}

#[test]
fn a_certificate_must_be_trusted_and_for_the_senders_name() {
    let root = Authority::root("root");
    let between = root.below("between");
    let trusted = root.trusted();
    let name = "sns.amazonaws.com";
    let direct = root.certificate(&[name]);
    assert_eq!(with_certificate(&direct, &[], &trusted), "verified");
    let regional = root.certificate(&["sns-signing.us-west-2.amazonaws.com"]);
    assert_eq!(with_certificate(&regional, &[], &trusted), "verified");
    let below = between.certificate(&[name]);
    assert_eq!(with_certificate(&below, &[], &trusted), "UnknownAuthority", "it says no address");
    assert_eq!(with_certificate(&below, &[&between.pem], &trusted), "verified");

    for forged in [self_signed(name), Authority::root("root").certificate(&[name])] {
        for authorities in [&trusted, &public()] {
            assert_eq!(with_certificate(&forged, &[], authorities), "UnknownAuthority");
        }
    }
    // A certificate that is not an authority's signs no other.
    let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let issuer = Issuer::from_params(&leaf, rsa());
    let signed_by_leaf =
        CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&rsa(), &issuer).unwrap();
    let unsigned = with_certificate(&signed_by_leaf.pem(), &[&direct], &trusted);
    assert_eq!(unsigned, "UnknownAuthority");

    for other in [
        "sns.us-east-1.amazonaws.com",
        "sns-signing.eu-west-1.amazonaws.com",
        "sns.s3.amazonaws.com",
        "sns.amazonaws.com.evil.example",
        "evil.example",
        "*.amazonaws.com",
    ] {
        let other = root.certificate(&[other]);
        assert_eq!(with_certificate(&other, &[], &trusted), "key_untrusted");
    }
}

#[test]
fn a_certificate_document_holds_nothing_else() {
    let root = Authority::root("root");
    let (pem, trusted) = (root.certificate(&["sns.amazonaws.com"]), root.trusted());
    for document in [
        format!("<?xml version=\"1.0\"?><Error><Message>{pem}</Message></Error>"),
        format!("{pem}{}", root.pem),
        format!("{}{pem}", root.pem),
        format!("junk\n{pem}"),
        format!("{pem}\njunk"),
        include_str!("rsa-public.pem").to_owned(),
        include_str!("rsa-public.jwks.json").to_owned(),
        String::new(),
    ] {
        assert_eq!(with_certificate(&document, &[], &trusted), "NotCertificate", "{document}");
    }
}

#[test]
fn paypals_certificate_may_come_with_its_issuers() {
    let root = Authority::root("root");
    let between = root.below("between");
    let trusted = root.trusted();
    let of = |document: &str| of_provider("paypal", document, &[], &trusted);
    let leaf = between.certificate(&["messageverificationcerts.sandbox.paypal.com"]);
    assert_eq!(of(&format!("{leaf}{}", between.pem)), "verified");
    assert_eq!(of(&format!("{leaf}\n{}\n{}", between.pem, root.pem)), "verified");
    assert_eq!(of(&leaf), "UnknownAuthority");
    assert_eq!(of(&format!("{}{leaf}", between.pem)), "UnknownAuthority", "the leaf comes first");
    assert_eq!(of(&self_signed("messageverificationcerts.paypal.com")), "UnknownAuthority");
    assert_eq!(of(&format!("<html>{leaf}{}", between.pem)), "NotCertificate");
    assert_eq!(of(&format!("{leaf}{}", between.pem.repeat(8))), "NotCertificate");
    for other in
        ["paypal.com", "www.paypal.com", "messageverificationcerts.paypal.com.evil.example"]
    {
        let other = between.certificate(&[other]);
        assert_eq!(of(&format!("{other}{}", between.pem)), "key_untrusted");
    }
}

/// A request of `provider` with this key address.
fn naming(provider: &Provider, url: &str) -> Request {
    let request = signed(provider);
    if &*provider.name == "paypal" {
        let mut request = request;
        request.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("paypal-cert-url"));
        return request.header("PAYPAL-CERT-URL", url);
    }
    let mut body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    body["SigningCertURL"] = url.into();
    Request { body: body.to_string().into_bytes(), ..request }
}

#[test]
fn a_certificate_is_accepted_only_from_its_address() {
    let ask =
        |verifier: &Verifier, request: &Request| at(request, verifier, &KeyRing::default(), NOW);
    let file = "SimpleNotificationService-7ff5318490ec183fbaddaa2a969abfda.pem";
    let sns = provider("sns");
    let verifier = without_key(sns);
    for host in [
        "sns.us-east-1.amazonaws.com",
        "sns.us-gov-west-1.amazonaws.com",
        "sns.cn-north-1.amazonaws.com.cn",
        "sns.eusc-de-east-1.amazonaws.eu",
    ] {
        needed(ask(&verifier, &naming(sns, &format!("https://{host}/{file}"))));
    }
    let good = format!("https://sns.us-east-1.amazonaws.com/{file}");
    for url in [
        "https://sns.s3.amazonaws.com/x.pem".to_owned(),
        format!("https://sns.s3.amazonaws.com/{file}"),
        format!("https://sns.s3-us-west-2.amazonaws.com/{file}"),
        format!("https://sns.s3-accelerate.amazonaws.com/{file}"),
        format!("https://sns.us-east-1.amazonaws.com.cn/{file}"),
        format!("https://sns.cn-north-1.amazonaws.com/{file}"),
        format!("https://s3.us-east-1.amazonaws.com/{file}"),
        format!("{good}?Action=x"),
        format!("{good}#x"),
        format!("{good}/"),
        good.replace("https", "http"),
        good.replace("//sns", "//me@sns"),
        good.replace(".com/", ".com:443/"),
        good.replace("/Simple", "/a/Simple"),
        good.replace("/Simple", "/../Simple"),
        good.replace("7ff5", "../"),
        good.replace("7ff5", "zzzz"),
        good.replace(".pem", ".PEM"),
        "https://sns.us-east-1.amazonaws.com/?x=.pem".to_owned(),
        format!("https://sns.us-east-1.amazonaws.com/?{file}"),
    ] {
        assert_eq!(code(ask(&verifier, &naming(sns, &url))), "key_untrusted", "{url}");
    }

    let paypal = provider("paypal");
    let verifier = without_key(paypal);
    let good = "https://api.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-a5cafa77";
    needed(ask(&verifier, &naming(paypal, good)));
    for url in [
        good.replace("https", "http"),
        good.replace("api.paypal.com", "paypal.com"),
        good.replace("api.paypal.com", "api.paypal.com.evil.example"),
        good.replace("api.paypal.com", "evil.paypal.com"),
        good.replace("api.paypal.com", "u@api.paypal.com"),
        good.replace("api.paypal.com", "api.paypal.com:8443"),
        good.replace("/v1/notifications/certs", ""),
        good.replace("certs/", "certs/../certs/"),
        good.replace("CERT-", ""),
        format!("{good}?x=1"),
        format!("{good}/../../oauth2/token"),
    ] {
        assert_eq!(code(ask(&verifier, &naming(paypal, &url))), "key_untrusted", "{url}");
    }
}

#[test]
fn a_parameter_changes_only_its_place_in_a_key_address() {
    let state = [weir_core::verify::NamedSecret::new("s", Secret::new("a state of some length"))];
    for (tenant, good) in [
        ("84bd8158-6d4d-4958-8b9f-9d6445542f95", true),
        ("contoso.onmicrosoft.com", true),
        ("..", false),
        ("a/../b", false),
        ("a?b", false),
        ("a#", false),
        ("a%2fb", false),
        ("", false),
    ] {
        let params = [("app_id", "app"), ("tenant", tenant)];
        let params = params.map(|(name, value)| (name.to_owned(), Secret::new(value)));
        let made = provider("msgraph").verifier_with(&state, &Params::from(params));
        assert_eq!(made.is_ok(), good, "{tenant}: {made:?}");
    }
    for (environment, good) in [
        ("sandbox", true),
        ("production", true),
        ("evil", false),
        ("sandbox.plaid.com/x", false),
        ("me@evil.example/", false),
    ] {
        let params = [("environment", environment), ("client_id", "c"), ("api_secret", "s")];
        let params = params.map(|(name, value)| (name.to_owned(), Secret::new(value)));
        let made = provider("plaid").verifier_with(&[], &Params::from(params));
        assert_eq!(made.is_ok(), good, "{environment}: {made:?}");
    }
}
