//! What the relay does with a circuit. All of these give [`Error::Closed`] when it has ended or was forgotten.

use super::{CircuitId, ConnectionId, Endpoint};
use crate::connection::Phase;
use crate::connection::circuit::Circuit;
use crate::connection::circuits::CONTROL;
use crate::error::{CloseReason, Error};
use crate::pool::Pool;
use crate::stats::CircuitInfo;
use crate::tcp::congestion::Algorithm;
use crate::tcp::{State, Tcb};

fn split(id: CircuitId) -> (u32, u32) {
    ((id.0 >> 32) as u32, id.0 as u32)
}

impl Endpoint {
    /// Opens a circuit under the relay's number (not 0).
    ///
    /// # Errors
    /// [`Error::State`] before the connection is ready, [`Error::InUse`], [`Error::Limit`], [`Error::Argument`].
    pub fn open_circuit(&mut self, id: ConnectionId, number: u32) -> Result<CircuitId, Error> {
        self.with(id, |connection, shared| {
            if connection.phase != Phase::Ready {
                return Err(Error::State);
            }
            connection.circuits.open(number, shared)
        })
    }

    /// Answers [`super::Event::CircuitIncoming`]; refused, the circuit is reset and forgotten without another event.
    pub fn accept_circuit(&mut self, id: CircuitId, accept: bool) {
        let (key, wire) = split(id);
        let _ = self.with(ConnectionId(u64::from(key)), |connection, shared| {
            connection.circuits.accept(wire, accept, shared);
            Ok(())
        });
        if !accept {
            self.circuit_forget(id);
        }
    }

    pub(super) fn circuit(&self, id: CircuitId) -> Result<&Circuit, Error> {
        let (key, wire) = split(id);
        self.connections
            .get(&key)
            .ok_or(Error::Closed)?
            .circuits
            .get(wire)
    }

    pub(super) fn deliver_event(&mut self, id: CircuitId, bit: u8) -> bool {
        let (key, wire) = split(id);
        self.connections
            .get_mut(&key)
            .is_some_and(|c| c.circuits.deliver_event(wire, bit))
    }

    /// Runs `change` on a circuit, which may have ended, then gives it a turn to send and to report.
    fn with_circuit<T>(
        &mut self,
        id: CircuitId,
        change: impl FnOnce(&mut Circuit, &mut Pool) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (key, wire) = split(id);
        let connection = self.connections.get_mut(&key).ok_or(Error::Closed)?;
        connection.circuits.settle(wire, &mut self.shared);
        let circuit = connection.circuits.get_mut(wire)?;
        let result = change(circuit, &mut self.shared.pool);
        if result.is_ok() {
            connection.circuits.touched(wire, &mut self.shared);
        } else {
            // Nothing was read or queued, so there is nothing to send; but a writer may wait for the pool now.
            connection.circuits.report(wire, &mut self.shared);
        }
        self.after(key);
        result
    }

    /// As [`Endpoint::with_circuit`], for what makes sense only until the relay has heard of the end.
    fn with_live_circuit<T>(
        &mut self,
        id: CircuitId,
        change: impl FnOnce(&mut Circuit, &mut Pool) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.with_circuit(id, |circuit, pool| {
            if circuit.closed_reported {
                return Err(Error::Closed);
            }
            change(circuit, pool)
        })
    }

    /// Copies what was received in order.
    ///
    /// # Errors
    /// [`Error::WouldBlock`], [`Error::End`], [`Error::Closed`].
    pub fn read(&mut self, id: CircuitId, buffer: &mut [u8]) -> Result<usize, Error> {
        if buffer.is_empty() {
            return self.circuit(id).map(|_| 0);
        }
        self.with_circuit(id, |circuit, pool| {
            // One that sleeps has nothing.
            let tcb = circuit.tcp.awake_mut().ok_or(Error::WouldBlock)?;
            tcb.read(pool, buffer)
        })
    }

