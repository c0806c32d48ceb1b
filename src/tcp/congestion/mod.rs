//! Congestion control behind an enum, so that a circuit can switch while it runs and no call is indirect.

pub mod bbr;
mod cubic;
mod hystart;
mod newreno;
mod validation;

use super::recovery::rate::{Departure, RateEstimator, RateSample};
use crate::error::Error;
use crate::time::{MILLISECOND, Micros, SECOND, Time};

use bbr::Bbr;
use cubic::Cubic;
use hystart::{Growth, HyStart};
use newreno::NewReno;
use validation::Validation;

/// Which congestion control a circuit uses. The numbers are part of the C ABI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Algorithm {
    /// RFC 5681.
    NewReno = 1,
    /// RFC 9438.
    #[default]
    Cubic = 2,
    /// Version 3, draft-ietf-ccwg-bbr.
    Bbr = 3,
}

impl TryFrom<u64> for Algorithm {
    type Error = Error;

    fn try_from(number: u64) -> Result<Algorithm, Error> {
        match number {
            1 => Ok(Algorithm::NewReno),
            2 => Ok(Algorithm::Cubic),
            3 => Ok(Algorithm::Bbr),
            _ => Err(Error::Range),
        }
    }
}

/// Segments in the initial window (RFC 6928).
pub const INITIAL_WINDOW: u64 = 10;

/// Segments below which no window is ever reduced by loss (RFC 5681 equation 4).
const MIN_WINDOW: u64 = 2;

/// Pacing of window-based control, in percent of a window in a round trip: in slow start, and after it. Faster than the
/// window, so that the window stays what limits; as Linux does.
const PACE_SLOW_START: u64 = 200;
const PACE_AVOIDANCE: u64 = 120;

/// What leaves at once after a pause: this much time's worth, this many segments at least.
const BURST_TIME: Micros = MILLISECOND;
const BURST_SEGMENTS: u64 = 2;

/// The windows that window-based algorithms share, in octets.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    /// The congestion window.
    pub cwnd: u64,
    /// Slow start below, congestion avoidance above.
    pub ssthresh: u64,
    /// Sender maximum segment size.
    pub mss: u64,
}

impl Windows {
    fn in_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    /// Multiplicative decrease by `numerator/denominator` of what was in use at a congestion event.
    fn reduce(&mut self, in_use: u64, numerator: u64, denominator: u64) {
        let base = self.cwnd.min(in_use.max(self.mss));
        self.ssthresh = (base * numerator / denominator).max(MIN_WINDOW * self.mss);
    }
}

/// What an acknowledgement tells congestion control.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ack {
    /// When it arrived.
    pub now: Time,
    /// Octets newly delivered, cumulatively or selectively.
    pub acked: u64,
    /// Octets newly found lost with it.
    pub lost: u64,
    /// Octets in flight after it.
    pub in_flight: u64,
    /// Octets in flight before it.
    pub prior_in_flight: u64,
    /// Octets delivered since the start.
    pub delivered: u64,
    /// Its round-trip time.
    pub rtt: Option<Micros>,
    /// Smoothed round-trip time.
    pub srtt: Micros,
    /// Smallest round-trip time.
    pub min_rtt: Micros,
    /// Whether the window was what held the sender back.
    pub window_limited: bool,
    /// Fast recovery or recovery after a timeout goes on.
    pub in_recovery: bool,
    /// It is the first of what was sent after the first of the last round trip had been acknowledged.
    pub round: bool,
    /// Octets newly reported as marked by congested routers.
    pub ce: u64,
    /// The delivery rate.
    pub rate: Option<RateSample>,
}

/// A segment that was found lost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Loss {
    /// Octets.
    pub len: u64,
    /// Octets in flight just after it was sent.
    pub tx_in_flight: u64,
    /// Octets found lost since it was sent, its own included.
    pub lost_since_sent: u64,
    /// Octets delivered on the circuit when it was sent.
    pub delivered_at_send: u64,
    /// The application was the limit when it was sent.
    pub app_limited: bool,
}

impl Loss {
    /// `len` octets that departed so, and that `rate` has counted as lost by now; none if they departed under another
    /// count.
    pub fn new(len: u64, departure: &Departure, rate: &RateEstimator) -> Option<Loss> {
        (!departure.is_void()).then(|| Loss {
            len,
            tx_in_flight: departure.in_flight,
            lost_since_sent: rate.lost().saturating_sub(departure.lost),
            delivered_at_send: departure.delivered,
            app_limited: departure.app_limited,
        })
    }
}

