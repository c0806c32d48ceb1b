//! All circuits of one connection: what the relay asks of them, what it hears, their timers and their end.

mod chores;
mod delayed_acks;
mod ending;
mod gates;
mod input;
mod memory;
mod order;
mod output;

use std::collections::{BTreeMap, VecDeque};

use super::circuit::Circuit;
use super::path::budget::Budget;
use super::path::group::Group;
use super::resets::Resets;
use super::tombstones::{Tombstone, Tombstones};
use crate::endpoint::shared::Shared;
use crate::endpoint::timers::{Owner, Timer};
use crate::endpoint::{CircuitId, ConnectionId, EVENT_READABLE, EVENT_WRITABLE, Event, Role};
use crate::error::{CloseReason, Error};
use crate::map::{HashSeed, Map};
use crate::stats::ConnectionStats;
use crate::tcp::recovery::rtt::Rtt;
use crate::tcp::segment::{Flags, PathProbe};
use crate::tcp::seq::Seq;
use crate::tcp::{BEDTIME, Settings, Tcb};
use crate::time::{Micros, SECOND, Time};
use crate::tortp;
use chores::{Chores, SOME};
use delayed_acks::DelayedAcks;
pub use gates::Gate;
use gates::Line;
use memory::Writers;

/// The wire identifier and the relay's number of the control circuit.
pub const CONTROL: u32 = 0;

/// Answers without a circuit (resets, acknowledgements of old FINs) that wait to be sent; more are not made.
const REPLIES_BOUND: usize = 1_024;

/// Path probes of one datagram that are looked at.
const PATH_PROBES_BOUND: usize = 4;

/// Circuits for which there may be room though there are none.
const ROOM: usize = 1_024;

/// After this long a silence, what waits for a backed-off timer goes out as soon as the peer is heard again.
const SILENCE: Micros = 2 * SECOND;

/// A segment without data that belongs to no living circuit.
#[derive(Clone, Copy, Debug)]
struct Reply {
    circuit: u32,
    flags: Flags,
    seq: Seq,
    ack: Seq,
}

/// The circuits of a connection.
pub struct Circuits {
    id: u32,
    role: Role,
    /// The largest TORTP datagram that is sent.
    limit: usize,
    /// The largest that may ever be.
    largest: usize,
    /// Path probes, and answers to ours, that the connection has not dealt with.
    path_probes: VecDeque<PathProbe>,
    /// A retransmission timer has fired.
    timed_out: bool,
    next_id: u32,
    circuits: Map<u32, Box<Circuit>>,
    /// The one that began last.
    newest: u32,
    /// Why all of them have ended, with the connection, or do as they are visited.
    ended: Option<CloseReason>,
    /// What is being done to all of them.
    chores: Chores,
    /// Circuits whose timer was backed off since the peer was last heard after a silence.
    backed_off: Vec<u32>,
    /// How many of them have ended and wait for the relay to let go.
    buried: usize,
    /// The relay's numbers in use, and by how many circuits: the peer may reuse one sooner than we hear that it is free.
    numbers: BTreeMap<u32, u32>,
    tombstones: Tombstones,
    resets: Resets,
    replies: VecDeque<Reply>,
    /// Circuits that may have something to send, in the order of their turns.
    active: VecDeque<u32>,
    /// Circuits that hold an acknowledgement back.
    delayed_acks: DelayedAcks,
    /// Circuits that had nothing more to do, and since when: the first of them may be put to sleep next.
    drowsy: VecDeque<(u32, Time)>,
    /// None of them is put to sleep before.
    bedtime_from: Time,
    /// Circuits that the budget or the common window holds back, each in a line of its own ([`Gate`]).
    waiting: [Line; 2],
    /// One of those could send now.
    passable: bool,
    /// When one of them could, if nothing happens before.
    gates_at: Time,
    budget: Budget,
    group: Option<Group>,
    /// On whose account data is held, and writers that wait for room.
    writers: Writers,
    /// Circuits that may hold data out of order.
    reordering: Vec<u32>,
    /// The endpoint knows that there are some.
    listed: bool,
    /// The last datagram filled may be marked by routers instead of dropped.
    ect: bool,
    /// A circuit has found out that such datagrams do not arrive.
    ect_dropped: bool,
    held: bool,
    srtt: Micros,
    rttvar: Micros,
    min_rtt: Micros,
    last_received: Time,
    /// The peer has answered on the control circuit.
    heard: bool,
    /// The control circuit has ended.
    control_ended: bool,
    /// A circuit was given up while nothing was heard from the peer.
    peer_gone: bool,
    /// Counters.
    pub stats: ConnectionStats,
}