    /// Queues data to be sent; may take less than all.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] when there is no room at all, [`Error::State`] after `finish`, [`Error::Closed`].
    pub fn write(&mut self, id: CircuitId, data: &[u8]) -> Result<usize, Error> {
        self.with_circuit(id, |circuit, pool| circuit.tcp.wake().write(pool, data))
    }

    /// Octets that can be read now; 0 when ended.
    pub fn readable(&self, id: CircuitId) -> usize {
        self.circuit(id)
            .ok()
            .filter(|_| !self.is_late(id))
            .and_then(|c| c.tcp.awake())
            .map_or(0, Tcb::readable)
    }

    /// Octets that can be written now; 0 when ended.
    pub fn room(&self, id: CircuitId) -> usize {
        let (key, wire) = split(id);
        let Some(connection) = self.connections.get(&key) else {
            return 0;
        };
        let memory = connection.circuits.writable_memory(&self.shared.pool);
        let circuit = connection.circuits.get(wire).ok();
        let live = circuit.filter(|_| !connection.circuits.is_late(wire));
        live.map_or(0, |c| c.tcp.look(Tcb::room).min(memory))
    }

    /// Half-close.
    ///
    /// # Errors
    /// [`Error::State`] for the control circuit, [`Error::Closed`].
    pub fn finish(&mut self, id: CircuitId) -> Result<(), Error> {
        not_control(id)?;
        self.with_circuit(id, |circuit, _| {
            if circuit.end().is_some() {
                return Err(Error::Closed);
            }
            circuit.tcp.wake().finish();
            Ok(())
        })
    }

    /// Half-close, and discard what still arrives. `CircuitClosed` follows. The number is free at once.
    ///
    /// # Errors
    /// [`Error::State`] for the control circuit, [`Error::Closed`].
    pub fn close(&mut self, id: CircuitId) -> Result<(), Error> {
        not_control(id)?;
        let (key, wire) = split(id);
        self.with_circuit(id, |circuit, pool| {
            if circuit.end().is_some() {
                return Err(Error::Closed);
            }
            circuit.tcp.wake().close(pool);
            Ok(())
        })?;
        if let Some(connection) = self.connections.get_mut(&key) {
            connection.circuits.release_number(wire);
        }
        Ok(())
    }

    /// Reset at once; no event.
    ///
    /// # Errors
    /// [`Error::State`] for the control circuit, [`Error::Closed`].
    pub fn abort(&mut self, id: CircuitId) -> Result<(), Error> {
        not_control(id)?;
        let (key, wire) = split(id);
        let connection = self.connections.get_mut(&key).ok_or(Error::Closed)?;
        connection.circuits.settle(wire, &mut self.shared);
        if connection.circuits.get(wire)?.end().is_some() {
            return Err(Error::Closed);
        }
        connection
            .circuits
            .abort(wire, CloseReason::Local, &mut self.shared);
        self.after(key);
        Ok(())
    }

    /// No more events of this circuit. Resets it, unless `close` was called: then it finishes by itself. The control
    /// circuit stays as long as its connection.
    pub fn circuit_forget(&mut self, id: CircuitId) {
        let (key, wire) = split(id);
        if wire == CONTROL {
            return;
        }
        if let Some(connection) = self.connections.get_mut(&key) {
            connection.circuits.forget(wire, &mut self.shared);
            self.after(key);
        }
    }

