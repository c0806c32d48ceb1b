//! Hands the endpoint's events and datagrams to the relay, and its answers back.
//!
//! Only inject and process come here. Whatever C does inside a callback finds the endpoint in a consistent state,
//! with nothing borrowed: every event is taken off the queue before the relay hears of it.

use std::ffi::c_int;

use super::address::Address;
use super::handle::ConnectionSlot;
use super::shared::Shared;
use crate::endpoint::{CircuitId, ConnectionId, Endpoint, Event};
use crate::error::{CloseReason, Error};
use crate::pool::Pressure;
use crate::time::Time;

/// Bounds on one call, so that callbacks which keep making work cannot hold the relay's loop for ever. What is left
/// over makes the next deadline come at once.
#[derive(Clone, Copy)]
struct Budget {
    rounds: usize,
    events: usize,
    batches: usize,
}

const BUDGET: Budget = Budget {
    rounds: 16,
    events: 65_536,
    batches: 1_024,
};

/// Batches of datagrams that are made in a round: the socket gets each before the next is made.
const TURNS: usize = 8;

/// What is left for C to do, and what C has done about it.
pub(super) struct Drive<'a> {
    shared: &'a Shared,
    left: Budget,
}

impl<'a> Drive<'a> {
    /// Starts a call of the relay's: a socket that was full may have room again.
    pub(super) fn new(shared: &'a Shared) -> Drive<'a> {
        shared.blocked.set(false);
        shared.unfinished.set(false);
        Drive {
            shared,
            left: BUDGET,
        }
    }

    /// Events, what follows from the answers, and datagrams, until nothing is left.
    pub(super) fn finish(mut self, now: Time) -> Result<(), Error> {
        let mut first = true;
        loop {
            let events = self.deliver()?;
            if !first && !events && !self.made_work()? {
                break;
            }
            first = false;
            if self.left.rounds == 0 || self.left.events == 0 || self.left.batches == 0 {
                self.shared.unfinished.set(true);
                break;
            }
            self.left.rounds -= 1;
            self.shared.core(|core| core.work(now))?;
            for _ in 0..TURNS {
                let more = self.shared.core(|core| core.transmit(now))?;
                self.offer()?;
                if !more {
                    break;
                }
            }
        }
        self.capture()
    }

    /// Whether callbacks left work behind that no event tells of, such as data written from inside tx.
    fn made_work(&self) -> Result<bool, Error> {
        self.shared.core(|core| core.next_deadline() == Time(0))
    }

    /// Tells the relay of all events, also those that follow from its answers. Returns whether there were any.
    pub(super) fn deliver(&mut self) -> Result<bool, Error> {
        let mut any = false;
        while self.left.events > 0 {
            let Some(event) = self.shared.core(Endpoint::poll_event)? else {
                break;
            };
            self.left.events -= 1;
            any = true;
            note(event);
            self.tell(event)?;
            if self.shared.is_poisoned() {
                return Err(Error::Internal);
            }
        }
        Ok(any)
    }

    fn tell(&self, event: Event) -> Result<(), Error> {
        match event {
            Event::ConnectionIncoming(id, address) => {
                self.connection_incoming(id, Address::new(address))
            }
            Event::ConnectionVerify(id) => self.connection_verify(id),
            Event::ConnectionReady(id) => self.connection_ready(id),
            Event::ConnectionClosed(id, reason) => self.connection_closed(id, reason.code()),
            Event::CircuitIncoming(connection, id, number) => {
                self.circuit_incoming(connection, id, number)
            }
            Event::Readable(id) => self.circuit_readable(id),
            Event::Writable(id) => self.circuit_writable(id),
            Event::CircuitClosed(id, reason) => self.circuit_closed(id, reason.code()),
            Event::MemoryPressure(level) => {
                self.memory_pressure(level);
                Ok(())
            }
        }
    }

    /// The connection's handle, if it is the relay's: from now on the relay knows it.
    fn known(&self, id: ConnectionId) -> Option<ConnectionSlot> {
        self.shared
            .connection(id)
            .inspect(ConnectionSlot::set_known)
    }

    fn connection_incoming(&self, id: ConnectionId, address: Address) -> Result<(), Error> {
        let shared = self.shared;
        let slot = shared.add_connection(id);
        let accept = match shared.callbacks.connection_incoming {
            None => true,
            Some(callback) => {
                slot.set_known();
                // SAFETY: the relay's function, with a live handle and an address that outlives the call.
                shared.call(|| unsafe {
                    callback(shared.user, slot.to_c(), address.as_ptr(), address.len()) == 0
                })
            }
        };
        // The relay may have freed the handle meanwhile: then the connection is forgotten already.
        if shared.connection(id).is_some() {
            if !accept {
                shared.remove_connection(id);
            }
            shared.core(|core| core.accept(shared.now(), id, accept))?;
        }
        Ok(())
    }

    fn connection_verify(&self, id: ConnectionId) -> Result<(), Error> {
        let shared = self.shared;
        let acceptable = match (shared.callbacks.connection_verify, shared.connection(id)) {
            (Some(callback), Some(slot)) => {
                slot.set_known();
                let ssl = shared.core(|core| core.connection_ssl(id))?;
                // SAFETY: the relay's function, with a live handle and the session of that connection.
                !ssl.is_null()
                    && shared
                        .call(|| unsafe { callback(shared.user, slot.to_c(), ssl.cast()) == 0 })
            }
            _ => false,
        };
        if shared.connection(id).is_some() {
            shared.core(|core| core.verified(shared.now(), id, acceptable))?;
        }
        Ok(())
    }

    fn connection_ready(&self, id: ConnectionId) -> Result<(), Error> {
        let shared = self.shared;
        if shared.connection(id).is_some() {
            // Its events need a handle. An error means that the connection has ended again, which has an event of its
            // own behind this one.
            match shared.control(id) {
                Ok(_) | Err(Error::Closed) => {}
                Err(error) => return Err(error),
            }
        }
        if let Some(callback) = shared.callbacks.connection_ready
            && let Some(slot) = self.known(id)
        {
            // SAFETY: the relay's function, with a live handle.
            shared.call(|| unsafe { callback(shared.user, slot.to_c()) });
        }
        Ok(())
    }

    fn connection_closed(&self, id: ConnectionId, reason: c_int) -> Result<(), Error> {
        let shared = self.shared;
        match shared.callbacks.connection_closed {
            Some(callback) => {
                if let Some(slot) = self.known(id) {
                    // SAFETY: the relay's function, with a live handle.
                    shared.call(|| unsafe { callback(shared.user, slot.to_c(), reason) });
                }
                Ok(())
            }
            // A relay that never saw the handle cannot free it.
            None if shared.connection(id).is_some_and(|slot| !slot.is_known()) => {
                shared.remove_connection(id);
                shared.core(|core| core.connection_forget(id))
            }
            None => Ok(()),
        }
    }

    fn circuit_incoming(
        &self,
        connection: ConnectionId,
        id: CircuitId,
        number: u32,
    ) -> Result<(), Error> {
        let shared = self.shared;
        let accept = match (shared.callbacks.circuit_incoming, self.known(connection)) {
            (Some(_), Some(_)) if shared.circuit(id).is_some() => {
                // Never meant to happen; the old handle stays the relay's, and finds nothing behind it.
                log::error!("a circuit comes in under the id of another");
                return shared.core(|core| core.accept_circuit(id, false));
            }
            (Some(callback), Some(slot)) => {
                let circuit = shared.add_circuit(id, connection, number);
                // SAFETY: the relay's function, with two live handles.
                let accept = shared.call(|| unsafe {
                    callback(shared.user, slot.to_c(), circuit.to_c(), number) == 0
                });
                if shared.circuit(id).is_none() {
                    return Ok(()); // the relay freed it: it is forgotten already
                }
                accept
            }
            _ => false,
        };
        if !accept {
            shared.remove_circuit(id);
        }
        shared.core(|core| core.accept_circuit(id, accept))
    }

    fn circuit_readable(&self, id: CircuitId) -> Result<(), Error> {
        let shared = self.shared;
        if let (Some(callback), Some(slot)) =
            (shared.callbacks.circuit_readable, shared.circuit(id))
        {
            // SAFETY: the relay's function, with a live handle.
            shared.call(|| unsafe { callback(shared.user, slot.to_c()) });
        }
        Ok(())
    }

    fn circuit_writable(&self, id: CircuitId) -> Result<(), Error> {
        let shared = self.shared;
        if let (Some(callback), Some(slot)) =
            (shared.callbacks.circuit_writable, shared.circuit(id))
        {
            // SAFETY: the relay's function, with a live handle.
            shared.call(|| unsafe { callback(shared.user, slot.to_c()) });
        }
        Ok(())
    }

    fn circuit_closed(&self, id: CircuitId, reason: c_int) -> Result<(), Error> {
        let shared = self.shared;
        if let (Some(callback), Some(slot)) = (shared.callbacks.circuit_closed, shared.circuit(id))
            && !slot.is_control()
        {
            // SAFETY: the relay's function, with a live handle.
            shared.call(|| unsafe { callback(shared.user, slot.to_c(), reason) });
        }
        Ok(())
    }

    fn memory_pressure(&self, level: Pressure) {
        let shared = self.shared;
        if let Some(callback) = shared.callbacks.memory_pressure {
            // SAFETY: the relay's function.
            shared.call(|| unsafe { callback(shared.user, level as c_int) });
        }
    }

    /// Offers datagrams to tx, until there are none or it does not take them all.
    fn offer(&mut self) -> Result<(), Error> {
        let shared = self.shared;
        let Some(tx) = shared.callbacks.tx else {
            return Ok(());
        };
        // Only this function uses the batch, and tx cannot lead back here.
        let mut batch = shared.batch.borrow_mut();
        while !shared.blocked.get() && self.left.batches > 0 {
            let count = shared.core(|core| batch.fill(core.output().iter()))?;
            if count == 0 {
                break;
            }
            self.left.batches -= 1;
            // SAFETY: the relay's function. The datagrams stay in the endpoint's queue, which `sent` alone takes
            // from, and their data stays where it is, whatever else the relay calls from inside.
            let taken = shared
                .call(|| unsafe { tx(shared.user, batch.as_ptr(), count) })
                .min(count);
            if shared.is_poisoned() {
                return Err(Error::Internal);
            }
            shared.core(|core| core.sent(taken))?;
            shared.blocked.set(taken < count);
        }
        batch.clear();
        Ok(())
    }

    /// Hands out what was captured.
    fn capture(&self) -> Result<(), Error> {
        let shared = self.shared;
        let (Some(callback), user) = shared.capture.get() else {
            return Ok(());
        };
        let data = shared.core(Endpoint::take_capture)?;
        if !data.is_empty() {
            // SAFETY: the relay's function, with a vector that outlives the call.
            shared.call(|| unsafe { callback(user, data.as_ptr(), data.len()) });
        }
        Ok(())
    }
}

/// Logs an event. What a peer that is not known yet can bring about is below the level that operators run at.
fn note(event: Event) {
    const CONNECTION: &str = "utcp::connection";
    const CIRCUIT: &str = "utcp::circuit";
    match event {
        Event::ConnectionIncoming(id, address) => {
            log::debug!(target: CONNECTION, "{}: {address} wants to connect", id.0);
        }
        Event::ConnectionVerify(id) => {
            log::debug!(target: CONNECTION, "{}: handshake complete", id.0)
        }
        Event::ConnectionReady(id) => log::info!(target: CONNECTION, "{}: ready", id.0),
        Event::ConnectionClosed(id, reason) => {
            let level = match reason {
                CloseReason::Handshake | CloseReason::Verify | CloseReason::Refused => {
                    log::Level::Debug
                }
                _ => log::Level::Info,
            };
            log::log!(target: CONNECTION, level, "{}: {}", id.0, reason.text());
        }
        Event::CircuitIncoming(connection, id, number) => {
            log::debug!(target: CIRCUIT, "{:x}: number {number}, opened on {}", id.0, connection.0);
        }
        Event::Readable(id) => log::trace!(target: CIRCUIT, "{:x}: readable", id.0),
        Event::Writable(id) => log::trace!(target: CIRCUIT, "{:x}: writable", id.0),
        Event::CircuitClosed(id, reason) => {
            log::debug!(target: CIRCUIT, "{:x}: {}", id.0, reason.text());
        }
        Event::MemoryPressure(level) => {
            log::info!(target: "utcp::endpoint", "use of the memory budget: {level:?}");
        }
    }
}

/// Whether the endpoint has something to do at once that its own deadline does not tell.
pub(super) fn is_pending(shared: &Shared, core: &Endpoint) -> bool {
    let offered = shared.callbacks.tx.is_some() && !shared.blocked.get();
    shared.unfinished.get() || (offered && !core.output().is_empty())
}
