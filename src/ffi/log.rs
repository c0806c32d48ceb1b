//! The log hook.

use std::ffi::{c_char, c_int, c_void};

use log::LevelFilter;

use super::error::code;
use super::guard::guard;
use crate::error::Error;

/// Something went wrong that needs attention.
pub const UTCP_LOG_ERROR: c_int = 1;
/// Something is unusual.
pub const UTCP_LOG_WARN: c_int = 2;
/// What an operator wants to know.
pub const UTCP_LOG_INFO: c_int = 3;
/// What a developer wants to know.
pub const UTCP_LOG_DEBUG: c_int = 4;
/// Everything.
pub const UTCP_LOG_TRACE: c_int = 5;

/// Takes one log record: its level UTCP_LOG_*, the part of the library that it comes from, and its text.
///
/// Both strings are valid during the call. It may come from inside any function, on any thread that uses the library.
/// It must not call the library (what it calls fails with UTCP_ERR_BUSY where that can be told), and must not wait
/// for a thread that calls utcp_log_set().
pub type utcp_log_fn = Option<
    unsafe extern "C" fn(
        user: *mut c_void,
        level: c_int,
        target: *const c_char,
        message: *const c_char,
    ),
>;

fn set(hook: utcp_log_fn, user: *mut c_void, max_level: c_int) -> Result<(), Error> {
    let level = match max_level {
        UTCP_LOG_ERROR => LevelFilter::Error,
        UTCP_LOG_WARN => LevelFilter::Warn,
        UTCP_LOG_INFO => LevelFilter::Info,
        UTCP_LOG_DEBUG => LevelFilter::Debug,
        UTCP_LOG_TRACE => LevelFilter::Trace,
        _ if hook.is_none() => LevelFilter::Off,
        _ => return Err(Error::Range),
    };
    crate::log::set(hook, user, level)
}

/// Sends log records up to `max_level` (UTCP_LOG_*) to `hook`, with `user`; `hook` NULL turns the log off, and
/// `max_level` has no meaning then.
///
/// The log is the process's, not an endpoint's. It can be changed at any time, from any thread; when this has
/// returned, the function that was set before is not running and will not be called any more.
///
/// UTCP_ERR_RANGE: unknown level. UTCP_ERR_BUSY: called from inside the hook. UTCP_ERR_IN_USE: the program is written
/// in Rust and has set a logger of its own, which gets the records.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_log_set(
    hook: utcp_log_fn,
    user: *mut c_void,
    max_level: c_int,
) -> c_int {
    code(guard(|| set(hook, user, max_level)).and_then(|result| result))
}

/// Prints log records to stderr, as the environment variable RUST_LOG says (for instance `RUST_LOG=info` or
/// `RUST_LOG=utcp::dtls=trace`). Without a call of this function the library prints nothing, ever.
///
/// UTCP_ERR_IN_USE: a hook is set (turn it off first), or the program has a logger of its own. UTCP_ERR_BUSY: called
/// from inside the hook.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_log_env() -> c_int {
    code(guard(crate::log::set_from_environment).and_then(|result| result))
}
