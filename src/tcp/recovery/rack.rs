//! Time-based loss detection (RFC 8985): a segment is lost when one sent sufficiently later has been delivered.

use super::rate::RateEstimator;
use super::scoreboard::{Delivery, Scoreboard, Sent, Verdict};
use crate::tcp::seq::Seq;
use crate::time::{Micros, Time};

/// Segments delivered out of order after which no reordering is assumed (DupThresh).
const DUP_THRESH: u64 = 3;

/// Recoveries for which a widened reordering window is kept (section 6.2.4).
const PERSIST: u8 = 16;

/// What is known of the path's reordering.
#[derive(Clone, Copy, Debug)]
pub struct Reordering {
    /// The network was seen to reorder.
    seen: bool,
    /// The reordering window in quarters of the smallest round-trip time (RACK.reo_wnd_mult).
    quarters: u8,
    /// Recoveries until it is one again (RACK.reo_wnd_persist).
    persist: u8,
}

impl Default for Reordering {
    fn default() -> Reordering {
        Reordering {
            seen: false,
            quarters: 1,
            persist: PERSIST,
        }
    }
}

/// RACK's memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rack {
    /// When the most recently sent of the delivered segments was sent, and where it ended.
    newest: Option<(Time, Seq)>,
    /// Its round-trip time.
    rtt: Micros,
    reordering: Reordering,
    /// It was widened, and is not again before this is acknowledged (RACK.dsack_round).
    round: Option<Seq>,
}

/// What the reordering window depends on.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// The time.
    pub now: Time,
    /// Recovery has begun.
    pub in_recovery: bool,
    /// Segment size.
    pub mss: u64,
    /// Smoothed round-trip time.
    pub srtt: Micros,
    /// Smallest round-trip time.
    pub min_rtt: Micros,
}

impl Rack {
    /// Nothing was delivered yet; the path's reordering may be known.
    pub fn new(reordering: Reordering) -> Rack {
        Rack {
            reordering,
            ..Rack::default()
        }
    }

    /// What is known of the path's reordering.
    pub fn reordering(&self) -> Reordering {
        self.reordering
    }

    /// Step 1 to 3 of section 6.2: takes in what was delivered.
    pub fn on_delivery(&mut self, now: Time, delivery: &Delivery, min_rtt: Micros) {
        self.reordering.seen |= delivery.reordered;
        let Some(newest) = delivery.newest else {
            return;
        };
        let rtt = now.since(newest.sent_at());
        if newest.retransmitted && rtt < min_rtt {
            // It acknowledges the original, not the retransmission.
            return;
        }
        self.rtt = rtt;
        let candidate = (newest.sent_at(), newest.end());
        if self
            .newest
            .is_none_or(|(at, end)| (candidate.0, candidate.1 >= end) >= (at, true))
        {
            self.newest = Some(candidate);
        }
    }

    /// The peer got something twice that was sent again because it seemed lost: it was only late (section 6.2.4).
    pub fn on_spurious(&mut self, snd_una: Seq, snd_nxt: Seq) {
        self.reordering.seen = true;
        if self.round.is_none_or(|round| snd_una >= round) {
            self.round = Some(snd_nxt);
            self.reordering.quarters = self.reordering.quarters.saturating_add(1);
            self.reordering.persist = PERSIST;
        }
    }

    /// Everything below `snd_una` is acknowledged.
    pub fn on_advance(&mut self, snd_una: Seq) {
        self.round = self.round.filter(|&round| snd_una < round);
    }

    /// A recovery is over.
    pub fn on_recovered(&mut self) {
        self.reordering.persist = self.reordering.persist.saturating_sub(1);
        if self.reordering.persist == 0 {
            self.reordering.quarters = 1;
        }
    }

    /// The round-trip time of what was delivered last.
    pub fn rtt(&self) -> Micros {
        self.rtt
    }

    /// Step 4: how much later than its turn a segment may arrive.
    pub fn reordering_window(&self, sacked: u64, c: &Circumstances) -> Micros {
        if !self.reordering.seen && (c.in_recovery || sacked >= DUP_THRESH * c.mss) {
            return 0;
        }
        (c.min_rtt / 4 * Micros::from(self.reordering.quarters)).min(c.srtt)
    }

    fn judge(&self, segment: &Sent, now: Time, window: Micros) -> Verdict {
        let Some((at, end)) = self.newest else {
            return Verdict::Undecided;
        };
        let sent_at = segment.sent_at();
        // Where an answer comes within a tick of the caller's clock, nothing tells whether it was sent before what was sent
        // again in that tick; else, with a peer that drops it, that would go on for the whole tick.
        let ordered = self.rtt > 0 || !segment.retransmitted;
        let before = sent_at < at || (sent_at == at && segment.end() < end && ordered);
        if !before {
            return Verdict::Undecided;
        }
        let deadline = sent_at + self.rtt + window;
        if deadline <= now {
            Verdict::Lost
        } else {
            Verdict::Wait(deadline)
        }
    }

