//! Additive increase, multiplicative decrease (RFC 5681), counting octets (RFC 3465).

use super::Windows;

/// NewReno's own state.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewReno {
    /// Octets acknowledged since the window last grew.
    acked: u64,
}

impl NewReno {
    /// Congestion avoidance: a segment more for each window acknowledged.
    pub fn on_ack(&mut self, windows: &mut Windows, acked: u64) {
        self.acked += acked;
        if self.acked >= windows.cwnd {
            self.acked -= windows.cwnd;
            windows.cwnd += windows.mss;
        }
    }

    /// Half of what is in flight (RFC 5681 equation 4).
    pub fn on_congestion(&mut self, windows: &mut Windows, in_flight: u64) {
        self.acked = 0;
        windows.reduce(in_flight, 1, 2);
    }
}
