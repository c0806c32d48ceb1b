//! What C's handles of connections and circuits point to.
//!
//! Handles are slots in pinned chunks that live as long as the endpoint or any handle of it does. So a handle that
//! was freed can still be looked at without touching memory that is gone: its slot says that it is free, as long as
//! it was not given out again, and slots are given out in the order in which they were freed, after a quarantine.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::ffi::c_void;
use std::ptr::NonNull;

use super::shared::Shared;
use super::{utcp_circuit, utcp_connection};
use crate::endpoint::{CircuitId, ConnectionId};
use crate::error::Error;

/// First octets of what a handle points to. Unlikely as text, as small numbers and as addresses.
pub(super) mod tag {
    pub(in crate::ffi) const CONFIG: u32 = 0xC0F1_6A01;
    pub(in crate::ffi) const ENDPOINT: u32 = 0xE9D9_A702;
    pub(in crate::ffi) const CONNECTION: u32 = 0xC099_EC03;
    pub(in crate::ffi) const CIRCUIT: u32 = 0xC18C_1704;
    pub(in crate::ffi) const SOCKET: u32 = 0x50CE_7105;
    pub(in crate::ffi) const FREE: u32 = 0xF8EE_DEAD;
}

const SLOTS_PER_CHUNK: usize = 128;

/// So many freed slots are kept back before the oldest of them is given out again.
const QUARANTINE: usize = 64;

/// One handle.
#[repr(C)]
pub(super) struct Slot {
    tag: Cell<u32>,
    /// A circuit's number, or whether the relay knows of the connection.
    detail: Cell<u32>,
    shared: Cell<*const Shared>,
    id: Cell<u64>,
    /// Of a circuit: its connection's id.
    parent: Cell<u64>,
    user: Cell<*mut c_void>,
}

const _: () = assert!(size_of::<Slot>() <= 40);

impl Slot {
    fn empty() -> Slot {
        Slot {
            tag: Cell::new(tag::FREE),
            detail: Cell::new(0),
            shared: Cell::new(std::ptr::null()),
            id: Cell::new(0),
            parent: Cell::new(0),
            user: Cell::new(std::ptr::null_mut()),
        }
    }

    fn set(&self, tag: u32, shared: *const Shared, id: u64, parent: u64, detail: u32) {
        self.tag.set(tag);
        self.detail.set(detail);
        self.shared.set(shared);
        self.id.set(id);
        self.parent.set(parent);
        self.user.set(std::ptr::null_mut());
    }

    pub(super) fn shared(&self) -> *const Shared {
        self.shared.get()
    }

    pub(super) fn user(&self) -> *mut c_void {
        self.user.get()
    }

    pub(super) fn set_user(&self, user: *mut c_void) {
        self.user.set(user);
    }
}

/// A live connection handle.
#[derive(Clone, Copy)]
pub(super) struct ConnectionSlot(NonNull<Slot>);

/// A live circuit handle.
#[derive(Clone, Copy)]
pub(super) struct CircuitSlot(NonNull<Slot>);

/// Looks behind a pointer from C.
///
/// # Safety
/// `pointer` is NULL, or a handle that was given out by an endpoint of which the endpoint itself or any handle has
/// not been freed yet.
unsafe fn look(pointer: *const Slot, expected: u32) -> Result<NonNull<Slot>, Error> {
    let slot = NonNull::new(pointer.cast_mut()).ok_or(Error::Null)?;
    if !slot.is_aligned() {
        return Err(Error::Handle);
    }
    // SAFETY: aligned, and as the caller promised a slot in a chunk that is alive. Every octet of a chunk is
    // initialized, so a handle of another kind or a freed one is read soundly too.
    let found = unsafe { slot.as_ref() }.tag.get();
    if found == expected {
        Ok(slot)
    } else {
        Err(Error::Handle)
    }
}

impl ConnectionSlot {
    /// # Safety
    /// As for [`look`].
    pub(super) unsafe fn from_c(handle: *const utcp_connection) -> Result<ConnectionSlot, Error> {
        // SAFETY: passed on.
        unsafe { look(handle.cast(), tag::CONNECTION) }.map(ConnectionSlot)
    }

    pub(super) fn to_c(self) -> *mut utcp_connection {
        self.0.as_ptr().cast()
    }

    pub(super) fn slot(&self) -> &Slot {
        // SAFETY: slots live as long as the arena, which outlives every use of this value: values of this type do
        // not outlive the call from C, and nothing releases the arena before the call's last use of them.
        unsafe { self.0.as_ref() }
    }

    pub(super) fn id(&self) -> ConnectionId {
        ConnectionId(self.slot().id.get())
    }

    /// Whether the relay has seen the handle, so that it is the relay's to free.
    pub(super) fn is_known(&self) -> bool {
        self.slot().detail.get() != 0
    }

    pub(super) fn set_known(&self) {
        self.slot().detail.set(1);
    }
}

