//! What an authenticated peer can do with the circuits of its connection, datagram by datagram.

use super::circuits::Circuits;
use crate::config::Config;
use crate::endpoint::shared::Shared;
use crate::endpoint::{CircuitId, ConnectionId, Event, Role};
use crate::error::{CloseReason, Error};
use crate::rng::Rng;
use crate::tcp::segment::{Flags, Options, PathProbe, Segment};
use crate::tcp::seq::Seq;
use crate::tcp::{BEDTIME, Tcb};
use crate::time::{SECOND, Time};
use crate::tortp;

pub(super) struct Side {
    pub circuits: Circuits,
    pub shared: Shared,
    pub now: Time,
}

fn syn_options(number: Option<u32>) -> Options {
    Options {
        mss: Some(1_000),
        window_scale: Some(5),
        sack_permitted: true,
        circuit_number: number,
        ..Options::default()
    }
}

impl Side {
    /// The server's side: the peer opens circuits with even identifiers.
    pub fn new(config: Config) -> Side {
        let mut shared = Shared::new(config, Rng::new([1; 32]));
        let mut circuits = Circuits::new(ConnectionId(1), 1_395, shared.hash);
        let now = Time(SECOND);
        circuits.start(now, Role::Server, &mut shared);
        let mut side = Side {
            circuits,
            shared,
            now,
        };
        side.sent();
        side
    }

    fn receive(&mut self, wire: u32, flags: Flags, seq: u32, options: Options, data: &[u8]) {
        let segment = Segment {
            flags,
            seq: Seq(seq),
            ack: Seq(0),
            window: 1_000,
            options,
            payload: data,
            ce: false,
        };
        self.receive_segment(wire, &segment);
    }

    fn receive_segment(&mut self, wire: u32, segment: &Segment<'_>) {
        let mut plain = Vec::new();
        tortp::begin(&mut plain);
        tortp::encode(wire, segment, &mut plain);
        self.circuits
            .receive(self.now, &plain, false, false, &mut self.shared);
    }

    pub fn syn(&mut self, wire: u32, number: u32) {
        self.receive(wire, Flags::SYN, 500, syn_options(Some(number)), b"create");
    }

    /// What a connection's timer does for its circuits.
    fn repeat_resets(&mut self) -> Vec<(u32, Flags)> {
        self.circuits.repeat_resets(self.now);
        self.sent()
    }

    pub fn events(&mut self) -> Vec<Event> {
        self.shared.events.drain(..).collect()
    }

    /// Flags and identifiers of what is sent.
    pub fn sent(&mut self) -> Vec<(u32, Flags)> {
        let mut all = Vec::new();
        let mut plain = Vec::new();
        while self.circuits.fill(self.now, &mut self.shared, &mut plain) {
            all.extend(tortp::segments(&plain).map(|(wire, segment)| (wire, segment.flags)));
            plain.clear();
        }
        all
    }
}

fn incoming(wire: u32, number: u32) -> Event {
    let id = CircuitId(1 << 32 | u64::from(wire));
    Event::CircuitIncoming(ConnectionId(1), id, number)
}

const RST_ACK: Flags = Flags(Flags::RST.0 | Flags::ACK.0);

#[test]
fn an_ended_circuit_that_the_relay_still_holds_cannot_be_opened_again() {
    let mut side = Side::new(Config::default());
    side.syn(2, 7);
    assert_eq!(side.events()[0], incoming(2, 7));
    side.receive(2, Flags::RST, 507, Options::default(), b"");
    let ended = Event::CircuitClosed(CircuitId(1 << 32 | 2), CloseReason::Reset);
    assert_eq!(side.events().last(), Some(&ended));
    assert_eq!(side.sent(), [(2, Flags::RST)], "confirmed");
    side.receive(2, Flags::RST, 507, Options::default(), b"");
    assert_eq!(side.sent(), [(2, Flags::RST)], "and again if asked");
    // Long after its tombstone has gone.
    side.now = side.now + 1_000 * SECOND;
    side.syn(2, 8);
    assert_eq!(side.events(), []);
    assert_eq!(side.sent(), [(2, RST_ACK)]);
    assert_eq!(side.circuits.get(2).map(|c| c.number), Ok(7));
}

