//! Batches of messages that are sent at the same time: one of the sends carries the messages of all
//! that wait, and each gets its own outcome. A destination may permit several batches at a time.

use std::collections::VecDeque;
use std::ops::Range;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};

use super::transport::{SendOutcome, Subject};

/// The messages that wait for the next batch.
#[derive(Debug)]
pub(crate) struct Batches<T> {
    waiting: Mutex<VecDeque<(T, oneshot::Sender<SendOutcome>)>>,
    /// A permit is held by each send that carries a batch.
    carrying: Semaphore,
}

impl<T> Default for Batches<T> {
    /// One batch at a time.
    fn default() -> Self {
        Self::carried_by(1)
    }
}

impl<T> Batches<T> {
    /// Up to this number of batches at a time.
    pub(crate) fn carried_by(sends: usize) -> Self {
        Self { waiting: Mutex::default(), carrying: Semaphore::new(sends) }
    }

    /// Sends a message in a batch with others. `fits` says if a message may join those of a batch,
    /// and `carry` sends a batch and returns an outcome for each.
    pub(crate) async fn send<C: Future<Output = Vec<SendOutcome>>>(
        &self,
        message: T,
        fits: impl Fn(&[T], &T) -> bool,
        carry: impl Fn(Vec<T>) -> C,
    ) -> SendOutcome {
        let (tell, mut outcome) = oneshot::channel();
        self.waiting.lock().push_back((message, tell));
        loop {
            let carrying = tokio::select! {
                biased;
                told = &mut outcome => return told.unwrap_or_else(|_| interrupted()),
                carrying = self.carrying.acquire() => carrying,
            };
            let (messages, tells) = self.next(&fits);
            if messages.is_empty() {
                drop(carrying);
                return outcome.await.unwrap_or_else(|_| interrupted());
            }
            let mut outcomes = carry(messages).await.into_iter();
            for tell in tells {
                // A send that ended early does not want its outcome.
                let _ = tell.send(outcomes.next().unwrap_or_else(interrupted));
            }
        }
    }

    fn next(
        &self,
        fits: &impl Fn(&[T], &T) -> bool,
    ) -> (Vec<T>, Vec<oneshot::Sender<SendOutcome>>) {
        let mut waiting = self.waiting.lock();
        let (mut messages, mut tells) = (Vec::new(), Vec::new());
        while let Some((message, tell)) = waiting.pop_front() {
            // The send was given up before its turn.
            if tell.is_closed() {
                continue;
            }
            if !messages.is_empty() && !fits(&messages, &message) {
                waiting.push_front((message, tell));
                break;
            }
            messages.push(message);
            tells.push(tell);
        }
        (messages, tells)
    }
}

/// The outcomes of a batch of `count` messages. `attempt` sends some of them: `Ok` has an outcome
/// for each, and `Err` one for the whole request. If the whole is refused because of one message,
/// each is sent alone, so that this one takes no other with it.
pub(crate) async fn each_by_itself<F>(
    count: usize,
    attempt: impl Fn(Range<usize>) -> F,
) -> Vec<SendOutcome>
where
    F: Future<Output = Result<Vec<SendOutcome>, SendOutcome>>,
{
    let whole = match attempt(0..count).await {
        Ok(outcomes) => return outcomes,
        Err(whole) => whole,
    };
    let is_about_one = matches!(&whole, SendOutcome::Refused { about: Subject::Message, .. });
    if !is_about_one || count == 1 {
        return vec![whole; count];
    }
    let mut outcomes = Vec::with_capacity(count);
    for n in 0..count {
        match attempt(n..n + 1).await {
            Ok(own) => outcomes.extend(own),
            Err(own) => outcomes.push(own),
        }
    }
    outcomes
}

/// The send that carried the message ended before its outcome was known.
fn interrupted() -> SendOutcome {
    SendOutcome::Unavailable { reason: "the hub stopped while it sent a batch".into() }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    fn outcome(n: usize) -> SendOutcome {
        SendOutcome::Unavailable { reason: n.to_string().into() }
    }

    #[tokio::test]
    async fn each_message_of_a_batch_has_its_own_outcome() {
        let (batches, sizes) = (Batches::default(), Mutex::new(Vec::new()));
        let send = |n: usize| {
            let sizes = &sizes;
            let carry = move |batch: Vec<usize>| async move {
                tokio::task::yield_now().await;
                sizes.lock().push(batch.len());
                batch.into_iter().map(outcome).collect()
            };
            batches.send(n, |batch, _| batch.len() < 10, carry)
        };
        let got = join_all((0..35).map(send)).await;
        assert_eq!(got, (0..35).map(outcome).collect::<Vec<_>>());
        let sizes = sizes.lock();
        assert!(sizes.iter().all(|size| *size <= 10) && sizes.len() < 10, "{sizes:?}");
        assert_eq!(sizes.iter().sum::<usize>(), 35);
    }

    #[tokio::test]
    async fn several_batches_may_be_on_their_way() {
        let (batches, barrier) = (Batches::carried_by(2), tokio::sync::Barrier::new(2));
        let carry = |batch: Vec<usize>| {
            let barrier = &barrier;
            async move {
                // Each waits for the other.
                barrier.wait().await;
                batch.into_iter().map(outcome).collect()
            }
        };
        let both = join_all((0..2).map(|n| batches.send(n, |_, _| false, carry))).await;
        assert_eq!(both, [outcome(0), outcome(1)]);
    }

    #[tokio::test]
    async fn a_send_that_is_given_up_takes_no_other_with_it() {
        let batches = Batches::default();
        let carry = |batch: Vec<usize>| async move {
            if batch.contains(&1) {
                std::future::pending::<()>().await;
            }
            batch.into_iter().map(outcome).collect()
        };
        let stuck = batches.send(1, |_, _| false, carry);
        let given_up = async {
            tokio::select! {
                _ = stuck => panic!("it cannot end"),
                () = tokio::task::yield_now() => {}
            }
        };
        given_up.await;
        assert_eq!(batches.send(2, |_, _| false, carry).await, outcome(2));
    }

    #[tokio::test]
    async fn a_message_that_is_refused_takes_no_other_with_it() {
        let refused = |about| SendOutcome::Refused { about, reason: "no".into() };
        let attempt = |about: Subject| {
            move |some: Range<usize>| async move {
                match some.contains(&2) {
                    true => Err(refused(about)),
                    false => Ok(some.map(outcome).collect()),
                }
            }
        };
        let of_one = each_by_itself(4, attempt(Subject::Message)).await;
        assert_eq!(of_one, [outcome(0), outcome(1), refused(Subject::Message), outcome(3)]);
        let of_all = each_by_itself(4, attempt(Subject::Load)).await;
        assert_eq!(of_all, vec![refused(Subject::Load); 4], "it is not about one message");
        assert_eq!(each_by_itself(2, attempt(Subject::Load)).await, [outcome(0), outcome(1)]);
    }
}
