//! Counters. Each reason to drop something has one of its own.

use crate::time::Micros;

/// What an endpoint has seen and holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the C header documents each, see ffi/stats.rs
pub struct EndpointStats {
    pub connections: u64,
    pub half_open: u64,
    pub circuits: u64,
    pub memory: u64,
    pub datagrams_sent: u64,
    pub datagrams_received: u64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub output_queue: u64,
    pub handshakes_started: u64,
    pub handshakes_completed: u64,
    pub handshakes_failed: u64,
    pub cookies_sent: u64,
    pub dropped_not_dtls: u64,
    pub dropped_unknown_peer: u64,
    pub dropped_bad_cookie: u64,
    pub dropped_refusing: u64,
    pub dropped_limit: u64,
    pub dropped_output_full: u64,
    pub dropped_address: u64,
    pub memory_budget: u64,
    pub memory_peak: u64,
    pub writes_refused: u64,
    pub windows_held: u64,
    pub bytes_reneged: u64,
    pub dropped_out_of_order: u64,
    pub dropped_in_order: u64,
}

/// What a connection has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the C header documents each, see ffi/stats.rs
pub struct ConnectionStats {
    pub datagrams_sent: u64,
    pub datagrams_received: u64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub payload_sent: u64,
    pub payload_received: u64,
    pub segments_sent: u64,
    pub segments_received: u64,
    pub segments_retransmitted: u64,
    pub circuits_opened: u64,
    pub circuits_accepted: u64,
    pub circuits_reset: u64,
    pub dropped_record: u64,
    pub dropped_plaintext_alert: u64,
    pub dropped_version: u64,
    pub dropped_malformed: u64,
    pub dropped_unknown_circuit: u64,
    pub dropped_out_of_window: u64,
    pub dropped_limit: u64,
    pub dropped_memory: u64,
    pub dropped_peer_handshake: u64,
    pub path_probes_sent: u64,
    pub path_black_holes: u64,
    pub dropped_path_probe: u64,
}

/// A connection's present state, with its counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// Counters.
    pub stats: ConnectionStats,
    /// Circuits open now, control included.
    pub circuits: u32,
    /// The largest UDP payload sent, as the path's MTU allows.
    pub datagram_size: u32,
    /// The congestion window that coupled circuits share, in octets; zero as long as none was coupled.
    pub coupled_cwnd: u64,
    /// What of it is in the network.
    pub coupled_in_flight: u64,
    /// Its congestion control, zero as long as none was coupled.
    pub coupled_congestion: u32,
    /// Smoothed round-trip time over all circuits, zero before the first sample.
    pub srtt: Micros,
    /// The smallest round-trip time seen, zero before the first sample.
    pub min_rtt: Micros,
    /// Octets held in its queues, in whole blocks.
    pub memory: u64,
}

/// A circuit's TCP from the inside, as Linux's `tcp_info`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the C header documents each, see ffi/stats.rs
pub struct CircuitInfo {
    pub number: u32,
    pub wire_id: u32,
    pub state: u32,
    pub congestion: u32,
    pub mss: u32,
    pub cwnd: u64,
    pub ssthresh: u64,
    pub bytes_in_flight: u64,
    pub send_window: u64,
    pub receive_window: u64,
    pub srtt: Micros,
    pub rttvar: Micros,
    pub min_rtt: Micros,
    pub rto: Micros,
    pub send_queue: u64,
    pub unsent: u64,
    pub receive_queue: u64,
    pub out_of_order: u64,
    pub bytes_sent: u64,
    pub bytes_acked: u64,
    pub bytes_received: u64,
    pub bytes_retransmitted: u64,
    pub segments_sent: u64,
    pub segments_received: u64,
    pub segments_retransmitted: u64,
    pub timeouts: u64,
    pub fast_recoveries: u64,
    pub duplicate_segments: u64,
    pub rejected_segments: u64,
    pub delivery_rate: u64,
    pub pacing_rate: u64,
    pub tail_loss_probes: u64,
    pub spurious_recoveries: u64,
    pub ecn: bool,
    pub ce_reported: u64,
    pub ce_received: u64,
    pub coupled: bool,
}
