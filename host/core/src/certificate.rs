//! Reads the certificates that the hub itself presents.

use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use crate::time::{Timestamp, millis};

/// The end of a DER certificate's validity; `None` if it cannot be read.
#[must_use]
pub fn not_after(der: &[u8]) -> Option<Timestamp> {
    let certificate = Certificate::from_der(der).ok()?;
    let end = certificate.tbs_certificate().validity().not_after.to_unix_duration();
    Some(Timestamp::from_millis(millis(end)))
}
