//! Looks names up with the system's resolver (`/etc/hosts`, nsswitch, DNS), on a few threads of its
//! own.
//!
//! A lookup that hangs delays only connections to that name.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// The most names that are looked up at the same time.
const THREADS_MAX: usize = 32;
/// Of those, names that were quick or are new.
const QUICK_MAX: usize = 8;
/// Of those, names that were slow before.
const SLOW_MAX: usize = 16;
/// The most names that wait for a thread.
const WAITING_MAX: usize = 1_024;
/// The most requests that wait for one name.
const REQUESTS_MAX: usize = 1_024;
/// The most names that are remembered as slow.
const KNOWN_SLOW_MAX: usize = 1_024;
/// Bytes of a thread's stack.
const STACK_BYTES: usize = 512 * 1024;
/// The longest wait of a request. The thread waits for as long as the system does.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// A lookup that takes longer makes its name a slow one.
const SLOW_AFTER: Duration = Duration::from_secs(1);

type LookupResult = Result<Arc<[SocketAddr]>, Arc<io::Error>>;
type Ask = fn(&str) -> io::Result<Vec<SocketAddr>>;

/// Shared by the process, because the machine has one resolver.
static RESOLVER: LazyLock<Resolver> = LazyLock::new(|| Resolver::new(system, WAIT_MAX, SLOW_AFTER));

/// The addresses of a host, with a port.
///
/// # Errors
/// If the lookup fails or takes too long, or if too many names are being looked up.
pub(super) async fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let found = RESOLVER.look_up(host).await?;
    let with_port = |mut address: SocketAddr| {
        address.set_port(port);
        address
    };
    Ok(found.iter().copied().map(with_port).collect())
}

fn system(host: &str) -> io::Result<Vec<SocketAddr>> {
    Ok((host, 0).to_socket_addrs()?.collect())
}

/// Looks names up. Cheap to clone.
#[derive(Debug, Clone)]
struct Resolver {
    state: Arc<Mutex<ResolverState>>,
    ask: Ask,
    wait_max: Duration,
    slow_after: Duration,
}

#[derive(Debug, Default)]
struct ResolverState {
    lookups: FxHashMap<Arc<str>, Lookup>,
    /// Names without a thread, in the order of their requests.
    waiting: VecDeque<Arc<str>>,
    /// Names whose last lookup was slow.
    slow: FxHashMap<Arc<str>, ()>,
}

/// The lookup of one name, for all requests that wait for it.
#[derive(Debug, Default)]
struct Lookup {
    requests: Vec<oneshot::Sender<LookupResult>>,
    /// The time at which a thread began it.
    since: Option<Instant>,
}

impl ResolverState {
    /// The next name that a thread may look up. Names that no request waits for are forgotten.
    fn next(&mut self, slow_after: Duration) -> Option<Arc<str>> {
        let (mut quick, mut slow) = (0, 0);
        for (name, lookup) in &self.lookups {
            match lookup.since {
                Some(since) if since.elapsed() >= slow_after => slow += 1,
                Some(_) if self.slow.contains_key(name) => slow += 1,
                Some(_) => quick += 1,
                None => {}
            }
        }
        let Self { lookups, waiting, slow: known, .. } = self;
        waiting.retain(|name| {
            let is_wanted = lookups
                .get(name)
                .is_some_and(|lookup| lookup.requests.iter().any(|a| !a.is_closed()));
            if !is_wanted {
                lookups.remove(name);
            }
            is_wanted
        });
        if quick + slow >= THREADS_MAX {
            return None;
        }
        let fits = |name: &Arc<str>| match known.contains_key(name) {
            true => slow < SLOW_MAX,
            false => quick < QUICK_MAX,
        };
        let name = waiting.remove(waiting.iter().position(fits)?)?;
        if let Some(lookup) = lookups.get_mut(&name) {
            lookup.since = Some(Instant::now());
        }
        Some(name)
    }

    /// Ends a lookup.
    fn done(&mut self, name: &Arc<str>, found: &LookupResult, slow_after: Duration) {
        let Some(lookup) = self.lookups.remove(name) else { return };
        if lookup.since.is_some_and(|since| since.elapsed() >= slow_after) {
            if self.slow.len() >= KNOWN_SLOW_MAX {
                self.slow.clear();
            }
            self.slow.insert(name.clone(), ());
        } else {
            self.slow.remove(name);
        }
        for request in lookup.requests {
            let _gone = request.send(found.clone());
        }
    }
}

impl Resolver {
    fn new(ask: Ask, wait_max: Duration, slow_after: Duration) -> Self {
        Self { state: Arc::default(), ask, wait_max, slow_after }
    }

    async fn look_up(&self, host: &str) -> io::Result<Arc<[SocketAddr]>> {
        let mut answer = self.ask_for(host)?;
        let started = Instant::now();
        while started.elapsed() < self.wait_max {
            self.start();
            // Lookups that have become slow meanwhile no longer count as quick, so others may
            // start.
            let wait = self.slow_after.min(self.wait_max);
            if let Ok(answered) = timeout(wait, &mut answer).await {
                let found = answered.map_err(|_| io::Error::other("the lookup ended early"))?;
                return found.map_err(|error| io::Error::new(error.kind(), error));
            }
        }
        let what = format!("the resolver did not answer within {} ms", self.wait_max.as_millis());
        Err(io::Error::new(io::ErrorKind::TimedOut, what))
    }

