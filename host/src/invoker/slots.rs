//! Places to run in: so many at once, a few more that are kept for quick runs, and fewer for handlers that get stuck. So
//! whatever slow or stuck handlers do, a quick one finds a place.
//!
//! A run takes a permit of every circle that its manners put it in, the narrowest first, so that nobody who has one
//! waits for somebody who waits for him.

use tokio::sync::{Semaphore, SemaphorePermit};

/// How a handler has behaved of late, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Manners {
    /// Its runs are known to be quick, and it has no other one going on.
    Quick,
    /// Its runs are slow, or nothing is known of it yet, or it has one going on already.
    Ordinary,
    /// Its last run did not end by itself.
    Stuck,
}

/// The places of one host.
#[derive(Debug)]
pub(crate) struct Slots {
    /// Narrowest first: who may be in it, and how many at once.
    circles: [(Manners, Semaphore); 3],
}

/// A place, until dropped.
#[derive(Debug)]
pub(crate) struct Slot<'a>(
    #[expect(dead_code, reason = "held until dropped")] [Option<SemaphorePermit<'a>>; 3],
);

impl Slots {
    /// `slots` for whoever comes, and all `places` for those who are quick.
    pub(crate) fn new(slots: usize, places: usize) -> Self {
        let circle = |manners, share: usize| (manners, Semaphore::new(share.max(1)));
        let circles = [
            circle(Manners::Stuck, slots / 4),
            circle(Manners::Ordinary, slots),
            circle(Manners::Quick, places),
        ];
        Self { circles }
    }

    /// Waits for a place.
    pub(crate) async fn take(&self, manners: Manners) -> Slot<'_> {
        let mut permits = [const { None }; 3];
        for ((of, circle), permit) in self.circles.iter().zip(&mut permits) {
            if *of <= manners {
                // Never closed.
                *permit = circle.acquire().await.ok();
            }
        }
        Slot(permits)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::Manners::{Ordinary, Quick, Stuck};
    use super::*;

    /// How many of these find a place at once.
    fn places(slots: &Slots, manners: Manners) -> Vec<Slot<'_>> {
        std::iter::from_fn(|| slots.take(manners).now_or_never()).take(100).collect()
    }

    #[test]
    fn the_worse_the_manners_the_fewer_the_places() {
        for (slots, all, wanted) in [(1, 2, [2, 1, 1]), (4, 6, [6, 4, 1]), (16, 24, [24, 16, 4])] {
            let slots = Slots::new(slots, all);
            assert_eq!([Quick, Ordinary, Stuck].map(|m| places(&slots, m).len()), wanted);
        }
    }

    #[test]
    fn whatever_the_others_hold_a_quick_one_finds_a_place() {
        let slots = Slots::new(4, 6);
        let stuck = places(&slots, Stuck);
        assert_eq!((stuck.len(), places(&slots, Ordinary).len()), (1, 3));
        let _ordinary = places(&slots, Ordinary);
        assert_eq!(places(&slots, Quick).len(), 2);
        drop(stuck);
        assert_eq!(places(&slots, Stuck).len(), 1);
    }
}