impl Circuits {
    /// No circuits yet. `largest`: the largest plaintext of a record that may ever be sent, and the one that is until
    /// [`Circuits::set_limit`].
    pub fn new(id: ConnectionId, largest: usize, hash: HashSeed) -> Circuits {
        Circuits {
            id: id.0 as u32,
            role: Role::Client,
            limit: largest,
            largest,
            path_probes: VecDeque::new(),
            timed_out: false,
            next_id: 0,
            circuits: hash.map(),
            newest: CONTROL,
            ended: None,
            chores: Chores::default(),
            backed_off: Vec::new(),
            buried: 0,
            numbers: BTreeMap::new(),
            tombstones: Tombstones::default(),
            resets: Resets::default(),
            replies: VecDeque::new(),
            active: VecDeque::new(),
            delayed_acks: DelayedAcks::default(),
            drowsy: VecDeque::new(),
            bedtime_from: Time(0),
            waiting: Default::default(),
            passable: false,
            gates_at: Time::NEVER,
            budget: Budget::default(),
            group: None,
            writers: Writers::default(),
            reordering: Vec::new(),
            listed: false,
            ect: false,
            ect_dropped: false,
            held: false,
            srtt: 0,
            rttvar: 0,
            min_rtt: 0,
            last_received: Time(0),
            heard: false,
            control_ended: false,
            peer_gone: false,
            stats: ConnectionStats::default(),
        }
    }

    /// The session stands: opens the control circuit, which both sides do at once.
    pub fn start(&mut self, now: Time, role: Role, shared: &mut Shared) {
        self.role = role;
        self.next_id = match role {
            Role::Client => 2,
            Role::Server => 1,
        };
        self.last_received = now;
        let iss = Seq(shared.rng.next_u32());
        self.begin_budget(now);
        self.open_account(shared);
        let tcb = self.new_tcb(iss, None, shared);
        self.insert(CONTROL, Circuit::new(CONTROL, tcb, true), shared);
    }

    /// A circuit begins: what is known of the path is its start.
    fn insert(&mut self, wire: u32, mut circuit: Circuit, shared: &mut Shared) {
        circuit.tcp.set_path_mss(Self::mss(self.limit));
        self.append(wire, Box::new(circuit));
        if shared.config.coupled {
            // It exists, so it cannot fail.
            let _ = self.set_coupled(wire, true, shared);
        }
        self.activate(wire);
    }

    /// The connection that they are of.
    pub fn connection(&self) -> u32 {
        self.id
    }

    /// The endpoint-wide name of a circuit.
    pub fn circuit_id(&self, wire: u32) -> CircuitId {
        CircuitId(u64::from(self.id) << 32 | u64::from(wire))
    }

    /// The largest segment (options and data) that fits a datagram of this size.
    fn mss(limit: usize) -> u16 {
        let overhead = tortp::DATAGRAM_HEADER + tortp::MIN_SEGMENT_HEADER + 4;
        limit.saturating_sub(overhead).min(usize::from(u16::MAX)) as u16
    }

    /// The largest TORTP datagram that is sent.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The path carries datagrams of this size: the segments of all circuits follow.
    pub fn set_limit(&mut self, now: Time, limit: usize, shared: &mut Shared) {
        let shrank = limit < self.limit;
        self.limit = limit;
        if let Some(group) = &mut self.group {
            group.set_mss(Self::mss(limit));
        }
        self.resize_all(now, shrank, shared);
    }

    /// A path probe or an answer to one that came in.
    pub fn take_path_probe(&mut self) -> Option<PathProbe> {
        self.path_probes.pop_front()
    }

    /// Whether a retransmission timer has fired since this was last asked.
    pub fn take_timed_out(&mut self) -> bool {
        std::mem::take(&mut self.timed_out)
    }

    /// Whether the peer has answered on the control circuit, and so is listening.
    pub fn is_heard(&self) -> bool {
        self.heard
    }

    /// How long an answer may take on this path.
    pub fn rto(&self) -> Micros {
        Rtt::seeded(self.srtt, self.rttvar).rto()
    }

    fn settings(&self, shared: &Shared) -> Settings {
        Settings {
            mss: Self::mss(self.largest),
            send_buffer: shared.config.send_buffer,
            receive_buffer: shared.config.receive_buffer,
            congestion: shared.config.congestion,
            dead_timeout: shared.config.dead_timeout,
            srtt: self.srtt,
            rttvar: self.rttvar,
            ecn: shared.config.ecn,
        }
    }

