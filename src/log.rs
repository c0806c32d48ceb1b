//! Where log records go: to a function of the caller's, to `env_logger`, or nowhere.
//!
//! The `log` facade takes one logger per process and never gives it back. This one is a switch behind that logger,
//! so that the destination can change at any time. It is the library's only process-wide state.

use std::cell::Cell;
use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::{PoisonError, RwLock};

use log::{LevelFilter, Log, Metadata, Record};

use crate::error::Error;

/// Receives one record: `user`, level (1 error to 5 trace), target and message.
pub type Hook = unsafe extern "C" fn(*mut c_void, c_int, *const c_char, *const c_char);

/// The C caller's pointer, which is only handed back.
struct User(*mut c_void);

#[allow(unsafe_code)]
// SAFETY: the pointer is never followed here; that it may be used on any thread that logs is the caller's promise.
unsafe impl Send for User {}
#[allow(unsafe_code)]
// SAFETY: as above.
unsafe impl Sync for User {}

enum Destination {
    Nowhere,
    Hook(Hook, User),
    Environment(Box<env_logger::Logger>),
}

struct Switch(RwLock<Destination>);

static SWITCH: Switch = Switch(RwLock::new(Destination::Nowhere));

thread_local! {
    /// Whether this thread is inside the hook: records made there are dropped, and changes refused, since the lock
    /// is held.
    static IN_HOOK: Cell<bool> = const { Cell::new(false) };
}

/// Clears the mark again, also when it unwinds.
struct InHook;

impl InHook {
    fn enter() -> InHook {
        IN_HOOK.with(|inside| inside.set(true));
        InHook
    }
}

impl Drop for InHook {
    fn drop(&mut self) {
        IN_HOOK.with(|inside| inside.set(false));
    }
}

impl Log for Switch {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        if IN_HOOK.with(Cell::get) {
            return false;
        }
        match &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            Destination::Nowhere => false,
            Destination::Hook(..) => true,
            Destination::Environment(logger) => logger.enabled(metadata),
        }
    }

    fn log(&self, record: &Record<'_>) {
        if IN_HOOK.with(Cell::get) {
            return;
        }
        // Held while the hook runs: once `set` has returned, the old hook is not running and never will again.
        let destination = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let _inside = InHook::enter();
        match &*destination {
            Destination::Nowhere => {}
            Destination::Hook(hook, user) => {
                let target = c_string(record.target().to_owned());
                let message = c_string(record.args().to_string());
                #[allow(unsafe_code)]
                // SAFETY: the caller of `set` promised a function that may be called with its pointer until replaced;
                // both strings are NUL-terminated and outlive the call.
                unsafe {
                    hook(
                        user.0,
                        record.level() as c_int,
                        target.as_ptr(),
                        message.as_ptr(),
                    );
                }
            }
            Destination::Environment(logger) => logger.log(record),
        }
    }

    fn flush(&self) {
        // Nothing is buffered.
    }
}

/// A copy with a NUL behind it; a NUL within would end it early for C and becomes a question mark.
fn c_string(text: String) -> CString {
    CString::new(text).unwrap_or_else(|error| {
        let mut bytes = error.into_vec();
        for byte in bytes.iter_mut().filter(|byte| **byte == 0) {
            *byte = b'?';
        }
        CString::new(bytes).unwrap_or_default()
    })
}

fn change(
    destination: Destination,
    level: LevelFilter,
    allowed: impl FnOnce(&Destination) -> bool,
) -> Result<(), Error> {
    if IN_HOOK.with(Cell::get) {
        return Err(Error::Busy);
    }
    // Fails when a logger is set already: ours, or that of a Rust host, which is told apart by its address.
    let _ = log::set_logger(&SWITCH);
    if !std::ptr::addr_eq(log::logger(), &raw const SWITCH) {
        return Err(Error::InUse);
    }
    let mut current = SWITCH.0.write().unwrap_or_else(PoisonError::into_inner);
    if !allowed(&current) {
        return Err(Error::InUse);
    }
    *current = destination;
    log::set_max_level(level);
    Ok(())
}

/// Sends records up to `level` to `hook`, or nowhere if it is `None`.
///
/// # Errors
/// [`Error::Busy`] from inside the hook, [`Error::InUse`] if the process has a logger that is not this one.
pub fn set(hook: Option<Hook>, user: *mut c_void, level: LevelFilter) -> Result<(), Error> {
    match hook {
        Some(hook) => change(Destination::Hook(hook, User(user)), level, |_| true),
        None => change(Destination::Nowhere, LevelFilter::Off, |_| true),
    }
}

/// Sends records to stderr as `RUST_LOG` says.
///
/// # Errors
/// [`Error::InUse`] if a hook is set, or the process has a logger that is not this one; [`Error::Busy`] from inside
/// the hook.
pub fn set_from_environment() -> Result<(), Error> {
    let logger = Box::new(env_logger::Builder::from_default_env().build());
    let level = logger.filter();
    change(Destination::Environment(logger), level, |current| {
        !matches!(current, Destination::Hook(..))
    })
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
