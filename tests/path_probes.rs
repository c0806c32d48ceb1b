//! Path probes between an endpoint and a peer that is written by hand: one that does not know them, and some that abuse
//! them (docs/tortp.md, section 8).

#[path = "sim/identity.rs"]
#[allow(dead_code)] // the pin is for the simulator
mod identity;

use std::net::SocketAddr;

use identity::identity;
use utcp::config::Config;
use utcp::dtls::{Context, Incoming, RECORD_OVERHEAD, Session, SessionState};
use utcp::endpoint::{CircuitId, ConnectionId, Endpoint, Event};
use utcp::pool::Pool;
use utcp::stats::ConnectionInfo;
use utcp::tcp::congestion::Algorithm;
use utcp::tcp::segment::{Flags, Options, PathProbe, Segment};
use utcp::tcp::seq::Seq;
use utcp::tcp::{Settings, State, Tcb};
use utcp::time::{MILLISECOND, SECOND, Time};
use utcp::tortp;

const ISS: Seq = Seq(5_000);

fn config() -> Config {
    Config {
        chain: identity(0).chain.clone(),
        key: identity(0).key.clone(),
        ..Config::default()
    }
}

/// What the peer does with a path probe.
#[derive(Clone, Copy, PartialEq)]
enum Conduct {
    /// Takes it for a segment of the control circuit with an option that it does not know.
    Old,
    /// Answers only those up to this size.
    UpTo(usize),
    /// Answers with another token.
    Wrong,
}

struct Pair {
    endpoint: Endpoint,
    connection: Option<ConnectionId>,
    control: Option<CircuitId>,
    now: Time,
    session: Session,
    tcb: Tcb,
    pool: Pool,
    conduct: Conduct,
    /// Every path probe and answer that has come in, and the size of its datagram.
    probes: Vec<(PathProbe, usize)>,
    /// Octets from the endpoint.
    octets: usize,
    /// What the peer has read.
    read: Vec<u8>,
    rejected: u64,
}

fn address() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 7], 9_001))
}

impl Pair {
    /// Connected, with control established.
    fn new(conduct: Conduct) -> Pair {
        Pair::with(config(), conduct)
    }

    fn with(endpoint: Config, conduct: Conduct) -> Pair {
        let now = Time(100 * SECOND);
        let context = Context::new(&config(), [1; 32]).expect("a context");
        let settings = Settings {
            mss: 1_376,
            send_buffer: 65_536,
            receive_buffer: 65_536,
            congestion: Algorithm::NewReno,
            dead_timeout: 180 * SECOND,
            srtt: 0,
            rttvar: 0,
            ecn: false,
        };
        let mut pair = Pair {
            endpoint: Endpoint::new(endpoint).expect("an endpoint"),
            connection: None,
            control: None,
            now,
            session: Session::connect(&context, now).expect("a session"),
            tcb: Tcb::open(&settings, ISS, None),
            pool: Pool::new(1 << 20),
            conduct,
            probes: Vec::new(),
            octets: 0,
            read: Vec::new(),
            rejected: 0,
        };
        for _ in 0..100 {
            pair.turn();
        }
        assert_eq!(pair.session.state(), SessionState::Established);
        assert_eq!(pair.tcb.state(), State::Established);
        pair
    }

