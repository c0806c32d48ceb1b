//! What an endpoint's handle points to, and what its connections' and circuits' handles lead back to.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::ptr::NonNull;

use super::callbacks::{Batch, utcp_callbacks, utcp_capture_fn};
use super::guard::guard;
use super::handle::{Arena, CircuitSlot, ConnectionSlot, tag};
use super::utcp_endpoint;
use crate::endpoint::{CircuitId, ConnectionId, Endpoint};
use crate::error::Error;
use crate::time::Time;

/// The endpoint, its handles, and where it calls back. Lives until the endpoint and all its handles are freed.
#[repr(C)]
pub(super) struct Shared {
    tag: Cell<u32>,
    /// Its own address as it was allocated, which every handle leads to.
    this: Cell<*const Shared>,
    /// A panic was caught: nothing works any more but freeing.
    poisoned: Cell<bool>,
    /// One of the relay's callbacks is running.
    calling: Cell<bool>,
    /// The socket did not take all; not offered again before the next inject or process.
    pub(super) blocked: Cell<bool>,
    /// The last inject or process left something undone.
    pub(super) unfinished: Cell<bool>,
    /// The latest time that was handed in.
    now: Cell<Time>,
    pub(super) callbacks: utcp_callbacks,
    pub(super) user: *mut c_void,
    pub(super) capture: Cell<(utcp_capture_fn, *mut c_void)>,
    pub(super) batch: RefCell<Batch>,
    arena: RefCell<Arena>,
    /// `None` once the endpoint was freed. Never borrowed while C code runs, other than the log hook.
    core: RefCell<Option<Endpoint>>,
}

impl Shared {
    /// Puts a new endpoint where C can point to it.
    pub(super) fn leak(
        core: Endpoint,
        callbacks: utcp_callbacks,
        user: *mut c_void,
    ) -> *mut utcp_endpoint {
        let shared = Box::new(Shared {
            tag: Cell::new(tag::ENDPOINT),
            this: Cell::new(std::ptr::null()),
            poisoned: Cell::new(false),
            calling: Cell::new(false),
            blocked: Cell::new(false),
            unfinished: Cell::new(false),
            now: Cell::new(Time::default()),
            callbacks,
            user,
            capture: Cell::new((None, std::ptr::null_mut())),
            batch: RefCell::new(Batch::new()),
            arena: RefCell::new(Arena::new(core.hash_seed())),
            core: RefCell::new(Some(core)),
        });
        let shared = Box::into_raw(shared);
        // SAFETY: just allocated.
        unsafe { &*shared }.this.set(shared);
        shared.cast()
    }

    /// Looks behind an endpoint's handle.
    ///
    /// # Safety
    /// `endpoint` is NULL or was given out by `utcp_endpoint_new`, and it or any of its handles is not freed yet. The
    /// result is not used after the call of [`Shared::release`] that frees the last of them.
    pub(super) unsafe fn from_c<'a>(endpoint: *const utcp_endpoint) -> Result<&'a Shared, Error> {
        let shared = NonNull::new(endpoint.cast_mut().cast::<Shared>()).ok_or(Error::Null)?;
        if !shared.is_aligned() {
            return Err(Error::Handle);
        }
        // SAFETY: as the caller promised; the tag is the first member, so that even a handle of another kind, which
        // is smaller, is read within its bounds.
        let found = unsafe { shared.cast::<Cell<u32>>().as_ref() }.get();
        if found != tag::ENDPOINT {
            return Err(Error::Handle);
        }
        // SAFETY: the tag says what it is; only shared references are ever made of it.
        Ok(unsafe { shared.as_ref() })
    }

    /// The endpoint of a connection's handle.
    ///
    /// # Safety
    /// As for [`Shared::from_c`].
    pub(super) unsafe fn of_connection<'a>(slot: ConnectionSlot) -> &'a Shared {
        // SAFETY: live slots carry the address of what owns them.
        unsafe { &*slot.slot().shared() }
    }

    /// The endpoint of a circuit's handle.
    ///
    /// # Safety
    /// As for [`Shared::from_c`].
    pub(super) unsafe fn of_circuit<'a>(slot: CircuitSlot) -> &'a Shared {
        // SAFETY: as above.
        unsafe { &*slot.slot().shared() }
    }

