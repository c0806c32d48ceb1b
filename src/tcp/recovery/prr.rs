//! Proportional rate reduction (RFC 9937): how much to send for each acknowledgement during recovery.

/// State of one recovery.
#[derive(Clone, Copy, Debug)]
pub struct Prr {
    /// Octets delivered since recovery began (prr_delivered).
    delivered: u64,
    /// Octets sent since recovery began (prr_out).
    out: u64,
    /// In flight when it began (RecoverFS).
    recover_fs: u64,
}

impl Prr {
    /// Recovery begins with `in_flight` octets outstanding.
    pub fn new(in_flight: u64) -> Prr {
        Prr {
            delivered: 0,
            out: 0,
            recover_fs: in_flight.max(1),
        }
    }

    /// The congestion window after an acknowledgement that delivered `delivered` octets and left `in_flight`
    /// outstanding. `safe`: SND.UNA advanced and no further loss was found (SafeACK).
    pub fn on_ack(
        &mut self,
        delivered: u64,
        in_flight: u64,
        ssthresh: u64,
        mss: u64,
        safe: bool,
    ) -> u64 {
        self.delivered += delivered;
        let send = if in_flight > ssthresh {
            (u128::from(self.delivered) * u128::from(ssthresh))
                .div_ceil(u128::from(self.recover_fs)) as u64
        } else {
            let mut limit = self.delivered.saturating_sub(self.out).max(delivered);
            if safe {
                limit += mss;
            }
            self.out + limit.min(ssthresh - in_flight)
        }
        .saturating_sub(self.out);
        // The first retransmission is sent at once (fast retransmit).
        let send = if self.out == 0 { send.max(mss) } else { send };
        in_flight + send
    }

    /// Octets were sent.
    pub fn on_sent(&mut self, octets: u64) {
        self.out += octets;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sends_half_of_what_is_delivered_while_above_the_threshold() {
        let (mss, ssthresh) = (1_000, 10_000);
        let mut flight: u64 = 19_000;
        let mut prr = Prr::new(20_000);
        let mut sent = 0;
        while flight > ssthresh {
            let cwnd = prr.on_ack(mss, flight, ssthresh, mss, false);
            let send = (cwnd - flight) / mss * mss;
            prr.on_sent(send);
            sent += send;
            flight = flight + send - mss;
        }
        assert!((8_000..=10_000).contains(&sent), "{sent}");
    }

    #[test]
    fn never_exceeds_the_threshold_by_more_than_the_first_retransmission() {
        let mut prr = Prr::new(20_000);
        let cwnd = prr.on_ack(1_000, 2_000, 10_000, 1_000, true);
        assert!((3_000..=10_000).contains(&cwnd));
    }
}
