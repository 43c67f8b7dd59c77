//! `[admin]`: the listener for operators.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use weir_core::rate::Rate;
use weir_core::verify::Secret;

use super::access;
use super::context::LoadContext;
use super::secret;
use super::secret_strength;
use super::tls;
use super::tree::Section;
use super::url::public_base;
use crate::tls::{HTTP_1, TlsFiles};

/// Shortest token of the operator, in bytes: a shorter one could be guessed over a network.
const TOKEN_BYTES_MIN: usize = 16;

/// The settings of the listener for operators.
#[derive(Debug, Clone)]
pub struct AdminSettings {
    pub listen: SocketAddr,
    /// TLS; without it the listener speaks plain HTTP.
    pub tls: Option<TlsFiles>,
    /// The token with the role admin, if the configuration has one.
    pub token: Option<Secret>,
    /// True if clients on this machine may read without a token.
    pub open_reads: bool,
    /// The rate limit of the requests of each token.
    pub rate: Option<Rate>,
    /// The URL of the console for people, without a slash at its end, for links in alerts.
    pub public_url: Option<String>,
    /// Accepted host names besides loopback and the address, in lower case.
    pub allowed_hosts: BTreeSet<String>,
}

pub(super) fn read(mut section: Section<'_>, context: &LoadContext<'_>) -> Option<AdminSettings> {
    let listen = section.must::<SocketAddr>("listen");
    let tls = tls::read(&mut section, HTTP_1, context);
    if listen.is_some_and(|address| !address.ip().is_loopback()) && !section.has("tls") {
        let what = "is reachable from other machines without TLS, so the token can be read on \
                    the network: set [admin.tls], or put a proxy with TLS in front";
        section.warning("listen", what);
    }
    let token = secret::one(&mut section, "token", context);
    if let Some(token) = &token {
        let bytes = token.expose();
        if bytes.len() < TOKEN_BYTES_MIN {
            section.problem("token", format!("is shorter than {TOKEN_BYTES_MIN} bytes"));
        } else if !bytes.iter().all(u8::is_ascii_graphic) {
            section.problem(
                "token",
                "must be printable ASCII without spaces, because it is sent in a header",
            );
        } else {
            secret_strength::judge_text_of(&section, "token", "token", bytes);
        }
    }
    let open_reads = section.maybe::<bool>("open_reads");
    let open_reads = open_reads.unwrap_or(context.mode.is_development());
    let rate = access::rate(&mut section);
    let public_url = section.maybe::<String>("public_url").and_then(|text| {
        public_base(&text).map_err(|what| section.problem("public_url", what)).ok()
    });
    let hosts = section.list::<String>("allowed_hosts");
    for (index, host) in hosts.iter().flatten().enumerate() {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
        if host.is_empty() || !host.bytes().all(plain) {
            let key = format!("allowed_hosts[{index}]");
            section.problem(&key, "write a host name alone, with no scheme, port or wildcard");
        }
    }
    section.finish();
    let allowed_hosts = hosts?.iter().map(|host| host.to_ascii_lowercase()).collect();
    Some(AdminSettings { listen: listen?, tls, token, open_reads, rate, public_url, allowed_hosts })
}
