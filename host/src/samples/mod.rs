//! Signed samples of what providers send, made for `weir send`, the demo and tests. Nothing here
//! sends them.

pub(crate) mod edits;
mod signed;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use rand::SeedableRng as _;
use rand::rngs::{StdRng, SysRng};
use weir_core::sign::SigningInput;
use weir_core::time::Clock as _;

pub(crate) use signed::SampleDraft;
pub use signed::{SampleError, SignedSample};

use crate::config::Source;
use crate::runtime::clock::SystemClock;

/// The sample that a new user is given to try.
const FIRST_SAMPLE: &str = "user.signup";

/// A signed request to the source `custom`, as a command to paste. Empty if there is no such
/// source.
pub(crate) fn first_request(
    ingress: SocketAddr,
    sources: &[Arc<Source>],
    random: &mut StdRng,
) -> anyhow::Result<String> {
    let Some(source) = sources.iter().find(|source| source.name.as_str() == "custom") else {
        return Ok(String::new());
    };
    let (url, now) = (source_url(ingress, source), SystemClock.now());
    let signing = source.signing.as_ref().context("the source `custom` has no secret")?;
    let signing = SigningInput { secret: signing, params: &source.params, scheme: None };
    let provider = &source.provider;
    let sample = SignedSample::make(provider, FIRST_SAMPLE, None, signing, &url, now, random)?;
    Ok(format!("\nA signed request to try by hand:\n{}\n", sample.curl(&url)))
}

/// The URL of a source of a hub that listens here.
pub(crate) fn source_url(ingress: SocketAddr, source: &Source) -> String {
    format!("http://{ingress}/webhook/{}", source.name)
}

/// Randomness for samples.
pub(crate) fn randomness() -> anyhow::Result<StdRng> {
    StdRng::try_from_rng(&mut SysRng).context("the system gave no randomness")
}