    /// Which events are reported: [`super::EVENT_READABLE`], [`super::EVENT_WRITABLE`]. Unmasking Readable reports
    /// what was left unread, too: no other event may ever come, because the peer has sent all or the window is closed.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn set_events(&mut self, id: CircuitId, mask: u8) -> Result<(), Error> {
        self.with_live_circuit(id, |circuit, _| {
            let unmasked = mask & !circuit.mask & super::EVENT_READABLE != 0;
            circuit.readable.pending |= unmasked
                && circuit
                    .tcp
                    .awake()
                    .is_some_and(|tcb| tcb.readable() > 0 || tcb.at_end());
            circuit.mask = mask;
            Ok(())
        })
    }

    /// TCP from the inside; last values after the end, as long as it was not forgotten.
    pub fn circuit_info(&self, id: CircuitId) -> Option<CircuitInfo> {
        let circuit = self.circuit(id).ok()?;
        let mut info = circuit.tcp.look(Tcb::info);
        if self.is_late(id) {
            // As it is once it was visited.
            info.state = State::Closed as u32;
            info.send_queue = 0;
            info.unsent = 0;
            info.receive_queue = 0;
            info.out_of_order = 0;
            info.bytes_in_flight = 0;
        }
        Some(CircuitInfo {
            number: circuit.number,
            wire_id: split(id).1,
            ..info
        })
    }

    /// Whether it has ended with its connection, though it does not show in the circuit itself.
    fn is_late(&self, id: CircuitId) -> bool {
        let (key, wire) = split(id);
        self.connections
            .get(&key)
            .is_some_and(|connection| connection.circuits.is_late(wire))
    }

    /// Switches congestion control.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn set_congestion(&mut self, id: CircuitId, algorithm: Algorithm) -> Result<(), Error> {
        self.with_live_circuit(id, |circuit, _| {
            circuit.tcp.wake().set_congestion(algorithm);
            Ok(())
        })
    }

    /// Whether the circuit shares one congestion window with its coupled siblings, or has its own.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn set_coupled(&mut self, id: CircuitId, coupled: bool) -> Result<(), Error> {
        if self.circuit(id)?.closed_reported {
            return Err(Error::Closed);
        }
        let (key, wire) = split(id);
        self.with(ConnectionId(u64::from(key)), |connection, shared| {
            connection.circuits.set_coupled(wire, coupled, shared)
        })
    }

    /// Switches the congestion control of the window that coupled circuits of a connection share.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn set_connection_congestion(
        &mut self,
        id: ConnectionId,
        algorithm: Algorithm,
    ) -> Result<(), Error> {
        self.with(id, |connection, shared| {
            connection.circuits.set_group_congestion(algorithm, shared);
            Ok(())
        })
    }

    /// Caps the sending rate, octets per second; 0 removes the cap.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn set_rate(&mut self, id: CircuitId, rate: u64) -> Result<(), Error> {
        self.with_live_circuit(id, |circuit, _| {
            circuit.tcp.wake().set_rate(rate);
            Ok(())
        })
    }

    /// Octets held for sending, 4,096 to 2^30.
    ///
    /// # Errors
    /// [`Error::Argument`], [`Error::Closed`].
    pub fn set_send_buffer(&mut self, id: CircuitId, octets: usize) -> Result<(), Error> {
        check_buffer(octets)?;
        self.with_live_circuit(id, |circuit, _| {
            circuit.tcp.wake().set_send_buffer(octets);
            Ok(())
        })
    }

    /// The largest receive window, 4,096 to 2^30. Cannot exceed what the window scale of the circuit's SYN allows.
    ///
    /// # Errors
    /// [`Error::Argument`], [`Error::Closed`].
    pub fn set_receive_buffer(&mut self, id: CircuitId, octets: usize) -> Result<(), Error> {
        check_buffer(octets)?;
        self.with_live_circuit(id, |circuit, _| {
            circuit.tcp.wake().set_receive_buffer(octets);
            Ok(())
        })
    }

    /// Weight in the round robin, 1 to 255.
    ///
    /// # Errors
    /// [`Error::Argument`], [`Error::Closed`].
    pub fn set_priority(&mut self, id: CircuitId, weight: u8) -> Result<(), Error> {
        if weight == 0 {
            return Err(Error::Argument);
        }
        self.with_live_circuit(id, |circuit, _| {
            circuit.weight = weight;
            Ok(())
        })
    }
}

fn not_control(id: CircuitId) -> Result<(), Error> {
    if split(id).1 == CONTROL {
        Err(Error::State)
    } else {
        Ok(())
    }
}

fn check_buffer(octets: usize) -> Result<(), Error> {
    if (4_096..=1 << 30).contains(&octets) {
        Ok(())
    } else {
        Err(Error::Argument)
    }
}