    fn new_tcb(&self, iss: Seq, number: Option<u32>, shared: &Shared) -> Tcb {
        let mut tcb = Tcb::open(&self.settings(shared), iss, number);
        tcb.set_account(self.writers.account);
        tcb
    }

    /// Circuits that have not ended.
    pub fn open_count(&self) -> usize {
        self.circuits.len() - self.buried
    }

    /// Smoothed round-trip time of the path, zero if unknown.
    pub fn srtt(&self) -> Micros {
        self.srtt
    }

    /// Smallest round-trip time of the path, zero if unknown.
    pub fn min_rtt(&self) -> Micros {
        self.min_rtt
    }

    // ---- what the relay asks for ----

    /// Opens a circuit.
    ///
    /// # Errors
    /// [`Error::Argument`] for number 0, [`Error::InUse`], [`Error::Limit`].
    pub fn open(&mut self, number: u32, shared: &mut Shared) -> Result<CircuitId, Error> {
        if number == CONTROL {
            return Err(Error::Argument);
        }
        if self.numbers.contains_key(&number) {
            return Err(Error::InUse);
        }
        if self.circuits.len() >= shared.config.max_circuits {
            return Err(Error::Limit);
        }
        // Identifiers count up, so one comes round again only after 2^31 circuits.
        let mut wire = self.next_id;
        while self.circuits.contains_key(&wire) || self.tombstones.contains(wire) || wire == CONTROL
        {
            wire = wire.wrapping_add(2);
        }
        self.next_id = wire.wrapping_add(2);
        let iss = Seq(shared.rng.next_u32());
        let tcb = self.new_tcb(iss, Some(number), shared);
        self.insert(wire, Circuit::new(number, tcb, true), shared);
        *self.numbers.entry(number).or_default() += 1;
        self.stats.circuits_opened += 1;
        Ok(self.circuit_id(wire))
    }

    /// The circuit with this wire identifier.
    ///
    /// # Errors
    /// [`Error::Closed`] if there is none (any more).
    pub fn get(&self, wire: u32) -> Result<&Circuit, Error> {
        self.circuits
            .get(&wire)
            .map(|c| &**c)
            .filter(|c| !c.forgotten)
            .ok_or(Error::Closed)
    }

    /// The same, to be changed; [`Circuits::touched`] has to follow if it may have something to send or report.
    ///
    /// # Errors
    /// [`Error::Closed`] if there is none (any more).
    pub fn get_mut(&mut self, wire: u32) -> Result<&mut Circuit, Error> {
        self.circuits
            .get_mut(&wire)
            .map(|c| &mut **c)
            .filter(|c| !c.forgotten)
            .ok_or(Error::Closed)
    }

    /// The relay has done something to a circuit: it gets a turn to send, and what is to be told is queued.
    pub fn touched(&mut self, wire: u32, shared: &mut Shared) {
        let (id, held) = (self.circuit_id(wire), self.is_held(wire));
        if let Some(circuit) = self.circuits.get_mut(&wire) {
            if !circuit.active && !circuit.buried {
                circuit.active = true;
                self.active.push_back(wire);
            }
            Self::tell(id, held, &mut self.writers, circuit, shared);
        }
    }

    /// Answers a CircuitIncoming event.
    pub fn accept(&mut self, wire: u32, accept: bool, shared: &mut Shared) {
        let known = self.circuits.get(&wire).is_some_and(|c| !c.forgotten);
        if known && !accept {
            self.abort(wire, CloseReason::Refused, shared);
            self.forget(wire, shared);
        }
    }

    /// Resets a circuit; the relay gets no event.
    pub fn abort(&mut self, wire: u32, reason: CloseReason, shared: &mut Shared) {
        let Some(circuit) = self.circuits.get_mut(&wire) else {
            return;
        };
        circuit.closed_reported = true;
        if let Some(reset) = circuit.tcp.wake().abort(&mut shared.pool, reason) {
            self.send_reset(wire, reset);
        }
        self.bury(wire, shared);
    }

    /// Takes the number of a circuit back, so that the relay can use it again.
    pub fn release_number(&mut self, wire: u32) {
        let Some(circuit) = self.circuits.get_mut(&wire) else {
            return;
        };
        if std::mem::take(&mut circuit.holds_number)
            && let Some(users) = self.numbers.get_mut(&circuit.number)
        {
            *users -= 1;
            if *users == 0 {
                self.numbers.remove(&circuit.number);
            }
        }
    }

