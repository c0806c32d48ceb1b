//! Statistics of endpoints, connections and circuits.

use std::ffi::c_int;
use std::mem::offset_of;

use super::error::code;
use super::handle::{CircuitSlot, ConnectionSlot};
use super::shared::Shared;
use super::size::{self, Versioned};
use super::{circuit, connection, endpoint, utcp_circuit, utcp_connection, utcp_endpoint};
use crate::endpoint::ConnectionState;
use crate::error::Error;
use crate::stats::{CircuitInfo, ConnectionInfo, EndpointStats};
use crate::tcp::State;

/// TCP state (RFC 9293) SYN-SENT: the request to open was sent.
pub const UTCP_TCP_SYN_SENT: u32 = 1;
/// TCP state (RFC 9293) SYN-RECEIVED: both sides have asked to open, or the answer to the peer's request was sent.
pub const UTCP_TCP_SYN_RECEIVED: u32 = 2;
/// TCP state (RFC 9293) ESTABLISHED: open.
pub const UTCP_TCP_ESTABLISHED: u32 = 3;
/// TCP state (RFC 9293) FIN-WAIT-1: this side has finished.
pub const UTCP_TCP_FIN_WAIT_1: u32 = 4;
/// TCP state (RFC 9293) FIN-WAIT-2: this side has finished, and the peer knows.
pub const UTCP_TCP_FIN_WAIT_2: u32 = 5;
/// TCP state (RFC 9293) CLOSE-WAIT: the peer has finished.
pub const UTCP_TCP_CLOSE_WAIT: u32 = 6;
/// TCP state (RFC 9293) CLOSING: both have finished at the same time.
pub const UTCP_TCP_CLOSING: u32 = 7;
/// TCP state (RFC 9293) LAST-ACK: both have finished, the peer first.
pub const UTCP_TCP_LAST_ACK: u32 = 8;
/// TCP state (RFC 9293) TIME-WAIT: ended; late segments are waited for.
pub const UTCP_TCP_TIME_WAIT: u32 = 9;
/// TCP state (RFC 9293) CLOSED: ended.
pub const UTCP_TCP_CLOSED: u32 = 10;

/// The DTLS handshake, or its verification, is under way.
pub const UTCP_CONNECTION_HANDSHAKING: u32 = 1;
/// Circuits can be opened.
pub const UTCP_CONNECTION_READY: u32 = 2;
/// Ended.
pub const UTCP_CONNECTION_CLOSED: u32 = 3;

const _: () = {
    assert!(UTCP_CONNECTION_HANDSHAKING == ConnectionState::Handshaking as u32);
    assert!(UTCP_CONNECTION_READY == ConnectionState::Ready as u32);
    assert!(UTCP_CONNECTION_CLOSED == ConnectionState::Closed as u32);
    assert!(UTCP_TCP_SYN_SENT == State::SynSent as u32);
    assert!(UTCP_TCP_SYN_RECEIVED == State::SynReceived as u32);
    assert!(UTCP_TCP_ESTABLISHED == State::Established as u32);
    assert!(UTCP_TCP_FIN_WAIT_1 == State::FinWait1 as u32);
    assert!(UTCP_TCP_FIN_WAIT_2 == State::FinWait2 as u32);
    assert!(UTCP_TCP_CLOSE_WAIT == State::CloseWait as u32);
    assert!(UTCP_TCP_CLOSING == State::Closing as u32);
    assert!(UTCP_TCP_LAST_ACK == State::LastAck as u32);
    assert!(UTCP_TCP_TIME_WAIT == State::TimeWait as u32);
    assert!(UTCP_TCP_CLOSED == State::Closed as u32);
};