    /// Releases the memory if the endpoint and all handles are freed.
    ///
    /// # Safety
    /// `shared` is alive, and if that was the last handle, no reference to it is used afterwards.
    pub(super) unsafe fn release(shared: *const Shared) {
        let (unused, allocated) = {
            // SAFETY: alive.
            let shared = unsafe { &*shared };
            let unused = shared.tag.get() != tag::ENDPOINT && shared.arena.borrow().is_unused();
            (unused, shared.this.get())
        };
        if unused {
            // SAFETY: made by `Box::into_raw` in `leak`; nothing refers to it any more.
            drop(unsafe { Box::from_raw(allocated.cast_mut()) });
        }
    }

    /// Runs `body` unless a panic has spoiled the endpoint, and notes if one does now.
    pub(super) fn run<T>(&self, body: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        if self.poisoned.get() {
            return Err(Error::Internal);
        }
        guard(body).unwrap_or_else(|error| {
            self.poisoned.set(true);
            Err(error)
        })
    }

    /// As [`Shared::run`], for what must happen in any case: an earlier panic is not reported again.
    pub(super) fn run_anyway(&self, body: impl FnOnce()) -> Result<(), Error> {
        guard(body).inspect_err(|_| self.poisoned.set(true))
    }

    /// Ends something whose handle is about to be freed. Nothing is left to be done if the endpoint is gone.
    pub(super) fn end(&self, work: impl FnOnce(&mut Endpoint)) -> Result<(), Error> {
        if self.poisoned.get() {
            return Ok(());
        }
        match self.run(|| self.core(work)) {
            Err(Error::Closed) => Ok(()),
            result => result,
        }
    }

    pub(super) fn is_poisoned(&self) -> bool {
        self.poisoned.get()
    }

    /// The endpoint proper, for the length of one of its methods.
    pub(super) fn core<T>(&self, work: impl FnOnce(&mut Endpoint) -> T) -> Result<T, Error> {
        // In use only if the log hook calls the library, which it must not.
        let mut core = self.core.try_borrow_mut().map_err(|_| Error::Busy)?;
        core.as_mut().map(work).ok_or(Error::Closed)
    }

    /// Takes the endpoint proper out, at its end. The handle is no longer one.
    pub(super) fn take_core(&self) -> Result<Option<Endpoint>, Error> {
        let core = self.core.try_borrow_mut().map_err(|_| Error::Busy)?.take();
        self.tag.set(tag::FREE);
        Ok(core)
    }

    /// Refuses what would re-enter the library.
    pub(super) fn refuse_inside_callback(&self) -> Result<(), Error> {
        if self.calling.get() {
            Err(Error::Busy)
        } else {
            Ok(())
        }
    }

    /// Calls C. No borrow is held, and what would re-enter is refused meanwhile.
    pub(super) fn call<T>(&self, callback: impl FnOnce() -> T) -> T {
        self.calling.set(true);
        let result = callback();
        self.calling.set(false);
        result
    }

    /// Notes the time. An earlier one than before counts as the latest.
    pub(super) fn advance(&self, now: u64) -> Result<Time, Error> {
        if Time(now) == Time::NEVER {
            return Err(Error::Argument);
        }
        self.now.set(self.now.get().max(Time(now)));
        Ok(self.now.get())
    }

    pub(super) fn now(&self) -> Time {
        self.now.get()
    }

    pub(super) fn connection(&self, id: ConnectionId) -> Option<ConnectionSlot> {
        self.arena.borrow().connection(id)
    }

    pub(super) fn circuit(&self, id: CircuitId) -> Option<CircuitSlot> {
        self.arena.borrow().circuit(id)
    }

    pub(super) fn add_connection(&self, id: ConnectionId) -> ConnectionSlot {
        self.arena.borrow_mut().add_connection(self.this.get(), id)
    }

    pub(super) fn add_circuit(
        &self,
        id: CircuitId,
        connection: ConnectionId,
        number: u32,
    ) -> CircuitSlot {
        self.arena
            .borrow_mut()
            .add_circuit(self.this.get(), id, connection, number)
    }

    /// The handle of a connection's control circuit, made when it is first needed.
    pub(super) fn control(&self, connection: ConnectionId) -> Result<CircuitSlot, Error> {
        let id = self.core(|core| core.connection_control(connection))??;
        Ok(self
            .circuit(id)
            .unwrap_or_else(|| self.add_circuit(id, connection, 0)))
    }

    pub(super) fn remove_connection(&self, id: ConnectionId) {
        self.arena.borrow_mut().remove_connection(id);
    }

    pub(super) fn remove_circuit(&self, id: CircuitId) {
        self.arena.borrow_mut().remove_circuit(id);
    }
}
