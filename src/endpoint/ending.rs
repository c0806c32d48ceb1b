//! The end of connections. It shows at once: no call finds one of their circuits alive, and the peer's address is free. What
//! is to be done for each of their circuits is done to some of them in a call, since there may be very many.

use super::timers::Owner;
use super::{ConnectionId, Endpoint};
use crate::error::{CloseReason, Error};
use crate::time::Time;

impl Endpoint {
    /// Ends a connection: circuits end with reason `Connection`, the peer is told, `ConnectionClosed(Local)` follows.
    /// Those of its circuits are queued before it, by this call and the next calls of [`Endpoint::process`].
    ///
    /// # Errors
    /// [`Error::Closed`] when it has ended.
    pub fn connection_close(&mut self, id: ConnectionId) -> Result<(), Error> {
        self.with(id, |connection, shared| {
            connection.close(CloseReason::Local, shared);
            Ok(())
        })
    }

    /// Ends it if it has not ended, and forgets it: no more events of it or of its circuits. What these hold is given back
    /// by this call and the next calls of [`Endpoint::process`].
    pub fn connection_forget(&mut self, id: ConnectionId) {
        let key = id.0 as u32;
        if let Some(connection) = self.connections.get_mut(&key) {
            connection.announced = false;
        }
        let _ = self.connection_close(id);
        if let Some(mut connection) = self.connections.remove(&key) {
            connection.remove_timer(&mut self.shared);
            if !connection.circuits.release(&mut self.shared) {
                self.released.push_back(connection.circuits);
                self.release_at = Time(0);
            }
            self.tidy_memory();
        }
    }

    /// A timer of a connection that has ended, or is gone, has come up.
    pub(super) fn go_on_ending(&mut self, now: Time, owner: Owner) {
        let (Owner::Connection(key) | Owner::Circuit(key, _)) = owner;
        if let Some(connection) = self.connections.get_mut(&key) {
            match owner {
                Owner::Connection(_) => connection.go_on_ending(now, &mut self.shared),
                Owner::Circuit(_, wire) => connection.circuits.settle(wire, &mut self.shared),
            }
        }
    }

    /// Frees some circuits of connections that were forgotten.
    pub(super) fn go_on_releasing(&mut self, now: Time) {
        self.release_some();
        self.release_at = if self.released.is_empty() {
            Time::NEVER
        } else {
            now + 1
        };
    }

    /// The same; returns whether there were any.
    pub(super) fn release_some(&mut self) -> bool {
        let Some(circuits) = self.released.front_mut() else {
            return false;
        };
        if circuits.release(&mut self.shared) {
            self.released.pop_front();
        }
        true
    }
}
