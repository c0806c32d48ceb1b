//! Delivery-rate samples (draft-ietf-ccwg-bbr, "Delivery Rate Samples").

use crate::time::Micros;

/// What a delivery-rate sample says.
#[derive(Clone, Copy, Debug, Default)]
pub struct RateSample {
    /// Octets delivered over the interval (RS.delivered).
    pub delivered: u64,
    /// The longer of the send and the acknowledgement interval, not zero.
    pub interval: Micros,
    /// C.delivered when the packet was sent (P.delivered).
    pub prior_delivered: u64,
    /// Whether the application held the sender back (RS.is_app_limited).
    pub app_limited: bool,
    /// Octets in flight just after the newest acknowledged packet was sent.
    pub tx_in_flight: u64,
    /// Octets lost between that packet's sending and now (RS.lost).
    pub lost: u64,
}