    fn ask_for(&self, host: &str) -> io::Result<oneshot::Receiver<LookupResult>> {
        let full = || io::Error::other("too many names are being looked up");
        let (tell, answer) = oneshot::channel();
        let mut state = self.state.lock();
        if let Some(lookup) = state.lookups.get_mut(host) {
            lookup.requests.retain(|request| !request.is_closed());
            if lookup.requests.len() >= REQUESTS_MAX {
                return Err(full());
            }
            lookup.requests.push(tell);
            return Ok(answer);
        }
        if state.waiting.len() >= WAITING_MAX {
            return Err(full());
        }
        let name: Arc<str> = host.into();
        state.waiting.push_back(name.clone());
        state.lookups.insert(name, Lookup { requests: vec![tell], since: None });
        Ok(answer)
    }

    /// Starts threads for waiting names, up to the limits.
    fn start(&self) {
        loop {
            let Some(name) = self.state.lock().next(self.slow_after) else { return };
            let (names, of) = (self.clone(), name.clone());
            let work = move || names.work(of);
            let thread = std::thread::Builder::new().name("names".into()).stack_size(STACK_BYTES);
            if let Err(error) = thread.spawn(work) {
                tracing::warn!(%error, "cannot start a thread to look up a name");
                self.state.lock().done(&name, &Err(Arc::new(error)), self.slow_after);
            }
        }
    }

    /// Looks up a name, and then others that wait.
    fn work(&self, name: Arc<str>) {
        let mut next = Some(name);
        while let Some(name) = next {
            let found = (self.ask)(&name).map(Into::into).map_err(Arc::new);
            let mut state = self.state.lock();
            state.done(&name, &found, self.slow_after);
            next = state.next(self.slow_after);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use parking_lot::Condvar;

    use super::*;

    static ASKED: AtomicUsize = AtomicUsize::new(0);
    /// The number of tests that want the resolver to hang.
    static HANGING: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

    /// A resolver that hangs at some names until `let_go`.
    fn hangs(host: &str) -> io::Result<Vec<SocketAddr>> {
        if host.starts_with("hangs") || host.starts_with("good") {
            ASKED.fetch_add(1, Ordering::SeqCst);
        }
        if host.starts_with("hangs") || host.starts_with("stuck") {
            let mut hanging = HANGING.0.lock();
            while *hanging > 0 {
                HANGING.1.wait(&mut hanging);
            }
        }
        Ok(vec!["192.0.2.1:0".parse().unwrap()])
    }

    fn hang() {
        *HANGING.0.lock() += 1;
    }

    fn let_go() {
        *HANGING.0.lock() -= 1;
        HANGING.1.notify_all();
    }

    fn running(names: &Resolver) -> usize {
        names.state.lock().lookups.values().filter(|lookup| lookup.since.is_some()).count()
    }

    #[tokio::test]
    async fn hanging_names_leave_threads_to_others() {
        let names = Resolver::new(hangs, Duration::from_millis(400), Duration::from_millis(20));
        hang();
        for round in 0..3 {
            let all = (0..200).map(|n| {
                let (names, host) = (names.clone(), format!("hangs-{}", n % 20));
                async move { names.look_up(&host).await }
            });
            let good = async {
                let mut found = Vec::new();
                for n in 0..20 {
                    found.push(names.look_up(&format!("good-{round}-{n}")).await);
                }
                found
            };
            let (hung, found) = tokio::join!(futures_util::future::join_all(all), good);
            assert!(found.iter().all(Result::is_ok), "{found:?}");
            for error in hung.into_iter().filter_map(Result::err) {
                assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                assert!(error.to_string().contains("the resolver did not answer"), "{error}");
            }
            assert!(running(&names) <= 20, "one thread a name");
        }
        assert_eq!(
            ASKED.load(Ordering::SeqCst),
            20 + 60,
            "requests for the same name share a lookup"
        );
        let_go();
        while names.look_up("hangs-0").await.is_err() {}
    }

    #[tokio::test]
    async fn slow_names_never_have_all_threads() {
        let names = Resolver::new(hangs, Duration::from_millis(50), Duration::from_millis(5));
        let slow: Vec<Arc<str>> = (0..100).map(|n| format!("stuck-{n}").into()).collect();
        names.state.lock().slow = slow.iter().map(|name| (name.clone(), ())).collect();
        hang();
        let all = slow.iter().map(|name| names.look_up(name));
        assert!(futures_util::future::join_all(all).await.iter().all(Result::is_err));
        assert_eq!(running(&names), SLOW_MAX);
        assert!(names.look_up("other").await.is_ok());
        let_go();
    }

    #[tokio::test]
    async fn names_in_the_hosts_file_are_found_with_the_port() {
        let found = look_up("localhost", 8080).await.unwrap();
        assert!(!found.is_empty());
        assert!(found.iter().all(|at| at.ip().is_loopback() && at.port() == 8080), "{found:?}");
        assert!(look_up("no-such-host.invalid", 80).await.is_err());
    }
}