#[test]
fn identifiers_of_our_own_half_and_syns_without_a_number_open_nothing() {
    let mut side = Side::new(Config::default());
    side.syn(3, 7);
    side.syn(4, 0);
    side.receive(6, Flags::SYN, 1, syn_options(None), b"");
    assert_eq!(side.events(), []);
    assert_eq!(side.sent(), [(3, RST_ACK), (4, RST_ACK), (6, RST_ACK)]);
    assert_eq!(side.circuits.stats.dropped_unknown_circuit, 3);
}

#[test]
fn segments_for_nobody_are_reset_and_resets_for_nobody_are_not() {
    let mut side = Side::new(Config::default());
    side.receive(8, Flags::ACK, 1, Options::default(), b"data");
    side.receive(8, Flags::RST, 1, Options::default(), b"");
    assert_eq!(side.sent(), [(8, Flags::RST)]);
}

#[test]
fn answers_to_nonsense_are_bounded() {
    let mut side = Side::new(Config::default());
    for wire in 0..5_000 {
        side.receive(1_000_000 + 2 * wire, Flags::ACK, 1, Options::default(), b"");
    }
    assert!(side.sent().len() <= 1_024);
}

#[test]
fn circuits_beyond_the_limit_are_reset_and_counted() {
    let mut side = Side::new(Config {
        max_circuits: 3,
        ..Config::default()
    });
    for wire in [2, 4, 6] {
        side.syn(wire, wire);
    }
    assert_eq!(side.circuits.stats.dropped_limit, 1);
    assert_eq!(side.circuits.open_count(), 3);
    assert_eq!(side.circuits.open(99, &mut side.shared), Err(Error::Limit));
}

#[test]
fn a_number_stays_in_use_as_long_as_any_circuit_has_it() {
    let mut side = Side::new(Config::default());
    side.syn(2, 7);
    side.syn(4, 7);
    assert_eq!(side.circuits.stats.circuits_accepted, 2);
    side.circuits.abort(4, CloseReason::Local, &mut side.shared);
    assert_eq!(side.circuits.open(7, &mut side.shared), Err(Error::InUse));
    side.circuits.abort(2, CloseReason::Local, &mut side.shared);
    assert!(side.circuits.open(7, &mut side.shared).is_ok());
}

#[test]
fn a_held_connection_announces_circuits_when_it_is_released() {
    let mut side = Side::new(Config::default());
    side.circuits.hold(true, &mut side.shared);
    side.syn(2, 7);
    side.syn(4, 8);
    assert_eq!(side.events(), []);
    side.circuits.hold(false, &mut side.shared);
    let events = side.events();
    assert_eq!(events[0], incoming(2, 7));
    assert!(events.contains(&incoming(4, 8)));
    assert_eq!(events.len(), 4, "and that both can be read");
}

#[test]
fn unknown_versions_and_malformed_datagrams_are_counted_apart() {
    let mut side = Side::new(Config::default());
    side.circuits
        .receive(side.now, &[0x20], false, false, &mut side.shared);
    side.circuits
        .receive(side.now, &[0x10, 1, 2, 3], false, false, &mut side.shared);
    let stats = side.circuits.stats;
    assert_eq!((stats.dropped_version, stats.dropped_malformed), (1, 1));
}

#[test]
fn a_late_syn_of_a_reset_circuit_does_not_bring_it_back() {
    let mut side = Side::new(Config::default());
    side.syn(2, 7);
    side.circuits.abort(2, CloseReason::Local, &mut side.shared);
    side.circuits.forget(2, &mut side.shared);
    side.events();
    assert_eq!(side.repeat_resets(), [(2, RST_ACK)]);
    side.syn(2, 7);
    assert_eq!(side.events(), []);
    assert_eq!(side.sent(), [(2, RST_ACK)]);
}

