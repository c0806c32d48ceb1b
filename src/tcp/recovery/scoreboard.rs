//! What is outstanding, segment by segment: sent when, how often, delivered or lost (RFC 2018, 6675).
//!
//! Segments stand in sequence order; a second list has them in the order in which they were last sent, so that
//! time-based detection looks only at those whose time has come, however many are outstanding.

use std::collections::VecDeque;

use super::rate::{Departure, RateEstimator, RateSample};
use crate::pool::KEPT;
use crate::tcp::segment::SackBlocks;
use crate::tcp::seq::Seq;
use crate::time::{Micros, Time};

/// A segment that takes sequence space and is not yet acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Its first sequence number.
    pub seq: Seq,
    /// Sequence space, SYN and FIN included.
    pub len: u32,
    /// When it was last sent, and how things stood then.
    pub departure: Departure,
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

    /// When it was last sent.
    pub fn sent_at(&self) -> Time {
        self.departure.at
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
    /// When the most recently sent among the newly delivered that were sent once only had been sent: that gives a
    /// round-trip time.
    pub measured: Option<Time>,
    /// The delivery rate.
    pub rate: Option<RateSample>,
    /// The most recently sent segment among the newly delivered.
    pub newest: Option<Sent>,
    /// Something was delivered selectively.
    pub selective: bool,
    /// A segment sent once only was delivered after a later one: the network reorders.
    pub reordered: bool,
    /// Sequence space delivered that was held to be lost, and was not sent again.
    pub revived: u64,
}

/// All outstanding segments, in sequence order.
#[derive(Debug, Default)]
pub struct Scoreboard {
    sent: VecDeque<Sent>,
    /// Transmissions, oldest first. One is stale when its segment is gone, delivered, lost, or was sent again.
    order: VecDeque<(Time, Seq)>,
    in_flight: u64,
    lost: u64,
    sacked: u64,
    /// No lost segment lies below.
    lost_from: Seq,
    /// The blocks of the last acknowledgement: what they cover is known.
    last_sack: SackBlocks,
    /// Everything below this was delivered or skipped over by a delivery (RACK.fack).
    highest: Option<Seq>,
    rate: RateEstimator,
}

impl Scoreboard {
    /// Nothing is outstanding; `rate` has counted what was.
    pub fn new(rate: RateEstimator) -> Scoreboard {
        Scoreboard {
            rate,
            ..Scoreboard::default()
        }
    }

    /// Whether nothing is outstanding.
    pub fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// Segments outstanding, delivered ones included.
    pub fn len(&self) -> usize {
        self.sent.len()
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

    /// Sequence space delivered and lost since the start.
    pub fn rate(&self) -> &RateEstimator {
        &self.rate
    }

    /// There is nothing to send although the windows have room.
    pub fn set_app_limited(&mut self) {
        self.rate.set_app_limited(self.in_flight);
    }

    /// The first segment that is lost.
    pub fn first_lost(&self) -> Option<Sent> {
        if self.lost == 0 {
            return None;
        }
        let from = self.find(self.lost_from);
        self.sent.range(from..).find(|s| s.lost).copied()
    }

    /// The first outstanding segment.
    pub fn first(&self) -> Option<&Sent> {
        self.sent.front()
    }

    fn find(&self, seq: Seq) -> usize {
        self.sent.partition_point(|s| s.end() <= seq)
    }

    /// A new segment was sent. `counted`: how it departed, if siblings are counted with it.
    pub fn push(
        &mut self,
        now: Time,
        seq: Seq,
        len: u32,
        (syn, fin): (bool, bool),
        counted: Option<Departure>,
    ) {
        self.in_flight += u64::from(len);
        let own = self.rate.depart(now, u64::from(len), self.in_flight);
        self.sent.push_back(Sent {
            seq,
            len,
            departure: counted.unwrap_or(own),
            retransmitted: false,
            syn,
            fin,
            sacked: false,
            lost: false,
        });
        self.order.push_back((now, seq));
    }

    /// The segment at `seq` was sent again, its first `len` octets only. `counted`: as for [`Scoreboard::push`].
    pub fn retransmitted(&mut self, now: Time, seq: Seq, len: u32, counted: Option<Departure>) {
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
            self.lost_from = segment.end();
        }
        let own = self
            .rate
            .depart(now, u64::from(segment.len), self.in_flight);
        segment.departure = counted.unwrap_or(own);
        segment.retransmitted = true;
        self.order.push_back((now, seq));
    }

    /// Holds a segment to be lost. `tell` hears of it; a probe for the tail is no loss to tell of.
    fn lose(&mut self, at: usize) -> Sent {
        let segment = &mut self.sent[at];
        segment.lost = true;
        let copy = *segment;
        self.lost += u64::from(copy.len);
        self.in_flight -= u64::from(copy.len);
        if self.lost == u64::from(copy.len) || copy.seq < self.lost_from {
            self.lost_from = copy.seq;
        }
        copy
    }

