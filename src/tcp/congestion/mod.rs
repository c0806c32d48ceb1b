//! Congestion control behind an enum, so that a circuit can switch while it runs and no call is indirect.

pub mod bbr;
mod cubic;
mod newreno;

use crate::error::Error;
use crate::tcp::recovery::rate::RateSample;
use crate::time::{Micros, Time};

use cubic::Cubic;
use newreno::NewReno;

/// Which congestion control a circuit uses. The numbers are part of the C ABI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Algorithm {
    /// RFC 5681.
    NewReno = 1,
    /// RFC 9438.
    #[default]
    Cubic = 2,
}

impl TryFrom<u64> for Algorithm {
    type Error = Error;

    fn try_from(number: u64) -> Result<Algorithm, Error> {
        match number {
            1 => Ok(Algorithm::NewReno),
            2 => Ok(Algorithm::Cubic),
            _ => Err(Error::Range),
        }
    }
}

/// Segments in the initial window (RFC 6928).
pub const INITIAL_WINDOW: u64 = 10;

/// Segments below which no window is ever reduced by loss (RFC 5681 equation 4).
const MIN_WINDOW: u64 = 2;

/// The windows that all algorithms share, in octets.
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

    /// Multiplicative decrease by `numerator/denominator` of what is in flight at a congestion event.
    fn reduce(&mut self, in_flight: u64, numerator: u64, denominator: u64) {
        let base = self.cwnd.min(in_flight.max(self.mss));
        self.ssthresh = (base * numerator / denominator).max(MIN_WINDOW * self.mss);
    }
}

/// What an acknowledgement tells congestion control.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ack {
    /// When it arrived.
    pub now: Time,
    /// Octets newly acknowledged, cumulatively or selectively.
    pub acked: u64,
    /// Octets newly marked lost while this acknowledgement was processed.
    pub lost: u64,
    /// Octets in flight after it.
    pub in_flight: u64,
    /// Octets in flight before it.
    pub prior_in_flight: u64,
    /// All octets delivered so far (C.delivered).
    pub delivered: u64,
    /// The round-trip time sample that it gave.
    pub rtt: Option<Micros>,
    /// Smoothed round-trip time.
    pub srtt: Micros,
    /// The least round-trip time known.
    pub min_rtt: Micros,
    /// Whether the window was what held the sender back.
    pub window_limited: bool,
    /// Whether loss recovery is under way.
    pub in_recovery: bool,
    /// Octets newly reported as CE-marked.
    pub ce: u64,
    /// The delivery-rate sample that it gave.
    pub rate: Option<RateSample>,
}

/// A packet found lost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Loss {
    /// Its octets.
    pub len: u64,
    /// Octets in flight just after it was sent.
    pub tx_in_flight: u64,
    /// Octets lost since it was sent, itself included.
    pub lost_since_sent: u64,
    /// All octets delivered when it was sent.
    pub delivered_at_send: u64,
    /// Whether the application held the sender back then.
    pub app_limited: bool,
}

#[derive(Clone, Debug)]
enum Control {
    NewReno(NewReno),
    Cubic(Cubic),
}

/// The congestion control of one circuit.
#[derive(Clone, Debug)]
pub struct Congestion {
    windows: Windows,
    control: Control,
}

impl Congestion {
    /// In slow start with the initial window.
    pub fn new(algorithm: Algorithm, mss: u16) -> Congestion {
        let mss = u64::from(mss);
        Congestion {
            windows: Windows {
                cwnd: INITIAL_WINDOW * mss,
                ssthresh: u64::MAX,
                mss,
            },
            control: Control::new(algorithm),
        }
    }

    /// Changes the algorithm; the windows stay.
    pub fn switch(&mut self, algorithm: Algorithm) {
        if self.algorithm() != algorithm {
            self.control = Control::new(algorithm);
        }
    }

    /// The algorithm in use.
    pub fn algorithm(&self) -> Algorithm {
        match self.control {
            Control::NewReno(_) => Algorithm::NewReno,
            Control::Cubic(_) => Algorithm::Cubic,
        }
    }

    /// The segment size is known now: before anything was sent, the initial window follows.
    pub fn set_mss(&mut self, mss: u16, untouched: bool) {
        self.windows.mss = u64::from(mss);
        if untouched {
            self.windows.cwnd = INITIAL_WINDOW * self.windows.mss;
        }
    }

    /// The congestion window in octets.
    pub fn cwnd(&self) -> u64 {
        self.windows.cwnd
    }

