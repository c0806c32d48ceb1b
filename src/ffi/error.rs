//! Error numbers and close reasons as C sees them.

use std::ffi::{CStr, c_char, c_int};

use super::guard::guard;
use crate::error::{CloseReason, Error};

/// The call did what was asked.
pub const UTCP_OK: c_int = 0;
/// A required pointer is NULL, or a pointer is NULL while its length is not 0. A mistake in the caller's code.
pub const UTCP_ERR_NULL: c_int = -10;
/// A length, address or value is not acceptable. A mistake in the caller's code or in what its user configured.
pub const UTCP_ERR_ARGUMENT: c_int = -11;
/// An enumeration value is unknown: to this version of the library, at least.
pub const UTCP_ERR_RANGE: c_int = -12;
/// The `size` member of a struct is not set, is smaller than the oldest version of the struct, or is so large that
/// it cannot have been set; or a member that this version of the library does not know is not zero.
pub const UTCP_ERR_SIZE: c_int = -13;
/// The handle was freed already, or is of another kind. A mistake in the caller's code.
pub const UTCP_ERR_HANDLE: c_int = -14;
/// Not possible in the present state, such as opening a circuit before its connection is ready.
pub const UTCP_ERR_STATE: c_int = -20;
/// The endpoint, connection or circuit has ended. Free the handle; nothing else makes sense.
pub const UTCP_ERR_CLOSED: c_int = -21;
/// Not allowed from inside a callback: call it when the callback has returned.
pub const UTCP_ERR_BUSY: c_int = -22;
/// Nothing to read, or no room to write, at the moment. Wait for circuit_readable or circuit_writable.
pub const UTCP_ERR_WOULD_BLOCK: c_int = -23;
/// The peer has finished sending, and everything was read. This side may still write.
pub const UTCP_ERR_END: c_int = -24;
/// The circuit number is taken by an open circuit, or there is a connection to this address already: find it with
/// utcp_endpoint_find(). For the log: somebody else's hook or logger is in place.
pub const UTCP_ERR_IN_USE: c_int = -30;
/// A configured limit is reached. Try again when something has ended, or use another transport.
pub const UTCP_ERR_LIMIT: c_int = -31;
/// Out of memory, or over the memory budget. Read what can be read, or see utcp_endpoint_shed().
pub const UTCP_ERR_MEMORY: c_int = -33;
/// The certificate or the key could not be used: not parsed, not matching, or too weak for the security level.
pub const UTCP_ERR_CERTIFICATE: c_int = -40;
/// OpenSSL failed. The log has its words.
pub const UTCP_ERR_TLS: c_int = -41;
/// The operating system refuses the socket: it is none, closed, or not one of UDP over IPv4 or IPv6. The log says more.
pub const UTCP_ERR_SOCKET: c_int = -50;
/// A bug in the library was caught. The endpoint refuses all further work: free it and everything of it.
pub const UTCP_ERR_INTERNAL: c_int = -90;

/// Orderly: both directions finished.
pub const UTCP_CLOSE_DONE: c_int = 1;
/// This side closed the connection or the circuit.
pub const UTCP_CLOSE_LOCAL: c_int = 2;
/// The peer closed the connection.
pub const UTCP_CLOSE_PEER: c_int = 3;
/// The peer reset the circuit.
pub const UTCP_CLOSE_RESET: c_int = 4;
/// The peer does not answer any more.
pub const UTCP_CLOSE_TIMEOUT: c_int = 5;
/// The DTLS handshake failed, or did not complete in time. Fall back to another transport.
pub const UTCP_CLOSE_HANDSHAKE: c_int = 6;
/// The peer's certificate was not accepted, by connection_verify or by the pin.
pub const UTCP_CLOSE_VERIFY: c_int = 7;
/// The peer has restarted: a new session replaced this one, or the peer has lost it. Connecting again may succeed.
pub const UTCP_CLOSE_RESTARTED: c_int = 8;
/// Circuits only: the connection ended; connection_closed tells why.
pub const UTCP_CLOSE_CONNECTION: c_int = 9;
/// The peer, or its accept callback, refused.
pub const UTCP_CLOSE_REFUSED: c_int = 10;
/// Shed for lack of memory.
pub const UTCP_CLOSE_MEMORY: c_int = 11;
/// A bug on this side.
pub const UTCP_CLOSE_INTERNAL: c_int = 12;