    fn lose_and_tell(&mut self, at: usize, tell: &mut impl FnMut(&Sent, &RateEstimator)) -> u64 {
        let lost = self.lose(at);
        self.rate.on_lost(u64::from(lost.len));
        tell(&lost, &self.rate);
        u64::from(lost.len)
    }

    /// The transmission at the head of the order is still the last one of a segment in flight: where that stands.
    fn head_of_order(&mut self) -> Option<usize> {
        while let Some(&(at, seq)) = self.order.front() {
            // Mostly it is the first segment, or gone.
            let index = match self.sent.front() {
                Some(first) if seq < first.seq => usize::MAX,
                Some(first) if seq == first.seq => 0,
                _ => self.find(seq),
            };
            let live = |s: &Sent| s.seq == seq && s.departure.at == at && s.in_flight();
            if self.sent.get(index).is_some_and(live) {
                return Some(index);
            }
            self.order.pop_front();
        }
        None
    }

    /// Marks segments lost in the order in which they were sent, as long as `judge` says so. A segment that may be lost
    /// later ends the search, with the time to look again. `tell` hears of each loss.
    pub fn detect(
        &mut self,
        judge: impl Fn(&Sent) -> Verdict,
        mut tell: impl FnMut(&Sent, &RateEstimator),
    ) -> (u64, Option<Time>) {
        let mut lost = 0;
        while let Some(at) = self.head_of_order() {
            match judge(&self.sent[at]) {
                Verdict::Lost => lost += self.lose_and_tell(at, &mut tell),
                Verdict::Wait(until) => return (lost, Some(until)),
                Verdict::Undecided => break,
            }
        }
        (lost, None)
    }

    /// Marks the first segment lost, if it is in flight (RFC 6582, for peers without SACK; RFC 6298 (5.4)).
    pub fn mark_first_lost(&mut self, mut tell: impl FnMut(&Sent, &RateEstimator)) -> u64 {
        match self.sent.front() {
            Some(first) if first.in_flight() => self.lose_and_tell(0, &mut tell),
            _ => 0,
        }
    }

    /// Marks lost what is in flight and was sent at `until` or before.
    pub fn mark_lost_until(
        &mut self,
        until: Time,
        mut tell: impl FnMut(&Sent, &RateEstimator),
    ) -> u64 {
        let mut lost = 0;
        for at in 0..self.sent.len() {
            let segment = &self.sent[at];
            if segment.in_flight() && segment.departure.at <= until {
                lost += self.lose_and_tell(at, &mut tell);
            }
        }
        lost
    }

    /// The segment that has been in the network for longest since it was last sent.
    pub fn oldest(&mut self) -> Option<Sent> {
        self.head_of_order().map(|at| self.sent[at])
    }

    /// Has segments sent again as probes, although nothing says that they are lost: of those in flight that were sent at
    /// `until` or before, the first `front` ones and the last. Returns how many that are.
    pub fn probe(&mut self, until: Time, front: usize) -> u8 {
        let due = |s: &Sent| s.in_flight() && s.departure.at <= until;
        let last = self.sent.iter().rposition(due);
        let mut probes = 0u8;
        for at in 0..self.sent.len() {
            let in_front = usize::from(probes) < front;
            if due(&self.sent[at]) && (in_front || Some(at) == last) {
                self.lose(at);
                probes = probes.saturating_add(1);
            }
            if Some(at) >= last {
                break;
            }
        }
        probes
    }

    /// What is outstanding departed under another count than what follows.
    pub fn void_departures(&mut self) {
        for segment in &mut self.sent {
            segment.departure.void();
        }
    }

    /// What was held to be lost and was not sent since counts as being in the network again: the detection was wrong.
    pub fn revive(&mut self) {
        for segment in &mut self.sent {
            if segment.lost {
                segment.lost = false;
                self.lost -= u64::from(segment.len);
                self.in_flight += u64::from(segment.len);
            }
        }
        // Their places in the order may be gone.
        let mut order: Vec<(Time, Seq)> = self
            .sent
            .iter()
            .filter(|s| s.in_flight())
            .map(|s| (s.departure.at, s.seq))
            .collect();
        order.sort_by_key(|&(at, _)| at);
        self.order = order.into();
    }

    /// The peer has thrown away what it had acknowledged selectively (RFC 2018 section 8): it is to be sent again.
    pub fn forget_sacks(&mut self) {
        for segment in &mut self.sent {
            if segment.sacked {
                segment.sacked = false;
                segment.lost = true;
                self.sacked -= u64::from(segment.len);
                self.lost += u64::from(segment.len);
            }
        }
        self.lost_from = self.sent.front().map_or(self.lost_from, |s| s.seq);
        self.last_sack = SackBlocks::default();
    }