    /// The slow start threshold in octets; `u64::MAX` before any loss.
    pub fn ssthresh(&self) -> u64 {
        self.windows.ssthresh
    }

    /// New data was acknowledged outside of recovery.
    pub fn on_ack(&mut self, ack: Ack) {
        if !ack.window_limited {
            if let Control::Cubic(cubic) = &mut self.control {
                cubic.application_limited(ack.now);
            }
            return;
        }
        if self.windows.in_slow_start() {
            // RFC 3465 with L unlimited: every octet acknowledged lets one more out.
            self.windows.cwnd += ack.acked.min(
                self.windows
                    .ssthresh
                    .saturating_sub(self.windows.cwnd)
                    .max(self.windows.mss),
            );
            return;
        }
        match &mut self.control {
            Control::NewReno(newreno) => newreno.on_ack(&mut self.windows, ack.acked),
            Control::Cubic(cubic) => cubic.on_ack(&mut self.windows, ack),
        }
    }

    /// Loss was detected and recovery begins: ssthresh is set. PRR leads cwnd there.
    pub fn on_congestion(&mut self, in_flight: u64) {
        match &mut self.control {
            Control::NewReno(newreno) => newreno.on_congestion(&mut self.windows, in_flight),
            Control::Cubic(cubic) => cubic.on_congestion(&mut self.windows, in_flight),
        }
    }

    /// PRR sets the window during recovery.
    pub fn set_cwnd(&mut self, cwnd: u64) {
        self.windows.cwnd = cwnd;
    }

    /// Recovery is over (RFC 6675 section 5).
    pub fn on_recovered(&mut self) {
        self.windows.cwnd = self.windows.ssthresh;
    }

    /// The retransmission timer fired; `first` if it is not a repetition for the same segment (RFC 5681 section 3.1).
    pub fn on_timeout(&mut self, in_flight: u64, first: bool) {
        if first {
            self.on_congestion(in_flight);
        }
        self.windows.cwnd = self.windows.mss;
    }

    /// Nothing was sent for longer than an RTO: the window is no longer proven (RFC 5681 section 4.1).
    pub fn on_idle(&mut self) {
        self.windows.cwnd = self.windows.cwnd.min(INITIAL_WINDOW * self.windows.mss);
        if let Control::Cubic(cubic) = &mut self.control {
            cubic.restart();
        }
    }
}

impl Control {
    fn new(algorithm: Algorithm) -> Control {
        match algorithm {
            Algorithm::NewReno => Control::NewReno(NewReno::default()),
            Algorithm::Cubic => Control::Cubic(Cubic::default()),
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
            srtt: 100_000,
            window_limited: true,
            ..Ack::default()
        }
    }

    /// A round trip in which the whole window is acknowledged, segment by segment.
    fn round(control: &mut Congestion, now: &mut u64) {
        let segments = control.cwnd() / u64::from(MSS);
        for _ in 0..segments {
            *now += 100_000 / segments;
            control.on_ack(ack(*now, u64::from(MSS)));
        }
    }

    #[test]
    fn slow_start_doubles_and_stops_at_the_threshold() {
        let mut control = Congestion::new(Algorithm::NewReno, MSS);
        let mut now = 0;
        round(&mut control, &mut now);
        assert_eq!(control.cwnd(), 20_000);
        control.on_congestion(20_000);
        control.on_recovered();
        assert_eq!(control.cwnd(), 10_000);
        round(&mut control, &mut now);
        assert_eq!(control.cwnd(), 11_000);
    }

    #[test]
    fn a_window_that_is_not_used_does_not_grow() {
        for algorithm in [Algorithm::NewReno, Algorithm::Cubic] {
            let mut control = Congestion::new(algorithm, MSS);
            control.on_ack(Ack {
                window_limited: false,
                ..ack(1, 5_000)
            });
            assert_eq!(control.cwnd(), 10_000);
        }
    }

    #[test]
    fn cubic_returns_to_its_old_window_and_beyond() {
        let mut control = Congestion::new(Algorithm::Cubic, MSS);
        let mut now = 0;
        while control.cwnd() < 200_000 {
            round(&mut control, &mut now);
        }
        let before = control.cwnd();
        control.on_congestion(before);
        control.on_recovered();
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
        let mut control = Congestion::new(Algorithm::Cubic, MSS);
        control.on_timeout(10_000, true);
        let ssthresh = control.ssthresh();
        assert_eq!((control.cwnd(), ssthresh), (1_000, 7_000));
        control.on_timeout(1_000, false);
        assert_eq!(control.ssthresh(), ssthresh);
    }
}
