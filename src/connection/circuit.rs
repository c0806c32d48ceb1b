//! One circuit: its TCP, and what the relay wants to hear of it.

use super::circuits::{CONTROL, Gate};
use crate::endpoint::timers::Timer;
use crate::endpoint::{EVENT_READABLE, EVENT_WRITABLE};
use crate::error::CloseReason;
use crate::tcp::{State, Tcb, Tcp};

/// The weight of a circuit in the round robin unless the relay says otherwise.
pub const DEFAULT_WEIGHT: u8 = 16;

/// Of those whose writers wait for the pool.
pub const WAITS_FOR_MEMORY: u8 = 1;
/// Of those that may hold data out of order.
pub const REORDERS: u8 = 2;
/// Of those that wait for a backed-off timer, as far as is known.
pub const BACKED_OFF: u8 = 4;

/// A circuit of a connection.
pub struct Circuit {
    /// The relay's number.
    pub number: u32,
    /// Its TCP connection.
    pub tcp: Tcp,
    /// Events that are reported.
    pub mask: u8,
    /// Weight in the round robin.
    pub weight: u8,
    /// Octets that may be sent before it is the next one's turn.
    pub deficit: u32,
    /// It stands in the scheduler's queue.
    pub active: bool,
    /// It stands in the list of those that hold an acknowledgement back.
    pub delays_ack: bool,
    /// It stands in the list of those that may sleep soon.
    pub drowsy: bool,
    /// It stands in this line.
    pub waiting: Option<Gate>,
    /// Octets that the common window counts as its own.
    pub in_group: u32,
    /// Octets acknowledged, and found lost, of which the budget of new circuits knows: the low bits, which tell what is
    /// new.
    pub acked: u32,
    /// See `acked`.
    pub lost: u32,
    /// The circuits that began before and after it (see `circuits/order.rs`).
    pub before: u32,
    /// See `before`.
    pub after: u32,
    /// Its entry in the endpoint's timers.
    pub timer: Timer,
    /// Its number cannot be opened by the relay.
    pub holds_number: bool,
    /// The relay has heard of it (always, if it opened it).
    pub announced: bool,
    /// A Readable event waits to be queued, or stands in the queue.
    pub readable: Notice,
    /// The same for Writable.
    pub writable: Notice,
    /// Lists that it is in: [`WAITS_FOR_MEMORY`], [`REORDERS`], [`BACKED_OFF`]. One octet: there are many circuits.
    pub lists: u8,
    /// CircuitClosed was queued, or the relay ended it itself and needs no event.
    pub closed_reported: bool,
    /// The relay has let go of it.
    pub forgotten: bool,
    /// It has ended: its number is free and a tombstone answers its segments.
    pub buried: bool,
}

/// An edge-triggered event on its way to the relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// Something happened that was not reported.
    pub pending: bool,
    /// The event stands in the queue.
    pub queued: bool,
}

impl Circuit {
    /// A circuit with this number.
    pub fn new(number: u32, tcb: Tcb, announced: bool) -> Circuit {
        Circuit {
            number,
            tcp: Tcp::new(tcb),
            mask: EVENT_READABLE | EVENT_WRITABLE,
            weight: DEFAULT_WEIGHT,
            deficit: 0,
            active: false,
            delays_ack: false,
            drowsy: false,
            waiting: None,
            in_group: 0,
            acked: 0,
            lost: 0,
            before: CONTROL,
            after: CONTROL,
            timer: Timer::OFF,
            holds_number: number != CONTROL,
            announced,
            readable: Notice::default(),
            writable: Notice::default(),
            lists: 0,
            closed_reported: false,
            forgotten: false,
            buried: false,
        }
    }

    /// Puts it in a list; returns whether it was not there.
    pub fn enter(&mut self, list: u8) -> bool {
        let new = self.lists & list == 0;
        self.lists |= list;
        new
    }

    /// Octets that the common window counted as this circuit's until now, and that it has to count from now on.
    pub fn recount(&mut self) -> (u64, u64) {
        // A window has 30 bits.
        let now = match self.tcp.awake() {
            Some(tcb) if tcb.is_coupled() => tcb.in_flight() as u32,
            _ => 0,
        };
        let before = std::mem::replace(&mut self.in_group, now);
        (u64::from(before), u64::from(now))
    }

    /// The gate that it has to pass, if any.
    pub fn gate(&self) -> Option<Gate> {
        if self.tcp.is_coupled() {
            Some(Gate::Window)
        } else if self.tcp.awake().is_some_and(Tcb::is_fresh) {
            Some(Gate::Budget)
        } else {
            None
        }
    }

    /// Why it ended, once both directions are finished or it was cut off.
    pub fn end(&self) -> Option<CloseReason> {
        let tcb = self.tcp.awake()?;
        match tcb.state() {
            State::TimeWait | State::Closed => tcb.close_reason(),
            _ => None,
        }
    }

    /// Whether the end can be told: an orderly one only after everything was read.
    pub fn end_to_report(&self) -> Option<CloseReason> {
        if self.closed_reported || self.forgotten {
            return None;
        }
        let tcb = self.tcp.awake()?;
        self.end().filter(|&reason| {
            reason != CloseReason::Done || tcb.readable() == 0 || tcb.is_closing()
        })
    }
}