    /// Step 5: marks what is lost; returns how much, and when to look again.
    pub fn detect(
        &self,
        board: &mut Scoreboard,
        c: &Circumstances,
        tell: impl FnMut(&Sent, &RateEstimator),
    ) -> (u64, Option<Time>) {
        let window = self.reordering_window(board.sacked(), c);
        board.detect(|segment| self.judge(segment, c.now, window), tell)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::segment::SackBlocks;

    fn board(n: u32) -> Scoreboard {
        let mut board = Scoreboard::default();
        for i in 0..n {
            board.push(
                Time(1_000 + u64::from(i)),
                Seq(i * 10),
                10,
                (false, false),
                None,
            );
        }
        board
    }

    fn at(now: u64) -> Circumstances {
        Circumstances {
            now: Time(now),
            in_recovery: false,
            mss: 10,
            srtt: 10_000,
            min_rtt: 10_000,
        }
    }

    fn deliver(
        rack: &mut Rack,
        board: &mut Scoreboard,
        now: u64,
        una: u32,
        sack: &[(u32, u32)],
    ) -> (u64, Option<Time>) {
        let mut blocks = SackBlocks::default();
        for &(start, end) in sack {
            blocks.push(Seq(start), Seq(end));
        }
        let delivery = board.acknowledge(Time(now), Seq(una), &blocks, 10_000);
        rack.on_delivery(Time(now), &delivery, 10_000);
        rack.detect(board, &at(now), |_, _| ())
    }

    #[test]
    fn one_later_delivery_waits_a_quarter_of_the_rtt() {
        let (mut rack, mut board) = (Rack::default(), board(5));
        let (lost, again) = deliver(&mut rack, &mut board, 11_001, 0, &[(10, 20)]);
        assert_eq!((lost, again), (0, Some(Time(1_000 + 10_000 + 2_500))));
    }

    #[test]
    fn three_later_deliveries_are_enough() {
        let (mut rack, mut board) = (Rack::default(), board(5));
        let (lost, _) = deliver(&mut rack, &mut board, 11_003, 0, &[(10, 40)]);
        assert_eq!(lost, 10);
    }

    #[test]
    fn a_lost_retransmission_is_found_by_what_was_sent_after_it() {
        let (mut rack, mut board) = (Rack::default(), board(5));
        deliver(&mut rack, &mut board, 11_003, 0, &[(10, 40)]);
        board.retransmitted(Time(11_004), Seq(0), 10, None);
        board.push(Time(11_005), Seq(50), 10, (false, false), None);
        let (lost, _) = deliver(&mut rack, &mut board, 21_006, 0, &[(50, 60), (10, 40)]);
        assert_eq!(lost, 20, "the retransmission, and the one never delivered");
    }

    #[test]
    fn within_one_tick_of_the_clock_nothing_is_sent_again_and_again() {
        let (mut rack, mut board) = (Rack::default(), board(1));
        for i in 1..5 {
            board.push(Time(1_000), Seq(i * 10), 10, (false, false), None);
        }
        let (lost, _) = deliver(&mut rack, &mut board, 1_000, 0, &[(10, 50)]);
        assert_eq!(lost, 10);
        board.retransmitted(Time(1_000), Seq(0), 10, None);
        let (lost, _) = deliver(&mut rack, &mut board, 1_000, 0, &[(10, 50)]);
        assert_eq!(lost, 0);
    }

    #[test]
    fn once_reordering_was_seen_nothing_is_lost_at_once() {
        let (mut rack, mut board) = (Rack::default(), board(8));
        deliver(&mut rack, &mut board, 11_003, 0, &[(10, 20)]);
        deliver(&mut rack, &mut board, 11_004, 20, &[]);
        let (lost, again) = deliver(&mut rack, &mut board, 11_008, 20, &[(30, 80)]);
        assert_eq!(lost, 0);
        assert!(again.is_some());
    }

    #[test]
    fn the_window_widens_once_a_round_and_narrows_after_sixteen_recoveries() {
        let mut rack = Rack::default();
        let window = |rack: &Rack| rack.reordering_window(0, &at(0));
        rack.on_spurious(Seq(0), Seq(100));
        rack.on_spurious(Seq(50), Seq(150));
        assert_eq!(window(&rack), 5_000);
        rack.on_spurious(Seq(100), Seq(200));
        assert_eq!(window(&rack), 7_500);
        for _ in 0..20 {
            rack.on_spurious(Seq(200), Seq(200));
        }
        assert_eq!(window(&rack), 10_000, "never beyond a round trip");
        for _ in 0..PERSIST {
            rack.on_recovered();
        }
        assert_eq!(window(&rack), 2_500);
    }
}
