//! Limits the connections of the admin listener, and closes an idle one when another needs its
//! slot. Pure except for a lock: the time is an argument.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// Most connections at once.
pub(super) const ADMIN_CONNECTIONS_MAX: usize = 64;
/// The number of those that only clients on this machine may use.
pub(super) const ADMIN_CONNECTIONS_LOCAL: usize = 8;

/// The open connections.
#[derive(Debug, Default)]
pub(super) struct ConnectionSlots(Mutex<OpenConnections>);

#[derive(Debug, Default)]
struct OpenConnections {
    next: u64,
    by_id: HashMap<u64, ConnectionEntry>,
}

#[derive(Debug)]
struct ConnectionEntry {
    peer: IpAddr,
    /// The end of its last request, or its start.
    idle_since: Instant,
    /// True while a request is being answered.
    is_busy: bool,
    /// True once a request was authorized.
    is_authorized: bool,
    end: CancellationToken,
}

/// The permit of one connection, given back when dropped.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    slots: Arc<ConnectionSlots>,
    id: u64,
    end: CancellationToken,
}

impl ConnectionSlots {
    /// Takes a free slot, or closes an idle connection for it: clients without an authorized
    /// request first, then the address with the most connections, then the connection that is idle
    /// longest. None while all slots are busy.
    pub(super) fn take(self: &Arc<Self>, peer: IpAddr, now: Instant) -> Option<ConnectionSlot> {
        let peer = peer.to_canonical();
        let mut open = self.0.lock();
        let remote = open.by_id.values().filter(|entry| !entry.peer.is_loopback()).count();
        let is_remote_full =
            !peer.is_loopback() && remote >= ADMIN_CONNECTIONS_MAX - ADMIN_CONNECTIONS_LOCAL;
        if is_remote_full || open.by_id.len() >= ADMIN_CONNECTIONS_MAX {
            open.close_one(is_remote_full)?;
        }
        let (id, end) = (open.next, CancellationToken::new());
        open.next += 1;
        let (is_busy, is_authorized) = (false, false);
        let entry =
            ConnectionEntry { peer, idle_since: now, is_busy, is_authorized, end: end.clone() };
        open.by_id.insert(id, entry);
        Some(ConnectionSlot { slots: self.clone(), id, end })
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut ConnectionEntry)) {
        if let Some(entry) = self.0.lock().by_id.get_mut(&id) {
            change(entry);
        }
    }
}

impl OpenConnections {
    fn close_one(&mut self, only_remote: bool) -> Option<()> {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for entry in self.by_id.values() {
            *counts.entry(entry.peer).or_default() += 1;
        }
        let is_spared =
            |entry: &ConnectionEntry| entry.is_busy || (only_remote && entry.peer.is_loopback());
        let idle = self.by_id.iter().filter(|(_, entry)| !is_spared(entry));
        let first = idle.min_by_key(|(id, entry)| {
            let count = counts.get(&entry.peer).copied().unwrap_or(0);
            (entry.is_authorized, Reverse(count), entry.idle_since, **id)
        });
        let id = *first?.0;
        self.by_id.remove(&id)?.end.cancel();
        Some(())
    }
}

impl ConnectionSlot {
    /// Resolves when the connection is to be closed for another.
    pub(super) async fn lost(&self) {
        self.end.cancelled().await;
    }

    /// Marks that a request is being answered.
    pub(super) fn busy(&self) {
        self.slots.change(self.id, |entry| entry.is_busy = true);
    }

    /// Marks that the request is answered.
    pub(super) fn answered(&self, was_authorized: bool, now: Instant) {
        self.slots.change(self.id, |entry| {
            entry.is_busy = false;
            entry.is_authorized |= was_authorized;
            entry.idle_since = now;
        });
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.slots.0.lock().by_id.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HERE: [u8; 4] = [127, 0, 0, 1];

    fn is_lost(slot: &ConnectionSlot) -> bool {
        slot.end.is_cancelled()
    }

    #[test]
    fn the_idlest_unauthorized_connection_is_closed_first() {
        let (slots, start) = (Arc::<ConnectionSlots>::default(), Instant::now());
        let at = |s| start + Duration::from_secs(s);
        let take = |n: u8, s| slots.take([127, 0, 0, n].into(), at(s));
        let authorized = take(1, 0).unwrap();
        authorized.busy();
        authorized.answered(true, at(1));
        let alone = take(2, 0).unwrap();
        let mut same: Vec<_> =
            (0..ADMIN_CONNECTIONS_MAX as u64 - 2).map(|s| take(3, 10 + s).unwrap()).collect();
        same[0].busy();
        let next = take(4, 100).unwrap();
        assert!(is_lost(&same[1]), "the idlest one that is not busy");
        assert!(![&authorized, &alone, &same[0], &next].into_iter().any(is_lost));
        same[0].answered(false, at(200));
        let _another = take(5, 201).unwrap();
        assert!(is_lost(&same[2]) && !is_lost(&same[0]));
        same.clear();
        assert_eq!(slots.0.lock().by_id.len(), 4, "ended connections free their slots");
    }

    #[test]
    fn while_all_are_busy_there_is_no_slot() {
        let (slots, now) = (Arc::<ConnectionSlots>::default(), Instant::now());
        let all: Vec<_> =
            (0..ADMIN_CONNECTIONS_MAX).map(|_| slots.take(HERE.into(), now).unwrap()).collect();
        all.iter().for_each(ConnectionSlot::busy);
        assert!(slots.take(HERE.into(), now).is_none());
        all[0].answered(true, now);
        assert!(slots.take(HERE.into(), now).is_some() && is_lost(&all[0]));
    }

    #[test]
    fn some_slots_are_for_this_machine_only() {
        let (slots, now) = (Arc::<ConnectionSlots>::default(), Instant::now());
        let remote = |n: u8| slots.take([192, 0, 2, n].into(), now);
        let all: Vec<_> = (0..ADMIN_CONNECTIONS_MAX - ADMIN_CONNECTIONS_LOCAL)
            .map(|_| remote(1).unwrap())
            .collect();
        all.iter().for_each(ConnectionSlot::busy);
        assert!(remote(2).is_none());
        let here: Vec<_> =
            (0..ADMIN_CONNECTIONS_LOCAL).map(|_| slots.take(HERE.into(), now).unwrap()).collect();
        assert!(remote(2).is_none() && !here.iter().any(is_lost));
        let mapped = "::ffff:127.0.0.1".parse().unwrap();
        assert!(slots.take(mapped, now).is_some() && is_lost(&here[0]));
    }
}
