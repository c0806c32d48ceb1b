//! utcp's inner TCP as one end of a path. Everything that the lab's real-time part knows of `Tcb` is in this file.

use std::net::SocketAddr;

use utcp::endpoint::Role;
use utcp::error::{CloseReason, Error};
use utcp::pool::Pool;
use utcp::stats::CircuitInfo;
use utcp::tcp::congestion::Algorithm;
use utcp::tcp::segment::{Flags, Segment};
use utcp::tcp::seq::Seq;
use utcp::tcp::{Rejected, Reset, Settings, State, Tcb, reset_for};
use utcp::time::{SECOND, Time};
use utcp::tortp::translate::{Flow, from_packet, to_packet};
use utcp::tortp::{RawSegment, begin, encode, raw, segments};

/// Packets of one [`Inner::poll`], at most; the rest comes at the next.
const BATCH: usize = 64;

/// Octets of IP and TCP header.
const HEADERS: usize = 40;

/// Octets that buffers and pool may hold: more than any path here needs.
const BUFFER: usize = 64 << 20;

/// The library's congestion control with this name, if it has it.
pub fn algorithm(name: &str) -> Option<Algorithm> {
    // Numbers of the C interface.
    (1..=16)
        .filter_map(|number| Algorithm::try_from(number).ok())
        .find(|algorithm| format!("{algorithm:?}").eq_ignore_ascii_case(name))
}

/// What reading gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// So many octets.
    Data(usize),
    /// There is nothing at the moment.
    Nothing,
    /// The peer has finished.
    End,
    /// Reset, or given up.
    Broken,
}

/// One connection, which waits for a SYN or sends one.
pub struct Inner {
    settings: Settings,
    pool: Pool,
    tcb: Option<Tcb>,
    local: SocketAddr,
    remote: Option<SocketAddr>,
    iss: Seq,
    resets: Vec<Vec<u8>>,
    datagram: Vec<u8>,
}

impl Inner {
    fn new(
        congestion: Algorithm,
        mtu: usize,
        iss: u32,
        local: SocketAddr,
        remote: Option<SocketAddr>,
    ) -> Inner {
        Inner {
            settings: Settings {
                mss: (mtu - HEADERS) as u16,
                send_buffer: BUFFER,
                receive_buffer: BUFFER,
                congestion,
                dead_timeout: 60 * SECOND,
                srtt: 0,
                rttvar: 0,
                ecn: false,
            },
            pool: Pool::new(4 * BUFFER as u64),
            tcb: None,
            local,
            remote,
            iss: Seq(iss),
            resets: Vec::new(),
            datagram: Vec::new(),
        }
    }

