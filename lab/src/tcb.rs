//! utcp's inner TCP alone, for the large grids: no cryptography, but each datagram has the size of its DTLS record. The
//! only file here that touches `Tcb`.

use std::net::SocketAddr;

use utcp::pool::Pool;
use utcp::tcp::congestion::Algorithm;
use utcp::tcp::segment::Flags;
use utcp::tcp::seq::Seq;
use utcp::tcp::{Settings, State, Tcb};
use utcp::time::{SECOND, Time};
use utcp::tortp::{self, DATAGRAM_HEADER, MIN_SEGMENT_HEADER};

use crate::end::{CHUNK, DATAGRAM, End, Info};

/// Octets that a DTLS record adds.
const RECORD: usize = utcp::dtls::RECORD_OVERHEAD;

/// Payload in a full segment: what a datagram leaves beside the headers of DTLS and TORTP.
pub const MSS: usize = DATAGRAM - RECORD - DATAGRAM_HEADER - MIN_SEGMENT_HEADER - 4;

/// The only stream.
const STREAM: u32 = 1;

/// One end.
pub struct TcbEnd {
    settings: Settings,
    pool: Pool,
    tcb: Option<Tcb>,
    iss: Seq,
    answers: Vec<Vec<u8>>,
    buffer: Vec<u8>,
    deadline: Time,
}

impl TcbEnd {
    /// Both ends of a flow; buffers hold `window` octets.
    pub fn pair(algorithm: Algorithm, window: usize, seed: u64) -> [Box<dyn End>; 2] {
        let settings = Settings {
            mss: MSS as u16,
            send_buffer: window,
            receive_buffer: window,
            congestion: algorithm,
            dead_timeout: 3_600 * SECOND,
            srtt: 0,
            rttvar: 0,
            ecn: false,
        };
        [0, 1].map(|side| {
            let iss = Seq(crate::rng::mix(seed ^ side) as u32);
            let tcb = (side == 0).then(|| Tcb::open(&settings, iss, None));
            let end = TcbEnd {
                settings,
                pool: Pool::new(8 << 30),
                tcb,
                iss,
                answers: Vec::new(),
                buffer: vec![0; CHUNK],
                deadline: if side == 0 { Time(0) } else { Time::NEVER },
            };
            Box::new(end) as Box<dyn End>
        })
    }
}

impl End for TcbEnd {
    fn inject(&mut self, now: Time, datagram: &[u8], _from: SocketAddr) {
        let plain = &datagram[..datagram.len() - RECORD];
        for (_, segment) in tortp::segments(plain) {
            match &mut self.tcb {
                Some(tcb) => {
                    // What is refused is counted inside, and the stream's content is compared.
                    let _ = tcb.receive(now, &mut self.pool, &segment);
                }
                None if segment.flags.has(Flags::SYN) => {
                    let tcb = Tcb::accept(&self.settings, self.iss, now, &mut self.pool, &segment);
                    self.tcb = Some(tcb);
                }
                None => {}
            }
        }
    }

    fn poll(&mut self, now: Time, out: &mut Vec<Vec<u8>>) {
        out.append(&mut self.answers);
        let Some(tcb) = &mut self.tcb else { return };
        if tcb.deadline() <= now {
            tcb.on_timer(now, &mut self.pool);
        }
        while let Some(plan) = tcb.plan(now, self.pool.available()) {
            let mut datagram = Vec::with_capacity(DATAGRAM);
            tortp::begin(&mut datagram);
            tortp::encode_header(
                0,
                plan.flags,
                plan.seq,
                plan.ack,
                plan.window,
                &plan.options,
                plan.payload as u16,
                &mut datagram,
            );
            tcb.payload(&plan, &mut datagram);
            datagram.resize(datagram.len() + RECORD, 0);
            assert!(datagram.len() <= DATAGRAM, "too large for the link");
            out.push(datagram);
            tcb.commit(now, &plan);
        }
        tcb.settle(now);
        self.deadline = tcb.deadline();
    }

    fn deadline(&self) -> Time {
        self.deadline
    }

    fn ready(&self) -> bool {
        self.tcb
            .as_ref()
            .is_some_and(|tcb| tcb.state() == State::Established)
    }

    fn open(&mut self, _now: Time, stream: u32) {
        assert_eq!(stream, STREAM, "a TCB is one stream");
    }

    fn write(&mut self, _stream: u32, data: &[u8]) -> usize {
        let Some(tcb) = &mut self.tcb else { return 0 };
        tcb.write(&mut self.pool, data).unwrap_or(0)
    }

    fn writable(&mut self, out: &mut Vec<u32>) {
        if self.tcb.as_mut().is_some_and(Tcb::take_writable) {
            out.push(STREAM);
        }
    }

    fn read(&mut self, _now: Time, to: &mut dyn FnMut(u32, &[u8])) {
        let Some(tcb) = &mut self.tcb else { return };
        while let Ok(n) = tcb.read(&mut self.pool, &mut self.buffer) {
            to(STREAM, &self.buffer[..n]);
        }
    }

    fn info(&self, _stream: u32) -> Info {
        let Some(tcb) = &self.tcb else {
            return Info::default();
        };
        tcb.info().into()
    }
}