/// A circuit's TCP from the inside, as Linux's struct tcp_info.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct utcp_circuit_info {
    /// sizeof(utcp_circuit_info), set by the caller before the call.
    pub size: usize,
    /// The relay's number of the circuit; 0 is the control circuit.
    pub number: u32,
    /// The number under which the circuit travels, as a capture shows it.
    pub wire_id: u32,
    /// UTCP_TCP_*.
    pub state: u32,
    /// UTCP_CONGESTION_*.
    pub congestion: u32,
    /// Largest payload of a segment, bytes.
    pub mss: u32,
    /// 0.
    pub reserved: u32,
    /// Congestion window, bytes. Its own, also while the circuit shares another (utcp_connection_stats.coupled_cwnd).
    pub cwnd: u64,
    /// Slow start threshold, bytes; UINT64_MAX before the first loss.
    pub ssthresh: u64,
    /// Bytes sent and neither acknowledged nor found lost.
    pub bytes_in_flight: u64,
    /// The peer's receive window, bytes.
    pub send_window: u64,
    /// The window that the peer was told, bytes.
    pub receive_window: u64,
    /// Smoothed round-trip time, microseconds; 0: no sample yet.
    pub srtt: u64,
    /// Its variation, microseconds.
    pub rttvar: u64,
    /// Smallest round-trip time seen, microseconds; 0: no sample yet.
    pub min_rtt: u64,
    /// Retransmission timeout, microseconds.
    pub rto: u64,
    /// Bytes written and not yet acknowledged.
    pub send_queue: u64,
    /// Bytes of these that were not sent yet.
    pub unsent: u64,
    /// Bytes received in order and not read yet.
    pub receive_queue: u64,
    /// Bytes received out of order and held.
    pub out_of_order: u64,
    /// Payload bytes sent, each once.
    pub bytes_sent: u64,
    /// Payload bytes acknowledged by the peer.
    pub bytes_acked: u64,
    /// Payload bytes received in order, each once.
    pub bytes_received: u64,
    /// Payload bytes sent again.
    pub bytes_retransmitted: u64,
    /// Segments sent, with retransmissions and pure acknowledgements.
    pub segments_sent: u64,
    /// Segments received.
    pub segments_received: u64,
    /// Segments sent again.
    pub segments_retransmitted: u64,
    /// Retransmission timeouts.
    pub timeouts: u64,
    /// Times that loss was found without a timeout.
    pub fast_recoveries: u64,
    /// Segments received that brought only what was there already.
    pub duplicate_segments: u64,
    /// Segments dropped: out of the window, or acknowledging what was never sent.
    pub rejected_segments: u64,
    /// Bytes per second that reached the peer, latest estimate; 0: none yet.
    pub delivery_rate: u64,
    /// Bytes per second at which it may send at most, of congestion control and utcp_circuit_set_rate() the lesser; 0:
    /// no limit but the windows.
    pub pacing_rate: u64,
    /// Times that the last segments were sent again because nothing was heard of them, ahead of a timeout.
    pub tail_loss_probes: u64,
    /// Times that what was held to be lost turned out not to be, and the slowing down was taken back.
    pub spurious_recoveries: u64,
    /// 1 if explicit congestion notification is in use (UTCP_OPTION_ECN), 0 if not.
    pub ecn: u64,
    /// Segments that the peer has reported as marked by a congested router.
    pub ce_reported: u64,
    /// Segments received with such a mark, and reported to the peer; modulo 2^32.
    pub ce_received: u64,
    /// 1 if the circuit shares a congestion window, 0 if it has its own.
    pub coupled: u64,
}

// SAFETY: repr(C), Copy, the size comes first, all else is integers.
unsafe impl Versioned for utcp_circuit_info {
    const FIRST: usize = offset_of!(utcp_circuit_info, delivery_rate) + size_of::<u64>();
    const UNIT: usize = 4;
}