#[derive(Clone, Debug)]
enum Control {
    NewReno(NewReno),
    Cubic(Cubic),
    /// Its state is several times that of the others.
    Bbr(Box<Bbr>),
}

/// What a window was before it was reduced.
#[derive(Clone, Debug)]
struct Saved {
    windows: Windows,
    control: Control,
}

/// The congestion control of one circuit, or of circuits that share a window.
#[derive(Clone, Debug)]
pub struct Congestion {
    windows: Windows,
    control: Control,
    hystart: HyStart,
    validation: Validation,
    /// Kept only while it can be taken back.
    saved: Option<Box<Saved>>,
    seed: u32,
}

impl Congestion {
    /// In slow start with the initial window. `srtt`: the round-trip time if it is known, else 0. `seed` spreads over time
    /// what circuits would else do at once.
    pub fn new(algorithm: Algorithm, mss: u16, srtt: Micros, seed: u32) -> Congestion {
        let mss = u64::from(mss);
        let windows = Windows {
            cwnd: INITIAL_WINDOW * mss,
            ssthresh: u64::MAX,
            mss,
        };
        Congestion {
            windows,
            control: Control::new(algorithm, &windows, srtt, seed),
            hystart: HyStart::default(),
            validation: Validation::default(),
            saved: None,
            seed,
        }
    }

    /// Takes up the windows of a circuit that has slept.
    pub fn restore(&mut self, cwnd: u64, ssthresh: u64) {
        self.windows.cwnd = cwnd;
        self.windows.ssthresh = ssthresh;
    }

    /// Changes the algorithm; the window stays.
    pub fn switch(&mut self, algorithm: Algorithm, srtt: Micros) {
        if self.algorithm() != algorithm {
            let measured = matches!(self.control, Control::Bbr(_)) && !self.in_slow_start();
            self.windows.cwnd = self.cwnd();
            if measured {
                self.windows.ssthresh = self.windows.cwnd;
            }
            self.control = Control::new(algorithm, &self.windows, srtt, self.seed);
            self.saved = None;
        }
    }

    /// The algorithm in use.
    pub fn algorithm(&self) -> Algorithm {
        match self.control {
            Control::NewReno(_) => Algorithm::NewReno,
            Control::Cubic(_) => Algorithm::Cubic,
            Control::Bbr(_) => Algorithm::Bbr,
        }
    }

    /// The segment size is known now, or has changed: before anything was sent, the initial window follows.
    pub fn set_mss(&mut self, mss: u16, untouched: bool) {
        self.windows.mss = u64::from(mss);
        if untouched {
            self.windows.cwnd = INITIAL_WINDOW * self.windows.mss;
        }
        if let Control::Bbr(bbr) = &mut self.control {
            bbr.set_mss(self.windows.mss);
        }
    }

    /// The congestion window in octets.
    pub fn cwnd(&self) -> u64 {
        match &self.control {
            Control::Bbr(bbr) => bbr.cwnd(),
            _ => self.windows.cwnd,
        }
    }

    /// The slow start threshold in octets; `u64::MAX` before any loss, and where there is none.
    pub fn ssthresh(&self) -> u64 {
        self.windows.ssthresh
    }

    /// Whether the window doubles in a round trip.
    pub fn in_slow_start(&self) -> bool {
        match &self.control {
            Control::Bbr(bbr) => bbr.in_slow_start(),
            _ => self.windows.in_slow_start(),
        }
    }

    /// Octets per second; `None` while the round-trip time is unknown.
    pub fn pacing_rate(&self, srtt: Micros) -> Option<u64> {
        if srtt == 0 {
            return None;
        }
        if let Control::Bbr(bbr) = &self.control {
            return Some(bbr.pacing_rate());
        }
        let percent = if self.windows.in_slow_start() {
            PACE_SLOW_START
        } else {
            PACE_AVOIDANCE
        };
        // In recovery the window may be next to nothing, but what it lets out has to leave.
        let window = self.windows.cwnd.max(MIN_WINDOW * self.windows.mss);
        let rate = u128::from(window) * u128::from(percent * SECOND / 100) / u128::from(srtt);
        Some(u64::try_from(rate).unwrap_or(u64::MAX))
    }