/// The numbers are those of the Rust side.
const _: () = {
    assert!(UTCP_ERR_NULL == Error::Null as c_int);
    assert!(UTCP_ERR_ARGUMENT == Error::Argument as c_int);
    assert!(UTCP_ERR_RANGE == Error::Range as c_int);
    assert!(UTCP_ERR_SIZE == Error::Size as c_int);
    assert!(UTCP_ERR_HANDLE == Error::Handle as c_int);
    assert!(UTCP_ERR_STATE == Error::State as c_int);
    assert!(UTCP_ERR_CLOSED == Error::Closed as c_int);
    assert!(UTCP_ERR_BUSY == Error::Busy as c_int);
    assert!(UTCP_ERR_WOULD_BLOCK == Error::WouldBlock as c_int);
    assert!(UTCP_ERR_END == Error::End as c_int);
    assert!(UTCP_ERR_IN_USE == Error::InUse as c_int);
    assert!(UTCP_ERR_LIMIT == Error::Limit as c_int);
    assert!(UTCP_ERR_MEMORY == Error::Memory as c_int);
    assert!(UTCP_ERR_CERTIFICATE == Error::Certificate as c_int);
    assert!(UTCP_ERR_TLS == Error::Tls as c_int);
    assert!(UTCP_ERR_SOCKET == Error::Socket as c_int);
    assert!(UTCP_ERR_INTERNAL == Error::Internal as c_int);
    assert!(UTCP_CLOSE_DONE == CloseReason::Done as c_int);
    assert!(UTCP_CLOSE_LOCAL == CloseReason::Local as c_int);
    assert!(UTCP_CLOSE_PEER == CloseReason::Peer as c_int);
    assert!(UTCP_CLOSE_RESET == CloseReason::Reset as c_int);
    assert!(UTCP_CLOSE_TIMEOUT == CloseReason::Timeout as c_int);
    assert!(UTCP_CLOSE_HANDSHAKE == CloseReason::Handshake as c_int);
    assert!(UTCP_CLOSE_VERIFY == CloseReason::Verify as c_int);
    assert!(UTCP_CLOSE_RESTARTED == CloseReason::Restarted as c_int);
    assert!(UTCP_CLOSE_CONNECTION == CloseReason::Connection as c_int);
    assert!(UTCP_CLOSE_REFUSED == CloseReason::Refused as c_int);
    assert!(UTCP_CLOSE_MEMORY == CloseReason::Memory as c_int);
    assert!(UTCP_CLOSE_INTERNAL == CloseReason::Internal as c_int);
};

/// The number for C.
pub(super) fn code(result: Result<(), Error>) -> c_int {
    match result {
        Ok(()) => UTCP_OK,
        Err(error) => error.code(),
    }
}

fn text(number: c_int) -> &'static CStr {
    if number == UTCP_OK {
        return c"success";
    }
    let error = Error::ALL
        .iter()
        .find(|error| error.code() == number)
        .map(|error| error.c_text());
    let reason = || {
        CloseReason::ALL
            .iter()
            .find(|reason| reason.code() == number)
            .map(|reason| reason.c_text())
    };
    error.or_else(reason).unwrap_or(c"unknown error")
}

/// A short English text for an error number or a close reason.
///
/// The text is static: it is never freed and never changes. Any number gives a text, never NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_error_string(error: c_int) -> *const c_char {
    guard(|| text(error)).unwrap_or(c"unknown error").as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_text_of_its_own_and_others_a_common_one() {
        let mut texts: Vec<&CStr> = (-100..=100)
            .map(text)
            .filter(|t| *t != c"unknown error")
            .collect();
        assert_eq!(texts.len(), 1 + Error::ALL.len() + CloseReason::ALL.len());
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), 1 + Error::ALL.len() + CloseReason::ALL.len());
        assert_eq!(text(c_int::MIN), c"unknown error");
        assert_eq!(text(c_int::MAX), c"unknown error");
    }
}