    /// Takes in a cumulative acknowledgement and SACK blocks, all checked to lie within what was sent.
    pub fn acknowledge(
        &mut self,
        now: Time,
        una: Seq,
        sack: &SackBlocks,
        min_rtt: Micros,
    ) -> Delivery {
        let mut delivery = Delivery::default();
        let mut sample = Sample::default();
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
                if !before.sacked {
                    self.note(&before, &mut delivery, &mut sample, true);
                }
                let moved = (before.departure.at, before.seq);
                if let Some(entry) = self.order.iter_mut().find(|e| **e == moved) {
                    entry.1 = una;
                }
                break;
            }
            let segment = *first;
            self.sent.pop_front();
            self.take_off(&segment);
            if !segment.sacked {
                self.note(&segment, &mut delivery, &mut sample, true);
            }
        }
        // Blocks come with the latest first. In that order, a lower one that the last acknowledgement did not have would
        // look as if it had been overtaken.
        let mut blocks = *sack;
        blocks.sort_above(una);
        for &(start, end) in blocks.as_slice() {
            self.take_block(start, end, &mut delivery, &mut sample);
        }
        self.last_sack = *sack;
        if self.sent.is_empty() {
            // What is left in the order is stale.
            self.order.clear();
            if self.sent.capacity().max(self.order.capacity()) > KEPT {
                self.sent = VecDeque::new();
                self.order = VecDeque::new();
            }
        } else {
            self.head_of_order();
        }
        if delivery.delivered > 0 {
            self.rate.on_delivered(now, delivery.delivered);
            delivery.measured = sample.of;
            if let Some(newest) = &delivery.newest {
                delivery.rate = self.rate.sample(&newest.departure, min_rtt);
            }
        }
        delivery
    }

    /// Takes in one SACK block, as far as it says anything new.
    fn take_block(&mut self, start: Seq, end: Seq, delivery: &mut Delivery, sample: &mut Sample) {
        // A block that grew since the last acknowledgement is looked at from where it ended.
        let known = self
            .last_sack
            .as_slice()
            .iter()
            .find(|&&(s, e)| s <= start && start < e)
            .map_or(start, |&(_, e)| e);
        if known >= end {
            return;
        }
        // Not a segment that begins before the block.
        let mut at = self.find(known);
        while self.sent.get(at).is_some_and(|s| s.seq < start) {
            at += 1;
        }
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
                self.note(&copy, delivery, sample, false);
            }
            at += 1;
        }
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
    fn note(
        &mut self,
        segment: &Sent,
        delivery: &mut Delivery,
        sample: &mut Sample,
        cumulative: bool,
    ) {
        delivery.delivered += u64::from(segment.len);
        delivery.selective |= !cumulative;
        if segment.lost && !segment.retransmitted {
            delivery.revived += u64::from(segment.len);
        }
        match self.highest {
            Some(highest) if segment.end() <= highest => {
                delivery.reordered |= !segment.retransmitted;
            }
            _ => self.highest = Some(segment.end()),
        }
        sample.consider(segment, cumulative);
        let newer = delivery.newest.is_none_or(|n| {
            (segment.departure.at, segment.seq - n.seq < 1 << 31) >= (n.departure.at, true)
        });
        if newer {
            delivery.newest = Some(*segment);
        }
    }

    /// What must hold at any moment; panics if it does not. `una..nxt` is outstanding.
    #[cfg(test)]
    pub fn check(&self, una: Seq, nxt: Seq) {
        let (mut at, mut in_flight, mut lost, mut sacked) = (una, 0, 0, 0);
        for segment in &self.sent {
            assert_eq!(segment.seq, at, "segments lie side by side");
            assert!(segment.len > 0);
            at = segment.end();
            assert!(!(segment.sacked && segment.lost), "{segment:?}");
            *match (segment.sacked, segment.lost) {
                (true, _) => &mut sacked,
                (_, true) => &mut lost,
                _ => &mut in_flight,
            } += u64::from(segment.len);
            if segment.lost {
                assert!(segment.seq >= self.lost_from, "a loss would be overlooked");
            }
            let entry = (segment.departure.at, segment.seq);
            if segment.in_flight() {
                assert!(self.order.contains(&entry), "{segment:?} is never judged");
            }
        }
        assert_eq!(at, nxt, "all that is outstanding is known");
        assert_eq!(
            (self.in_flight, self.lost, self.sacked),
            (in_flight, lost, sacked)
        );
        assert!(self.order.iter().map(|e| e.0).is_sorted());
    }

    /// Forgets everything outstanding.
    pub fn clear(&mut self) {
        *self = Scoreboard {
            rate: self.rate,
            ..Scoreboard::default()
        };
    }
}

/// Which segment gives the round-trip time (RFC 6298 section 3: none that was sent twice).
#[derive(Default)]
struct Sample {
    of: Option<Time>,
    /// A retransmission filled a hole: what it let RCV.NXT skip over may have arrived long ago, with its SACK lost.
    filled: bool,
}

impl Sample {
    fn consider(&mut self, segment: &Sent, cumulative: bool) {
        if segment.retransmitted {
            self.filled |= cumulative;
        } else if !(cumulative && self.filled) {
            self.of = self.of.max(Some(segment.departure.at));
        }
    }
}

/// What time-based detection says of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is lost.
    Lost,
    /// Lost if not delivered by then.
    Wait(Time),
    /// Nothing that was sent later has arrived.
    Undecided,
}

#[cfg(test)]
#[path = "scoreboard_tests.rs"]
mod tests;
