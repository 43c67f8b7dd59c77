//! Names to addresses: by the system's resolver, as every program here asks it (`/etc/hosts`, nsswitch, DNS), on a few
//! threads of its own. A resolver that hangs holds up those who ask it for these names, and nothing else of the hub.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Names that are looked up at once.
const THREADS_MAX: usize = 32;
/// Of those, names that are answered quickly as a rule.
const QUICK_MAX: usize = 8;
/// Of those, names that were slow before: the rest is kept for others.
const SLOW_MAX: usize = 16;
/// Names that wait for a thread.
const WAITING_MAX: usize = 1_024;
/// Requests that wait for one name.
const ASKING_MAX: usize = 1_024;
/// Names that are known to be slow.
const KNOWN_SLOW_MAX: usize = 1_024;
/// Bytes of a thread's stack: the system's modules for names need little.
const STACK_BYTES: usize = 512 * 1024;
/// How long a request waits for an answer. The thread waits as long as the system does.
const PATIENCE: Duration = Duration::from_secs(5);
/// Past it a name is slow.
const SLOW_AFTER: Duration = Duration::from_secs(1);

type Found = Result<Arc<[SocketAddr]>, Arc<io::Error>>;
type Ask = fn(&str) -> io::Result<Vec<SocketAddr>>;

/// What all of the process shares: the machine has one resolver.
static RESOLVER: LazyLock<Names> = LazyLock::new(|| Names::new(system, PATIENCE, SLOW_AFTER));

/// The addresses of a host, each with this port.
///
/// # Errors
/// What the resolver says, that it says nothing in time, or that too much is asked of it already.
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
struct Names {
    state: Arc<Mutex<State>>,
    ask: Ask,
    patience: Duration,
    slow_after: Duration,
}

#[derive(Debug, Default)]
struct State {
    jobs: FxHashMap<Arc<str>, Job>,
    /// Names that no thread looks up yet, in the order in which they came.
    waiting: VecDeque<Arc<str>>,
    /// Names that were slow when they were last looked up.
    slow: FxHashMap<Arc<str>, ()>,
}

/// One name, for all who ask for it at this time.
#[derive(Debug, Default)]
struct Job {
    asking: Vec<oneshot::Sender<Found>>,
    /// Since when a thread looks it up.
    since: Option<Instant>,
}

impl State {
    /// The next name for which there is room among the threads; those that are waited for no longer are forgotten.
    fn next(&mut self, slow_after: Duration) -> Option<Arc<str>> {
        let (mut quick, mut slow) = (0, 0);
        for (name, job) in &self.jobs {
            match job.since {
                Some(since) if since.elapsed() >= slow_after => slow += 1,
                Some(_) if self.slow.contains_key(name) => slow += 1,
                Some(_) => quick += 1,
                None => {}
            }
        }
        let Self { jobs, waiting, slow: known, .. } = self;
        waiting.retain(|name| {
            let asked_for =
                jobs.get(name).is_some_and(|job| job.asking.iter().any(|a| !a.is_closed()));
            if !asked_for {
                jobs.remove(name);
            }
            asked_for
        });
        if quick + slow >= THREADS_MAX {
            return None;
        }
        let fits = |name: &Arc<str>| match known.contains_key(name) {
            true => slow < SLOW_MAX,
            false => quick < QUICK_MAX,
        };
        let name = waiting.remove(waiting.iter().position(fits)?)?;
        if let Some(job) = jobs.get_mut(&name) {
            job.since = Some(Instant::now());
        }
        Some(name)
    }

    /// A name was looked up.
    fn done(&mut self, name: &Arc<str>, found: &Found, slow_after: Duration) {
        let Some(job) = self.jobs.remove(name) else { return };
        if job.since.is_some_and(|since| since.elapsed() >= slow_after) {
            if self.slow.len() >= KNOWN_SLOW_MAX {
                self.slow.clear();
            }
            self.slow.insert(name.clone(), ());
        } else {
            self.slow.remove(name);
        }
        for asking in job.asking {
            let _gone = asking.send(found.clone());
        }
    }
}

impl Names {
    fn new(ask: Ask, patience: Duration, slow_after: Duration) -> Self {
        Self { state: Arc::default(), ask, patience, slow_after }
    }

    async fn look_up(&self, host: &str) -> io::Result<Arc<[SocketAddr]>> {
        let mut answer = self.ask_for(host)?;
        let started = Instant::now();
        while started.elapsed() < self.patience {
            self.start();
            // Threads that have become slow meanwhile make room for others.
            let wait = self.slow_after.min(self.patience);
            if let Ok(answered) = timeout(wait, &mut answer).await {
                let found = answered.map_err(|_| io::Error::other("the lookup ended early"))?;
                return found.map_err(|error| io::Error::new(error.kind(), error));
            }
        }
        let what = format!("the resolver did not answer within {} ms", self.patience.as_millis());
        Err(io::Error::new(io::ErrorKind::TimedOut, what))
    }

    fn ask_for(&self, host: &str) -> io::Result<oneshot::Receiver<Found>> {
        let full = || io::Error::other("too many names are being looked up");
        let (tell, answer) = oneshot::channel();
        let mut state = self.state.lock();
        if let Some(job) = state.jobs.get_mut(host) {
            job.asking.retain(|asking| !asking.is_closed());
            if job.asking.len() >= ASKING_MAX {
                return Err(full());
            }
            job.asking.push(tell);
            return Ok(answer);
        }
        if state.waiting.len() >= WAITING_MAX {
            return Err(full());
        }
        let name: Arc<str> = host.into();
        state.waiting.push_back(name.clone());
        state.jobs.insert(name, Job { asking: vec![tell], since: None });
        Ok(answer)
    }

    /// Starts a thread for each name that there is room for.
    fn start(&self) {
        loop {
            let Some(name) = self.state.lock().next(self.slow_after) else { return };
            let (names, of) = (self.clone(), name.clone());
            let work = move || names.work(of);
            let thread = std::thread::Builder::new().name("names".into()).stack_size(STACK_BYTES);
            if let Err(error) = thread.spawn(work) {
                tracing::warn!(%error, "no thread to look up a name");
                self.state.lock().done(&name, &Err(Arc::new(error)), self.slow_after);
            }
        }
    }

    /// Looks up this name, and then others that wait.
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
    /// How many tests want the resolver to hang.
    static HANGING: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

    /// A resolver that hangs at some names, until it is let go.
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

    fn running(names: &Names) -> usize {
        names.state.lock().jobs.values().filter(|job| job.since.is_some()).count()
    }

    #[tokio::test]
    async fn names_that_hang_take_few_threads_and_leave_some_to_others() {
        let names = Names::new(hangs, Duration::from_millis(400), Duration::from_millis(20));
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
        assert_eq!(ASKED.load(Ordering::SeqCst), 20 + 60, "who asks for the same waits for it");
        let_go();
        while names.look_up("hangs-0").await.is_err() {}
    }

    #[tokio::test]
    async fn names_that_were_slow_never_have_all_threads() {
        let names = Names::new(hangs, Duration::from_millis(50), Duration::from_millis(5));
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
    async fn a_name_of_the_hosts_file_has_its_addresses_with_the_port() {
        let found = look_up("localhost", 8080).await.unwrap();
        assert!(!found.is_empty());
        assert!(found.iter().all(|at| at.ip().is_loopback() && at.port() == 8080), "{found:?}");
        assert!(look_up("no-such-host.invalid", 80).await.is_err());
    }
}
