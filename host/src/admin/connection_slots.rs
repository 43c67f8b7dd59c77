//! The connections of the admin listener: how many there are, and which of them is closed when another needs its place.
//! Pure but for a lock: the time is an argument.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// Connections at once.
pub(super) const ADMIN_CONNECTIONS_MAX: usize = 64;
/// Of those, kept for connections from this machine.
pub(super) const ADMIN_CONNECTIONS_LOCAL: usize = 8;

/// All places.
#[derive(Debug, Default)]
pub(super) struct ConnectionSlots(Mutex<OpenConnections>);

#[derive(Debug, Default)]
struct OpenConnections {
    next: u64,
    seats: HashMap<u64, ConnectionEntry>,
}

/// One connection's place.
#[derive(Debug)]
struct ConnectionEntry {
    peer: IpAddr,
    /// Since when it asks nothing.
    idle_since: Instant,
    /// A request of it is being answered.
    is_busy: bool,
    /// A request of it was let in.
    is_known: bool,
    end: CancellationToken,
}

/// A place that is held; given back when dropped.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    seats: Arc<ConnectionSlots>,
    id: u64,
    end: CancellationToken,
}

impl ConnectionSlots {
    /// A place for a connection: a free one, or that of one that is closed for it. Strangers before clients that were
    /// let in, the address with most connections first, and of those the one that was idle longest. None while all are
    /// being answered.
    pub(super) fn take(self: &Arc<Self>, peer: IpAddr, now: Instant) -> Option<ConnectionSlot> {
        let peer = peer.to_canonical();
        let mut taken = self.0.lock();
        let far = taken.seats.values().filter(|place| !place.peer.is_loopback()).count();
        let is_far_full =
            !peer.is_loopback() && far >= ADMIN_CONNECTIONS_MAX - ADMIN_CONNECTIONS_LOCAL;
        if is_far_full || taken.seats.len() >= ADMIN_CONNECTIONS_MAX {
            taken.close_one(is_far_full)?;
        }
        let (id, end) = (taken.next, CancellationToken::new());
        taken.next += 1;
        let (is_busy, is_known) = (false, false);
        let place = ConnectionEntry { peer, idle_since: now, is_busy, is_known, end: end.clone() };
        taken.seats.insert(id, place);
        Some(ConnectionSlot { seats: Arc::clone(self), id, end })
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut ConnectionEntry)) {
        if let Some(place) = self.0.lock().seats.get_mut(&id) {
            change(place);
        }
    }
}

impl OpenConnections {
    fn close_one(&mut self, only_far: bool) -> Option<()> {
        let mut crowds: HashMap<IpAddr, usize> = HashMap::new();
        for place in self.seats.values() {
            *crowds.entry(place.peer).or_default() += 1;
        }
        let is_spared =
            |place: &ConnectionEntry| place.is_busy || (only_far && place.peer.is_loopback());
        let idle = self.seats.iter().filter(|(_, place)| !is_spared(place));
        let first = idle.min_by_key(|(id, place)| {
            let crowd = crowds.get(&place.peer).copied().unwrap_or(0);
            (place.is_known, Reverse(crowd), place.idle_since, **id)
        });
        let id = *first?.0;
        self.seats.remove(&id)?.end.cancel();
        Some(())
    }
}

impl ConnectionSlot {
    /// Resolves when another needs the place.
    pub(super) async fn lost(&self) {
        self.end.cancelled().await;
    }

    /// A request of the connection is being answered.
    pub(super) fn busy(&self) {
        self.seats.change(self.id, |place| place.is_busy = true);
    }

    /// It is answered, and whether it was let in.
    pub(super) fn answered(&self, was_let_in: bool, now: Instant) {
        self.seats.change(self.id, |place| {
            place.is_busy = false;
            place.is_known |= was_let_in;
            place.idle_since = now;
        });
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.seats.0.lock().seats.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HERE: [u8; 4] = [127, 0, 0, 1];

    fn is_lost(seat: &ConnectionSlot) -> bool {
        seat.end.is_cancelled()
    }

    #[test]
    fn the_idlest_stranger_of_the_largest_crowd_is_closed_for_another() {
        let (seats, start) = (Arc::<ConnectionSlots>::default(), Instant::now());
        let at = |s| start + Duration::from_secs(s);
        let take = |n: u8, s| seats.take([127, 0, 0, n].into(), at(s));
        let known = take(1, 0).unwrap();
        known.busy();
        known.answered(true, at(1));
        let alone = take(2, 0).unwrap();
        let mut crowd: Vec<_> =
            (0..ADMIN_CONNECTIONS_MAX as u64 - 2).map(|s| take(3, 10 + s).unwrap()).collect();
        crowd[0].busy();
        let next = take(4, 100).unwrap();
        assert!(is_lost(&crowd[1]), "the idlest that is not being answered");
        assert!(![&known, &alone, &crowd[0], &next].into_iter().any(is_lost));
        crowd[0].answered(false, at(200));
        let _another = take(5, 201).unwrap();
        assert!(is_lost(&crowd[2]) && !is_lost(&crowd[0]));
        crowd.clear();
        assert_eq!(seats.0.lock().seats.len(), 4, "what has ended leaves nothing");
    }

    #[test]
    fn while_all_are_being_answered_there_is_no_place() {
        let (seats, now) = (Arc::<ConnectionSlots>::default(), Instant::now());
        let all: Vec<_> =
            (0..ADMIN_CONNECTIONS_MAX).map(|_| seats.take(HERE.into(), now).unwrap()).collect();
        all.iter().for_each(ConnectionSlot::busy);
        assert!(seats.take(HERE.into(), now).is_none());
        all[0].answered(true, now);
        assert!(seats.take(HERE.into(), now).is_some() && is_lost(&all[0]));
    }

    #[test]
    fn some_places_are_for_this_machine_only() {
        let (seats, now) = (Arc::<ConnectionSlots>::default(), Instant::now());
        let far = |n: u8| seats.take([192, 0, 2, n].into(), now);
        let all: Vec<_> =
            (0..ADMIN_CONNECTIONS_MAX - ADMIN_CONNECTIONS_LOCAL).map(|_| far(1).unwrap()).collect();
        all.iter().for_each(ConnectionSlot::busy);
        assert!(far(2).is_none());
        let here: Vec<_> =
            (0..ADMIN_CONNECTIONS_LOCAL).map(|_| seats.take(HERE.into(), now).unwrap()).collect();
        assert!(far(2).is_none() && !here.iter().any(is_lost));
        let mapped = "::ffff:127.0.0.1".parse().unwrap();
        assert!(seats.take(mapped, now).is_some() && is_lost(&here[0]));
    }
}
