//! Our TCP, translated to TCP/IP packets and back.

use smoltcp::wire::Ipv4Packet;
use utcp::endpoint::Role;
use utcp::error::{CloseReason, Error};
use utcp::pool::Pool;
use utcp::tcp::congestion::Algorithm;
use utcp::tcp::segment::Segment;
use utcp::tcp::seq::Seq;
use utcp::tcp::{Rejected, Settings, State, Tcb};
use utcp::time::{SECOND, Time};
use utcp::tortp::translate::{Flow, from_packet, to_packet};
use utcp::tortp::{RawSegment, begin, encode, raw, segments};

use super::{Read, Tcp, address};

/// Packets of one poll, at most; the rest comes at the next.
const BATCH: usize = 64;

/// Routers may mark it (RFC 3168 section 5).
const ECT_0: u8 = 2;

/// Octets of IP and TCP header within an MTU of 1,500.
const HEADERS: u16 = 40;

pub struct Ours {
    settings: Settings,
    pool: Pool,
    tcb: Option<Tcb>,
    flow: Flow,
    iss: Seq,
    now: Time,
    answers: Vec<Vec<u8>>,
    /// Nothing is written before the connection is established.
    patient: bool,
}

pub fn settings() -> Settings {
    Settings {
        mss: 1_500 - HEADERS,
        send_buffer: 256 * 1024,
        receive_buffer: 1024 * 1024,
        congestion: Algorithm::Cubic,
        dead_timeout: 180 * SECOND,
        srtt: 0,
        rttvar: 0,
        ecn: false,
    }
}

impl Ours {
    fn new(index: usize, settings: Settings, iss: u32) -> Ours {
        Ours {
            settings,
            pool: Pool::new(1 << 30),
            tcb: None,
            flow: Flow {
                local: address(index),
                remote: address(1 - index),
            },
            iss: Seq(iss),
            now: Time(0),
            answers: Vec::new(),
            patient: false,
        }
    }

    /// Sends a SYN.
    pub fn active(index: usize, settings: Settings, iss: u32) -> Box<Ours> {
        let mut ours = Ours::new(index, settings, iss);
        ours.tcb = Some(Tcb::open(&settings, ours.iss, None));
        Box::new(ours)
    }

    /// Waits for one.
    pub fn passive(index: usize, settings: Settings, iss: u32) -> Box<Ours> {
        Box::new(Ours::new(index, settings, iss))
    }

    /// Waits for one, and puts no data on the SYN's answer.
    pub fn patient(index: usize, settings: Settings, iss: u32) -> Box<Ours> {
        let mut ours = Ours::new(index, settings, iss);
        ours.patient = true;
        Box::new(ours)
    }

    fn packet(&self, segment: &Segment<'_>) -> Vec<u8> {
        let mut datagram = Vec::new();
        begin(&mut datagram);
        encode(0, segment, &mut datagram);
        let raw = raw::segments(&datagram).next().expect("one segment");
        let mut packet = Vec::new();
        to_packet(&raw, &self.flow, &mut packet).expect("it can be translated");
        packet
    }
}

impl Tcp for Ours {
    fn inject(&mut self, now: Time, packet: &[u8], ce: bool) {
        self.now = now;
        // Damaged on the way: TCP's checksum finds it.
        let Ok((flow, raw)) = from_packet(packet, Role::Client) else {
            return;
        };
        assert_eq!(flow.reversed(), self.flow);
        let mut datagram = Vec::new();
        begin(&mut datagram);
        assert!(RawSegment::encode(&raw, &mut datagram));
        let (_, mut segment) = segments(&datagram).next().expect("one segment");
        segment.ce = ce;
        let Some(tcb) = &mut self.tcb else {
            use utcp::tcp::segment::Flags;
            if segment.flags.has(Flags::SYN) && !segment.flags.has(Flags::ACK) {
                let tcb = Tcb::accept(&self.settings, self.iss, now, &mut self.pool, &segment);
                self.tcb = Some(tcb);
            }
            return;
        };
        match tcb.receive(now, &mut self.pool, &segment) {
            Ok(()) => {}
            Err(Rejected::Answer(reset)) => {
                let packet = self.packet(&reset.segment());
                self.answers.push(packet);
            }
            Err(_) => {}
        }
    }

    fn poll(&mut self, now: Time) -> Vec<Vec<u8>> {
        self.now = now;
        let mut out = std::mem::take(&mut self.answers);
        let Some(mut tcb) = self.tcb.take() else {
            return out;
        };
        if tcb.deadline() <= now {
            tcb.on_timer(now, &mut self.pool);
        }
        while out.len() < BATCH {
            let Some(plan) = tcb.plan(now, self.pool.available()) else {
                break;
            };
            let mut payload = Vec::new();
            tcb.payload(&plan, &mut payload);
            let segment = plan.segment(&payload);
            let mut packet = self.packet(&segment);
            if plan.ect {
                let mut ip = Ipv4Packet::new_unchecked(&mut packet);
                ip.set_ecn(ECT_0);
                ip.fill_checksum();
            }
            out.push(packet);
            tcb.commit(now, &plan);
        }
        tcb.settle(now);
        self.tcb = Some(tcb);
        out
    }

    fn deadline(&mut self, now: Time) -> Time {
        if !self.answers.is_empty() {
            return now;
        }
        match &self.tcb {
            Some(tcb) if tcb.plan(now, self.pool.available()).is_some() => now,
            Some(tcb) => tcb.deadline(),
            None => Time::NEVER,
        }
    }

    fn write(&mut self, data: &[u8]) -> usize {
        let Some(tcb) = &mut self.tcb else { return 0 };
        if self.patient && tcb.state() == State::SynReceived {
            return 0;
        }
        match tcb.write(&mut self.pool, data) {
            Ok(n) => n,
            Err(Error::WouldBlock | Error::Closed) => 0,
            Err(error) => panic!("write: {error:?}"),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Read {
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

    fn finish(&mut self) {
        if let Some(tcb) = &mut self.tcb {
            tcb.finish();
        }
    }

    fn abort(&mut self) {
        if let Some(mut tcb) = self.tcb.take() {
            if let Some(reset) = tcb.abort(&mut self.pool, CloseReason::Local) {
                let packet = self.packet(&reset.segment());
                self.answers.push(packet);
            }
            self.tcb = Some(tcb);
        }
    }

    fn is_over(&self) -> bool {
        let state = self.tcb.as_ref().map(Tcb::state);
        matches!(state, Some(State::Closed | State::TimeWait)) && self.answers.is_empty()
    }

    fn describe(&self) -> String {
        match &self.tcb {
            Some(tcb) => format!("{:?} {:?}", tcb.state(), tcb.info()),
            None => "waiting for a SYN".to_string(),
        }
    }

    fn held(&self) -> u64 {
        self.pool.in_use()
    }

    fn reason(&self) -> Option<CloseReason> {
        self.tcb.as_ref().and_then(Tcb::close_reason)
    }
}