    /// The relay lets go of a circuit: reset, unless it was closed and finishes by itself.
    pub fn forget(&mut self, wire: u32, shared: &mut Shared) {
        self.release_number(wire);
        let Some(circuit) = self.circuits.get_mut(&wire) else {
            return;
        };
        circuit.forgotten = true;
        self.settle(wire, shared);
        let Some(circuit) = self.circuits.get_mut(&wire) else {
            return;
        };
        if circuit.end().is_none() && !circuit.tcp.awake().is_some_and(Tcb::is_closing) {
            self.abort(wire, CloseReason::Local, shared);
        }
        self.remove_if_done(wire, shared);
    }

    /// While held, only the control circuit reports anything.
    pub fn hold(&mut self, hold: bool, shared: &mut Shared) {
        self.held = hold;
        self.report_all(!hold, shared);
    }

    /// Whether events of this circuit are held back.
    pub fn is_held(&self, wire: u32) -> bool {
        self.held && wire != CONTROL
    }

    /// A circuit has ended: its number and its timer are free, its segments are answered without it.
    fn bury(&mut self, wire: u32, shared: &mut Shared) {
        self.release_number(wire);
        let now = self.last_received;
        let Some(circuit) = self.circuits.get_mut(&wire) else {
            return;
        };
        self.buried += usize::from(!circuit.buried);
        circuit.buried = true;
        self.control_ended |= wire == CONTROL;
        if circuit.tcp.is_coupled() {
            circuit.tcp.wake().set_coupled(now, false);
        }
        let owner = Owner::Circuit(self.id, wire);
        shared.timers.remove(owner, &mut circuit.timer);
        if self.ended.is_none() && !self.tombstones.contains(wire) {
            self.tombstones.insert(now, wire, Tombstone::Reset);
        }
        self.leave_line(wire);
        self.account(now, wire);
    }

    fn remove_if_done(&mut self, wire: u32, shared: &mut Shared) {
        let done = self
            .circuits
            .get(&wire)
            .is_some_and(|c| c.forgotten && c.buried);
        if done && let Some(mut circuit) = self.take_out(wire) {
            if let Some(tcb) = circuit.tcp.awake_mut() {
                tcb.release(&mut shared.pool);
            }
            self.buried -= 1;
            if self.ended.is_some() {
                // So do all others.
                return;
            }
            self.tidy_writers();
            // Entries that were deleted would have a table that is used again grow instead of being filled.
            if self.circuits.len() < self.circuits.capacity() / 8 && self.circuits.capacity() > ROOM
            {
                self.circuits.shrink_to(2 * self.circuits.len());
            }
        }
    }

    // ---- events ----

    /// Queues what is to be told of a circuit, unless it is held or masked: then it waits.
    pub fn report(&mut self, wire: u32, shared: &mut Shared) {
        let id = self.circuit_id(wire);
        let held = self.is_held(wire);
        if let Some(circuit) = self.circuits.get_mut(&wire) {
            Self::tell(id, held, &mut self.writers, circuit, shared);
        }
    }

    fn tell(
        id: CircuitId,
        held: bool,
        writers: &mut Writers,
        circuit: &mut Circuit,
        shared: &mut Shared,
    ) {
        // After close there is nothing to read, whatever still arrives.
        let mut writable = false;
        if let Some(tcb) = circuit.tcp.awake_mut() {
            circuit.readable.pending |= tcb.take_readable();
            circuit.readable.pending &= !tcb.is_closing();
            writable = tcb.take_writable();
        }
        if writable {
            if writers.admits(id.0 as u32, circuit, shared) {
                circuit.writable.pending = true;
            } else {
                // Its windows have room, but the pool has none: told when it has.
                circuit.tcp.wake().block_writer();
            }
        }
        if circuit.forgotten || held {
            return;
        }
        if !circuit.announced {
            circuit.announced = true;
            shared.events.push_back(Event::CircuitIncoming(
                ConnectionId(id.0 >> 32),
                id,
                circuit.number,
            ));
        }
        for (notice, bit, event) in [
            (&mut circuit.readable, EVENT_READABLE, Event::Readable(id)),
            (&mut circuit.writable, EVENT_WRITABLE, Event::Writable(id)),
        ] {
            if notice.pending && !notice.queued && circuit.mask & bit != 0 {
                notice.pending = false;
                notice.queued = true;
                shared.events.push_back(event);
            }
        }
        if id.0 as u32 != CONTROL
            && let Some(reason) = circuit.end_to_report()
        {
            circuit.closed_reported = true;
            shared.events.push_back(Event::CircuitClosed(id, reason));
        }
    }

