//! Slots for runs, and the choice of the run that gets the next one.
//!
//! Handlers are classed by the cost of their runs, so that a slow or stuck handler never delays a
//! quick one. Expensive runs may use fewer slots, and the slots above the configured number are for
//! quick runs only. A handler that is not quick gets at most half of the configured slots as soon
//! as there is another handler. A waiting run has the present class of its handler: when the first
//! run of a burst is quick, the rest of the burst may use the slots for quick runs.
//!
//! A free slot goes to the handler with the fewest slots, then to the one that has used the least
//! processor time lately (start-time fair queueing: a handler that was idle starts at the present
//! virtual time and gains no credit). So one cheap run does not wait for the runs of many expensive
//! handlers that came a moment earlier.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use weir_core::name::HandlerName;

use crate::invoker::handlers::batching::RunClass;

/// The slots of one hub.
#[derive(Debug)]
pub(crate) struct RunSlots(Arc<Mutex<SlotPool>>);

/// A slot. Dropping it frees it.
#[derive(Debug)]
pub(crate) struct RunSlot {
    pool: Arc<Mutex<SlotPool>>,
    handler: HandlerName,
    /// The class of the handler when the run began.
    run_class: RunClass,
}

/// A limit for all runs of a class and of the more expensive classes.
#[derive(Debug)]
struct ClassLimit {
    from: RunClass,
    max: usize,
    held: usize,
}

/// The runs that have a slot and the runs that wait. After each change, no run waits that may have
/// a free slot.
#[derive(Debug)]
struct SlotPool {
    class_limits: [ClassLimit; 4],
    /// The most slots of a handler that is not quick, while there is another handler.
    share: usize,
    queues: BTreeMap<HandlerName, HandlerQueue>,
    /// Waiting runs of all handlers.
    waiting: usize,
    arrivals: u64,
    /// Virtual time: the processor time of the handler that got the latest slot, when it got it.
    virtual_time: Duration,
}

/// The runs of one handler.
#[derive(Debug)]
struct HandlerQueue {
    run_class: RunClass,
    held: usize,
    waiting: VecDeque<WaitingRun>,
    /// Processor time of its runs, counted from the virtual time at which it was last idle.
    used: Duration,
}

#[derive(Debug)]
struct WaitingRun {
    /// Rises with every arrival.
    arrival: u64,
    granted: oneshot::Sender<RunSlot>,
}

/// A slot for a run that has waited.
struct GrantedSlot {
    run: WaitingRun,
    handler: HandlerName,
    run_class: RunClass,
}

impl RunSlots {
    /// `slots` for all runs, and up to `places` if the further ones are quick.
    pub(crate) fn new(slots: usize, places: usize) -> Self {
        let class_limit = |from, max: usize| ClassLimit { from, max: max.max(1), held: 0 };
        let class_limits = [
            class_limit(RunClass::Quick, places),
            class_limit(RunClass::Ordinary, slots),
            class_limit(RunClass::Slow, slots * 3 / 4),
            class_limit(RunClass::Stuck, slots / 4),
        ];
        let share = (slots / 2).max(1);
        let queues = BTreeMap::new();
        let virtual_time = Duration::ZERO;
        let pool = SlotPool { class_limits, share, queues, waiting: 0, arrivals: 0, virtual_time };
        Self(Arc::new(Mutex::new(pool)))
    }

    /// Waits for a slot for a run. Always returns one, because the pool outlives its slots.
    pub(crate) async fn take(&self, handler: &HandlerName, run_class: RunClass) -> Option<RunSlot> {
        let (granted, slot) = oneshot::channel();
        change(&self.0, |pool| pool.arrive(handler, run_class, granted));
        slot.await.ok()
    }

    /// Records the processor time of a run that has ended. All runs of its handler have this class
    /// from now on, also those that wait.
    pub(crate) fn ran(&self, handler: &HandlerName, run_class: RunClass, core: Duration) {
        change(&self.0, |pool| pool.ran(handler, run_class, core));
    }
}

impl Drop for RunSlot {
    fn drop(&mut self) {
        change(&self.pool, |pool| pool.leave(&self.handler, self.run_class));
    }
}

