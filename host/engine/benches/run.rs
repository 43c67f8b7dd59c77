//! The cost of a run: a fresh instance of a guest that does nothing, on one thread and on two.
//!
//! `cargo bench -p weir-engine` prints the table. The path of a module as argument benches that
//! module instead. `KEEP_KIB` sets how much memory of a slot stays resident, to find the default of
//! `Options`.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench panics and prints")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use weir_core::event::{Event, EventType};
use weir_core::id::EventId;
use weir_core::name::{HandlerName, SourceName};
use weir_core::payload::Payload;
use weir_core::state::{StateEntry, StateReader, StateUnavailable};
use weir_core::time::Timestamp;
use weir_engine::{Engine, Grants, Module, Options, Run, RunEnd, RunLimits};

const ROUND: Duration = Duration::from_secs(2);

struct Empty;

#[async_trait]
impl StateReader for Empty {
    async fn get(&self, _: &str) -> Result<Option<StateEntry>, StateUnavailable> {
        Ok(None)
    }

    async fn keys(
        &self,
        _: &str,
        _: &str,
        _: u32,
        _: Timestamp,
    ) -> Result<Vec<Box<str>>, StateUnavailable> {
        Ok(Vec::new())
    }

    async fn size(&self) -> Result<u64, StateUnavailable> {
        Ok(0)
    }

    async fn has_queued(&self, _: &str) -> Result<bool, StateUnavailable> {
        Ok(false)
    }
}

fn run() -> Run {
    let event = Event {
        id: EventId::from_bits(1),
        public_id: EventId::from_bits(1),
        source: SourceName::stored("bench"),
        kind: EventType::new("push").unwrap(),
        category: None,
        delivery_id: Some("d-1".into()),
        received_at: Timestamp::from_millis(1),
        lineage: None,
        payload: Arc::new(Payload::new("application/json", vec![b' '; 2048].into())),
    };
    Run {
        event: Arc::new(event),
        handler: HandlerName::new("bench").unwrap(),
        config: Arc::new(BTreeMap::new()),
        grants: Arc::new(Grants::default()),
        limits: RunLimits::default(),
        attempt: 1,
        id_round: 0,
        now: Timestamp::from_millis(1),
        seed: [0; 32],
        state: Arc::new(Empty),
        command: Arc::default(),
    }
}

/// Runs for a second in `threads` tasks, on as many threads. Returns the number of runs and the
/// time.
fn round(module: &Module, threads: usize) -> (u64, Duration) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_time()
        .build()
        .unwrap();
    let begun = Instant::now();
    let tasks: Vec<_> = (0..threads)
        .map(|_| {
            let module = module.clone();
            runtime.spawn(async move {
                let (run, begun, mut done) = (run(), Instant::now(), 0);
                while begun.elapsed() < ROUND {
                    let report = module.run(run.clone()).await;
                    assert_eq!(report.end, RunEnd::Ok);
                    done += 1;
                    if done % 64 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                done
            })
        })
        .collect();
    let done = runtime.block_on(async {
        let mut all = 0;
        for task in tasks {
            all += task.await.unwrap();
        }
        all
    });
    (done, begun.elapsed())
}

fn main() {
    let given = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).map(PathBuf::from);
    let noop = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/guests/noop.wasm");
    let path = given.unwrap_or(noop);
    let mut options = Options::default();
    if let Ok(kib) = std::env::var("KEEP_KIB") {
        options.keep_resident = kib.parse::<usize>().unwrap() * 1024;
    }
    println!("{} keeping {} KiB a slot", path.display(), options.keep_resident / 1024);
    let engine = Engine::new(options).unwrap();
    let begun = Instant::now();
    let module = engine.load(&std::fs::read(&path).unwrap()).unwrap();
    println!("load          {:>9.1} ms", begun.elapsed().as_secs_f64() * 1e3);
    for threads in [1, 2] {
        round(&module, threads);
        let (done, time) = round(&module, threads);
        let per_second = done as f64 / time.as_secs_f64();
        let micros = time.as_secs_f64() * 1e6 * threads as f64 / done as f64;
        println!("{threads} thread(s)   {per_second:>9.0} events/s {micros:>7.1} us a run");
    }
}
