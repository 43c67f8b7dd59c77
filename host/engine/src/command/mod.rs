//! Commands: WASI programs that read the event on stdin and print each effect as a line on stdout.
//!
//! They log on stderr and exit with 0 for ok, 75 for retry, 65 for reject. After exit code 0 the
//! lines are recorded like the calls of a component; one invalid line fails the run.

mod document;
mod lines;
mod preview1;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use wasmtime::{ExternType, InstancePre, Store};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use weir_core::bounds::MIB;
use weir_core::delivery::Outcome;
use weir_core::time::Timestamp;

use crate::clock::SteppingClock;
use crate::guard::{self, Guard, Guarded};
use crate::instance::{Committable, committable};
use crate::load_error::LoadError;
use crate::log::LogRecorder;
use crate::reason;
use crate::recorder::EffectRecorder;
use crate::run::{Run, RunEnd, RunReport};
use crate::state_view::StateView;
use crate::stdio::GuestOutput;
use crate::wasi;

/// Limit of stdout: the largest effects of a run, as base64 in JSON.
const STDOUT_BYTES_MAX: usize = 48 * MIB;

/// The entry point of a WASI command.
const START: &str = "_start";

/// Exit codes, from sysexits.h.
const EX_OK: i32 = 0;
const EX_DATAERR: i32 = 65;
const EX_TEMPFAIL: i32 = 75;

/// A store's data.
pub(crate) struct CommandState {
    wasi: WasiP1Ctx,
    clock: SteppingClock,
    /// The time of the wall clock, which never moves.
    wall: Timestamp,
    guard: Guard,
}

impl Guarded for CommandState {
    fn guard(&mut self) -> &mut Guard {
        &mut self.guard
    }
}

pub(crate) use preview1::linker;

/// Checks that a module is a command.
pub(crate) fn check(module: &wasmtime::Module) -> Result<(), LoadError> {
    let foreign = module.imports().find(|import| import.module() != preview1::MODULE);
    if let Some(import) = foreign {
        return Err(LoadError::ForeignImport(format!("{}.{}", import.module(), import.name())));
    }
    match module.get_export(START) {
        Some(ExternType::Func(ty)) if ty.params().len() == 0 && ty.results().len() == 0 => {}
        _ => return Err(LoadError::NotACommand("_start function")),
    }
    match module.get_export("memory") {
        Some(ExternType::Memory(_)) => Ok(()),
        _ => Err(LoadError::NotACommand("memory")),
    }
}

pub(crate) async fn run(
    engine: &wasmtime::Engine,
    command: &InstancePre<CommandState>,
    run: Run,
    memory_max: usize,
) -> RunReport {
    let began = Instant::now();
    let time = run.limits.time;
    let log = Arc::new(Mutex::new(LogRecorder::new(run.limits.log_bytes)));
    let recorder = EffectRecorder::new(
        run.handler.clone(),
        run.event.clone(),
        run.id_round,
        run.grants.clone(),
        run.limits.effects,
    );
    let mut outcome = CommandOutcome {
        end: RunEnd::Ok,
        recorder,
        state: StateView::new(run.state.clone(), run.now),
        retry_after: None,
    };
    let input = outcome.state.input(&run.command.state);
    let memory_peak = match guard::within(time, async { Ok(input.await?) }).await {
        Ok(input) => {
            let stdout = Arc::new(Mutex::new(Vec::new()));
            let state = command_state(&run, memory_max, &log, stdout.clone(), &input);
            let mut store = guard::store(engine, state, time);
            let ended = guard::within(time, call(&mut store, command)).await;
            let guard = store.into_data().guard;
            let printed = std::mem::take(&mut *stdout.lock());
            let time_left = time.saturating_sub(began.elapsed());
            outcome.end(&log, &guard, ended, &printed, time_left).await;
            guard.memory_peak()
        }
        Err(error) => {
            let guard = Guard::new(run.limits.memory.min(memory_max));
            outcome.end = reason::of_trap(&error, &guard, &log.lock());
            0
        }
    };
    let CommandOutcome { end, recorder, state, retry_after } = outcome;
    let Committable { effects, reads, values_read } = committable(&end, recorder, state);
    let mut log = log.lock();
    RunReport {
        end,
        effects,
        reads,
        values_read,
        retry_after,
        log: log.finish(),
        duration: began.elapsed(),
        memory_peak,
    }
}

async fn call(
    store: &mut Store<CommandState>,
    command: &InstancePre<CommandState>,
) -> wasmtime::Result<()> {
    let instance = command.instantiate_async(&mut *store).await?;
    let start = instance.get_typed_func::<(), ()>(&mut *store, START)?;
    start.call_async(store, ()).await
}

fn command_state(
    run: &Run,
    memory_max: usize,
    log: &Arc<Mutex<LogRecorder>>,
    stdout: Arc<Mutex<Vec<u8>>>,
    input: &BTreeMap<String, String>,
) -> CommandState {
    let clock = SteppingClock::default();
    let mut builder = wasi::builder(&run.config, run.now, run.seed, &clock, log);
    builder
        .arg(run.handler.as_str())
        .args(&run.command.args)
        .stdin(MemoryInputPipe::new(document::of(run, input)))
        .stdout(GuestOutput::Buffer(stdout, STDOUT_BYTES_MAX));
    CommandState {
        wasi: builder.build_p1(),
        clock,
        wall: run.now,
        guard: Guard::new(run.limits.memory.min(memory_max)),
    }
}

/// The outcome of a command.
struct CommandOutcome {
    end: RunEnd,
    recorder: EffectRecorder,
    state: StateView,
    retry_after: Option<Duration>,
}

impl CommandOutcome {
    /// Takes the end of the program and what it printed into account.
    async fn end(
        &mut self,
        log: &Mutex<LogRecorder>,
        guard: &Guard,
        ended: wasmtime::Result<()>,
        printed: &[u8],
        time_left: Duration,
    ) {
        let exit = match ended {
            Ok(()) => Ok(EX_OK),
            Err(error) => error.downcast::<I32Exit>().map(|I32Exit(code)| code),
        };
        self.end = match exit {
            Ok(EX_OK) => {
                let record = lines::record(printed, &mut self.recorder, &mut self.state);
                match tokio::time::timeout(time_left, record).await {
                    Ok(Ok(retry_after)) => {
                        self.retry_after = retry_after;
                        self.end = reason::of_return(&log.lock());
                        return;
                    }
                    Ok(Err(invalid)) => invalid.into_end(),
                    Err(_) => reason::retryable(Outcome::Timeout, "ran past its time limit"),
                }
            }
            Ok(code) => of_exit(code, &log.lock()),
            Err(error) => reason::of_trap(&error, guard, &log.lock()),
        };
        self.retry_after = lines::retry_after(printed);
    }
}

fn of_exit(code: i32, log: &LogRecorder) -> RunEnd {
    let or_code = || format!("exited with code {code} and said nothing on stderr");
    match code {
        EX_TEMPFAIL => {
            reason::retryable(Outcome::Retry, &reason::last_message(log).unwrap_or_else(or_code))
        }
        EX_DATAERR => {
            reason::permanent(Outcome::Reject, &reason::last_message(log).unwrap_or_else(or_code))
        }
        _ => {
            let reason = reason::guest_message(log)
                .map_or_else(or_code, |said| format!("exited with code {code}: {said}"));
            reason::retryable(Outcome::Crashed, &reason)
        }
    }
}