/// Changes the pool, and gives the slots that are free then to waiting runs.
fn change(pool: &Arc<Mutex<SlotPool>>, change: impl FnOnce(&mut SlotPool)) {
    let given = {
        let mut pool = pool.lock();
        change(&mut pool);
        pool.grant()
    };
    for GrantedSlot { run, handler, run_class } in given {
        // If the run was cancelled just now, the slot is dropped, which gives it to the next run.
        let _ = run.granted.send(RunSlot { pool: pool.clone(), handler, run_class });
    }
}

impl SlotPool {
    fn arrive(
        &mut self,
        handler: &HandlerName,
        run_class: RunClass,
        granted: oneshot::Sender<RunSlot>,
    ) {
        self.arrivals += 1;
        self.waiting += 1;
        let run = WaitingRun { arrival: self.arrivals, granted };
        if let Some(queue) = self.queues.get_mut(handler) {
            if queue.held == 0 && queue.waiting.is_empty() {
                queue.used = queue.used.max(self.virtual_time);
            }
            queue.run_class = run_class;
            queue.waiting.push_back(run);
            return;
        }
        let waiting = VecDeque::from([run]);
        let queue = HandlerQueue { run_class, held: 0, waiting, used: self.virtual_time };
        self.queues.insert(handler.clone(), queue);
    }

    fn ran(&mut self, handler: &HandlerName, run_class: RunClass, core: Duration) {
        if let Some(queue) = self.queues.get_mut(handler) {
            queue.run_class = run_class;
            queue.used += core;
        }
    }

    fn leave(&mut self, handler: &HandlerName, run_class: RunClass) {
        self.class_limits.iter_mut().filter(|c| c.from <= run_class).for_each(|c| c.held -= 1);
        if let Some(queue) = self.queues.get_mut(handler) {
            queue.held -= 1;
        }
    }

    /// Gives free slots to waiting runs that may have one.
    fn grant(&mut self) -> Vec<GrantedSlot> {
        let mut given = Vec::new();
        while self.waiting > 0 {
            self.remove_cancelled();
            let Some(handler) = self.next() else { break };
            let Some(queue) = self.queues.get_mut(&handler) else { break };
            let Some(run) = queue.waiting.pop_front() else { break };
            let run_class = queue.run_class;
            self.waiting -= 1;
            self.virtual_time = queue.used;
            queue.held += 1;
            self.class_limits.iter_mut().filter(|c| c.from <= run_class).for_each(|c| c.held += 1);
            given.push(GrantedSlot { run, handler, run_class });
        }
        given
    }

    /// The handler that gets the next slot: of those that may have one, the handler with the fewest
    /// slots, then the one that used the least processor time, then the one that came first.
    fn next(&self) -> Option<HandlerName> {
        let has_others = self.queues.len() > 1;
        let may = |queue: &HandlerQueue| {
            let shares =
                queue.run_class == RunClass::Quick || !has_others || queue.held < self.share;
            shares && self.class_limits.iter().all(|c| c.from > queue.run_class || c.held < c.max)
        };
        let waiting = self.queues.iter().filter_map(|(name, queue)| {
            let first = queue.waiting.front().filter(|_| may(queue))?;
            Some(((queue.held, queue.used, first.arrival), name))
        });
        waiting.min().map(|(_, name)| name.clone())
    }

