//! What is outstanding, segment by segment: sent when, how often, delivered or lost (RFC 2018, 6675).

use std::collections::VecDeque;

use crate::tcp::seq::Seq;
use crate::time::{Micros, Time};

/// A segment that takes sequence space and is not yet acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Its first sequence number.
    pub seq: Seq,
    /// Sequence space, SYN and FIN included.
    pub len: u32,
    /// When it was last sent.
    pub sent_at: Time,
    /// Octets delivered on the whole circuit when it was last sent, and when that was so.
    pub delivered: u64,
    /// See `delivered`.
    pub delivered_at: Time,
    /// It was sent more than once.
    pub retransmitted: bool,
    /// It carries the SYN.
    pub syn: bool,
    /// It carries the FIN.
    pub fin: bool,
    /// The peer has it, though not all before it.
    pub sacked: bool,
    /// It is held to be lost and waits for retransmission.
    pub lost: bool,
}

impl Sent {
    /// The sequence number after it.
    pub fn end(&self) -> Seq {
        self.seq + self.len
    }

    /// Whether it counts as being in the network (RFC 6675 section 4, pipe).
    pub fn in_flight(&self) -> bool {
        !self.sacked && !self.lost
    }
}

/// What an acknowledgement changed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delivery {
    /// Sequence space newly delivered, cumulatively or selectively.
    pub delivered: u64,
    /// A round-trip time, of the most recently sent among the newly delivered that was sent once only.
    pub rtt: Option<Micros>,
    /// Octets per second over that segment's flight.
    pub rate: Option<u64>,
    /// The most recently sent segment among the newly delivered.
    pub newest: Option<Sent>,
    /// A segment sent once only was delivered after a later one: the network reorders.
    pub reordered: bool,
}

/// All outstanding segments, in sequence order.
#[derive(Debug, Default)]
pub struct Scoreboard {
    sent: VecDeque<Sent>,
    in_flight: u64,
    lost: u64,
    sacked: u64,
    /// Everything below this was delivered or skipped over by a delivery (RACK.fack).
    highest: Option<Seq>,
    /// Sequence space delivered since the start.
    delivered: u64,
    delivered_at: Time,
}

impl Scoreboard {
    /// Whether nothing is outstanding.
    pub fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// Sequence space in the network.
    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Whether something waits for retransmission.
    pub fn has_lost(&self) -> bool {
        self.lost > 0
    }

    /// Sequence space delivered out of order.
    pub fn sacked(&self) -> u64 {
        self.sacked
    }

    /// The first segment that is lost.
    pub fn first_lost(&self) -> Option<Sent> {
        if self.lost == 0 {
            return None;
        }
        self.sent.iter().find(|s| s.lost).copied()
    }

    /// The first outstanding segment.
    pub fn first(&self) -> Option<&Sent> {
        self.sent.front()
    }

    fn find(&self, seq: Seq) -> usize {
        self.sent.partition_point(|s| s.end() <= seq)
    }

    /// A new segment was sent.
    pub fn push(&mut self, now: Time, seq: Seq, len: u32, syn: bool, fin: bool) {
        if self.sent.is_empty() {
            // After idleness the rate is measured from now.
            self.delivered_at = now;
        }
        self.in_flight += u64::from(len);
        self.sent.push_back(Sent {
            seq,
            len,
            sent_at: now,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            retransmitted: false,
            syn,
            fin,
            sacked: false,
            lost: false,
        });
    }

    /// The segment at `seq` was sent again, its first `len` octets only.
    pub fn retransmitted(&mut self, now: Time, seq: Seq, len: u32) {
        let at = self.find(seq);
        let Some(segment) = self.sent.get_mut(at) else {
            return;
        };
        debug_assert_eq!(segment.seq, seq);
        if len < segment.len {
            let mut rest = *segment;
            rest.seq += len;
            rest.len -= len;
            rest.syn = false;
            segment.len = len;
            segment.fin = false;
            self.sent.insert(at + 1, rest);
        }
        let segment = &mut self.sent[at];
        if segment.lost {
            segment.lost = false;
            self.lost -= u64::from(segment.len);
            self.in_flight += u64::from(segment.len);
        }
        segment.sent_at = now;
        segment.retransmitted = true;
        segment.delivered = self.delivered;
        segment.delivered_at = self.delivered_at;
    }

    /// Marks segments lost for which `is_lost` holds.
    pub fn mark_lost(&mut self, mut is_lost: impl FnMut(&Sent) -> bool) -> u64 {
        let mut newly = 0;
        for segment in &mut self.sent {
            if segment.in_flight() && is_lost(segment) {
                segment.lost = true;
                newly += u64::from(segment.len);
            }
        }
        self.lost += newly;
        self.in_flight -= newly;
        newly
    }