    /// Octets that may leave at once at this rate.
    pub fn burst(&self, rate: u64) -> u64 {
        match &self.control {
            Control::Bbr(bbr) => bbr.send_quantum(),
            _ => (rate / (SECOND / BURST_TIME)).max(BURST_SEGMENTS * self.windows.mss),
        }
    }

    /// Whether an initial window may leave at once after a pause. BBR knows the rate of the path, once it does.
    pub fn restarts_at_once(&self) -> bool {
        match &self.control {
            Control::Bbr(bbr) => bbr.in_slow_start(),
            _ => true,
        }
    }

    /// Whether proportional rate reduction leads the window through recovery.
    pub fn uses_prr(&self) -> bool {
        !matches!(self.control, Control::Bbr(_))
    }

    /// Something was sent; `in_flight` octets were before it, and `delivered` octets were acknowledged so far.
    pub fn on_sent(
        &mut self,
        now: Time,
        len: u64,
        in_flight: u64,
        app_limited: bool,
        delivered: u64,
    ) {
        if let Control::Bbr(bbr) = &mut self.control {
            bbr.on_sent(now, len, in_flight, app_limited, delivered);
        }
    }

    /// A segment was found lost.
    pub fn on_lost(&mut self, now: Time, loss: &Loss) {
        if let Control::Bbr(bbr) = &mut self.control {
            bbr.on_lost(now, loss);
        }
    }

    /// Data was acknowledged.
    pub fn on_ack(&mut self, ack: &Ack) {
        if let Control::Bbr(bbr) = &mut self.control {
            bbr.on_ack(ack);
            return;
        }
        self.validation
            .on_ack(ack.now, ack.acked, ack.srtt, ack.round, self.windows.cwnd);
        if ack.in_recovery {
            return;
        }
        if !ack.window_limited {
            if let Control::Cubic(cubic) = &mut self.control {
                cubic.application_limited(ack.now);
            }
            return;
        }
        if self.windows.in_slow_start() {
            self.slow_start(ack);
            return;
        }
        match &mut self.control {
            Control::NewReno(newreno) => newreno.on_ack(&mut self.windows, ack.acked),
            Control::Cubic(cubic) => cubic.on_ack(&mut self.windows, ack),
            Control::Bbr(_) => {}
        }
    }

    /// RFC 3465 with L unlimited, since departures are paced: every octet acknowledged lets one more out.
    fn slow_start(&mut self, ack: &Ack) {
        let windows = &mut self.windows;
        // After a loss ssthresh says where to stop (RFC 9406 section 4.3 is for the first slow start).
        let growth = if windows.ssthresh == u64::MAX {
            self.hystart.on_ack(ack.rtt, ack.round)
        } else {
            Growth::Full
        };
        let more = match growth {
            Growth::Full => ack.acked,
            Growth::Conservative => ack.acked / hystart::CONSERVATIVE,
            Growth::Over => {
                windows.ssthresh = windows.cwnd;
                return;
            }
        };
        windows.cwnd += more.min(windows.ssthresh - windows.cwnd);
    }

    /// Loss was detected and recovery begins: ssthresh is set. Proportional rate reduction leads cwnd there.
    pub fn on_congestion(&mut self, now: Time, in_flight: u64, delivered: u64) {
        if let Control::Bbr(bbr) = &mut self.control {
            bbr.on_recovery(now, in_flight, delivered);
            return;
        }
        self.saved = Some(Box::new(Saved {
            windows: self.windows,
            control: self.control.clone(),
        }));
        self.reduce(in_flight);
    }

    fn reduce(&mut self, in_flight: u64) {
        // What was lately in use counts, although little is in flight just now (RFC 7661 section 4.4.1).
        let in_use = in_flight.max(self.validation.pipe_ack());
        match &mut self.control {
            Control::NewReno(newreno) => newreno.on_congestion(&mut self.windows, in_use),
            Control::Cubic(cubic) => cubic.on_congestion(&mut self.windows, in_use),
            Control::Bbr(_) => {}
        }
    }

