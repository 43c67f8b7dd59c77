//! Signatures of AWS, version 4, of requests to the root of a server. Pure.
//!
//! Made here with the hashes that the hub has anyway: the crate aws-sigv4 would bring nine others
//! for four keyed hashes. The tests are AWS's own published vectors.

use ring::digest::{SHA256, digest};
use ring::hmac::{HMAC_SHA256, Key, sign};
use weir_core::time::Timestamp;
use weir_core::verify::Secret;
use zeroize::Zeroizing;

use crate::config::AwsAccount;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Signs requests with the keys of one account.
pub(super) struct RequestSigner {
    access_key_id: Box<str>,
    secret_access_key: Secret,
    session_token: Option<Secret>,
    region: Box<str>,
    service: &'static str,
}

/// The headers that a signature adds, with their names.
pub(super) type SignatureHeaders = Vec<(&'static str, Zeroizing<String>)>;

impl RequestSigner {
    pub(super) fn new(account: &AwsAccount, service: &'static str) -> Self {
        Self {
            access_key_id: account.access_key_id.clone(),
            secret_access_key: account.secret_access_key.clone(),
            session_token: account.session_token.clone(),
            region: account.region.clone(),
            service,
        }
    }

    /// Signs a request to `/` without a query. `headers` are those that are signed, with names in
    /// lower case and values without blanks around them.
    pub(super) fn sign(
        &self,
        method: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        at: Timestamp,
    ) -> SignatureHeaders {
        let time = basic_time(at);
        let token = self.session_token.as_ref();
        let token = token.map(|token| String::from_utf8_lossy(token.expose()).into_owned());
        let mut added = vec![("x-amz-date", Zeroizing::new(time.clone()))];
        added.extend(token.map(|token| ("x-amz-security-token", Zeroizing::new(token))));
        let mut signed: Vec<(&str, &str)> = headers.to_vec();
        signed.extend(added.iter().map(|(name, value)| (*name, value.as_str())));
        signed.sort_unstable();
        let names: Vec<&str> = signed.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let lines: String =
            signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let lines = Zeroizing::new(lines);
        let hash = hex::encode(digest(&SHA256, body));
        let request = Zeroizing::new(format!("{method}\n/\n\n{}\n{names}\n{hash}", lines.as_str()));
        let (date, _) = time.split_once('T').unwrap_or((&time, ""));
        let scope = format!("{date}/{}/{}/aws4_request", self.region, self.service);
        let request = hex::encode(digest(&SHA256, request.as_bytes()));
        let text = format!("{ALGORITHM}\n{time}\n{scope}\n{request}");
        let signature = hex::encode(sign(&self.key(date), text.as_bytes()));
        let id = &self.access_key_id;
        let value = format!(
            "{ALGORITHM} Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}"
        );
        added.push(("authorization", Zeroizing::new(value)));
        added
    }

    /// The key of one day, region and service.
    fn key(&self, date: &str) -> Key {
        let secret = Zeroizing::new([b"AWS4", self.secret_access_key.expose()].concat());
        let mut key = Key::new(HMAC_SHA256, &secret);
        for part in [date, &*self.region, self.service, "aws4_request"] {
            key = Key::new(HMAC_SHA256, sign(&key, part.as_bytes()).as_ref());
        }
        key
    }
}

/// A time such as `20150830T123600Z`.
fn basic_time(at: Timestamp) -> String {
    let seconds = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    // A time that no calendar has is refused by the server.
    jiff::Timestamp::from_second(seconds).unwrap_or_default().strftime("%Y%m%dT%H%M%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2015-08-30 12:36 UTC, the time of all vectors.
    const AT: Timestamp = Timestamp::from_millis(1_440_938_160_000);
    const HOST: (&str, &str) = ("host", "example.amazonaws.com");

    /// Signs as the published test suite of version 4 does. Returns the signed headers' names and
    /// the signature.
    fn signed(
        method: &str,
        headers: &[(&str, &str)],
        body: &str,
        token: Option<&str>,
    ) -> (String, String) {
        let signer = RequestSigner {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session_token: token.map(Secret::new),
            region: "us-east-1".into(),
            service: "service",
        };
        let added = signer.sign(method, headers, body.as_bytes(), AT);
        let value = |name: &str| {
            added.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string())
        };
        assert_eq!(value("x-amz-date").unwrap(), "20150830T123600Z");
        assert_eq!(value("x-amz-security-token").as_deref(), token);
        let authorization = value("authorization").unwrap();
        let rest = authorization
            .strip_prefix(
                "AWS4-HMAC-SHA256 \
                 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=",
            )
            .unwrap();
        let (names, signature) = rest.split_once(", Signature=").unwrap();
        (names.to_owned(), signature.to_owned())
    }

    #[test]
    fn a_bare_request_is_signed_as_published() {
        let (names, signature) = signed("POST", &[HOST], "", None);
        assert_eq!(names, "host;x-amz-date");
        assert_eq!(signature, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b");
        let (_, signature) = signed("GET", &[HOST], "", None);
        assert_eq!(signature, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
    }

    #[test]
    fn headers_are_signed_in_the_order_of_their_names() {
        let headers = [("my-header1", "value1"), HOST];
        let (names, signature) = signed("POST", &headers, "", None);
        assert_eq!(names, "host;my-header1;x-amz-date");
        assert_eq!(signature, "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c");
    }

    #[test]
    fn a_form_is_signed_with_its_body() {
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            HOST,
            ("content-length", "13"),
            (
                "x-amz-content-sha256",
                "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e",
            ),
        ];
        let (names, signature) = signed("POST", &headers, "Param1=value1", None);
        assert_eq!(names, "content-length;content-type;host;x-amz-content-sha256;x-amz-date");
        assert_eq!(signature, "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b");
    }

    #[test]
    fn a_session_token_is_signed_too() {
        let short = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";
        let (names, signature) = signed("GET", &[HOST], "", Some(short));
        assert_eq!(names, "host;x-amz-date;x-amz-security-token");
        assert_eq!(signature, "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8");
        let long = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBu\
                    FqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmU\
                    pp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY\
                    9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvK\
                    Tr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";
        let (_, signature) = signed("POST", &[HOST], "", Some(long));
        assert_eq!(signature, "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead");
    }
}
