//! Circuits that have ended, as long as their segments may still arrive: TIME-WAIT without a transmission control block,
//! and a grave for those that were reset, so that a late SYN cannot bring one back.

use std::collections::{BTreeMap, VecDeque};

use crate::tcp::seq::Seq;
use crate::time::{Micros, SECOND, Time};

/// How long an ended circuit is remembered. Its identifier is not used again, and DTLS refuses replays: this has to
/// outlive the peer's retransmissions only.
const LIFETIME: Micros = 60 * SECOND;

/// The most that are remembered; the oldest go first.
const BOUND: usize = 16_384;

/// How an ended circuit answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tombstone {
    /// Orderly: a FIN that comes again is acknowledged.
    TimeWait {
        /// SND.NXT.
        seq: Seq,
        /// RCV.NXT.
        ack: Seq,
    },
    /// This side reset it.
    Reset,
    /// The peer reset it, and wants that confirmed.
    ResetByPeer,
}

/// Ended circuits by wire identifier.
#[derive(Default)]
pub struct Tombstones {
    by_id: BTreeMap<u32, Tombstone>,
    order: VecDeque<(Time, u32)>,
}

impl Tombstones {
    /// Remembers one.
    pub fn insert(&mut self, now: Time, id: u32, tombstone: Tombstone) {
        self.expire(now);
        if self.order.len() >= BOUND {
            self.drop_oldest();
        }
        if self.by_id.insert(id, tombstone).is_none() {
            self.order.push_back((now + LIFETIME, id));
        }
    }

    /// The one with this identifier.
    pub fn get(&mut self, now: Time, id: u32) -> Option<Tombstone> {
        self.expire(now);
        self.by_id.get(&id).copied()
    }

    /// Whether the identifier may not be used yet.
    pub fn contains(&self, id: u32) -> bool {
        self.by_id.contains_key(&id)
    }

    fn expire(&mut self, now: Time) {
        while self.order.front().is_some_and(|&(at, _)| at <= now) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, id)) = self.order.pop_front() {
            self.by_id.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_expire_and_are_bounded() {
        let mut stones = Tombstones::default();
        stones.insert(Time(0), 1, Tombstone::Reset);
        assert_eq!(stones.get(Time(LIFETIME - 1), 1), Some(Tombstone::Reset));
        assert_eq!(stones.get(Time(LIFETIME), 1), None);
        for id in 0..2 * BOUND as u32 {
            stones.insert(Time(LIFETIME), id, Tombstone::Reset);
        }
        assert_eq!(stones.by_id.len(), BOUND);
        assert!(!stones.contains(0) && stones.contains(2 * BOUND as u32 - 1));
    }
}