    /// Sends a SYN, with the first poll.
    pub fn connect(
        congestion: Algorithm,
        mtu: usize,
        iss: u32,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Inner {
        let mut inner = Inner::new(congestion, mtu, iss, local, Some(remote));
        inner.tcb = Some(Tcb::open(&inner.settings, inner.iss, None));
        inner
    }

    /// Waits for a SYN, and takes the first that comes.
    pub fn listen(congestion: Algorithm, mtu: usize, iss: u32, local: SocketAddr) -> Inner {
        Inner::new(congestion, mtu, iss, local, None)
    }

    /// The largest receive window; before anything is exchanged.
    pub fn set_receive_buffer(&mut self, octets: usize) {
        self.settings.receive_buffer = octets;
        if let Some(tcb) = &mut self.tcb {
            *tcb = Tcb::open(&self.settings, self.iss, None);
        }
    }

    fn packet(&mut self, flow: &Flow, segment: &Segment<'_>) -> Vec<u8> {
        self.datagram.clear();
        begin(&mut self.datagram);
        encode(0, segment, &mut self.datagram);
        let raw = raw::segments(&self.datagram).next().expect("one segment");
        let mut packet = Vec::new();
        to_packet(&raw, flow, &mut packet).expect("what we send can be translated");
        packet
    }

    fn reset(&mut self, flow: &Flow, reset: &Reset) {
        let packet = self.packet(flow, &reset.segment());
        self.resets.push(packet);
    }

    /// A packet arrives.
    pub fn inject(&mut self, now: Time, packet: &[u8]) {
        // Damaged, or nothing for TCP.
        let Ok((flow, raw)) = from_packet(packet, Role::Client) else {
            return;
        };
        let mut datagram = std::mem::take(&mut self.datagram);
        datagram.clear();
        begin(&mut datagram);
        if RawSegment::encode(&raw, &mut datagram)
            && let Some((_, segment)) = segments(&datagram).next()
        {
            self.segment(now, &flow, &segment);
        }
        self.datagram = datagram;
    }

    fn segment(&mut self, now: Time, flow: &Flow, segment: &Segment<'_>) {
        if flow.remote == self.local && self.remote.is_none_or(|remote| remote == flow.local) {
            if let Some(tcb) = &mut self.tcb {
                let result = tcb.receive(now, &mut self.pool, segment);
                if let Err(Rejected::Answer(reset)) = result {
                    self.reset(&flow.reversed(), &reset);
                }
                return;
            }
            if segment.flags.has(Flags::SYN) && !segment.flags.has(Flags::ACK) {
                let tcb = Tcb::accept(&self.settings, self.iss, now, &mut self.pool, segment);
                self.tcb = Some(tcb);
                self.remote = Some(flow.local);
                return;
            }
        }
        if let Some(reset) = reset_for(segment) {
            self.reset(&flow.reversed(), &reset);
        }
    }

    /// Does what is due; appends the packets to be sent.
    pub fn poll(&mut self, now: Time, out: &mut Vec<Vec<u8>>) {
        out.append(&mut self.resets);
        let (Some(mut tcb), Some(remote)) = (self.tcb.take(), self.remote) else {
            return;
        };
        if tcb.deadline() <= now {
            tcb.on_timer(now, &mut self.pool);
        }
        let flow = Flow {
            local: self.local,
            remote,
        };
        let mut payload = Vec::new();
        for _ in 0..BATCH {
            let Some(plan) = tcb.plan(now, self.pool.available()) else {
                break;
            };
            payload.clear();
            tcb.payload(&plan, &mut payload);
            let segment = plan.segment(&payload);
            out.push(self.packet(&flow, &segment));
            tcb.commit(now, &plan);
        }
        tcb.settle(now);
        self.tcb = Some(tcb);
    }

    /// When [`Inner::poll`] has something to do at the latest.
    pub fn deadline(&self, now: Time) -> Time {
        match &self.tcb {
            _ if !self.resets.is_empty() => now,
            Some(tcb) if tcb.plan(now, self.pool.available()).is_some() => now,
            Some(tcb) => tcb.deadline(),
            None => Time::NEVER,
        }
    }

    /// Queues data; returns how much was taken.
    pub fn write(&mut self, data: &[u8]) -> usize {
        let Some(tcb) = &mut self.tcb else { return 0 };
        match tcb.write(&mut self.pool, data) {
            Ok(n) => n,
            Err(Error::WouldBlock | Error::Closed) => 0,
            Err(error) => panic!("write: {error}"),
        }
    }

    /// Takes what has arrived in order.
    pub fn read(&mut self, buffer: &mut [u8]) -> Read {
        let Some(tcb) = &mut self.tcb else {
            return Read::Nothing;
        };
        match tcb.read(&mut self.pool, buffer) {
            Ok(n) => Read::Data(n),
            Err(Error::WouldBlock) => Read::Nothing,
            Err(Error::End) => Read::End,
            Err(_) => Read::Broken,
        }
    }

    /// A FIN follows what was written.
    pub fn finish(&mut self) {
        if let Some(tcb) = &mut self.tcb {
            tcb.finish();
        }
    }

    /// Ends at once, with a reset.
    pub fn abort(&mut self) {
        if let (Some(tcb), Some(remote)) = (&mut self.tcb, self.remote)
            && let Some(reset) = tcb.abort(&mut self.pool, CloseReason::Local)
        {
            let flow = Flow {
                local: self.local,
                remote,
            };
            self.reset(&flow, &reset);
        }
    }

    /// Both SYNs are exchanged.
    pub fn is_established(&self) -> bool {
        self.state().is_some_and(State::is_synchronized)
    }

    /// The state, once there is a connection.
    pub fn state(&self) -> Option<State> {
        self.tcb.as_ref().map(Tcb::state)
    }

    /// How it ended, once it has.
    pub fn reason(&self) -> Option<CloseReason> {
        self.tcb.as_ref().and_then(Tcb::close_reason)
    }

    /// Everything about it.
    pub fn info(&self) -> CircuitInfo {
        self.tcb.as_ref().map(Tcb::info).unwrap_or_default()
    }
}
