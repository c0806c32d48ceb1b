//! Explicit congestion notification (RFC 3168). Between two of ours the count of marked segments comes back exactly, in
//! an option of its own (docs/tortp.md); to others as RFC 3168 has it, one echo until it is answered.

use super::segment::{Flags, Options, Segment};
use super::seq::Seq;
use crate::time::Time;

/// Losses in a row, with nothing that may be marked arriving and what was sent again without that arriving, after which
/// the path is held to drop it.
const BLACK_HOLE: u8 = 3;

/// What both ends agreed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    /// Nothing.
    #[default]
    Off,
    /// RFC 3168.
    Classic,
    /// Counts of marked segments.
    Accurate,
}

/// Explicit congestion notification of one circuit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ecn {
    /// The caller marks datagrams, and sees marks.
    wanted: bool,
    mode: Mode,
    /// Marked segments received.
    received: u32,
    /// The sender has not said yet that it has heard of the last mark.
    echo: bool,
    /// Marked segments that the peer has reported.
    reported: u32,
    /// The next new segment says that the window was reduced.
    reduced: bool,
    /// No further reduction before this is acknowledged.
    until: Option<Seq>,
    /// When the first data left that may be marked.
    since: Option<Time>,
    /// Something was lost, and nothing that may be marked has arrived since.
    doubt: bool,
    /// How often something arrived then that was sent again, and may not be marked.
    failures: u8,
}

impl Ecn {
    /// Offers it, if the caller can.
    pub fn new(wanted: bool) -> Ecn {
        Ecn {
            wanted,
            ..Ecn::default()
        }
    }

    /// Whether it was offered.
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Whether it is in use.
    pub fn is_on(&self) -> bool {
        self.mode != Mode::Off
    }

    /// Marked segments received, modulo 2^32.
    pub fn received(&self) -> u32 {
        self.received
    }

    /// Whether new data should be marked as capable (ECT).
    pub fn marks(&self) -> bool {
        self.is_on() && !self.is_black_hole()
    }

    /// Whether the path seems to drop what may be marked, and only that (RFC 9000 section 13.4.2 has the same concern).
    pub fn is_black_hole(&self) -> bool {
        self.failures >= BLACK_HOLE
    }

    /// Completes our SYN, or the answer to the peer's (RFC 3168 section 6.1.1).
    pub fn on_syn_out(&self, answers: bool, flags: &mut Flags, options: &mut Options) {
        if answers && self.is_on() {
            *flags = flags.with(Flags::ECE);
            options.ce_count = (self.mode == Mode::Accurate).then_some(self.received);
        } else if !answers && self.wanted {
            *flags = flags.with(Flags::ECE).with(Flags::CWR);
            options.ce_count = Some(0);
        }
    }

    /// The peer's SYN, or its answer to ours.
    pub fn on_syn_in(&mut self, syn: &Segment<'_>) {
        let answers = syn.flags.has(Flags::ACK);
        let agreed = syn.flags.has(Flags::ECE) && syn.flags.has(Flags::CWR) != answers;
        self.mode = match syn.options.ce_count {
            _ if !self.wanted || !agreed => Mode::Off,
            Some(_) => Mode::Accurate,
            None => Mode::Classic,
        };
    }

    /// A segment came in; whether its mark should be reported at once.
    pub fn on_segment_in(&mut self, segment: &Segment<'_>) -> bool {
        if !self.is_on() {
            return false;
        }
        if segment.flags.has(Flags::CWR) {
            self.echo = false;
        }
        // Acknowledgements may travel in the datagram of a sibling's data: the mark is not theirs.
        let marked = segment.ce && !segment.is_empty();
        if marked {
            self.received = self.received.wrapping_add(1);
            self.echo = true;
        }
        marked
    }

    /// Completes a segment that is no SYN. `new`: it has new data.
    pub fn on_segment_out(&self, new: bool, flags: &mut Flags, options: &mut Options) {
        match self.mode {
            Mode::Off => {}
            Mode::Classic => {
                if self.echo {
                    *flags = flags.with(Flags::ECE);
                }
                if new && self.reduced {
                    *flags = flags.with(Flags::CWR);
                }
            }
            Mode::Accurate => options.ce_count = (self.received > 0).then_some(self.received),
        }
    }

