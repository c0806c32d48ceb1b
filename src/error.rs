//! What can go wrong in a call, and why connections and circuits end.

use std::ffi::CStr;
use std::fmt;

/// Why a call did not do what was asked. The numbers are part of the C ABI: stable, with gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Error {
    /// A required pointer is NULL, or is NULL with a length.
    Null = -10,
    /// A length, address or value is not acceptable.
    Argument = -11,
    /// An enumeration value is unknown.
    Range = -12,
    /// A struct's `size` member is smaller than any known version.
    Size = -13,
    /// The handle was freed already or is of another kind.
    Handle = -14,
    /// Not possible in the present state.
    State = -20,
    /// The endpoint, connection or circuit has ended.
    Closed = -21,
    /// Not allowed from inside a callback.
    Busy = -22,
    /// Nothing to read, or no room to write, at the moment; an event will tell.
    WouldBlock = -23,
    /// The peer has finished sending and everything was read.
    End = -24,
    /// The circuit number is taken, or there is a connection to this address already.
    InUse = -30,
    /// A configured limit is reached.
    Limit = -31,
    /// Out of memory, or over the memory budget.
    Memory = -33,
    /// The certificate or key cannot be used.
    Certificate = -40,
    /// OpenSSL failed; the log has its words.
    Tls = -41,
    /// The operating system refuses the socket.
    Socket = -50,
    /// A bug: a panic was caught, and the endpoint refuses further work.
    Internal = -90,
}

impl Error {
    /// Every error, for tables and tests.
    pub const ALL: [Error; 17] = [
        Error::Null,
        Error::Argument,
        Error::Range,
        Error::Size,
        Error::Handle,
        Error::State,
        Error::Closed,
        Error::Busy,
        Error::WouldBlock,
        Error::End,
        Error::InUse,
        Error::Limit,
        Error::Memory,
        Error::Certificate,
        Error::Tls,
        Error::Socket,
        Error::Internal,
    ];

    /// The number that C sees.
    pub fn code(self) -> i32 {
        self as i32
    }

    /// A fixed English sentence.
    pub fn text(self) -> &'static str {
        self.c_text().to_str().unwrap_or_default()
    }

    /// The same, for C.
    pub fn c_text(self) -> &'static CStr {
        match self {
            Error::Null => c"a required pointer is NULL",
            Error::Argument => c"an argument is not acceptable",
            Error::Range => c"unknown enumeration value",
            Error::Size => c"a struct's size member is not set or too small",
            Error::Handle => c"the handle was freed or is of another kind",
            Error::State => c"not possible in this state",
            Error::Closed => c"closed",
            Error::Busy => c"not allowed inside a callback",
            Error::WouldBlock => c"would block",
            Error::End => c"end of stream",
            Error::InUse => c"number or address is in use",
            Error::Limit => c"a configured limit is reached",
            Error::Memory => c"out of memory",
            Error::Certificate => c"certificate or key cannot be used",
            Error::Tls => c"OpenSSL failed",
            Error::Socket => c"not a UDP socket that can be used",
            Error::Internal => c"internal error, the endpoint is unusable",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Error {}

/// Why a connection or a circuit ended. The numbers are part of the C ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum CloseReason {
    /// Orderly: both directions have finished.
    Done = 1,
    /// This side closed it.
    Local = 2,
    /// The peer closed the connection.
    Peer = 3,
    /// The peer reset the circuit.
    Reset = 4,
    /// The peer does not answer any more.
    Timeout = 5,
    /// The DTLS handshake failed or did not complete in time.
    Handshake = 6,
    /// The peer's certificate was not accepted.
    Verify = 7,
    /// The peer has restarted: it lost the session, or a new one replaced it.
    Restarted = 8,
    /// The circuit's connection ended.
    Connection = 9,
    /// The peer, or the accept callback, refused.
    Refused = 10,
    /// Memory ran out and this was shed.
    Memory = 11,
    /// A bug on this side.
    Internal = 12,
}

impl CloseReason {
    /// Every reason, for tables and tests.
    pub const ALL: [CloseReason; 12] = [
        CloseReason::Done,
        CloseReason::Local,
        CloseReason::Peer,
        CloseReason::Reset,
        CloseReason::Timeout,
        CloseReason::Handshake,
        CloseReason::Verify,
        CloseReason::Restarted,
        CloseReason::Connection,
        CloseReason::Refused,
        CloseReason::Memory,
        CloseReason::Internal,
    ];

    /// The number that C sees.
    pub fn code(self) -> i32 {
        self as i32
    }

    /// A fixed English sentence.
    pub fn text(self) -> &'static str {
        self.c_text().to_str().unwrap_or_default()
    }

    /// The same, for C.
    pub fn c_text(self) -> &'static CStr {
        match self {
            CloseReason::Done => c"finished in both directions",
            CloseReason::Local => c"closed by this side",
            CloseReason::Peer => c"closed by the peer",
            CloseReason::Reset => c"reset by the peer",
            CloseReason::Timeout => c"the peer does not answer",
            CloseReason::Handshake => c"the DTLS handshake failed",
            CloseReason::Verify => c"the peer's certificate was not accepted",
            CloseReason::Restarted => c"the peer has restarted",
            CloseReason::Connection => c"the connection ended",
            CloseReason::Refused => c"refused",
            CloseReason::Memory => c"shed for lack of memory",
            CloseReason::Internal => c"internal error",
        }
    }
}
