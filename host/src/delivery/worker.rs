//! The claim loop, for everything that attempts deliveries: claims what a consumer has room for,
//! and starts it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;
use weir_core::breaker::BreakerPolicy;
use weir_core::name::Target;
use weir_core::time::Timestamp;
use weir_store::StoreError;
use weir_store::{Claim, ClaimRequest, Settled, Settlement};

use super::announce::announce;
use super::breakers::BreakerPersistence;
use super::flow_control::{AttemptEnd, AttemptPermit, FlowControl, Throttle};
use super::settle::settle;
use crate::context::HubContext;
use crate::runtime::tasks::OnFailure;

/// The longest wait before the store is asked again, in case a wake-up got lost.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// The longest pause after claims that brought nothing.
const EMPTY_PAUSE_MAX: Duration = Duration::from_millis(16);
/// The pause after the store failed.
const FAILED_PAUSE: Duration = Duration::from_secs(1);

/// Attempts deliveries of some targets. The invoker and egress are consumers.
pub(crate) trait Consumer: Sync {
    /// The name of its deliveries, for the log.
    const CLAIMS: &'static str;

    /// The deliveries that there is room for.
    fn wanted(&self, now: Timestamp) -> Vec<ClaimRequest>;

    /// Starts attempts of claimed deliveries of one target. Claims that it drops are given back.
    fn start(&self, target: &Target, claims: Vec<Claim>);

    /// The time after which there is more room, although nothing ends before.
    fn room_in(&self, _now: Timestamp) -> Option<Duration> {
        None
    }

    /// True while any claim is neither settled nor given back.
    fn is_busy(&self) -> bool;
}

/// Runs the claim loop of a consumer, and has what its attempts need.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) ctx: HubContext,
    /// Notified when the consumer may have room for more.
    pub(crate) wake: Arc<Notify>,
    pub(crate) breakers: Arc<BreakerPersistence>,
}

impl Worker {
    pub(crate) fn new(ctx: HubContext) -> Self {
        let wake = Arc::<Notify>::default();
        let HubContext { store, clock, drain, .. } = &ctx;
        let breakers =
            BreakerPersistence::new(store.clone(), clock.clone(), drain.clone(), wake.clone());
        Self { ctx, wake, breakers: Arc::new(breakers) }
    }

    /// Claims and starts deliveries until the drain stops claiming, then waits for attempts until
    /// it stops waiting.
    ///
    /// `beside` starts once the breakers are restored, and ends with claiming.
    pub(crate) async fn run<C: Consumer>(
        &self,
        consumer: &C,
        beside: impl Future<Output = ()> + Send,
    ) {
        let drain = &self.ctx.drain;
        let work = async {
            self.breakers.restore().await;
            let breakers = self.breakers.clone();
            let saving = async move { breakers.run().await };
            self.ctx.tasks.spawn("breakers", OnFailure::Stop, saving);
            tokio::join!(self.claim(consumer), beside);
        };
        tokio::select! {
            () = work => {}
            () = drain.claiming_stopped() => {}
        }
        while consumer.is_busy() {
            tokio::select! {
                () = self.wake.notified() => {}
                () = drain.waiting_stopped() => return,
            }
        }
        self.breakers.save().await;
    }

    async fn claim<C: Consumer>(&self, consumer: &C) {
        let HubContext { store, clock, .. } = &self.ctx;
        let mut empty = 0;
        loop {
            let wanted = consumer.wanted(clock.now());
            if wanted.is_empty() {
                tokio::select! {
                    () = self.wake.notified() => {}
                    () = more_room(consumer.room_in(clock.now())) => {}
                }
                continue;
            }
            match store.claim(&wanted).await {
                Ok(claims) if claims.is_empty() => {
                    empty += 1;
                    self.wait(empty, consumer.room_in(clock.now())).await;
                }
                Ok(claims) => {
                    empty = 0;
                    for (target, claims) in by_target(claims) {
                        consumer.start(&target, claims);
                    }
                }
                Err(error) => {
                    if error.is_transient() {
                        tracing::warn!(%error, claims = C::CLAIMS, "cannot claim, trying again");
                    } else {
                        tracing::error!(%error, claims = C::CLAIMS, "cannot claim");
                    }
                    sleep(FAILED_PAUSE).await;
                }
            }
        }
    }

    /// Waits until something may be due or there is more room, after `empty` claims in a row that
    /// brought nothing.
    async fn wait(&self, empty: u32, room_in: Option<Duration>) {
        // The store wakes every waiting consumer, whatever became due. The pause keeps the others
        // from spinning.
        if empty > 1 {
            let pause = Duration::from_millis(1 << (empty.min(5) - 1));
            sleep(pause.min(EMPTY_PAUSE_MAX)).await;
        }
        tokio::select! {
            () = self.ctx.store.wait_due(WAIT_MAX) => {}
            () = self.wake.notified() => {}
            () = more_room(room_in) => {}
        }
    }

    /// Flow control for a target. Its breaker is saved, and restored if it was open.
    pub(crate) fn flow_control(
        &self,
        target: Target,
        policy: BreakerPolicy,
        concurrency: usize,
    ) -> Arc<FlowControl> {
        let metrics = self.ctx.metrics.target(&target);
        let flow = Arc::new(FlowControl::new(target, policy, concurrency, metrics));
        self.breakers.add(&flow);
        flow
    }

    /// Reports the end of an attempt to its target's flow control, and announces what that changed.
    pub(crate) fn finish(&self, flow: &FlowControl, permit: AttemptPermit, end: &AttemptEnd<'_>) {
        let now = self.ctx.clock.now();
        let change = permit.finish(end, now);
        if change.is_some() || end.throttle != Throttle::No {
            self.breakers.notify_changed();
            self.wake.notify_one();
        }
        if let Some(change) = change {
            announce(flow, change, &self.ctx.notices, now);
        }
    }

    /// Settles a batch, with retries. See [`settle`].
    pub(crate) async fn settle(
        &self,
        batch: &[Arc<Settlement>],
    ) -> Vec<Result<Settled, StoreError>> {
        settle(&*self.ctx.store, &self.ctx.drain, batch).await
    }

    /// Settles one attempt, with retries. See [`settle`].
    pub(crate) async fn settle_one(
        &self,
        settlement: &Arc<Settlement>,
    ) -> Result<Settled, StoreError> {
        let mut answers = self.settle(std::slice::from_ref(settlement)).await;
        answers.pop().unwrap_or(Err(StoreError::Closed))
    }

    /// Delays giving back a claim after the store failed: it will be due at once, and the store
    /// needs time to recover.
    pub(crate) async fn delay_give_back(&self) {
        tokio::select! {
            () = sleep(FAILED_PAUSE) => {}
            () = self.ctx.drain.waiting_stopped() => {}
        }
    }
}

/// Resolves after a time, if there is one.
async fn more_room(after: Option<Duration>) {
    match after {
        Some(after) => sleep(after).await,
        None => std::future::pending().await,
    }
}

fn by_target(claims: Vec<Claim>) -> BTreeMap<Target, Vec<Claim>> {
    let mut grouped: BTreeMap<Target, Vec<Claim>> = BTreeMap::new();
    for claim in claims {
        match grouped.get_mut(&claim.target) {
            Some(group) => group.push(claim),
            None => {
                grouped.insert(claim.target.clone(), vec![claim]);
            }
        }
    }
    grouped
}