#[test]
fn a_reset_is_repeated_until_the_peer_confirms_it_and_the_confirmation_is_not_answered() {
    let mut side = Side::new(Config::default());
    side.syn(2, 7);
    side.sent();
    side.circuits.abort(2, CloseReason::Local, &mut side.shared);
    assert_eq!(side.repeat_resets(), [(2, RST_ACK)]);
    assert_eq!(side.repeat_resets(), []);
    side.now = side.circuits.resets_deadline();
    assert_eq!(side.repeat_resets(), [(2, RST_ACK)]);
    side.receive(2, Flags::RST, 0, Options::default(), b"");
    assert_eq!(side.circuits.resets_deadline(), Time::NEVER);
    assert_eq!(side.sent(), []);
}

#[test]
fn circuits_opened_and_reset_while_nothing_can_be_sent_leave_no_turns_behind() {
    let mut side = Side::new(Config::default());
    for wire in (2..20_000).step_by(2) {
        side.syn(wire, wire);
        side.circuits.accept(wire, false, &mut side.shared);
        side.events();
    }
    assert!(side.circuits.turns() < 100, "{}", side.circuits.turns());
}

/// A peer's circuit 2 with 3,000 octets on their way to it, in segments of at most 1,000.
fn sending() -> Side {
    let mut side = Side::new(Config::default());
    side.syn(2, 7);
    let circuit = side.circuits.get_mut(2).expect("open");
    let written = circuit.tcp.wake().write(&mut side.shared.pool, &[7; 3_000]);
    assert_eq!(written, Ok(3_000));
    side.circuits.touched(2, &mut side.shared);
    side
}