/// State and counters of a connection.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct utcp_connection_stats {
    /// sizeof(utcp_connection_stats), set by the caller before the call.
    pub size: usize,
    /// UTCP_ROLE_*.
    pub role: u32,
    /// UTCP_CONNECTION_*.
    pub state: u32,
    /// Circuits open now, the control circuit included.
    pub circuits: u32,
    /// Largest UDP payload sent, bytes: what the path is known, or expected, to carry.
    pub datagram_size: u32,
    /// Smoothed round-trip time over all circuits, microseconds; 0: no sample yet.
    pub srtt: u64,
    /// Smallest round-trip time seen, microseconds; 0: no sample yet.
    pub min_rtt: u64,
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Datagrams received.
    pub datagrams_received: u64,
    /// UDP payload sent, bytes.
    pub bytes_sent: u64,
    /// UDP payload received, bytes.
    pub bytes_received: u64,
    /// Bytes of circuits sent, each once.
    pub payload_sent: u64,
    /// Bytes of circuits received in order, each once.
    pub payload_received: u64,
    /// TCP segments sent.
    pub segments_sent: u64,
    /// TCP segments received.
    pub segments_received: u64,
    /// TCP segments sent again.
    pub segments_retransmitted: u64,
    /// Circuits opened by this side.
    pub circuits_opened: u64,
    /// Circuits opened by the peer and taken by this side.
    pub circuits_accepted: u64,
    /// Circuits that ended by a reset of either side.
    pub circuits_reset: u64,
    /// Datagrams dropped: not a DTLS record of this session, not authentic, or a replay.
    pub dropped_record: u64,
    /// Datagrams dropped: an alert that is not encrypted, which anyone can forge.
    pub dropped_plaintext_alert: u64,
    /// Records dropped: unknown version of the segment format.
    pub dropped_version: u64,
    /// Records or segments dropped: malformed.
    pub dropped_malformed: u64,
    /// Segments dropped: of no circuit that is known.
    pub dropped_unknown_circuit: u64,
    /// Segments dropped: out of the receive window.
    pub dropped_out_of_window: u64,
    /// Requests to open a circuit refused: too many circuits.
    pub dropped_limit: u64,
    /// Segments dropped: memory budget.
    pub dropped_memory: u64,
    /// Handshake messages dropped: in a session that is established.
    pub dropped_peer_handshake: u64,
    /// Probes of the path's MTU sent.
    pub path_probes_sent: u64,
    /// Times that datagrams of the size in use were found not to arrive (any more), while small ones did.
    pub path_black_holes: u64,
    /// Path probes dropped: more at once than are answered; and answers that nothing waits for.
    pub dropped_path_probe: u64,
    /// The congestion window that circuits share, bytes; 0: none ever did.
    pub coupled_cwnd: u64,
    /// What of it is in the network, bytes.
    pub coupled_in_flight: u64,
    /// Its congestion control, UTCP_CONGESTION_*; 0: none ever did.
    pub coupled_congestion: u64,
    /// Bytes held in the queues of its circuits, in whole blocks: what UTCP_OPTION_CONNECTION_SHARE limits.
    pub memory: u64,
}

// SAFETY: repr(C), Copy, the size comes first, all else is integers.
unsafe impl Versioned for utcp_connection_stats {
    const FIRST: usize =
        offset_of!(utcp_connection_stats, dropped_peer_handshake) + size_of::<u64>();
    const UNIT: usize = 4;
}

/// What an endpoint holds, and its counters since it was made.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct utcp_endpoint_stats {
    /// sizeof(utcp_endpoint_stats), set by the caller before the call.
    pub size: usize,
    /// Connections that have not ended.
    pub connections: u64,
    /// Handshakes in progress in which this side is the server.
    pub half_open: u64,
    /// Circuits open now, control circuits included.
    pub circuits: u64,
    /// Bytes held in queues.
    pub memory: u64,
    /// Datagrams that tx took.
    pub datagrams_sent: u64,
    /// Datagrams injected.
    pub datagrams_received: u64,
    /// UDP payload sent, bytes.
    pub bytes_sent: u64,
    /// UDP payload injected, bytes.
    pub bytes_received: u64,
    /// Datagrams waiting for tx.
    pub output_queue: u64,
    /// DTLS handshakes started, by either side.
    pub handshakes_started: u64,
    /// DTLS handshakes completed and accepted.
    pub handshakes_completed: u64,
    /// DTLS handshakes that failed, timed out or were not accepted.
    pub handshakes_failed: u64,
    /// Cookies sent to addresses that were not proven.
    pub cookies_sent: u64,
    /// Datagrams dropped: no DTLS record.
    pub dropped_not_dtls: u64,
    /// Datagrams dropped: neither from a known peer nor a ClientHello.
    pub dropped_unknown_peer: u64,
    /// ClientHellos dropped or answered anew: their cookie is wrong or old.
    pub dropped_bad_cookie: u64,
    /// ClientHellos dropped: new peers are refused.
    pub dropped_refusing: u64,
    /// ClientHellos dropped: too many connections or handshakes.
    pub dropped_limit: u64,
    /// Datagrams dropped: too many wait for tx.
    pub dropped_output_full: u64,
    /// Datagrams dropped: from an address that cannot be a peer's.
    pub dropped_address: u64,
    /// Bytes that queues may hold, as configured or set last.
    pub memory_budget: u64,
    /// Bytes held in queues, the most ever.
    pub memory_peak: u64,
    /// Writes that took less than they were given, or nothing, because memory was short.
    pub writes_refused: u64,
    /// Short of memory, first: times that a receive window would have grown and did not.
    pub windows_held: u64,
    /// Short of memory, second: bytes received out of order, held, and thrown away. Also those that went in
    /// utcp_endpoint_shed().
    pub bytes_reneged: u64,
    /// Short of memory, second: segments dropped that arrived out of order.
    pub dropped_out_of_order: u64,
    /// Short of memory, third: segments dropped that arrived in order.
    pub dropped_in_order: u64,
}

