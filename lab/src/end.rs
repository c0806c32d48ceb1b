//! One end of a flow: a transport without I/O, with one or more streams.

use std::net::SocketAddr;

use utcp::stats::CircuitInfo;
use utcp::time::{Micros, Time};

/// Octets of an IPv4 packet on all links.
pub const MTU: usize = 1_500;

/// The largest UDP payload that fits.
pub const DATAGRAM: usize = MTU - crate::link::HEADERS;

/// The contents of all streams repeat after so many octets (a prime, so that no segment size divides it).
const PERIOD: usize = 65_521;

/// The most that [`Content::at`] gives at once.
pub const CHUNK: usize = 64 * 1_024;

/// What all streams carry, so that receivers can compare.
pub struct Content(Vec<u8>);

impl Default for Content {
    fn default() -> Content {
        Content(
            (0..PERIOD + CHUNK)
                .map(|i| crate::rng::mix((i % PERIOD) as u64) as u8)
                .collect(),
        )
    }
}

impl Content {
    /// `len` octets (at most [`CHUNK`]) from `offset` of a stream.
    pub fn at(&self, offset: u64, len: usize) -> &[u8] {
        let start = (offset % PERIOD as u64) as usize;
        &self.0[start..start + len]
    }
}

/// What a sender knows of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Info {
    /// Congestion window, octets.
    pub cwnd: u64,
    /// Slow start threshold, octets; `u64::MAX` if none or unknown.
    pub ssthresh: u64,
    /// Octets in flight; zero if unknown.
    pub in_flight: u64,
    /// Smoothed round-trip time.
    pub srtt: Micros,
    /// Packets or segments sent that carried data.
    pub sent: u64,
    /// Those of them that were sent again, or declared lost.
    pub resent: u64,
    /// Segments that brought a receiver nothing new, where it counts them.
    pub duplicates: Option<u64>,
    /// Retransmission timeouts (or persistent congestion).
    pub timeouts: u64,
    /// Tail loss probes, where they are counted.
    pub probes: u64,
    /// Reductions of the window taken back, because nothing had been lost.
    pub undone: u64,
    /// Octets that the receiver's window allows to be outstanding; zero if unknown.
    pub send_window: u64,
    /// Octets a second; zero if not paced or unknown.
    pub pacing_rate: u64,
}

impl From<CircuitInfo> for Info {
    fn from(info: CircuitInfo) -> Info {
        Info {
            cwnd: info.cwnd,
            ssthresh: info.ssthresh,
            in_flight: info.bytes_in_flight,
            srtt: info.srtt,
            sent: info.segments_sent,
            resent: info.segments_retransmitted,
            duplicates: Some(info.duplicate_segments),
            timeouts: info.timeouts,
            probes: info.tail_loss_probes,
            undone: info.spurious_recoveries,
            send_window: info.send_window,
            pacing_rate: info.pacing_rate,
        }
    }
}

/// One end of a flow. The client is end 0, and opens the streams.
pub trait End {
    /// A datagram has arrived.
    fn inject(&mut self, now: Time, datagram: &[u8], from: SocketAddr);
    /// Does what is due, and appends the datagrams to be sent.
    fn poll(&mut self, now: Time, out: &mut Vec<Vec<u8>>);
    /// When `poll` is due; called after `poll`.
    fn deadline(&self) -> Time;
    /// Why the connection has ended, if it has.
    fn broken(&self) -> Option<&str> {
        None
    }
    /// Streams can be opened.
    fn ready(&self) -> bool;
    /// Opens a stream (at the client). Numbers count from 1.
    fn open(&mut self, now: Time, stream: u32);
    /// Queues data; returns how much was taken.
    fn write(&mut self, stream: u32, data: &[u8]) -> usize;
    /// Appends the streams that can take data again after a `write` was cut short.
    fn writable(&mut self, out: &mut Vec<u32>);
    /// Reads all that can be read.
    fn read(&mut self, now: Time, to: &mut dyn FnMut(u32, &[u8]));
    /// State of a stream's sender.
    fn info(&self, stream: u32) -> Info;
}
