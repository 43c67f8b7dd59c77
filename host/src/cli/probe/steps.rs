//! The steps of a probe, each with its time. A step that fails is the last.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::header::{HOST, HeaderValue, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use weir_core::error::chain;
use weir_core::time::Clock as _;
use weir_core::units::format_duration;

use super::{Endpoint, ProbeStep, Probed, StepName, StepState, advice};
use crate::guard::{self, AllowedNetworks, DialError};
use crate::runtime::clock::SystemClock;
use crate::tls::handshake::{self, TlsHandshakeError, TlsSession};

/// Most addresses of one host that are tried, as by destinations.
const ADDRESSES_MAX: usize = 8;
/// Bytes of an answer's body that are read.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Characters of an answer's body that are shown.
const SHOWN_CHARS_MAX: usize = 160;

/// The end of one step: what was found, and the advice if it is not well.
type StepEnd<T> = Result<(T, Found), Found>;

/// The fact that a step found, with advice.
struct Found {
    what: String,
    todo: Option<String>,
    /// True if the step failed although it has a result.
    is_failure: bool,
}

impl Found {
    fn fine(what: impl Into<String>) -> Self {
        Self { what: what.into(), todo: None, is_failure: false }
    }

    fn with(what: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { what: what.into(), todo: Some(todo.into()), is_failure: false }
    }
}

impl Probed {
    /// Runs a step, notes it, and returns its result. None if it failed.
    async fn step<T>(
        &mut self,
        step: StepName,
        limit: Duration,
        doing: impl Future<Output = StepEnd<T>>,
    ) -> Option<T> {
        let started = Instant::now();
        let end = timeout(limit, doing).await.unwrap_or_else(|_| {
            let what = format!("no end within {}", format_duration(limit));
            Err(Found::with(what, advice::too_slow(step)))
        });
        let ms = started.elapsed().as_secs_f64() * 1_000.0;
        let (result, found, state) = match end {
            Ok((result, found)) if found.is_failure => (Some(result), found, StepState::Failed),
            Ok((result, found)) if found.todo.is_none() => (Some(result), found, StepState::Ok),
            Ok((result, found)) => (Some(result), found, StepState::Warning),
            Err(found) => (None, found, StepState::Failed),
        };
        self.steps.push(ProbeStep { step, state, ms, found: found.what, todo: found.todo });
        result
    }
}

/// Reaches for an endpoint.
pub(super) async fn probe(endpoint: &Endpoint) -> Probed {
    let scheme = if endpoint.is_tls { "https" } else { "http" };
    let Endpoint { host, port, .. } = endpoint;
    let mut probed = Probed { endpoint: format!("{scheme}://{host}:{port}"), ..Probed::default() };
    // The steps write into `probed`, of which the caller wants all until one failed.
    let _reached = reach(endpoint, &mut probed).await;
    probed
}

async fn reach(endpoint: &Endpoint, probed: &mut Probed) -> Option<()> {
    let limit = endpoint.limit;
    let found = probed.step(StepName::Dns, limit, dns(endpoint)).await?;
    let judged = async { judge(endpoint, &found) };
    let (addresses, allow) = probed.step(StepName::Guard, limit, judged).await?;
    let stream = probed.step(StepName::Tcp, limit, tcp(endpoint, &addresses, allow)).await?;
    if !endpoint.is_tls {
        return http(endpoint, probed, stream).await;
    }
    let session = probed.step(StepName::Tls, limit, tls(endpoint, stream)).await?;
    probed.certificate_expires = session.not_after;
    http(endpoint, probed, session.stream).await
}

async fn dns(endpoint: &Endpoint) -> StepEnd<Vec<SocketAddr>> {
    match guard::resolve(&endpoint.host, endpoint.port).await {
        Ok(mut found) => {
            found.truncate(ADDRESSES_MAX);
            found.dedup();
            let listed: Vec<_> = found.iter().map(|at| at.ip().to_string()).collect();
            Ok((found, Found::fine(listed.join(", "))))
        }
        Err(error) => Err(Found::with(chain(&error), advice::DNS)),
    }
}

/// The addresses to try, and the networks that they may be in: the operator wrote the URL, so a
/// private address is tried even if a destination would need `allow` for it.
fn judge(endpoint: &Endpoint, found: &[SocketAddr]) -> StepEnd<(Vec<SocketAddr>, AllowedNetworks)> {
    let lenient = AllowedNetworks { loopback: true, private: true, ..endpoint.allow };
    let check = |allow, at: &SocketAddr| guard::check(&endpoint.host, at.ip(), allow);
    let permitted: Vec<_> =
        found.iter().copied().filter(|at| check(endpoint.allow, at).is_ok()).collect();
    if !permitted.is_empty() {
        let refused = found.len() - permitted.len();
        let what = match refused {
            0 => "a destination may connect there".to_owned(),
            refused => {
                format!("a destination would use {} and not {refused} more", permitted.len())
            }
        };
        return Ok(((permitted, endpoint.allow), Found::fine(what)));
    }
    let blocked = found.iter().find_map(|at| check(endpoint.allow, at).err());
    let tried: Vec<_> = found.iter().copied().filter(|at| check(lenient, at).is_ok()).collect();
    match blocked {
        Some(blocked) if !tried.is_empty() => {
            let class = blocked.special.as_str();
            let what = format!("{} is {class} address, which destinations refuse", blocked.address);
            Ok(((tried, lenient), Found::with(what, advice::blocked(&blocked))))
        }
        Some(blocked) => {
            let what = format!("{} is {} address", blocked.address, blocked.special.as_str());
            Err(Found::with(what, advice::blocked(&blocked)))
        }
        None => Err(Found::with("the name has no addresses", advice::DNS)),
    }
}