// SAFETY: repr(C), Copy, the size comes first, all else is integers.
unsafe impl Versioned for utcp_endpoint_stats {
    const FIRST: usize = offset_of!(utcp_endpoint_stats, dropped_address) + size_of::<u64>();
    const UNIT: usize = 4;
}

fn circuit_info(info: &CircuitInfo) -> utcp_circuit_info {
    utcp_circuit_info {
        size: 0,
        number: info.number,
        wire_id: info.wire_id,
        state: info.state,
        congestion: info.congestion,
        mss: info.mss,
        reserved: 0,
        cwnd: info.cwnd,
        ssthresh: info.ssthresh,
        bytes_in_flight: info.bytes_in_flight,
        send_window: info.send_window,
        receive_window: info.receive_window,
        srtt: info.srtt,
        rttvar: info.rttvar,
        min_rtt: info.min_rtt,
        rto: info.rto,
        send_queue: info.send_queue,
        unsent: info.unsent,
        receive_queue: info.receive_queue,
        out_of_order: info.out_of_order,
        bytes_sent: info.bytes_sent,
        bytes_acked: info.bytes_acked,
        bytes_received: info.bytes_received,
        bytes_retransmitted: info.bytes_retransmitted,
        segments_sent: info.segments_sent,
        segments_received: info.segments_received,
        segments_retransmitted: info.segments_retransmitted,
        timeouts: info.timeouts,
        fast_recoveries: info.fast_recoveries,
        duplicate_segments: info.duplicate_segments,
        rejected_segments: info.rejected_segments,
        delivery_rate: info.delivery_rate,
        pacing_rate: info.pacing_rate,
        tail_loss_probes: info.tail_loss_probes,
        spurious_recoveries: info.spurious_recoveries,
        ecn: u64::from(info.ecn),
        ce_reported: info.ce_reported,
        ce_received: info.ce_received,
        coupled: u64::from(info.coupled),
    }
}

fn connection_stats(info: &ConnectionInfo, role: u32, state: u32) -> utcp_connection_stats {
    utcp_connection_stats {
        size: 0,
        role,
        state,
        circuits: info.circuits,
        datagram_size: info.datagram_size,
        srtt: info.srtt,
        min_rtt: info.min_rtt,
        datagrams_sent: info.stats.datagrams_sent,
        datagrams_received: info.stats.datagrams_received,
        bytes_sent: info.stats.bytes_sent,
        bytes_received: info.stats.bytes_received,
        payload_sent: info.stats.payload_sent,
        payload_received: info.stats.payload_received,
        segments_sent: info.stats.segments_sent,
        segments_received: info.stats.segments_received,
        segments_retransmitted: info.stats.segments_retransmitted,
        circuits_opened: info.stats.circuits_opened,
        circuits_accepted: info.stats.circuits_accepted,
        circuits_reset: info.stats.circuits_reset,
        dropped_record: info.stats.dropped_record,
        dropped_plaintext_alert: info.stats.dropped_plaintext_alert,
        dropped_version: info.stats.dropped_version,
        dropped_malformed: info.stats.dropped_malformed,
        dropped_unknown_circuit: info.stats.dropped_unknown_circuit,
        dropped_out_of_window: info.stats.dropped_out_of_window,
        dropped_limit: info.stats.dropped_limit,
        dropped_memory: info.stats.dropped_memory,
        dropped_peer_handshake: info.stats.dropped_peer_handshake,
        path_probes_sent: info.stats.path_probes_sent,
        path_black_holes: info.stats.path_black_holes,
        dropped_path_probe: info.stats.dropped_path_probe,
        coupled_cwnd: info.coupled_cwnd,
        coupled_in_flight: info.coupled_in_flight,
        coupled_congestion: u64::from(info.coupled_congestion),
        memory: info.memory,
    }
}

