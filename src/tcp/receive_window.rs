//! How much the peer may send (RFC 9293 section 3.8.6, RFC 7323 section 2). The window starts small and follows what
//! arrives in a round trip as long as the relay reads it, so that memory is promised only to circuits that use it.

use super::seq::Seq;
use crate::time::{MILLISECOND, Micros, Time};

/// The window of a new circuit: the bandwidth-delay product at 100 Mbit/s and 20 ms.
const INITIAL: u32 = 256 * 1024;

/// The window is so many times what arrived in a round trip: the peer may double its own in the next one, while the
/// round trip may be twice as long as known here, for the queue that it fills.
const HEADROOM: u64 = 4;

/// The round-trip time assumed as long as none is known.
const UNKNOWN_RTT: Micros = 100 * MILLISECOND;

/// The largest scale (RFC 7323 section 2.3).
const MAX_SHIFT: u8 = 14;

/// The receive window.
#[derive(Clone, Copy, Debug)]
pub struct ReceiveWindow {
    /// The right edge that was promised last (RCV.NXT + RCV.WND).
    edge: Seq,
    /// What is offered when nothing is unread.
    target: u32,
    /// The most that may be offered.
    most: u32,
    shift: u8,
    /// Octets that arrived since `since`.
    arrived: u64,
    since: Time,
}

impl ReceiveWindow {
    /// A window of at most `most` octets.
    pub fn new(most: usize) -> ReceiveWindow {
        // RFC 7323 section 2.3: no scale above 14.
        let largest = u32::from(u16::MAX) << MAX_SHIFT;
        let most = u32::try_from(most).unwrap_or(u32::MAX).min(largest);
        let mut shift = 0;
        while most >> shift > u32::from(u16::MAX) {
            shift += 1;
        }
        ReceiveWindow {
            edge: Seq(0),
            target: INITIAL.min(most),
            most,
            shift,
            arrived: 0,
            since: Time(0),
        }
    }

    /// The scale that our SYN announces.
    pub fn shift(&self) -> u8 {
        self.shift
    }

    /// The peer does not scale.
    pub fn no_scaling(&mut self) {
        self.shift = 0;
        self.set_most(self.most.min(u32::from(u16::MAX)) as usize);
    }

    /// Changes the most that is offered; what was promised stays promised.
    pub fn set_most(&mut self, most: usize) {
        let room = u32::from(u16::MAX) << self.shift;
        self.most = u32::try_from(most).unwrap_or(u32::MAX).min(room);
        // At least what a new circuit would get: from a window once closed, nothing else would lead.
        self.target = self.target.max(INITIAL).min(self.most);
    }

    /// The right edge promised.
    pub fn edge(&self) -> Seq {
        self.edge
    }

    /// The peer's SYN came in.
    pub fn start(&mut self, next: Seq) {
        self.edge = next;
    }

    /// The right edge that could be promised now. Never moves left. No circuit may leave more unread than what is left
    /// of the memory: so readers that have stopped, however many, leave some for one that reads.
    fn possible_edge(&self, next: Seq, unread: usize, memory: u64) -> Seq {
        let room = u64::from(self.target)
            .min(memory)
            .saturating_sub(unread as u64);
        self.edge.max(next + room as u32)
    }

    /// The window field for a segment, and the promise that it makes. `unscaled` on segments with SYN.
    pub fn field(&self, next: Seq, unread: usize, memory: u64, unscaled: bool) -> (u16, Seq) {
        let window = self.possible_edge(next, unread, memory) - next;
        if unscaled {
            let field = window.min(u32::from(u16::MAX));
            return (field as u16, self.edge.max(next + field));
        }
        // Rounded down, unless that took back what was promised.
        let mut field = window >> self.shift;
        if next + (field << self.shift) < self.edge {
            field += 1;
        }
        let field = field.min(u32::from(u16::MAX));
        (field as u16, self.edge.max(next + (field << self.shift)))
    }

    /// A segment with this promise was sent.
    pub fn promised(&mut self, edge: Seq) {
        self.edge = self.edge.max(edge);
    }

    /// Whether the window has opened so far that the peer should be told (RFC 9293 section 3.8.6.2.2).
    pub fn update_due(&self, next: Seq, unread: usize, memory: u64, mss: u32) -> bool {
        // What the window field can say: what is lost in scaling opens nothing.
        let open = self.field(next, unread, memory, false).1 - self.edge;
        let left = self.edge - next;
        open >= (2 * mss).max(self.target / 4)
            || (left < mss && open >= mss.min(self.target / 2).max(1))
    }