impl CircuitSlot {
    /// # Safety
    /// As for [`look`].
    pub(super) unsafe fn from_c(handle: *const utcp_circuit) -> Result<CircuitSlot, Error> {
        // SAFETY: passed on.
        unsafe { look(handle.cast(), tag::CIRCUIT) }.map(CircuitSlot)
    }

    pub(super) fn to_c(self) -> *mut utcp_circuit {
        self.0.as_ptr().cast()
    }

    pub(super) fn slot(&self) -> &Slot {
        // SAFETY: as for a connection's.
        unsafe { self.0.as_ref() }
    }

    pub(super) fn id(&self) -> CircuitId {
        CircuitId(self.slot().id.get())
    }

    pub(super) fn connection(&self) -> ConnectionId {
        ConnectionId(self.slot().parent.get())
    }

    pub(super) fn number(&self) -> u32 {
        self.slot().detail.get()
    }

    /// Whether it is a control circuit, whose handle belongs to the connection's.
    pub(super) fn is_control(&self) -> bool {
        self.number() == 0
    }
}

/// All handles of an endpoint, and the way from an id to its handle.
pub(super) struct Arena {
    /// Made by `Box::into_raw`. As raw pointers, because moving a `Box` would end the pointers that C holds.
    chunks: Vec<NonNull<[Slot]>>,
    /// Freed slots, the one that was freed first in front.
    free: VecDeque<NonNull<Slot>>,
    connections: BTreeMap<ConnectionId, ConnectionSlot>,
    circuits: BTreeMap<CircuitId, CircuitSlot>,
    /// The control circuit of each connection.
    controls: BTreeMap<ConnectionId, CircuitSlot>,
}

impl Arena {
    pub(super) fn new() -> Arena {
        Arena {
            chunks: Vec::new(),
            free: VecDeque::new(),
            connections: BTreeMap::new(),
            circuits: BTreeMap::new(),
            controls: BTreeMap::new(),
        }
    }

    /// Whether no handle is out.
    pub(super) fn is_unused(&self) -> bool {
        self.connections.is_empty() && self.circuits.is_empty()
    }

    fn take(&mut self) -> NonNull<Slot> {
        if self.free.len() <= QUARANTINE {
            let chunk: Box<[Slot]> = (0..SLOTS_PER_CHUNK).map(|_| Slot::empty()).collect();
            let chunk = NonNull::from(Box::leak(chunk));
            self.chunks.push(chunk);
            let first: NonNull<Slot> = chunk.cast();
            for index in (0..SLOTS_PER_CHUNK).rev() {
                // SAFETY: within the chunk. In front of those in quarantine, which wait on.
                self.free.push_front(unsafe { first.add(index) });
            }
        }
        // There are more than the quarantine now, hence at least one.
        self.free
            .pop_front()
            .unwrap_or_else(|| unreachable!("a chunk was added"))
    }

    fn give_back(&mut self, slot: NonNull<Slot>) {
        // SAFETY: a slot of this arena's.
        let inside = unsafe { slot.as_ref() };
        inside.tag.set(tag::FREE);
        inside.user.set(std::ptr::null_mut());
        self.free.push_back(slot);
    }

    /// A handle for a connection that has none yet.
    pub(super) fn add_connection(
        &mut self,
        shared: *const Shared,
        id: ConnectionId,
    ) -> ConnectionSlot {
        let slot = ConnectionSlot(self.take());
        slot.slot().set(tag::CONNECTION, shared, id.0, 0, 0);
        self.connections.insert(id, slot);
        slot
    }

    /// A handle for a circuit that has none yet.
    pub(super) fn add_circuit(
        &mut self,
        shared: *const Shared,
        id: CircuitId,
        connection: ConnectionId,
        number: u32,
    ) -> CircuitSlot {
        let slot = CircuitSlot(self.take());
        slot.slot()
            .set(tag::CIRCUIT, shared, id.0, connection.0, number);
        self.circuits.insert(id, slot);
        if number == 0 {
            self.controls.insert(connection, slot);
        }
        slot
    }

    pub(super) fn connection(&self, id: ConnectionId) -> Option<ConnectionSlot> {
        self.connections.get(&id).copied()
    }

    pub(super) fn circuit(&self, id: CircuitId) -> Option<CircuitSlot> {
        self.circuits.get(&id).copied()
    }

    /// Frees a connection's handle, and with it that of its control circuit.
    pub(super) fn remove_connection(&mut self, id: ConnectionId) {
        if let Some(control) = self.controls.remove(&id) {
            self.remove_circuit(control.id());
        }
        if let Some(slot) = self.connections.remove(&id) {
            self.give_back(slot.0);
        }
    }

    pub(super) fn remove_circuit(&mut self, id: CircuitId) {
        if let Some(slot) = self.circuits.remove(&id) {
            self.give_back(slot.0);
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        for chunk in self.chunks.drain(..) {
            // SAFETY: made by leaking a box of just this type in `take`, and released once.
            drop(unsafe { Box::from_raw(chunk.as_ptr()) });
        }
    }
}

#[cfg(test)]
#[path = "handle_tests.rs"]
mod tests;