    /// Takes in a cumulative acknowledgement and SACK blocks, all checked to lie within what was sent.
    pub fn acknowledge(&mut self, now: Time, una: Seq, sack: &[(Seq, Seq)]) -> Delivery {
        let mut delivery = Delivery::default();
        while let Some(first) = self.sent.front_mut() {
            if first.seq >= una {
                break;
            }
            if first.end() > una {
                // Part of it, as when a SYN is acknowledged but not the data that it carried.
                let part = una - first.seq;
                let before = Sent {
                    len: part,
                    fin: false,
                    ..*first
                };
                first.seq = una;
                first.len -= part;
                first.syn = false;
                self.take_off(&before);
                self.note(&before, &mut delivery);
                break;
            }
            let segment = *first;
            self.sent.pop_front();
            self.take_off(&segment);
            if !segment.sacked {
                self.note(&segment, &mut delivery);
            }
        }
        if self.sent.is_empty() {
            self.sent = VecDeque::new();
        }
        for &(start, end) in sack {
            let mut at = self.sent.partition_point(|s| s.seq < start);
            while let Some(segment) = self.sent.get_mut(at) {
                if segment.end() > end {
                    break;
                }
                if !segment.sacked {
                    let copy = *segment;
                    segment.sacked = true;
                    segment.lost = false;
                    self.take_off(&copy);
                    self.sacked += u64::from(copy.len);
                    self.note(&copy, &mut delivery);
                }
                at += 1;
            }
        }
        if delivery.delivered > 0 {
            self.delivered += delivery.delivered;
            self.delivered_at = now;
            if let Some(newest) = delivery.newest {
                delivery.rtt = (!newest.retransmitted).then(|| now.since(newest.sent_at));
                let span = now.since(newest.delivered_at);
                delivery.rate = (span > 0).then(|| {
                    (u128::from(self.delivered - newest.delivered) * 1_000_000 / u128::from(span))
                        as u64
                });
            }
        }
        delivery
    }

    /// Removes a segment from the sums.
    fn take_off(&mut self, segment: &Sent) {
        let len = u64::from(segment.len);
        if segment.sacked {
            self.sacked -= len;
        } else if segment.lost {
            self.lost -= len;
        } else {
            self.in_flight -= len;
        }
    }

    /// Counts a newly delivered segment.
    fn note(&mut self, segment: &Sent, delivery: &mut Delivery) {
        delivery.delivered += u64::from(segment.len);
        match self.highest {
            Some(highest) if segment.end() <= highest => {
                delivery.reordered |= !segment.retransmitted;
            }
            _ => self.highest = Some(segment.end()),
        }
        let newer = delivery
            .newest
            .is_none_or(|n| (segment.sent_at, segment.seq - n.seq < 1 << 31) >= (n.sent_at, true));
        if newer {
            delivery.newest = Some(*segment);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Scoreboard::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(n: u32) -> Scoreboard {
        let mut board = Scoreboard::default();
        for i in 0..n {
            board.push(Time(u64::from(i)), Seq(i * 10), 10, false, false);
        }
        board
    }

    #[test]
    fn sums_follow_every_change() {
        let mut board = board(10);
        assert_eq!(board.in_flight(), 100);
        let delivery = board.acknowledge(
            Time(100),
            Seq(20),
            &[(Seq(50), Seq(70)), (Seq(40), Seq(50))],
        );
        assert_eq!(delivery.delivered, 50);
        assert_eq!(delivery.rtt, Some(100 - 6));
        assert_eq!((board.in_flight(), board.sacked()), (50, 30));
        assert_eq!(board.mark_lost(|s| s.seq < Seq(40)), 20);
        assert_eq!(board.first_lost().map(|s| s.seq), Some(Seq(20)));
        board.retransmitted(Time(101), Seq(20), 10);
        assert_eq!(board.first_lost().map(|s| s.seq), Some(Seq(30)));
        assert_eq!(board.in_flight(), 40);
        let delivery = board.acknowledge(Time(200), Seq(70), &[]);
        assert_eq!(delivery.delivered, 20);
        assert_eq!(delivery.rtt, None, "retransmitted segments give no sample");
        board.acknowledge(Time(201), Seq(100), &[]);
        assert_eq!((board.in_flight(), board.sacked()), (0, 0));
        assert!(board.is_empty() && !board.has_lost());
    }

    #[test]
    fn a_segment_is_split_when_only_part_is_sent_again() {
        let mut board = board(2);
        board.mark_lost(|_| true);
        board.retransmitted(Time(9), Seq(0), 4);
        assert_eq!(
            board.first_lost().map(|s| (s.seq, s.len)),
            Some((Seq(4), 6))
        );
        assert_eq!(board.in_flight(), 4);
    }

    #[test]
    fn part_of_a_segment_can_be_acknowledged() {
        let mut board = Scoreboard::default();
        board.push(Time(0), Seq(0), 11, true, false);
        let delivery = board.acknowledge(Time(5), Seq(1), &[]);
        assert_eq!((delivery.delivered, board.in_flight()), (1, 10));
        assert!(!board.first().is_some_and(|s| s.syn));
    }

    #[test]
    fn late_delivery_of_a_segment_sent_once_is_reordering() {
        let mut board = board(4);
        assert!(
            !board
                .acknowledge(Time(9), Seq(0), &[(Seq(20), Seq(30))])
                .reordered
        );
        assert!(board.acknowledge(Time(9), Seq(20), &[]).reordered);
    }
}