    /// A router has marked what it would have dropped (RFC 3168 section 6.1.2): as for a loss, with nothing to repair.
    /// BBR hears of it with the acknowledgement.
    pub fn on_marked(&mut self, in_flight: u64) {
        self.saved = None;
        self.reduce(in_flight);
        self.windows.cwnd = self.windows.cwnd.min(self.windows.ssthresh);
    }

    /// Proportional rate reduction sets the window during recovery.
    pub fn set_cwnd(&mut self, cwnd: u64) {
        self.windows.cwnd = cwnd;
    }

    /// Recovery is over (RFC 9937 section 6.2).
    pub fn on_recovered(&mut self, now: Time) {
        match &mut self.control {
            Control::Bbr(bbr) => bbr.on_recovered(now),
            // None was set if recovery began under another algorithm, or under the window that siblings share.
            _ if self.windows.ssthresh == u64::MAX => {}
            _ => self.windows.cwnd = self.windows.ssthresh,
        }
    }

    /// The retransmission timer fired; `first` if it is not a repetition for the same segment (RFC 5681 section 3.1).
    pub fn on_timeout(&mut self, now: Time, in_flight: u64, first: bool, delivered: u64) {
        if let Control::Bbr(bbr) = &mut self.control {
            bbr.on_timeout(now, in_flight);
            return;
        }
        if first {
            self.on_congestion(now, in_flight, delivered);
        }
        if let Control::Cubic(cubic) = &mut self.control {
            cubic.on_timeout();
        }
        self.windows.cwnd = self.windows.mss;
    }

    /// The last reduction was for nothing: the window is as if it had not been.
    pub fn on_spurious(&mut self) {
        if let Control::Bbr(bbr) = &mut self.control {
            bbr.on_spurious();
        }
        if let Some(saved) = self.saved.take() {
            self.windows = Windows {
                cwnd: saved.windows.cwnd.max(self.windows.cwnd),
                ssthresh: saved.windows.ssthresh,
                mss: self.windows.mss,
            };
            self.control = saved.control;
        }
    }

    /// The last reduction stands: what it was before is forgotten.
    pub fn on_confirmed(&mut self) {
        self.saved = None;
    }

    /// Something is sent after nothing was in flight. A window unused for long is given up in part (RFC 7661 section
    /// 4.4.3); what is kept leaves paced.
    pub fn on_restart(&mut self, now: Time, last_sent: Time) {
        if let Control::Cubic(cubic) = &mut self.control {
            cubic.application_limited(last_sent);
        }
        if self.validation.has_expired(now, last_sent) {
            let windows = &mut self.windows;
            let initial = INITIAL_WINDOW * windows.mss;
            if windows.cwnd > initial {
                windows.ssthresh = windows.ssthresh.max(windows.cwnd / 4 * 3);
                windows.cwnd = (windows.cwnd / 2).max(initial);
            }
        }
    }
}