    /// A Readable or Writable event is about to be handed out: whether it should be, now.
    pub fn deliver_event(&mut self, wire: u32, bit: u8) -> bool {
        let held = self.is_held(wire);
        let Some(circuit) = self.circuits.get_mut(&wire) else {
            return false;
        };
        let masked = circuit.mask & bit == 0;
        let notice = if bit == EVENT_READABLE {
            &mut circuit.readable
        } else {
            &mut circuit.writable
        };
        notice.queued = false;
        if circuit.forgotten
            || (bit == EVENT_READABLE && circuit.tcp.awake().is_some_and(Tcb::is_closing))
        {
            return false;
        }
        if masked || held {
            notice.pending = true;
            return false;
        }
        true
    }

    // ---- timers ----

    fn update_timer(&mut self, wire: u32, shared: &mut Shared) {
        if let Some(circuit) = self.circuits.get_mut(&wire) {
            Self::set_timer(self.id, wire, circuit, shared);
        }
    }

    fn set_timer(connection: u32, wire: u32, circuit: &mut Circuit, shared: &mut Shared) {
        if !circuit.buried {
            // The connection sees to the acknowledgements that are held back.
            let deadline = match circuit.tcp.awake() {
                Some(tcb) if circuit.delays_ack => tcb.deadline_beside_ack(),
                Some(tcb) => tcb.deadline(),
                None => Time::NEVER,
            };
            let owner = Owner::Circuit(connection, wire);
            shared.timers.update(owner, &mut circuit.timer, deadline);
        }
    }

    /// A circuit's registered deadline has come.
    pub fn on_timer(&mut self, now: Time, wire: u32, shared: &mut Shared) {
        let Some(circuit) = self.circuits.get_mut(&wire) else {
            return;
        };
        circuit.timer = Timer::OFF;
        let Some(tcb) = circuit.tcp.awake_mut() else {
            return;
        };
        if tcb.deadline() <= now {
            tcb.on_timer(now, &mut shared.pool);
            if tcb.rtt().backoff() > 0 {
                self.timed_out = true;
                self.note_backed_off(wire);
            }
            self.after_change(now, wire, shared);
        } else {
            self.update_timer(wire, shared);
        }
    }

    /// A circuit has nothing more to do for now.
    fn note_drowsy(&mut self, now: Time, wire: u32) {
        if let Some(circuit) = self.circuits.get_mut(&wire)
            && !circuit.drowsy
            && circuit
                .tcp
                .awake()
                .is_some_and(|tcb| tcb.deadline() == Time::NEVER)
        {
            circuit.drowsy = true;
            self.drowsy.push_back((wire, now));
        }
    }

    /// When [`Circuits::put_to_sleep`] has something to do.
    pub fn bedtime(&self) -> Time {
        let first = self.drowsy.front();
        first.map_or(Time::NEVER, |&(_, since)| {
            (since + BEDTIME).max(self.bedtime_from)
        })
    }

    /// Puts the circuits to sleep that have been idle for long.
    pub fn put_to_sleep(&mut self, now: Time) {
        let mut left = SOME;
        while self.bedtime() <= now
            && let Some((wire, _)) = self.drowsy.pop_front()
        {
            let Some(circuit) = self.circuits.get_mut(&wire) else {
                continue;
            };
            circuit.drowsy = false;
            if !circuit.buried && !circuit.tcp.sleep(now) {
                // Unless something is under way, in which case it is noted again when that is over.
                self.note_drowsy(now, wire);
            }
            left -= 1;
            if left == 0 {
                // The others with the next call.
                self.bedtime_from = now + 1;
            }
        }
        // It was as long as there were circuits awake.
        if self.drowsy.len() < self.drowsy.capacity() / 8 {
            self.drowsy.shrink_to(2 * self.drowsy.len());
        }
    }

    /// Why the connection cannot go on, if so: the control circuit has ended, or a circuit was given up while nothing at
    /// all was heard from the peer.
    pub fn lost(&self) -> Option<CloseReason> {
        if self.peer_gone {
            return Some(CloseReason::Timeout);
        }
        if !self.control_ended {
            return None;
        }
        self.circuits.get(&CONTROL).and_then(|c| c.end())
    }
}
