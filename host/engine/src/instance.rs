//! One run of a component: a fresh instance with its store, called once and dropped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand_chacha::ChaCha12Rng;
use wasmtime_wasi::{ResourceTable, WasiCtxView, WasiView};
use weir_core::delivery::Outcome;
use weir_core::effect::Effects;
use weir_core::event::Event;
use weir_core::state::ReadSet;
use weir_core::time::Timestamp;

use crate::bindings::weir::handler::types;
use crate::bindings::{self, HandlerPre};
use crate::clock::SteppingClock;
use crate::describe::Draft;
use crate::guard::{self, Guard, Guarded};
use crate::log::{LogLevel, LogRecorder};
use crate::reason;
use crate::recorder::Recorder;
use crate::refusal::{Code, Refusal};
use crate::run::{Run, RunEnd, RunReport};
use crate::state_view::StateView;
use crate::stdio::GuestOutput;
use crate::wasi::{self, Use, Wasi};

/// A store's data: what the host calls of one run work on.
pub(crate) struct RunState {
    pub(crate) guard: Guard,
    pub(crate) log: Arc<Mutex<LogRecorder>>,
    pub(crate) doing: Doing,
    wasi: Option<Wasi>,
}

/// What the guest was called for.
pub(crate) enum Doing {
    /// To say what it is: nothing is there and nothing can be asked for.
    Describing(Draft),
    /// To handle an event.
    Handling(Box<Handling>),
}

/// The parts of a run that handles an event.
pub(crate) struct Handling {
    pub(crate) run: Run,
    pub(crate) recorder: Recorder,
    pub(crate) state: StateView,
    pub(crate) retry_after: Option<Duration>,
    random: Option<ChaCha12Rng>,
}

impl Handling {
    /// The generator behind `context.random`.
    pub(crate) fn random(&mut self) -> &mut ChaCha12Rng {
        let seed = self.run.seed;
        self.random.get_or_insert_with(|| wasi::random(seed, Use::Contract))
    }
}

impl Guarded for RunState {
    fn guard(&mut self) -> &mut Guard {
        &mut self.guard
    }
}

impl RunState {
    pub(crate) fn handling(run: Run, memory_max: usize) -> Self {
        let limits = run.limits;
        let recorder = Recorder::new(
            run.handler.clone(),
            Arc::clone(&run.event),
            run.id_round,
            Arc::clone(&run.grants),
            limits.effects,
        );
        let state = StateView::new(Arc::clone(&run.state), run.now);
        let handling = Handling { run, recorder, state, retry_after: None, random: None };
        Self {
            guard: Guard::new(limits.memory.min(memory_max)),
            log: Arc::new(Mutex::new(LogRecorder::new(limits.log_bytes))),
            doing: Doing::Handling(Box::new(handling)),
            wasi: None,
        }
    }

    pub(crate) fn describing(memory_max: usize, log_bytes: usize) -> Self {
        Self {
            guard: Guard::new(memory_max),
            log: Arc::new(Mutex::new(LogRecorder::new(log_bytes))),
            doing: Doing::Describing(Draft::default()),
            wasi: None,
        }
    }

    /// The parts of a run, or the refusal that a call gets inside `describe`.
    pub(crate) fn try_handling(&mut self) -> Result<&mut Handling, Refusal> {
        match &mut self.doing {
            Doing::Handling(handling) => Ok(handling),
            Doing::Describing(_) => Err(Refusal::new(
                Code::Unavailable,
                "Inside `describe` there is no event, no state and no way out; do this in `handle`.",
            )),
        }
    }

    pub(crate) fn wasi(&mut self) -> &mut Wasi {
        let Self { doing, log, wasi, .. } = self;
        wasi.get_or_insert_with(|| {
            let clock = SteppingClock::default();
            let mut builder = match doing {
                Doing::Handling(handling) => {
                    let run = &handling.run;
                    wasi::builder(&run.config, run.now, run.seed, &clock, log)
                }
                Doing::Describing(_) => {
                    let nothing = std::collections::BTreeMap::new();
                    wasi::builder(&nothing, Timestamp::default(), [0; 32], &clock, log)
                }
            };
            builder.stdout(GuestOutput::Log(LogLevel::Stdout, Arc::clone(log)));
            Wasi { ctx: builder.build(), table: ResourceTable::new(), clock }
        })
    }
}

impl WasiView for RunState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let Wasi { ctx, table, .. } = self.wasi();
        WasiCtxView { ctx, table }
    }
}

/// Runs a component once.
pub(crate) async fn run(
    engine: &wasmtime::Engine,
    component: &HandlerPre<RunState>,
    run: Run,
    memory_max: usize,
) -> RunReport {
    let began = Instant::now();
    let time = run.limits.time;
    let event = facts(&run.event);
    let mut store = guard::store(engine, RunState::handling(run, memory_max), time);
    let ended = guard::within(time, async {
        let instance = component.instantiate_async(&mut store).await?;
        instance.call_handle(&mut store, &event).await
    })
    .await;
    report(store.into_data(), ended, began)
}

fn report(
    state: RunState,
    ended: wasmtime::Result<Result<(), types::Failure>>,
    began: Instant,
) -> RunReport {
    let mut log = state.log.lock();
    let end = match ended {
        Ok(Ok(())) => reason::of_return(&log),
        Ok(Err(failure)) => of_failure(failure),
        Err(error) => reason::of_trap(&error, &state.guard, &log),
    };
    let (effects, reads, retry_after) = match state.doing {
        Doing::Handling(handling) => {
            let Handling { recorder, state, retry_after, .. } = *handling;
            let (effects, reads) = kept(&end, recorder, state);
            (effects, reads, retry_after)
        }
        Doing::Describing(_) => Default::default(),
    };
    RunReport {
        end,
        effects,
        reads,
        retry_after,
        log: log.finish(),
        stderr_tail: log.stderr_tail(),
        duration: began.elapsed(),
        memory_peak: state.guard.memory_peak(),
    }
}

/// What is kept of a run by its end: effects only if it ended well (INV-3), the reads in any case.
pub(crate) fn kept(end: &RunEnd, recorder: Recorder, state: StateView) -> (Effects, ReadSet) {
    let reads = state.reads();
    let effects = match end {
        RunEnd::Ok => Effects { state: state.into_writes(), ..recorder.finish() },
        RunEnd::Failed { .. } => Effects::default(),
    };
    (effects, reads)
}

fn of_failure(failure: types::Failure) -> RunEnd {
    match failure {
        types::Failure::Retry(reason) => reason::again(Outcome::Retry, &reason),
        types::Failure::Reject(reason) => reason::for_good(Outcome::Reject, &reason),
        types::Failure::Refused(refusal) => reason::refused(&refusal.into()),
    }
}

fn facts(event: &Event) -> bindings::Event {
    bindings::Event {
        id: event.public_id.to_string(),
        source: event.source.as_str().to_owned(),
        type_: event.kind.as_str().to_owned(),
        category: event.category.map(|c| c.as_str().to_owned()),
        delivery_id: event.delivery_id.as_deref().map(str::to_owned),
        received_at: event.received_at.as_millis(),
        content_type: event.payload.content_type().to_owned(),
    }
}