fn endpoint_stats(stats: &EndpointStats) -> utcp_endpoint_stats {
    utcp_endpoint_stats {
        size: 0,
        connections: stats.connections,
        half_open: stats.half_open,
        circuits: stats.circuits,
        memory: stats.memory,
        datagrams_sent: stats.datagrams_sent,
        datagrams_received: stats.datagrams_received,
        bytes_sent: stats.bytes_sent,
        bytes_received: stats.bytes_received,
        output_queue: stats.output_queue,
        handshakes_started: stats.handshakes_started,
        handshakes_completed: stats.handshakes_completed,
        handshakes_failed: stats.handshakes_failed,
        cookies_sent: stats.cookies_sent,
        dropped_not_dtls: stats.dropped_not_dtls,
        dropped_unknown_peer: stats.dropped_unknown_peer,
        dropped_bad_cookie: stats.dropped_bad_cookie,
        dropped_refusing: stats.dropped_refusing,
        dropped_limit: stats.dropped_limit,
        dropped_output_full: stats.dropped_output_full,
        dropped_address: stats.dropped_address,
        memory_budget: stats.memory_budget,
        memory_peak: stats.memory_peak,
        writes_refused: stats.writes_refused,
        windows_held: stats.windows_held,
        bytes_reneged: stats.bytes_reneged,
        dropped_out_of_order: stats.dropped_out_of_order,
        dropped_in_order: stats.dropped_in_order,
    }
}

/// Reads the state of a circuit's TCP. Set info->size to sizeof(utcp_circuit_info) first: a caller with an older
/// header gets the members it knows, a caller with a newer one finds zeroes in those that this library does not know.
/// After the circuit has ended, these are the last values.
///
/// UTCP_ERR_SIZE: info->size is not set. UTCP_ERR_CLOSED: the endpoint was freed, or the connection's handle was.
/// UTCP_ERR_NULL, UTCP_ERR_HANDLE: a pointer is not what it should be.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_circuit_get_info(
    circuit: *const utcp_circuit,
    info: *mut utcp_circuit_info,
) -> c_int {
    let get = |shared: &Shared, slot: CircuitSlot| {
        // SAFETY: the caller's promise.
        unsafe { size::check(info) }?;
        let found = shared
            .core(|core| core.circuit_info(slot.id()))?
            .ok_or(Error::Closed)?;
        // SAFETY: the caller's promise.
        unsafe { size::write(info, &circuit_info(&found)) }
    };
    // SAFETY: the caller's promise.
    code(unsafe { circuit::with(circuit, get) })
}

/// Reads the state and the counters of a connection. Set stats->size to sizeof(utcp_connection_stats) first, as for
/// utcp_circuit_get_info(). After the connection has ended, these are the last values.
///
/// UTCP_ERR_SIZE: stats->size is not set. UTCP_ERR_CLOSED: the endpoint was freed. UTCP_ERR_NULL, UTCP_ERR_HANDLE: a
/// pointer is not what it should be.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_connection_get_stats(
    connection: *const utcp_connection,
    stats: *mut utcp_connection_stats,
) -> c_int {
    let get = |shared: &Shared, slot: ConnectionSlot| {
        // SAFETY: the caller's promise.
        unsafe { size::check(stats) }?;
        let id = slot.id();
        let (info, role, state) = shared.core(|core| {
            (
                core.connection_info(id),
                core.connection_role(id),
                core.connection_state(id),
            )
        })?;
        let found = connection_stats(&info.ok_or(Error::Closed)?, role? as u32, state as u32);
        // SAFETY: the caller's promise.
        unsafe { size::write(stats, &found) }
    };
    // SAFETY: the caller's promise.
    code(unsafe { connection::with(connection, get) })
}

/// Reads the counters of an endpoint. Set stats->size to sizeof(utcp_endpoint_stats) first, as for
/// utcp_circuit_get_info().
///
/// UTCP_ERR_SIZE: stats->size is not set. UTCP_ERR_NULL, UTCP_ERR_HANDLE: a pointer is not what it should be.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_endpoint_get_stats(
    endpoint: *const utcp_endpoint,
    stats: *mut utcp_endpoint_stats,
) -> c_int {
    let get = |shared: &Shared| {
        // SAFETY: the caller's promise.
        unsafe { size::check(stats) }?;
        let found = shared.core(|core| core.stats())?;
        // SAFETY: the caller's promise.
        unsafe { size::write(stats, &endpoint_stats(&found)) }
    };
    // SAFETY: the caller's promise.
    code(unsafe { endpoint::with(endpoint, get) })
}
