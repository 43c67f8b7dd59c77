//! One run of a component: a fresh instance with its store, called once and dropped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand_chacha::ChaCha12Rng;
use wasmtime_wasi::{ResourceTable, WasiCtxView, WasiView};
use weir_core::delivery::Outcome;
use weir_core::effect::Effects;
use weir_core::event::Event;
use weir_core::state::{ReadSet, StateEntry};
use weir_core::time::Timestamp;

use crate::bindings::weir::handler::types;
use crate::bindings::{self, HandlerPre};
use crate::clock::SteppingClock;
use crate::description::DescriptionDraft;
use crate::guard::{self, Guard, Guarded};
use crate::log::{LogLevel, LogRecorder};
use crate::reason;
use crate::recorder::EffectRecorder;
use crate::refusal::{Code, Refusal};
use crate::run::{Run, RunEnd, RunReport};
use crate::state_view::StateView;
use crate::stdio::GuestOutput;
use crate::wasi::{self, HasWasi, RandomStream, Wasi};

/// A store's data: the state that the host functions of one run use.
pub(crate) struct RunState {
    pub(crate) guard: Guard,
    pub(crate) log: Arc<Mutex<LogRecorder>>,
    pub(crate) call: CallState,
    wasi: Option<Wasi>,
}

/// The call of the guest that is running.
pub(crate) enum CallState {
    /// `describe`: there is no event and no state, and no effect is possible.
    Describing(DescriptionDraft),
    Handling(Box<HandleCall>),
}

/// The state of a call of `handle`.
pub(crate) struct HandleCall {
    pub(crate) run: Run,
    pub(crate) recorder: EffectRecorder,
    pub(crate) state: StateView,
    pub(crate) retry_after: Option<Duration>,
    random: Option<ChaCha12Rng>,
}

impl HandleCall {
    /// The generator of `context.random`.
    pub(crate) fn random(&mut self) -> &mut ChaCha12Rng {
        let seed = self.run.seed;
        self.random.get_or_insert_with(|| wasi::random(seed, RandomStream::Contract))
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
        let recorder = EffectRecorder::new(
            run.handler.clone(),
            run.event.clone(),
            run.id_round,
            run.grants.clone(),
            limits.effects,
        );
        let state = StateView::new(run.state.clone(), run.now);
        let handling = HandleCall { run, recorder, state, retry_after: None, random: None };
        Self {
            guard: Guard::new(limits.memory.min(memory_max)),
            log: Arc::new(Mutex::new(LogRecorder::new(limits.log_bytes))),
            call: CallState::Handling(Box::new(handling)),
            wasi: None,
        }
    }

    pub(crate) fn describing(memory_max: usize, log_bytes: usize) -> Self {
        Self {
            guard: Guard::new(memory_max),
            log: Arc::new(Mutex::new(LogRecorder::new(log_bytes))),
            call: CallState::Describing(DescriptionDraft::default()),
            wasi: None,
        }
    }

    /// The call of `handle`, or the refusal for a call inside `describe`.
    pub(crate) fn try_handling(&mut self) -> Result<&mut HandleCall, Refusal> {
        match &mut self.call {
            CallState::Handling(handling) => Ok(handling),
            CallState::Describing(_) => Err(Refusal::new(
                Code::Unavailable,
                "Inside `describe` there is no event and no state, and no effects; use `handle`.",
            )),
        }
    }
}

impl HasWasi for RunState {
    fn wasi(&mut self) -> &mut Wasi {
        let Self { call, log, wasi, .. } = self;
        wasi.get_or_insert_with(|| {
            let clock = SteppingClock::default();
            let mut builder = match call {
                CallState::Handling(handling) => {
                    let run = &handling.run;
                    wasi::builder(&run.config, run.now, run.seed, &clock, log)
                }
                CallState::Describing(_) => {
                    let nothing = std::collections::BTreeMap::new();
                    wasi::builder(&nothing, Timestamp::default(), [0; 32], &clock, log)
                }
            };
            builder.stdout(GuestOutput::Log(LogLevel::Stdout, log.clone()));
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
    let (Committable { effects, reads, values_read }, retry_after) = match state.call {
        CallState::Handling(handling) => {
            let HandleCall { recorder, state, retry_after, .. } = *handling;
            (committable(&end, recorder, state), retry_after)
        }
        CallState::Describing(_) => Default::default(),
    };
    RunReport {
        end,
        effects,
        reads,
        values_read,
        retry_after,
        log: log.finish(),
        duration: began.elapsed(),
        memory_peak: state.guard.memory_peak(),
    }
}

/// The parts of a run's report that settling commits or validates.
#[derive(Default)]
pub(crate) struct Committable {
    pub(crate) effects: Effects,
    pub(crate) reads: ReadSet,
    pub(crate) values_read: Vec<Option<StateEntry>>,
}

/// The effects and reads of a run: effects only if it succeeded (INV-3), reads in any case.
pub(crate) fn committable(
    end: &RunEnd,
    recorder: EffectRecorder,
    mut state: StateView,
) -> Committable {
    let reads = state.reads();
    let values_read = state.values_read();
    let effects = match end {
        RunEnd::Ok => Effects { state: state.into_writes(), ..recorder.finish() },
        RunEnd::Failed { .. } => Effects::default(),
    };
    Committable { effects, reads, values_read }
}

fn of_failure(failure: types::Failure) -> RunEnd {
    match failure {
        types::Failure::Retry(reason) => reason::retryable(Outcome::Retry, &reason),
        types::Failure::Reject(reason) => reason::permanent(Outcome::Reject, &reason),
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
