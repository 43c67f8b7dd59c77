//! One connection that is kept for all sends, and made anew when it broke.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Mutex;

use crate::egress::transport::SendOutcome;

/// At most one connection at a time. Sends that come while it is made wait for it, and share its
/// failure.
#[derive(Debug)]
pub(crate) struct Kept<C> {
    state: Mutex<KeptState<C>>,
}

#[derive(Debug)]
struct KeptState<C> {
    connection: Option<Arc<C>>,
    /// The last failure, with its time.
    failed: Option<(Instant, SendOutcome)>,
}

impl<C> Default for Kept<C> {
    fn default() -> Self {
        Self { state: Mutex::new(KeptState { connection: None, failed: None }) }
    }
}

impl<C> Kept<C> {
    /// The connection, made by `connect` if there is none that `works`.
    pub(crate) async fn get(
        &self,
        works: impl Fn(&C) -> bool,
        connect: impl Future<Output = Result<C, SendOutcome>>,
    ) -> Result<Arc<C>, SendOutcome> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        if let Some(kept) = state.connection.as_ref().filter(|kept| works(kept)) {
            return Ok(kept.clone());
        }
        if let Some((at, outcome)) = &state.failed
            && *at >= asked
        {
            return Err(outcome.clone());
        }
        state.connection = None;
        match connect.await {
            Ok(made) => {
                let made = Arc::new(made);
                state.connection = Some(made.clone());
                state.failed = None;
                Ok(made)
            }
            Err(outcome) => {
                state.failed = Some((Instant::now(), outcome.clone()));
                Err(outcome)
            }
        }
    }

    /// Sends over the connection. An outcome that is an error also says that the connection broke,
    /// so that it is not used again.
    pub(crate) async fn send<F>(
        &self,
        works: impl Fn(&C) -> bool,
        connect: impl Future<Output = Result<C, SendOutcome>>,
        send: impl FnOnce(Arc<C>) -> F,
    ) -> SendOutcome
    where
        F: Future<Output = Result<SendOutcome, SendOutcome>>,
    {
        let open = match self.get(works, connect).await {
            Ok(open) => open,
            Err(outcome) => return outcome,
        };
        match send(open.clone()).await {
            Ok(outcome) => outcome,
            Err(outcome) => {
                self.forget(&open).await;
                outcome
            }
        }
    }

    /// Stops using a connection that broke. Another one stays.
    async fn forget(&self, broken: &Arc<C>) {
        let mut state = self.state.lock().await;
        if state.connection.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, broken)) {
            state.connection = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;

    use super::*;

    fn gone() -> SendOutcome {
        SendOutcome::Unavailable { reason: "gone".into() }
    }

    #[tokio::test]
    async fn sends_share_a_connection_until_it_is_forgotten() {
        let (kept, made) = (Kept::default(), AtomicUsize::new(0));
        let get = || kept.get(|_| true, async { Ok(made.fetch_add(1, Ordering::SeqCst)) });
        let all = join_all((0..10).map(|_| get())).await;
        assert!(all.iter().all(|got| **got.as_ref().unwrap() == 0), "{all:?}");
        let first = all[0].clone().unwrap();
        kept.forget(&first).await;
        assert_eq!(*get().await.unwrap(), 1);
        kept.forget(&first).await;
        assert_eq!(*get().await.unwrap(), 1, "an older connection changes nothing");
        let again = kept.get(|_| false, async { Ok(7) }).await;
        assert_eq!(*again.unwrap(), 7, "one that does not work is replaced");
    }

    #[tokio::test]
    async fn sends_that_wait_share_a_failure() {
        let (kept, tries) = (Kept::<u8>::default(), AtomicUsize::new(0));
        let get = || {
            kept.get(|_| true, async {
                tries.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                Err(gone())
            })
        };
        let all = join_all((0..10).map(|_| get())).await;
        assert!(all.iter().all(|got| got.as_ref().err() == Some(&gone())));
        assert_eq!(tries.load(Ordering::SeqCst), 1, "one try for all that waited");
        assert!(get().await.is_err());
        assert_eq!(tries.load(Ordering::SeqCst), 2, "a later send tries again");
    }
}