async fn tcp(
    endpoint: &Endpoint,
    addresses: &[SocketAddr],
    allow: AllowedNetworks,
) -> StepEnd<TcpStream> {
    let mut failures = Vec::new();
    for address in addresses {
        match guard::dial_address(&endpoint.host, *address, allow).await {
            Ok(stream) if failures.is_empty() => {
                return Ok((stream, Found::fine(format!("connected to {address}"))));
            }
            Ok(stream) => {
                let what = format!("connected to {address}; {}", failures.join("; "));
                return Ok((stream, Found::with(what, advice::SOME_ADDRESSES)));
            }
            Err(error) => failures.push(why(&error)),
        }
    }
    let todo = advice::not_connected(&failures.join("; "));
    Err(Found::with(failures.join("; "), todo))
}

fn why(error: &DialError) -> String {
    chain(error).replace('\n', "; ")
}

async fn tls(endpoint: &Endpoint, stream: TcpStream) -> StepEnd<TlsSession> {
    let now = SystemClock.now();
    match handshake::shake_hands(stream, &endpoint.host, endpoint.ca.clone()).await {
        Ok(session) => {
            let expiry = session.not_after;
            let ends = expiry.map_or_else(String::new, |end| format!(", certificate ends {end}"));
            let what = format!("{}{ends}", session.version);
            let todo = expiry.and_then(|end| advice::ends_soon(end, now));
            Ok((session, Found { what, todo, is_failure: false }))
        }
        Err(error) => {
            let not_after = match &error {
                TlsHandshakeError::Failed { not_after, .. } => *not_after,
                _ => None,
            };
            let ends = not_after.map_or_else(String::new, |end| format!("; it ends {end}"));
            let todo = advice::handshake(&error.to_string());
            Err(Found::with(format!("{error}{ends}"), todo))
        }
    }
}

async fn http<S>(endpoint: &Endpoint, probed: &mut Probed, stream: S) -> Option<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let exchange = exchange(endpoint, stream);
    let status = probed.step(StepName::Http, endpoint.limit, exchange).await?;
    probed.reachable = true;
    probed.status = Some(status.as_u16());
    probed.accepted = endpoint.sample.is_some().then_some(status.is_success());
    Some(())
}

/// Sends the request and reads the answer: its status.
async fn exchange<S>(endpoint: &Endpoint, stream: S) -> StepEnd<StatusCode>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = request(endpoint).map_err(|what| Found::with(what, advice::NO_ANSWER))?;
    let broken = |error: hyper::Error| Found::with(chain(&error), advice::NO_ANSWER);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let asking = Box::pin(async move {
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), BODY_BYTES_MAX).collect().await;
        Ok((status, body.map(http_body_util::Collected::to_bytes).unwrap_or_default()))
    });
    let answered: Result<(StatusCode, Bytes), Found> = match select(asking, connection).await {
        Either::Left((answered, _)) => answered,
        // The answer may be complete when the connection has ended.
        Either::Right((_, asking)) => asking.await,
    };
    let (status, body) = answered?;
    let text = String::from_utf8_lossy(&body);
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    let what = format!("{} {shown}", status.as_u16()).trim_end().to_owned();
    // An answer that refuses the event is an answer.
    let found = match advice::status(status).filter(|_| endpoint.sample.is_some()) {
        Some(todo) => Found { is_failure: true, ..Found::with(what, todo) },
        None => Found::fine(what),
    };
    Ok((status, found))
}

/// The request: the signed sample, or a GET.
fn request(endpoint: &Endpoint) -> Result<Request<Full<Bytes>>, String> {
    let invalid = |error: http::Error| error.to_string();
    let mut request = match &endpoint.sample {
        Some(sample) => sample.request(&endpoint.uri.to_string()).map_err(invalid)?,
        None => Request::get(endpoint.uri.clone()).body(Full::default()).map_err(invalid)?,
    };
    let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let target: Uri = target.parse().map_err(|_| "the path is not valid".to_owned())?;
    *request.uri_mut() = target;
    let host = HeaderValue::try_from(authority).map_err(|error| error.to_string())?;
    request.headers_mut().insert(HOST, host);
    let agent = HeaderValue::from_static(concat!("Weir/", env!("CARGO_PKG_VERSION")));
    request.headers_mut().entry(USER_AGENT).or_insert(agent);
    Ok(request)
}
