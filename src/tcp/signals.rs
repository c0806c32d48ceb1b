//! What a circuit tells the window that it shares with its siblings (`connection/path`).

use super::recovery::rate::Departure;
use super::recovery::scoreboard::Delivery;
use crate::time::Micros;

/// What has happened to a circuit since this was last asked.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    /// Octets delivered.
    pub acked: u64,
    /// How the most recently sent of them had departed.
    pub newest: Option<Departure>,
    /// A round-trip time.
    pub rtt: Option<Micros>,
    /// Octets of each segment found lost, with how it had departed.
    pub losses: Vec<(u64, Departure)>,
    /// The retransmission timer fired.
    pub timed_out: bool,
    /// A tail loss probe has repaired a loss that was not found otherwise.
    pub repaired: bool,
    /// What was held to be lost was not.
    pub spurious: bool,
    /// Octets reported as marked by congested routers.
    pub ce: u64,
}

impl Signals {
    /// Takes in an acknowledgement.
    pub fn on_ack(&mut self, delivery: &Delivery, rtt: Option<Micros>, ce: u64) {
        self.acked += delivery.delivered;
        self.ce += ce;
        if let Some(newest) = &delivery.newest
            && self.newest.is_none_or(|n| n.at <= newest.departure.at)
        {
            self.newest = Some(newest.departure);
        }
        self.rtt = rtt.or(self.rtt);
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.acked == 0
            && self.losses.is_empty()
            && !self.timed_out
            && !self.repaired
            && !self.spurious
            && self.ce == 0
    }
}