    /// Ten milliseconds pass; all datagrams arrive.
    fn turn(&mut self) {
        self.now = self.now + 10 * MILLISECOND;
        let now = self.now;
        while let Some(datagram) = self.session.take_output() {
            self.endpoint.inject(now, address(), &datagram, 0);
        }
        if self.session.state() == SessionState::Established {
            self.run_control();
        }
        self.endpoint.process(now);
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::ConnectionIncoming(id, _) => self.endpoint.accept(now, id, true),
                Event::ConnectionVerify(id) => self.endpoint.verified(now, id, true),
                Event::ConnectionReady(id) => {
                    self.connection = Some(id);
                    self.control = self.endpoint.connection_control(id).ok();
                }
                _ => {}
            }
        }
        self.endpoint.process(now);
        let datagrams: Vec<_> = self.endpoint.output().iter().cloned().collect();
        self.endpoint.sent(datagrams.len());
        for datagram in datagrams {
            self.octets += datagram.data.len();
            self.receive(&datagram.data);
        }
    }

    fn turns(&mut self, count: usize) {
        for _ in 0..count {
            self.turn();
        }
    }

    fn receive(&mut self, datagram: &[u8]) {
        let mut plain = Vec::new();
        let mut all = Vec::new();
        let mut incoming = self.session.receive(self.now, datagram, &mut plain);
        while incoming != Incoming::Nothing {
            if incoming == Incoming::Data {
                all.push(plain.clone());
            }
            incoming = self.session.more(self.now, &mut plain);
        }
        for plain in all {
            assert_eq!(tortp::check(&plain), Ok(()));
            for (wire, mut segment) in tortp::segments(&plain) {
                if let Some(probe) = segment.options.path_probe.take() {
                    self.probes.push((probe, datagram.len()));
                    if self.conduct != Conduct::Old {
                        self.answer(probe, datagram.len());
                        continue;
                    }
                }
                assert_eq!(wire, 0);
                let result = self.tcb.receive(self.now, &mut self.pool, &segment);
                self.rejected += u64::from(result.is_err());
                let mut buffer = [0; 4_096];
                while let Ok(n) = self.tcb.read(&mut self.pool, &mut buffer) {
                    self.read.extend(&buffer[..n]);
                }
            }
        }
    }

    fn answer(&mut self, probe: PathProbe, size: usize) {
        let PathProbe::Request(token) = probe else {
            return;
        };
        match self.conduct {
            Conduct::UpTo(most) if size <= most => self.send(&[(PathProbe::Answer(token), 0)]),
            Conduct::Wrong => self.send(&[(PathProbe::Answer(token ^ 1), 0)]),
            _ => {}
        }
    }

    /// Sends path probes and answers in one datagram.
    fn send(&mut self, probes: &[(PathProbe, usize)]) {
        let mut plain = Vec::new();
        tortp::begin(&mut plain);
        for &(probe, padding) in probes {
            tortp::encode_path_probe(probe, padding, &mut plain);
        }
        self.seal(&plain);
    }

    fn seal(&mut self, plain: &[u8]) {
        let mut datagram = Vec::new();
        self.session.seal(plain, &mut datagram).expect("sealed");
        self.endpoint.inject(self.now, address(), &datagram, 0);
    }

    /// The peer's end of control.
    fn run_control(&mut self) {
        if self.tcb.deadline() <= self.now {
            self.tcb.on_timer(self.now, &mut self.pool);
        }
        while let Some(plan) = self.tcb.plan(self.now, self.pool.available()) {
            let mut payload = Vec::new();
            self.tcb.payload(&plan, &mut payload);
            let segment = plan.segment(&payload);
            let mut plain = Vec::new();
            tortp::begin(&mut plain);
            tortp::encode(0, &segment, &mut plain);
            self.seal(&plain);
            self.tcb.commit(self.now, &plan);
        }
        self.tcb.settle(self.now);
    }

    fn info(&self) -> ConnectionInfo {
        let id = self.connection.expect("ready");
        self.endpoint.connection_info(id).expect("known")
    }

    /// Writes as much to control, and lets it arrive.
    fn transfer(&mut self, octets: usize) {
        let data: Vec<u8> = (0..octets).map(|i| (i % 251) as u8).collect();
        let control = self.control.expect("ready");
        let mut written = 0;
        self.read.clear();
        for _ in 0..30_000 {
            written += self.endpoint.write(control, &data[written..]).unwrap_or(0);
            self.turn();
            if self.read.len() == octets {
                break;
            }
        }
        assert!(self.read == data, "{} of {octets} arrived", self.read.len());
    }

    fn requests(&self) -> usize {
        self.probes
            .iter()
            .filter(|(p, _)| matches!(p, PathProbe::Request(_)))
            .count()
    }
}

#[test]
fn a_peer_that_knows_no_probes_keeps_its_circuit_and_is_sent_what_is_configured() {
    let mut pair = Pair::new(Conduct::Old);
    pair.transfer(500_000);
    pair.turns(2_000);
    pair.transfer(500_000);
    assert_eq!(pair.info().datagram_size, 1_432);
    assert!((5..=20).contains(&pair.requests()), "{}", pair.requests());
    assert_eq!(pair.rejected, pair.requests() as u64, "dropped, every one");
    assert_eq!(pair.tcb.state(), State::Established);
    assert_eq!(pair.info().stats.segments_retransmitted, 0);
}