    /// A segment as completed by [`Ecn::on_segment_out`] was sent. `ect`: it may be marked.
    pub fn sent(&mut self, now: Time, flags: Flags, ect: bool) {
        self.reduced &= !flags.has(Flags::CWR);
        if ect {
            self.since.get_or_insert(now);
        }
    }

    /// Segments newly reported as marked by an acknowledgement.
    pub fn on_ack(&mut self, segment: &Segment<'_>) -> u32 {
        if segment.flags.has(Flags::SYN) {
            // There it says that the peer knows of it.
            return 0;
        }
        match (self.mode, segment.options.ce_count) {
            (Mode::Accurate, Some(count)) => {
                let new = count.wrapping_sub(self.reported);
                // An older acknowledgement that was overtaken says less.
                if new > u32::MAX / 2 {
                    return 0;
                }
                self.reported = count;
                new
            }
            // On the answer to a SYN it says that ECN is agreed on.
            (Mode::Classic, _) => {
                u32::from(segment.flags.has(Flags::ECE) && !segment.flags.has(Flags::SYN))
            }
            _ => 0,
        }
    }

    /// Marks were reported: whether the window is to be reduced, once in a round trip.
    pub fn reduces(&mut self, snd_nxt: Seq) -> bool {
        if self.until.is_some() {
            return false;
        }
        self.until = Some(snd_nxt);
        self.reduced = true;
        true
    }

    /// A timer fired, or loss was found.
    pub fn on_loss(&mut self) {
        self.doubt = self.since.is_some();
    }

    /// Data has arrived: of what was sent once only, the latest at `once`. `resent`: what was sent last of it was sent
    /// again, and may not be marked.
    pub fn on_delivery(&mut self, once: Option<Time>, resent: bool) {
        if self.is_black_hole() {
            return;
        }
        // The SYN may have left at the same time, and may not be marked.
        if once.is_some_and(|at| self.since.is_some_and(|since| at > since)) {
            self.doubt = false;
            self.failures = 0;
        } else if resent && self.doubt {
            self.doubt = false;
            self.failures += 1;
        }
    }