    /// New data has arrived, in order or not; `unread` octets wait for the relay. `may_grow`: whether there is memory for
    /// a larger window.
    pub fn on_arrival(
        &mut self,
        now: Time,
        octets: usize,
        unread: usize,
        srtt: Micros,
        may_grow: impl FnOnce() -> bool,
    ) {
        let round = if srtt == 0 {
            UNKNOWN_RTT
        } else {
            srtt.max(MILLISECOND)
        };
        if now.since(self.since) >= round {
            self.arrived = 0;
            self.since = now;
        }
        self.arrived += octets as u64;
        // A relay that reads has at most the last few segments before it.
        if 2 * unread as u64 <= self.arrived {
            let wanted = (HEADROOM * self.arrived).min(u64::from(self.most)) as u32;
            if wanted > self.target && may_grow() {
                self.target = wanted;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_never_taken_back() {
        let mut window = ReceiveWindow::new(4 << 20);
        let next = Seq(u32::MAX - 100);
        window.start(next);
        let (_, edge) = window.field(next, 0, u64::MAX, false);
        window.promised(edge);
        for (step, unread) in [(1_000, 1_000), (3_333, 100_000), (77, 262_144)] {
            let next = next + step;
            let (field, promise) = window.field(next, unread, 0, false);
            assert!(promise >= edge);
            assert!(next + (u32::from(field) << window.shift()) >= edge);
        }
    }

    #[test]
    fn the_window_follows_a_fast_reader_to_its_limit() {
        let mut window = ReceiveWindow::new(1 << 20);
        window.start(Seq(0));
        let mut now = Time(0);
        for _ in 0..10 {
            for _ in 0..10 {
                now = now + 5_000;
                let tenth = window.target as usize / 20;
                window.on_arrival(now, tenth, tenth, 50_000, || true);
            }
        }
        assert_eq!(window.target, 1 << 20);
    }

    #[test]
    fn a_trickle_gets_no_more() {
        let mut window = ReceiveWindow::new(1 << 20);
        let mut now = Time(0);
        for _ in 0..50 {
            window.on_arrival(now, 1_000, 1_000, 50_000, || true);
            now = now + 50_000;
        }
        assert_eq!(window.target, INITIAL);
    }

    #[test]
    fn a_relay_that_does_not_read_gets_no_more() {
        let mut window = ReceiveWindow::new(1 << 20);
        let mut unread = 0;
        for at in 0..200 {
            unread += 1_400;
            window.on_arrival(Time(at * 100), 1_400, unread, 50_000, || true);
        }
        assert_eq!(window.target, INITIAL);
    }

    #[test]
    fn a_window_does_not_grow_without_memory_for_it() {
        let mut window = ReceiveWindow::new(1 << 20);
        window.on_arrival(Time(0), 200_000, 0, 50_000, || false);
        assert_eq!(window.target, INITIAL);
        window.on_arrival(Time(1), 200_000, 0, 50_000, || true);
        assert_eq!(window.target, 1 << 20);
    }

    #[test]
    fn no_more_is_left_unread_than_what_is_left_of_the_memory() {
        let mut window = ReceiveWindow::new(1 << 20);
        window.start(Seq(0));
        let offered = |unread, memory| window.field(Seq(unread), unread as usize, memory, false).1;
        let scale = 1 << window.shift();
        assert!(Seq(150_000) - offered(50_000, 150_000) < scale);
        assert_eq!(offered(50_000, 50_000), Seq(50_000));
        assert_eq!(offered(50_000, 0), Seq(50_000));
    }

    #[test]
    fn a_limit_that_is_lifted_opens_the_window_again() {
        let mut window = ReceiveWindow::new(1 << 20);
        window.set_most(0);
        assert_eq!(window.target, 0);
        window.set_most(100_000);
        assert_eq!(window.target, 100_000);
        window.set_most(1 << 20);
        assert_eq!(window.target, INITIAL);
    }

    #[test]
    fn no_scale_is_above_14() {
        for most in [1 << 30, usize::MAX] {
            assert_eq!(ReceiveWindow::new(most).shift(), 14);
        }
    }

    #[test]
    fn an_opening_that_scaling_hides_is_not_announced() {
        let mut window = ReceiveWindow::new(1 << 30);
        window.start(Seq(0));
        let memory = (1 << window.shift()) - 1;
        assert!(!window.update_due(Seq(0), 0, memory, 1_000));
        assert!(window.update_due(Seq(0), 0, memory + 1, 1_000));
        let (field, edge) = window.field(Seq(0), 0, memory + 1, false);
        assert_eq!((field, edge), (1, Seq(1 << window.shift())));
    }

    #[test]
    fn small_openings_are_not_announced() {
        let mut window = ReceiveWindow::new(1 << 20);
        window.start(Seq(0));
        window.promised(Seq(INITIAL));
        assert!(!window.update_due(Seq(100), 0, u64::MAX, 1_000));
        assert!(window.update_due(Seq(INITIAL / 2), 0, u64::MAX, 1_000));
    }
}
