//! Tail loss probe (RFC 8985 section 7): when nothing was heard of the last segments for a little longer than a round
//! trip, they are sent again, long before the retransmission timer would do it.
//!
//! Three things differ from the RFC. The probe timeout is 1.25 round trips or a little more, not 2: both ends are ours,
//! and acknowledge the end of what a sender has within [`MAX_ACK_DELAY`]. It counts from the oldest segment that is
//! outstanding, not from the last: of a stream of single cells each would put it off. And a probe is up to three segments,
//! the first two and the last of those that should have been answered, sent again: with one, a lost tail of three takes
//! another round trip.

use crate::tcp::seq::Seq;
use crate::time::{MILLISECOND, Micros};

/// The longest that an acknowledgement is held back: by us, and for the probe timeout by the peer.
pub const MAX_ACK_DELAY: Micros = 5 * MILLISECOND;

/// Segments that are sent again as probes until something is heard: the last, and before it the first ones.
pub const MOST: u8 = 3;

/// The probe timeout, without the time that the segments have waited already.
pub fn timeout(srtt: Micros, rttvar: Micros) -> Micros {
    srtt + (2 * rttvar).clamp(srtt / 4, srtt / 2) + MAX_ACK_DELAY
}

/// A probe that was sent, until everything that was outstanding with it is acknowledged, and something after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// SND.NXT when it was sent (TLP.end_seq).
    pub end: Seq,
    /// Segments sent again.
    pub sent: u8,
    /// Those of them of which the peer has not said that it got them twice.
    pub pending: u8,
    /// The window was reduced since.
    pub accounted: bool,
}

impl Probe {
    /// How many of the front may be sent again beside the last.
    pub fn front(sent: u8) -> usize {
        usize::from(MOST.saturating_sub(sent + 1))
    }

    /// The peer got so many segments twice; whether that is all of them, so that nothing had been lost.
    pub fn on_duplicates(&mut self, segments: u8) -> bool {
        self.pending = self.pending.saturating_sub(segments);
        self.pending == 0
    }

    /// Everything below `una` is acknowledged: whether the probe is over, and whether it repaired a loss that congestion
    /// control has not heard of (RFC 8985 section 7.4.2).
    pub fn on_ack(&self, una: Seq) -> (bool, bool) {
        let over = una > self.end;
        (over, over && !self.accounted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROBE: Probe = Probe {
        end: Seq(100),
        sent: 2,
        pending: 2,
        accounted: false,
    };

    #[test]
    fn the_timeout_is_between_one_and_a_quarter_and_one_and_a_half_round_trips() {
        assert_eq!(timeout(100_000, 0), 130_000);
        assert_eq!(timeout(100_000, 20_000), 145_000);
        assert_eq!(timeout(100_000, 90_000), 155_000);
    }

    #[test]
    fn a_probe_whose_every_segment_arrived_twice_was_not_needed() {
        let mut probe = PROBE;
        assert!(!probe.on_duplicates(1));
        assert!(probe.on_duplicates(1));
    }

    #[test]
    fn a_probe_that_filled_a_hole_tells_congestion_control_once() {
        let mut probe = PROBE;
        assert_eq!(probe.on_ack(Seq(100)), (false, false));
        assert_eq!(probe.on_ack(Seq(101)), (true, true));
        probe.accounted = true;
        assert_eq!(probe.on_ack(Seq(101)), (true, false));
    }
}