/// Whatever its sequence number, and in whatever state the control circuit is.
#[test]
fn a_segment_without_flags_does_nothing_to_an_older_receiver() {
    let mut pair = Pair::new(Conduct::Old);
    let next = pair.tcb.rcv_nxt();
    for seq in [Seq(0), next - 1, next, next + 1, next + 100_000] {
        for payload in [&[][..], &[0; 1_000]] {
            let segment = Segment {
                flags: Flags::default(),
                seq,
                ack: Seq(0),
                window: 0,
                options: Options::default(),
                payload,
                ce: false,
            };
            let before = pair.tcb.info();
            let result = pair.tcb.receive(pair.now, &mut pair.pool, &segment);
            assert!(result.is_err(), "{seq:?}");
            let after = pair.tcb.info();
            assert_eq!(pair.tcb.rcv_nxt(), next);
            assert_eq!(
                (after.state, after.receive_queue, after.out_of_order),
                (before.state, 0, 0)
            );
            assert_eq!(after.send_window, before.send_window);
            // At most an acknowledgement.
            if let Some(plan) = pair.tcb.plan(pair.now, 1 << 20) {
                assert!(plan.is_pure_ack());
                pair.tcb.commit(pair.now, &plan);
            }
            assert!(pair.tcb.plan(pair.now, 1 << 20).is_none());
        }
    }
    pair.transfer(10_000);
}

#[test]
fn what_the_peer_answers_is_used() {
    let mut pair = Pair::new(Conduct::UpTo(9_000));
    assert_eq!(pair.info().datagram_size, 1_472);
    let sizes: Vec<_> = pair.probes.iter().map(|(_, size)| *size).collect();
    assert_eq!(sizes, [1_432, 60, 1_472]);
    pair.transfer(100_000);
}

#[test]
fn a_peer_that_denies_what_arrives_gets_small_datagrams_and_its_data() {
    let mut pair = Pair::new(Conduct::UpTo(100));
    pair.turns(1_000);
    assert_eq!(pair.info().datagram_size, 548);
    assert_eq!(pair.info().stats.path_black_holes, 3);
    pair.transfer(100_000);
    let before = pair.requests();
    pair.turns(6_000);
    assert!(pair.requests() - before < 10, "it is not asked for ever");
}

#[test]
fn answers_with_other_tokens_are_counted_and_change_nothing() {
    let mut pair = Pair::new(Conduct::Wrong);
    pair.turns(500);
    assert_eq!(pair.info().datagram_size, 1_432);
    assert_eq!(pair.info().stats.dropped_path_probe, pair.requests() as u64);
}

#[test]
fn a_flood_of_probes_is_answered_with_no_more_octets_than_it_has_and_in_part() {
    for (probes, padding) in [(1, 0), (4, 0), (50, 0), (3, 400), (1, 1_350)] {
        let mut pair = Pair::new(Conduct::UpTo(9_000));
        pair.octets = 0;
        pair.probes.clear();
        let mut sent = 0;
        for token in 0..1_000 {
            let flood: Vec<_> = (0..probes)
                .map(|i| (PathProbe::Request(100 * token + i), padding))
                .collect();
            let empty = tortp::EMPTY_PATH_PROBE - tortp::DATAGRAM_HEADER;
            sent += RECORD_OVERHEAD + tortp::DATAGRAM_HEADER + probes as usize * (empty + padding);
            pair.send(&flood);
        }
        pair.turns(10);
        assert!(!pair.probes.is_empty());
        assert!(pair.octets <= sent, "{} for {sent}", pair.octets);
        let stats = pair.info().stats;
        let answered = pair.probes.len() as u64;
        assert!(answered <= 4, "{answered} wait at once");
        assert_eq!(
            stats.dropped_path_probe + answered,
            1_000 * u64::from(probes)
        );
        pair.transfer(10_000);
    }
}

#[test]
fn each_probe_is_answered_at_once_and_once() {
    let mut pair = Pair::new(Conduct::UpTo(9_000));
    pair.probes.clear();
    for token in 1..=100 {
        pair.send(&[(PathProbe::Request(token), 1_000)]);
        pair.turn();
        assert_eq!(
            pair.probes.pop().map(|p| p.0),
            Some(PathProbe::Answer(token))
        );
        assert!(pair.probes.is_empty());
    }
}

#[test]
fn without_probing_the_peers_probes_are_answered_all_the_same() {
    let config = Config {
        path_mtu_discovery: false,
        ..config()
    };
    let mut pair = Pair::with(config, Conduct::UpTo(9_000));
    assert_eq!(pair.probes, []);
    assert_eq!(pair.info().datagram_size, 1_432);
    pair.send(&[(PathProbe::Request(7), 1_000)]);
    pair.turn();
    let size = tortp::EMPTY_PATH_PROBE + RECORD_OVERHEAD;
    assert_eq!(pair.probes, [(PathProbe::Answer(7), size)]);
}