    /// Everything below `snd_una` is acknowledged, and marks that came with that are answered.
    pub fn on_acknowledged(&mut self, snd_una: Seq) {
        self.until = self.until.filter(|&until| snd_una < until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(flags: Flags, ce_count: Option<u32>, ce: bool) -> Segment<'static> {
        Segment {
            flags,
            seq: Seq(0),
            ack: Seq(0),
            window: 0,
            options: Options {
                ce_count,
                ..Options::default()
            },
            payload: if ce { &[0] } else { &[] },
            ce,
        }
    }

    fn shake_hands(ours: bool, theirs: bool) -> (Ecn, Ecn) {
        let (mut a, mut b) = (Ecn::new(ours), Ecn::new(theirs));
        let (mut flags, mut options) = (Flags::SYN, Options::default());
        a.on_syn_out(false, &mut flags, &mut options);
        b.on_syn_in(&segment(flags, options.ce_count, false));
        let (mut flags, mut options) = (Flags::SYN.with(Flags::ACK), Options::default());
        b.on_syn_out(true, &mut flags, &mut options);
        a.on_syn_in(&segment(flags, options.ce_count, false));
        (a, b)
    }

    #[test]
    fn it_is_on_only_if_both_want_it() {
        for (ours, theirs) in [(false, false), (true, false), (false, true), (true, true)] {
            let (a, b) = shake_hands(ours, theirs);
            assert_eq!((a.is_on(), b.is_on()), (ours && theirs, ours && theirs));
        }
    }

    #[test]
    fn every_mark_is_reported_though_acknowledgements_are_lost() {
        let (mut a, mut b) = shake_hands(true, true);
        for _ in 0..5 {
            assert!(b.on_segment_in(&segment(Flags::ACK, None, true)));
        }
        let (mut flags, mut options) = (Flags::ACK, Options::default());
        b.on_segment_out(false, &mut flags, &mut options);
        assert_eq!(a.on_ack(&segment(flags, options.ce_count, false)), 5);
        assert_eq!(a.on_ack(&segment(flags, options.ce_count, false)), 0);
        assert_eq!(a.on_ack(&segment(flags, Some(3), false)), 0, "overtaken");
    }

    #[test]
    fn one_reduction_in_a_round_trip() {
        let (mut a, _) = shake_hands(true, true);
        assert!(a.reduces(Seq(100)));
        a.on_acknowledged(Seq(99));
        assert!(!a.reduces(Seq(200)));
        // The acknowledgement that ends the round trip is for what was sent before.
        a.on_acknowledged(Seq(100));
        assert!(a.reduces(Seq(200)));
    }

    #[test]
    fn marks_count_for_data_alone() {
        let (_, mut b) = shake_hands(true, true);
        let ack = segment(Flags::ACK, None, true);
        assert!(!b.on_segment_in(&Segment {
            payload: &[],
            ..ack
        }));
        assert_eq!(b.received(), 0);
        let fin = segment(Flags::ACK.with(Flags::FIN), None, true);
        assert!(b.on_segment_in(&fin));
        assert_eq!(b.received(), 1);
    }

    #[test]
    fn the_count_goes_round() {
        let (mut a, _) = shake_hands(true, true);
        let report = |count| segment(Flags::ACK, Some(count), false);
        assert_eq!(a.on_ack(&report(0x7fff_ffff)), 0x7fff_ffff);
        assert_eq!(a.on_ack(&report(0xffff_fffe)), 0x7fff_ffff);
        assert_eq!(a.on_ack(&report(3)), 5);
        assert_eq!(a.on_ack(&report(0xffff_ffff)), 0, "overtaken");
    }

    #[test]
    fn a_path_that_drops_what_may_be_marked_is_found_out() {
        let (mut a, _) = shake_hands(true, true);
        let at = |n| Some(Time(n));
        // Without anything sent that may be marked, losses say nothing.
        for _ in 0..5 {
            a.on_loss();
            a.on_delivery(None, true);
        }
        a.sent(Time(10), Flags::ACK, true);
        for _ in 0..2 {
            a.on_loss();
            a.on_loss();
            a.on_delivery(None, false);
            a.on_delivery(at(10), true);
            a.on_delivery(None, true);
        }
        assert!(a.marks());
        // One of them arrives: all is well.
        a.on_delivery(at(11), false);
        for _ in 0..2 {
            a.on_loss();
            a.on_delivery(None, true);
        }
        assert!(a.marks());
        a.on_loss();
        a.on_delivery(None, true);
        assert!(a.is_on() && !a.marks() && a.is_black_hole());
    }

    #[test]
    fn a_mark_after_gigabytes_without_one_counts() {
        let (mut a, _) = shake_hands(true, true);
        assert!(a.reduces(Seq(100)));
        for gigabytes in 1..4u32 {
            a.on_acknowledged(Seq(gigabytes << 30));
        }
        assert!(a.reduces(Seq((3 << 30) + 100)));
    }

    #[test]
    fn others_hear_the_echo_until_they_answer() {
        let mut a = Ecn::new(true);
        a.on_syn_in(&segment(
            Flags::SYN.with(Flags::ECE).with(Flags::CWR),
            None,
            false,
        ));
        a.on_segment_in(&segment(Flags::ACK, None, true));
        let echoes = |a: &Ecn| {
            let (mut flags, mut options) = (Flags::ACK, Options::default());
            a.on_segment_out(false, &mut flags, &mut options);
            assert_eq!(options.ce_count, None);
            flags.has(Flags::ECE)
        };
        assert!(echoes(&a) && echoes(&a));
        a.on_segment_in(&segment(Flags::ACK.with(Flags::CWR), None, false));
        assert!(!echoes(&a));
    }
}
