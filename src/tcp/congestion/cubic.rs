//! CUBIC (RFC 9438). Windows are kept in segments as `f64`, as the RFC writes them.

use super::{Ack, Windows};
use crate::time::{SECOND, Time};

/// The constant C in segments per second cubed (section 5.1).
const C: f64 = 0.4;
/// Multiplicative decrease, beta_cubic, as a fraction (section 4.6).
const BETA: (u64, u64) = (7, 10);
/// alpha_cubic: growth of the Reno-friendly estimate (section 4.3).
const ALPHA: f64 = 3.0 * 0.3 / 1.7;

/// CUBIC's own state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cubic {
    /// The window before the last reduction, in segments, less if it shrinks from one to the next (W_max).
    w_max: f64,
    /// The same without that correction (cwnd_prior).
    prior: f64,
    /// Seconds from the start of the epoch to W_max (K).
    k: f64,
    /// When this epoch of congestion avoidance began; `None` before its first acknowledgement.
    epoch: Option<Time>,
    /// What Reno's window would be, in segments (W_est).
    w_est: f64,
    /// Since when the application, not the window, has been the limit.
    limited: Option<Time>,
    /// Octets of growth not yet applied.
    credit: f64,
}

impl Cubic {
    /// Congestion avoidance (sections 4.2 to 4.5).
    pub fn on_ack(&mut self, windows: &mut Windows, ack: &Ack) {
        let mss = windows.mss as f64;
        let cwnd = windows.cwnd as f64 / mss;
        if let Some(since) = self.limited.take()
            && let Some(epoch) = &mut self.epoch
        {
            // Time in which the window was not used does not let it grow (section 5.8).
            *epoch = *epoch + ack.now.since(since);
        }
        let epoch = *self.epoch.get_or_insert_with(|| {
            self.w_est = cwnd;
            if self.w_max <= cwnd {
                self.w_max = cwnd;
                self.k = 0.0;
            } else {
                self.k = ((self.w_max - cwnd) / C).cbrt();
            }
            ack.now
        });
        let t = ack.now.since(epoch) as f64 / SECOND as f64;
        let rtt = ack.srtt as f64 / SECOND as f64;
        let w_cubic = |t: f64| C * (t - self.k).powi(3) + self.w_max;

        let acked = ack.acked as f64 / mss;
        let alpha = if self.w_est >= self.prior { 1.0 } else { ALPHA };
        self.w_est += alpha * acked / cwnd;

        if w_cubic(t) < self.w_est {
            windows.cwnd = windows.cwnd.max((self.w_est * mss) as u64);
            return;
        }
        let target = w_cubic(t + rtt).clamp(cwnd, 1.5 * cwnd);
        self.credit += (target - cwnd) / cwnd * ack.acked as f64;
        if self.credit >= 1.0 {
            windows.cwnd += self.credit as u64;
            self.credit = self.credit.fract();
        }
    }

    /// Multiplicative decrease with fast convergence (sections 4.6 and 4.7).
    pub fn on_congestion(&mut self, windows: &mut Windows, in_flight: u64) {
        let cwnd = windows.cwnd as f64 / windows.mss as f64;
        self.w_max = if cwnd < self.w_max {
            cwnd * (1.0 + BETA.0 as f64 / BETA.1 as f64) / 2.0
        } else {
            cwnd
        };
        self.prior = cwnd;
        windows.reduce(in_flight, BETA.0, BETA.1);
        self.epoch = None;
        self.limited = None;
        self.credit = 0.0;
    }

    /// After a timeout the next epoch begins at its own window, with K = 0 (section 4.8).
    pub fn on_timeout(&mut self) {
        self.w_max = 0.0;
    }

    /// The window is not what limits sending.
    pub fn application_limited(&mut self, now: Time) {
        self.limited.get_or_insert(now);
    }
}