    /// Removes runs that were cancelled while they waited.
    fn remove_cancelled(&mut self) {
        for queue in self.queues.values_mut() {
            while queue.waiting.pop_front_if(|run| run.granted.is_closed()).is_some() {
                self.waiting -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use futures_util::FutureExt as _;

    use super::*;
    use RunClass::{Ordinary, Quick, Slow, Stuck};

    /// The runs of one handler: those that have a slot, and those that wait.
    struct HandlerRuns<'a> {
        slots: &'a RunSlots,
        of: HandlerName,
        running: Vec<RunSlot>,
        waiting: Vec<Pin<Box<dyn Future<Output = Option<RunSlot>> + 'a>>>,
    }

    impl<'a> HandlerRuns<'a> {
        fn of(slots: &'a RunSlots, handler: &str) -> Self {
            let of = HandlerName::new(handler).unwrap();
            Self { slots, of, running: Vec::new(), waiting: Vec::new() }
        }

        /// Adds runs.
        fn come(&mut self, runs: usize, run_class: RunClass) -> &mut Self {
            for _ in 0..runs {
                let (slots, of) = (self.slots, self.of.clone());
                self.waiting.push(Box::pin(async move { slots.take(&of, run_class).await }));
                self.look();
            }
            self
        }

        fn look(&mut self) {
            let mut still = Vec::new();
            for mut waiting in std::mem::take(&mut self.waiting) {
                match (&mut waiting).now_or_never() {
                    Some(slot) => self.running.push(slot.unwrap()),
                    None => still.push(waiting),
                }
            }
            self.waiting = still;
        }

        /// Ends one run.
        fn end(&mut self) {
            drop(self.running.pop().unwrap());
        }

        /// The numbers of runs that have a slot and that wait.
        fn now(&mut self) -> (usize, usize) {
            self.look();
            (self.running.len(), self.waiting.len())
        }
    }

    #[test]
    fn expensive_runs_get_fewer_slots() {
        for (slots, all, wanted) in
            [(1, 2, [2, 1, 1, 1]), (4, 6, [6, 4, 3, 1]), (16, 24, [24, 16, 12, 4])]
        {
            let held = [Quick, Ordinary, Slow, Stuck].map(|run_class| {
                let slots = RunSlots::new(slots, all);
                HandlerRuns::of(&slots, "a").come(40, run_class).now().0
            });
            assert_eq!(held, wanted);
        }
    }

    #[test]
    fn a_burst_of_quick_runs_does_not_wait_for_slow_runs() {
        for (slots, places) in [(1, 2), (2, 3), (4, 6), (16, 24)] {
            let slots = RunSlots::new(slots, places);
            let mut slow = ["a", "b", "c"].map(|name| HandlerRuns::of(&slots, name));
            for handler in &mut slow {
                handler.come(20, Slow);
            }
            let mut quick = HandlerRuns::of(&slots, "quick");
            quick.come(8, Quick);
            let before = slow.iter_mut().map(|handler| handler.now().0).sum::<usize>();
            while quick.now() != (0, 0) {
                quick.end();
            }
            let after = slow.iter_mut().map(|handler| handler.now().0).sum::<usize>();
            assert_eq!(before, after, "no slow run had to end");
        }
    }

    #[test]
    fn a_burst_may_use_the_quick_slots_once_a_run_was_quick() {
        let slots = RunSlots::new(4, 6);
        let mut others = ["a", "b"].map(|name| HandlerRuns::of(&slots, name));
        for handler in &mut others {
            handler.come(2, Ordinary);
        }
        let mut fresh = HandlerRuns::of(&slots, "fresh");
        fresh.come(8, Ordinary);
        assert_eq!(fresh.now(), (0, 8), "its class is unknown, and the slots are taken");
        others[0].end();
        assert_eq!(fresh.now(), (1, 7));
        slots.ran(&fresh.of, Quick, Duration::ZERO);
        fresh.end();
        assert_eq!(fresh.now(), (3, 4), "it may use the slots for quick runs");
    }

    #[test]
    fn a_waiting_run_has_the_present_class_of_its_handler() {
        let slots = RunSlots::new(4, 6);
        let mut was_quick = HandlerRuns::of(&slots, "a");
        was_quick.come(12, Quick);
        assert_eq!(was_quick.now(), (6, 6));
        slots.ran(&was_quick.of, Slow, Duration::ZERO);
        HandlerRuns::of(&slots, "b").come(1, Ordinary);
        was_quick.end();
        assert_eq!(was_quick.now(), (5, 6));
    }

    #[test]
    fn a_handler_that_is_not_quick_gets_half_beside_another() {
        for run_class in [Ordinary, Slow] {
            let slots = RunSlots::new(4, 6);
            let mut greedy = HandlerRuns::of(&slots, "greedy");
            greedy.come(20, run_class);
            let mut other = HandlerRuns::of(&slots, "other");
            other.come(20, Ordinary);
            while greedy.now().0 > 2 {
                greedy.end();
            }
            assert_eq!((greedy.now().0, other.now().0), (2, 2), "{run_class:?}");
            greedy.end();
            assert_eq!((greedy.now().0, other.now().0), (2, 2), "each keeps its half");
        }
    }

    #[test]
    fn slow_handlers_leave_a_slot_to_a_new_handler() {
        let slots = RunSlots::new(4, 6);
        let mut slow = ["a", "b", "c", "d"].map(|name| HandlerRuns::of(&slots, name));
        for handler in &mut slow {
            handler.come(9, Slow);
        }
        assert_eq!(HandlerRuns::of(&slots, "new").come(3, Ordinary).now().0, 1);
    }

    #[test]
    fn a_free_slot_goes_to_the_handler_with_the_fewest() {
        let slots = RunSlots::new(4, 6);
        let mut many = HandlerRuns::of(&slots, "many");
        many.come(50, Quick);
        let mut one = HandlerRuns::of(&slots, "one");
        one.come(1, Quick);
        assert_eq!((many.now(), one.now()), ((6, 44), (0, 1)));
        many.end();
        assert_eq!((many.now(), one.now()), ((5, 44), (1, 0)));
    }

    #[test]
    fn a_cheap_run_overtakes_waiting_runs_of_costly_handlers() {
        let slots = RunSlots::new(1, 1);
        let mut costly = ["a", "b", "c", "d"].map(|name| HandlerRuns::of(&slots, name));
        let mut cheap = HandlerRuns::of(&slots, "z");
        for handler in &mut costly {
            handler.come(1, Quick);
            slots.ran(&handler.of, Quick, Duration::from_millis(15));
            handler.come(2, Quick);
        }
        cheap.come(1, Quick);
        assert_eq!(cheap.now(), (0, 1));
        costly[0].end();
        // All others wait for their first slot too, but have used more processor time.
        assert_eq!(cheap.now(), (1, 0));
    }

    #[test]
    fn handlers_with_equal_costs_take_turns() {
        let slots = RunSlots::new(1, 1);
        let mut handlers = ["a", "b", "c"].map(|name| HandlerRuns::of(&slots, name));
        for handler in &mut handlers {
            handler.come(10, Quick);
        }
        let mut runs = [0, 0, 0];
        for _ in 0..15 {
            let running = handlers.iter_mut().position(|handler| handler.now().0 == 1).unwrap();
            runs[running] += 1;
            slots.ran(&handlers[running].of, Quick, Duration::from_millis(2));
            handlers[running].end();
        }
        assert_eq!(runs, [5, 5, 5]);
    }

    #[test]
    fn an_idle_handler_gains_no_credit() {
        let slots = RunSlots::new(1, 1);
        let mut busy = HandlerRuns::of(&slots, "busy");
        let mut idle = HandlerRuns::of(&slots, "idle");
        busy.come(40, Quick);
        for _ in 0..20 {
            slots.ran(&busy.of, Quick, Duration::from_millis(2));
            busy.end();
            busy.now();
        }
        idle.come(40, Quick);
        let mut runs = [0, 0];
        for _ in 0..10 {
            let (name, of) = if idle.now().0 == 1 { (&mut idle, 1) } else { (&mut busy, 0) };
            name.now();
            runs[of] += 1;
            slots.ran(&name.of, Quick, Duration::from_millis(2));
            name.end();
        }
        assert!(runs[0] >= 4, "the busy one goes on: {runs:?}");
    }

    #[test]
    fn a_cancelled_run_keeps_no_slot() {
        let slots = RunSlots::new(1, 2);
        let (mut a, mut b) = (HandlerRuns::of(&slots, "a"), HandlerRuns::of(&slots, "b"));
        a.come(1, Ordinary);
        b.come(3, Ordinary);
        drop(b.waiting.remove(0));
        // This run has been granted its slot and is dropped before it learns of it.
        a.end();
        drop(b.waiting.remove(0));
        assert_eq!(b.now(), (1, 0));
        b.end();
        assert_eq!(a.come(1, Stuck).now(), (1, 0));
    }

    #[test]
    fn stuck_runs_get_a_quarter_of_the_slots() {
        let slots = RunSlots::new(8, 12);
        let mut stuck = ["a", "b", "c"].map(|name| HandlerRuns::of(&slots, name));
        for handler in &mut stuck {
            handler.come(5, Stuck);
        }
        assert_eq!(stuck.iter_mut().map(|handler| handler.now().0).sum::<usize>(), 2);
    }
}
