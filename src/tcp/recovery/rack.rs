//! Time-based loss detection (RFC 8985): a segment is lost when one sent sufficiently later has been delivered.

use super::scoreboard::{Delivery, Scoreboard, Sent};
use crate::tcp::seq::Seq;
use crate::time::{Micros, Time};

/// Segments delivered out of order after which no reordering is assumed (DupThresh).
const DUP_THRESH: u64 = 3;

/// RACK's memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rack {
    /// When the most recently sent of the delivered segments was sent, and where it ended.
    newest: Option<(Time, Seq)>,
    /// Its round-trip time.
    rtt: Micros,
    /// The network was seen to reorder.
    reordering: bool,
}

/// What a segment's state is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Lost,
    /// Lost if not delivered by then.
    Wait(Time),
    Undecided,
}

impl Rack {
    /// Step 1 to 3 of section 6.2: takes in what was delivered.
    pub fn on_delivery(&mut self, now: Time, delivery: &Delivery, min_rtt: Micros) {
        self.reordering |= delivery.reordered;
        let Some(newest) = delivery.newest else {
            return;
        };
        let rtt = now.since(newest.sent_at);
        if newest.retransmitted && rtt < min_rtt {
            // It acknowledges the original, not the retransmission.
            return;
        }
        self.rtt = rtt;
        let candidate = (newest.sent_at, newest.end());
        if self
            .newest
            .is_none_or(|(at, end)| (candidate.0, candidate.1 >= end) >= (at, true))
        {
            self.newest = Some(candidate);
        }
    }

    /// Step 4: how much later than its turn a segment may arrive.
    fn reordering_window(
        &self,
        in_recovery: bool,
        sacked_segments: u64,
        srtt: Micros,
        min_rtt: Micros,
    ) -> Micros {
        if !self.reordering && (in_recovery || sacked_segments >= DUP_THRESH) {
            return 0;
        }
        (min_rtt / 4).min(srtt)
    }

    fn judge(&self, segment: &Sent, now: Time, window: Micros) -> Verdict {
        let Some((at, end)) = self.newest else {
            return Verdict::Undecided;
        };
        let before = segment.sent_at < at || (segment.sent_at == at && segment.end() < end);
        if !before {
            return Verdict::Undecided;
        }
        let deadline = segment.sent_at + self.rtt + window;
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
        now: Time,
        in_recovery: bool,
        mss: u64,
        srtt: Micros,
        min_rtt: Micros,
    ) -> (u64, Option<Time>) {
        let window =
            self.reordering_window(in_recovery, board.sacked() / mss.max(1), srtt, min_rtt);
        let mut again = Time(0);
        let lost = board.mark_lost(|segment| match self.judge(segment, now, window) {
            Verdict::Lost => true,
            Verdict::Wait(at) => {
                again = again.max(at);
                false
            }
            Verdict::Undecided => false,
        });
        (lost, (again > Time(0)).then_some(again))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(n: u32) -> Scoreboard {
        let mut board = Scoreboard::default();
        for i in 0..n {
            board.push(Time(1_000 + u64::from(i)), Seq(i * 10), 10, false, false);
        }
        board
    }

    fn deliver(
        rack: &mut Rack,
        board: &mut Scoreboard,
        now: u64,
        una: u32,
        sack: &[(u32, u32)],
    ) -> (u64, Option<Time>) {
        let sack: Vec<_> = sack.iter().map(|&(s, e)| (Seq(s), Seq(e))).collect();
        let delivery = board.acknowledge(Time(now), Seq(una), &sack);
        rack.on_delivery(Time(now), &delivery, 10_000);
        rack.detect(board, Time(now), false, 10, 10_000, 10_000)
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
        board.retransmitted(Time(11_004), Seq(0), 10);
        board.push(Time(11_005), Seq(50), 10, false, false);
        let (lost, _) = deliver(&mut rack, &mut board, 21_006, 0, &[(10, 60)]);
        assert_eq!(lost, 10);
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
}