impl Control {
    fn new(algorithm: Algorithm, windows: &Windows, srtt: Micros, seed: u32) -> Control {
        match algorithm {
            Algorithm::NewReno => Control::NewReno(NewReno::default()),
            Algorithm::Cubic => Control::Cubic(Cubic::default()),
            Algorithm::Bbr => {
                Control::Bbr(Box::new(Bbr::new(windows.mss, windows.cwnd, seed, srtt)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u16 = 1_000;

    fn ack(now: u64, acked: u64) -> Ack {
        Ack {
            now: Time(now),
            acked,
            lost: 0,
            in_flight: 0,
            prior_in_flight: 0,
            delivered: 0,
            rtt: None,
            srtt: 100_000,
            min_rtt: 100_000,
            window_limited: true,
            in_recovery: false,
            round: false,
            ce: 0,
            rate: None,
        }
    }

    /// A round trip in which the whole window is acknowledged, segment by segment.
    fn round(control: &mut Congestion, now: &mut u64) {
        let segments = control.cwnd() / u64::from(MSS);
        for _ in 0..segments {
            *now += 100_000 / segments;
            control.on_ack(&ack(*now, u64::from(MSS)));
        }
    }

    #[test]
    fn slow_start_doubles_and_stops_at_the_threshold() {
        let mut control = Congestion::new(Algorithm::NewReno, MSS, 0, 1);
        let mut now = 0;
        round(&mut control, &mut now);
        assert_eq!(control.cwnd(), 20_000);
        control.on_congestion(Time(1), 20_000, 0);
        control.on_recovered(Time(2));
        assert_eq!(control.cwnd(), 10_000);
        round(&mut control, &mut now);
        assert_eq!(control.cwnd(), 11_000);
    }

    #[test]
    fn a_window_that_is_not_used_does_not_grow() {
        for algorithm in [Algorithm::NewReno, Algorithm::Cubic] {
            let mut control = Congestion::new(algorithm, MSS, 0, 1);
            control.on_ack(&Ack {
                window_limited: false,
                ..ack(1, 5_000)
            });
            assert_eq!(control.cwnd(), 10_000);
        }
    }

    #[test]
    fn cubic_returns_to_its_old_window_and_beyond() {
        let mut control = Congestion::new(Algorithm::Cubic, MSS, 0, 1);
        let mut now = 0;
        while control.cwnd() < 200_000 {
            round(&mut control, &mut now);
        }
        let before = control.cwnd();
        control.on_congestion(Time(1), before, 0);
        control.on_recovered(Time(2));
        assert_eq!(control.cwnd(), before * 7 / 10);
        // K = cbrt(W_max * 0.3 / 0.4) seconds for W_max segments (RFC 9438 equation 2).
        let k = ((before / 1_000) as f64 * 0.75).cbrt();
        let start = now;
        while now < start + (k * 1e6) as u64 {
            round(&mut control, &mut now);
        }
        let ratio = control.cwnd() as f64 / before as f64;
        assert!((0.93..1.05).contains(&ratio), "{ratio}");
        for _ in 0..40 {
            round(&mut control, &mut now);
        }
        assert!(control.cwnd() > before);
    }

    #[test]
    fn a_timeout_leaves_one_segment_and_reduces_the_threshold_once() {
        let mut control = Congestion::new(Algorithm::Cubic, MSS, 0, 1);
        control.on_timeout(Time(1), 10_000, true, 0);
        let ssthresh = control.ssthresh();
        assert_eq!((control.cwnd(), ssthresh), (1_000, 7_000));
        control.on_timeout(Time(1), 1_000, false, 0);
        assert_eq!(control.ssthresh(), ssthresh);
    }

    #[test]
    fn a_reduction_for_nothing_is_taken_back() {
        for algorithm in [Algorithm::NewReno, Algorithm::Cubic] {
            let mut control = Congestion::new(algorithm, MSS, 0, 1);
            control.set_cwnd(50_000);
            control.on_congestion(Time(1), 50_000, 0);
            control.set_cwnd(20_000);
            control.on_spurious();
            assert_eq!((control.cwnd(), control.ssthresh()), (50_000, u64::MAX));
            control.on_congestion(Time(1), 50_000, 0);
            control.on_recovered(Time(2));
            control.on_confirmed();
            let reduced = control.cwnd();
            control.on_spurious();
            assert_eq!(control.cwnd(), reduced);
        }
    }

    #[test]
    fn what_was_lately_in_use_counts_at_a_loss() {
        let mut control = Congestion::new(Algorithm::NewReno, MSS, 0, 1);
        control.set_cwnd(50_000);
        control.on_ack(&Ack {
            window_limited: false,
            round: true,
            ..ack(1, 30_000)
        });
        control.on_congestion(Time(2), 1_000, 0);
        assert_eq!(control.ssthresh(), 15_000);
    }

    #[test]
    fn a_window_unused_for_five_minutes_is_given_up_in_part() {
        let mut control = Congestion::new(Algorithm::NewReno, MSS, 0, 1);
        control.set_cwnd(100_000);
        control.on_restart(Time(100 * SECOND), Time(0));
        assert_eq!(control.cwnd(), 100_000);
        control.on_restart(Time(300 * SECOND), Time(0));
        assert_eq!(control.cwnd(), 50_000);
    }

    #[test]
    fn pacing_stays_ahead_of_the_window() {
        let mut control = Congestion::new(Algorithm::Cubic, MSS, 0, 1);
        assert_eq!(control.pacing_rate(0), None);
        assert_eq!(control.pacing_rate(100_000), Some(200_000));
        control.on_congestion(Time(1), 10_000, 0);
        control.on_recovered(Time(2));
        assert_eq!(control.pacing_rate(100_000), Some(84_000));
    }
}