impl Side {
    /// Octets of payload of the segments that are sent on circuit 2.
    fn payloads(&mut self) -> Vec<usize> {
        let mut all = Vec::new();
        let mut plain = Vec::new();
        while self.circuits.fill(self.now, &mut self.shared, &mut plain) {
            assert!(plain.len() <= self.circuits.limit(), "{}", plain.len());
            let payload = |(wire, s): (u32, Segment<'_>)| (wire == 2).then_some(s.payload.len());
            all.extend(tortp::segments(&plain).filter_map(payload));
            plain.clear();
        }
        all
    }

    /// The retransmission timer of circuit 2 fires.
    fn time_out(&mut self) {
        let circuit = self.circuits.get(2).expect("open");
        self.now = circuit.tcp.awake().map_or(Time::NEVER, Tcb::deadline);
        self.circuits.on_timer(self.now, 2, &mut self.shared);
    }
}

#[test]
fn what_a_syn_announces_is_the_largest_size_and_not_what_the_path_carries_now() {
    let mut side = Side::new(Config::default());
    let now = side.now;
    side.circuits.set_limit(now, 600, &mut side.shared);
    side.circuits.open(7, &mut side.shared).expect("opened");
    let circuit = side.circuits.get_mut(1).expect("open");
    circuit
        .tcp
        .wake()
        .write(&mut side.shared.pool, &[7; 3_000])
        .expect("room");
    let mut plain = Vec::new();
    assert!(side.circuits.fill(now, &mut side.shared, &mut plain));
    let (_, syn) = tortp::segments(&plain).next().expect("a segment");
    assert_eq!(syn.options.mss, Some(1_395 - 19));
    assert!(syn.payload.len() > 500 && plain.len() <= 600);
}

#[test]
fn segments_that_are_sent_again_are_cut_to_what_the_path_carries_now() {
    let mut side = sending();
    // On the SYN-ACK, whose options count too; the peer's window takes no more before it is acknowledged.
    assert_eq!(side.payloads(), [1_000 - 12]);
    side.time_out();
    assert!(side.circuits.take_timed_out());
    assert!(!side.circuits.take_timed_out());
    let now = side.now;
    side.circuits.set_limit(now, 400, &mut side.shared);
    let again = side.payloads();
    assert!(!again.is_empty());
    assert!(again.iter().all(|n| *n <= 400 - 19), "{again:?}");
}

#[test]
fn segments_grow_with_the_path_up_to_what_the_peer_takes() {
    let mut side = Side::new(Config::default());
    let now = side.now;
    side.circuits.set_limit(now, 500, &mut side.shared);
    side.syn(2, 7);
    let mss = |side: &Side| side.circuits.get(2).expect("open").tcp.look(Tcb::info).mss;
    assert_eq!(mss(&side), 500 - 19);
    side.circuits.set_limit(now, 800, &mut side.shared);
    assert_eq!(mss(&side), 800 - 19);
    side.circuits.set_limit(now, 1_395, &mut side.shared);
    assert_eq!(mss(&side), 1_000);
    side.circuits.set_limit(now, 300, &mut side.shared);
    assert_eq!(mss(&side), 300 - 19);
}

#[test]
fn path_probes_are_no_segments_and_few_of_a_datagram_are_looked_at() {
    let mut side = Side::new(Config::default());
    let mut plain = Vec::new();
    tortp::begin(&mut plain);
    for token in 0..10 {
        tortp::encode_path_probe(PathProbe::Request(token), 0, &mut plain);
    }
    side.circuits
        .receive(side.now, &plain, false, false, &mut side.shared);
    assert_eq!(side.sent(), [], "control takes no notice");
    let taken: Vec<_> = std::iter::from_fn(|| side.circuits.take_path_probe()).collect();
    assert_eq!(taken, [0, 1, 2, 3].map(PathProbe::Request));
    assert_eq!(side.circuits.stats.dropped_path_probe, 6);
}

/// A segment of circuit 2 after the peer's CREATE.
fn later_segment(side: &mut Side, ack: Seq, payload: &[u8]) {
    let segment = Segment {
        flags: Flags::ACK,
        seq: Seq(507),
        ack,
        window: 1_000,
        options: Options::default(),
        payload,
        ce: false,
    };
    side.receive_segment(2, &segment);
}

/// An established circuit 2, opened by the peer as number 7. Returns what the peer has to acknowledge.
fn quiet_circuit(side: &mut Side) -> Seq {
    side.syn(2, 7);
    side.events();
    let mut plain = Vec::new();
    assert!(side.circuits.fill(side.now, &mut side.shared, &mut plain));
    let (_, answer) = tortp::segments(&plain).next().expect("an answer");
    let ack = answer.seq + 1;
    later_segment(side, ack, b"");
    side.sent();
    ack
}

fn sleeps(side: &Side, wire: u32) -> bool {
    let circuit = side.circuits.get(wire).expect("open");
    circuit.tcp.awake().is_none()
}

#[test]
fn an_idle_circuit_sleeps_and_a_busy_one_does_not() {
    let mut side = Side::new(Config::default());
    quiet_circuit(&mut side);
    assert!(!sleeps(&side, 2), "what came with the SYN is unread");
    side.now = side.now + 2 * BEDTIME;
    side.circuits.put_to_sleep(side.now);
    assert!(!sleeps(&side, 2));

    let mut buffer = [0; 100];
    let circuit = side.circuits.get_mut(2).expect("open");
    let read = circuit.tcp.wake().read(&mut side.shared.pool, &mut buffer);
    assert_eq!(read, Ok(6));
    side.now = side.now + 2 * BEDTIME;
    assert!(side.circuits.bedtime() <= side.now, "it is looked at again");
    side.circuits.put_to_sleep(side.now);
    assert!(sleeps(&side, 2));
    assert_eq!(
        side.circuits.bedtime(),
        Time::NEVER,
        "no timer for those that sleep"
    );
    assert!(side.sent().is_empty());
    assert!(sleeps(&side, 2), "nothing to send is no reason to wake");
}

#[test]
fn what_comes_wakes_a_circuit() {
    let mut side = Side::new(Config::default());
    let ack = quiet_circuit(&mut side);
    let mut buffer = [0; 100];
    let circuit = side.circuits.get_mut(2).expect("open");
    let read = circuit.tcp.wake().read(&mut side.shared.pool, &mut buffer);
    assert_eq!(read, Ok(6));
    side.now = side.now + 3 * BEDTIME;
    side.circuits.put_to_sleep(side.now);
    side.now = side.now + 3 * BEDTIME;
    side.circuits.put_to_sleep(side.now);
    assert!(sleeps(&side, 2));
    side.circuits.set_limit(side.now, 800, &mut side.shared);
    assert!(
        sleeps(&side, 2),
        "it need not wake to learn the path's size"
    );

    later_segment(&mut side, ack, b"hello");
    assert!(!sleeps(&side, 2));
    let circuit = side.circuits.get_mut(2).expect("open");
    let tcb = circuit.tcp.wake();
    assert_eq!(tcb.read(&mut side.shared.pool, &mut buffer), Ok(5));
    assert!(tcb.info().mss < 800);
}

/// A side with so many circuits that all of them are not visited in one call.
pub(super) fn crowd() -> (Side, Vec<u32>) {
    let mut side = Side::new(Config::default());
    let wires: Vec<u32> = (1..=1_500).map(|n| 2 * n).collect();
    for &wire in &wires {
        side.syn(wire, wire);
    }
    (side, wires)
}

#[test]
fn a_crowd_follows_the_path_little_by_little_and_to_the_last() {
    let (mut side, wires) = crowd();
    // Some go while the others are visited.
    side.circuits.set_limit(side.now, 900, &mut side.shared);
    let mss = |side: &Side, wire: u32| {
        let circuit = side.circuits.get(wire);
        circuit.map(|c| c.tcp.look(Tcb::info).mss)
    };
    let small = |side: &Side| {
        let small = wires
            .iter()
            .filter(|&&wire| mss(side, wire) == Ok(900 - 19));
        small.count()
    };
    let first = small(&side);
    assert!((1..1_500).contains(&first), "{first}");
    for &wire in &wires[..1_300] {
        side.circuits
            .abort(wire, CloseReason::Local, &mut side.shared);
        side.circuits.forget(wire, &mut side.shared);
    }
    let mut calls = 0;
    while side.circuits.chores_deadline() < Time::NEVER {
        assert!(side.circuits.chores_deadline() <= side.now + 1);
        side.now = side.now + 1;
        side.circuits.do_chores(side.now, &mut side.shared);
        calls += 1;
    }
    assert!((1..=3).contains(&calls), "{calls}");
    assert_eq!(small(&side), 200, "all that are left");
}

#[test]
fn a_crowd_that_was_held_is_told_of_to_the_last() {
    let mut side = Side::new(Config::default());
    side.circuits.hold(true, &mut side.shared);
    for n in 1..=1_500 {
        side.syn(2 * n, n);
    }
    assert!(side.events().is_empty());
    side.circuits.hold(false, &mut side.shared);
    let first = side.events().len();
    assert!((1..2 * 1_500).contains(&first), "{first}");
    side.circuits.hold(true, &mut side.shared);
    assert_eq!(side.circuits.chores_deadline(), Time::NEVER);
    side.circuits.hold(false, &mut side.shared);
    while side.circuits.chores_deadline() < Time::NEVER {
        side.now = side.now + 1;
        side.circuits.do_chores(side.now, &mut side.shared);
    }
    let incoming = |event: &Event| matches!(event, Event::CircuitIncoming(..));
    let told = side.events().into_iter().filter(incoming).count();
    assert_eq!(told, 1_500 - first / 2, "each once");
}

/// A lone cell of the peer's on a circuit that it has opened: `n` came before it.
fn lone_cell(side: &mut Side, wire: u32, ack: Seq, n: u32) {
    let segment = Segment {
        flags: Flags::ACK.with(Flags::PSH),
        seq: Seq(507 + 514 * n),
        ack,
        window: 1_000,
        options: Options::default(),
        payload: &[7; 514],
        ce: false,
    };
    side.receive_segment(wire, &segment);
}

/// Circuits that the peer has opened; returns what it has to acknowledge on each.
fn opened(side: &mut Side, wires: &[u32]) -> Vec<Seq> {
    let mut open = |&wire: &u32| {
        side.syn(wire, wire);
        let mut plain = Vec::new();
        assert!(side.circuits.fill(side.now, &mut side.shared, &mut plain));
        let (_, answer) = tortp::segments(&plain).next().expect("an answer");
        answer.seq + 1
    };
    wires.iter().map(&mut open).collect()
}

#[test]
fn acknowledgements_for_which_there_is_no_room_in_a_datagram_leave_when_they_are_due() {
    let mut side = Side::new(Config::default());
    let wires = [2, 4, 6, 8];
    let acks = opened(&mut side, &wires);
    for (&wire, &ack) in wires.iter().zip(&acks).skip(1) {
        lone_cell(&mut side, wire, ack, 0);
    }
    assert_eq!(side.sent(), []);
    // Data of another circuit, which leaves room for one.
    later_segment(&mut side, acks[0], b"");
    let ack = tortp::MIN_SEGMENT_HEADER + 4;
    let room = 1_000 - ack - ack / 2;
    side.circuits.set_limit(
        side.now,
        tortp::DATAGRAM_HEADER + ack + 1_000,
        &mut side.shared,
    );
    let circuit = side.circuits.get_mut(2).expect("open");
    let written = circuit
        .tcp
        .wake()
        .write(&mut side.shared.pool, &vec![7; room]);
    assert_eq!(written, Ok(room));
    side.circuits.touched(2, &mut side.shared);
    let wires_of = |sent: Vec<(u32, Flags)>| sent.into_iter().map(|(wire, _)| wire);
    let first: Vec<u32> = wires_of(side.sent()).collect();
    assert_eq!(first, [2, 4]);
    side.now = side.now + crate::tcp::recovery::tlp::MAX_ACK_DELAY;
    side.circuits.on_delayed_acks(side.now);
    let later: Vec<u32> = wires_of(side.sent()).collect();
    assert_eq!(later, [6, 8]);
}

#[test]
fn lone_cells_of_siblings_are_acknowledged_together_or_when_the_first_has_waited() {
    const DELAY: crate::time::Micros = crate::tcp::recovery::tlp::MAX_ACK_DELAY;
    let mut side = Side::new(Config::default());
    let wires: Vec<u32> = (1..=8).map(|n| 2 * n).collect();
    let acks = opened(&mut side, &wires);
    // The first cell of all but one: nothing leaves, and the connection knows until when.
    let begin = side.now;
    for (&wire, &ack) in wires.iter().zip(&acks).take(7) {
        lone_cell(&mut side, wire, ack, 0);
        assert_eq!(side.sent(), [], "{wire}");
        side.now = side.now + 10;
    }
    assert_eq!(side.circuits.delayed_acks_deadline(), begin + DELAY);
    side.circuits.on_delayed_acks(begin + DELAY - 1);
    assert_eq!(side.sent(), []);
    side.now = begin + DELAY;
    side.circuits.on_delayed_acks(side.now);
    assert!(side.circuits.has_output());
    let all: Vec<_> = wires.iter().map(|&wire| (wire, Flags::ACK)).collect();
    assert_eq!(side.sent(), all[..7]);
    assert!(!side.circuits.has_output());
    assert_eq!(side.circuits.delayed_acks_deadline(), Time::NEVER);

    // The second cell of seven, and the first of the eighth: that is enough.
    for (&wire, &ack) in wires.iter().zip(&acks) {
        assert_eq!(side.sent(), [], "{wire}");
        lone_cell(&mut side, wire, ack, u32::from(wire != 16));
    }
    assert!(side.circuits.has_output());
    let mut plain = Vec::new();
    assert!(side.circuits.fill(side.now, &mut side.shared, &mut plain));
    assert_eq!(tortp::segments(&plain).count(), 8, "in one datagram");
    assert_eq!(side.sent(), []);
}
