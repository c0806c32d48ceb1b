//! The part of libusrsctp that is used, loaded when it is asked for: without the Debian package libusrsctp2 the laboratory
//! still builds and runs.
#![allow(unsafe_code)] // there is no other way to a C library

use std::cell::RefCell;
use std::ffi::{c_int, c_uint, c_void};
use std::io;
use std::ptr::{null, null_mut};
use std::sync::OnceLock;

use libloading::Library;

/// SONAME in libusrsctp2.
const NAME: &str = "libusrsctp.so.2";

const AF_CONN: c_int = 123;
const IPPROTO_SCTP: c_int = 132;
const SOL_SOCKET: c_int = nix::libc::SOL_SOCKET;
const SCTP_INITMSG: c_int = 0x03;
const SCTP_NODELAY: c_int = 0x04;
const SCTP_PEER_ADDR_PARAMS: c_int = 0x0a;
const SCTP_RECVRCVINFO: c_int = 0x1f;
const SCTP_PLUGGABLE_SS: c_int = 0x1203;
const SCTP_SS_ROUND_ROBIN: u32 = 1;
const SPP_PMTUD_DISABLE: u32 = 0x10;
const SENDV_SNDINFO: c_uint = 1;
const RECVV_RCVINFO: c_uint = 1;
/// There is something to read, or a connection to accept.
pub const EVENT_READ: c_int = 1;
/// There is room to write, or the connection is there.
pub const EVENT_WRITE: c_int = 2;
/// The association has failed.
pub const EVENT_ERROR: c_int = 4;

/// `struct socket`, of which nothing is known here.
#[repr(C)]
struct Opaque {
    _private: [u8; 0],
}

/// `struct sockaddr_conn`, as on Linux.
#[repr(C)]
struct Address {
    family: u16,
    port: u16,
    address: *mut c_void,
}

#[repr(C)]
struct InitMessage {
    outgoing: u16,
    incoming: u16,
    attempts: u16,
    timeout: u16,
}

#[repr(C)]
struct AssociationValue {
    association: u32,
    value: u32,
}

/// `struct sctp_paddrparams`.
#[repr(C)]
struct PathParameters {
    address: nix::libc::sockaddr_storage,
    association: u32,
    heartbeat: u32,
    mtu: u32,
    flags: u32,
    flow_label: u32,
    retransmissions: u16,
    dscp: u8,
}

#[repr(C)]
struct SendInformation {
    stream: u16,
    flags: u16,
    protocol: u32,
    context: u32,
    association: u32,
}

#[repr(C)]
#[derive(Default)]
struct ReceiveInformation {
    stream: u16,
    number: u16,
    flags: u16,
    protocol: u32,
    tsn: u32,
    cumulative: u32,
    context: u32,
    association: u32,
}

type Output = unsafe extern "C" fn(*mut c_void, *mut c_void, usize, u8, u8) -> c_int;

/// Functions of the library, which stays loaded as long as the process lives.
struct Functions {
    socket: unsafe extern "C" fn(
        c_int,
        c_int,
        c_int,
        *const c_void,
        *const c_void,
        u32,
        *mut c_void,
    ) -> *mut Opaque,
    setsockopt: unsafe extern "C" fn(*mut Opaque, c_int, c_int, *const c_void, u32) -> c_int,
    bind: unsafe extern "C" fn(*mut Opaque, *mut Address, u32) -> c_int,
    listen: unsafe extern "C" fn(*mut Opaque, c_int) -> c_int,
    accept: unsafe extern "C" fn(*mut Opaque, *mut Address, *mut u32) -> *mut Opaque,
    connect: unsafe extern "C" fn(*mut Opaque, *mut Address, u32) -> c_int,
    close: unsafe extern "C" fn(*mut Opaque),
    set_non_blocking: unsafe extern "C" fn(*mut Opaque, c_int) -> c_int,
    get_events: unsafe extern "C" fn(*mut Opaque) -> c_int,
    sendv: unsafe extern "C" fn(
        *mut Opaque,
        *const c_void,
        usize,
        *mut Address,
        c_int,
        *mut c_void,
        u32,
        c_uint,
        c_int,
    ) -> isize,
    recvv: unsafe extern "C" fn(
        *mut Opaque,
        *mut c_void,
        usize,
        *mut Address,
        *mut u32,
        *mut c_void,
        *mut u32,
        *mut c_uint,
        *mut c_int,
    ) -> isize,
    conninput: unsafe extern "C" fn(*mut c_void, *const c_void, usize, u8),
    register_address: unsafe extern "C" fn(*mut c_void),
    handle_timers: unsafe extern "C" fn(u32),
}

/// Settings that hold for the whole process; see docs/laboratory.md.
const TUNABLES: [(&str, u32); 9] = [
    ("sctp_sendspace", 4 << 20),
    ("sctp_recvspace", 4 << 20),
    ("sctp_max_chunks_on_queue", 16_384),
    ("sctp_initial_cwnd", 10),
    ("sctp_rto_min_default", 200),
    ("sctp_rto_initial_default", 1_000),
    ("sctp_delayed_sack_time_default", 40),
    ("sctp_ecn_enable", 0),
    ("sctp_default_cc_module", 0),
];

fn load() -> Result<Functions, libloading::Error> {
    // SAFETY: the library's constructors do nothing but set its own memory up. It is never unloaded.
    let library: &'static Library = Box::leak(Box::new(unsafe { Library::new(NAME) }?));
    macro_rules! function {
        ($name:literal) => {
            // SAFETY: the type where this is used is that of the function in usrsctp.h of the same SONAME.
            *unsafe { library.get($name) }?
        };
    }
    let init: unsafe extern "C" fn(u16, Output, *const c_void) =
        function!("usrsctp_init_nothreads");
    let no_checksum: unsafe extern "C" fn() = function!("usrsctp_enable_crc32c_offload");
    let functions = Functions {
        socket: function!("usrsctp_socket"),
        setsockopt: function!("usrsctp_setsockopt"),
        bind: function!("usrsctp_bind"),
        listen: function!("usrsctp_listen"),
        accept: function!("usrsctp_accept"),
        connect: function!("usrsctp_connect"),
        close: function!("usrsctp_close"),
        set_non_blocking: function!("usrsctp_set_non_blocking"),
        get_events: function!("usrsctp_get_events"),
        sendv: function!("usrsctp_sendv"),
        recvv: function!("usrsctp_recvv"),
        conninput: function!("usrsctp_conninput"),
        register_address: function!("usrsctp_register_address"),
        handle_timers: function!("usrsctp_handle_timers"),
    };
    // SAFETY: called once, before anything else of the library, with a function that lives as long as the process and
    // no other callback. DTLS protects every packet: nobody needs the checksum.
    unsafe {
        init(0, output, null());
        no_checksum();
    }
    for (name, value) in TUNABLES {
        let name = format!("usrsctp_sysctl_set_{name}");
        // SAFETY: all of these have this type.
        unsafe {
            let set = library.get::<unsafe extern "C" fn(u32) -> c_int>(name.as_str())?;
            set(value);
        }
    }
    Ok(functions)
}

fn functions() -> Result<&'static Functions, &'static str> {
    static FUNCTIONS: OnceLock<Result<Functions, String>> = OnceLock::new();
    let functions = FUNCTIONS.get_or_init(|| load().map_err(|error| error.to_string()));
    functions.as_ref().map_err(String::as_str)
}

/// Why there is no SCTP, if there is none.
pub fn unavailable() -> Option<String> {
    functions()
        .err()
        .map(|error| format!("{error} (Debian package libusrsctp2)"))
}

/// Packets that the library wants sent.
type Packets = RefCell<Vec<Vec<u8>>>;

unsafe extern "C" fn output(
    address: *mut c_void,
    buffer: *mut c_void,
    length: usize,
    _: u8,
    _: u8,
) -> c_int {
    // SAFETY: the only address ever registered is that of a `Packets` that is never freed; all calls into the library, and
    // so this one, come from the thread that made it.
    let packets = unsafe { &*address.cast::<Packets>() };
    // SAFETY: the library hands over so many octets for the time of the call.
    let packet = unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), length) };
    match packets.try_borrow_mut() {
        Ok(mut packets) => packets.push(packet.to_vec()),
        // It is lost, as any packet may be.
        Err(_) => return nix::libc::ENOBUFS,
    }
    0
}

/// A one-to-one style socket; closed when dropped.
pub struct Socket {
    raw: *mut Opaque,
    functions: &'static Functions,
}

impl Drop for Socket {
    fn drop(&mut self) {
        // SAFETY: it is open, and not used any more.
        unsafe { (self.functions.close)(self.raw) }
    }
}

fn checked(result: c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

impl Socket {
    fn set<T>(&self, level: c_int, option: c_int, value: &T) -> io::Result<()> {
        let size = size_of::<T>() as u32;
        // SAFETY: the socket is open; the option takes a value of this type, which lives until the call returns.
        checked(unsafe {
            (self.functions.setsockopt)(self.raw, level, option, (value as *const T).cast(), size)
        })
    }

    /// What it is ready for.
    pub fn events(&self) -> c_int {
        // SAFETY: the socket is open.
        unsafe { (self.functions.get_events)(self.raw) }
    }

    /// A connection that has come, if there is one.
    pub fn accept(&self) -> Option<Socket> {
        // SAFETY: the socket is open; who the peer is need not be told.
        let raw = unsafe { (self.functions.accept)(self.raw, null_mut(), null_mut()) };
        (!raw.is_null()).then_some(Socket {
            raw,
            functions: self.functions,
        })
    }

    /// Queues a message as a whole, or not at all.
    ///
    /// # Errors
    /// Those of the library; `WouldBlock`: there is no room.
    pub fn send(&self, stream: u16, data: &[u8]) -> io::Result<()> {
        let mut about = SendInformation {
            stream,
            flags: 0,
            protocol: 0,
            context: 0,
            association: 0,
        };
        // SAFETY: the socket is open; data and information live until the call returns, which copies them.
        let sent = unsafe {
            (self.functions.sendv)(
                self.raw,
                data.as_ptr().cast(),
                data.len(),
                null_mut(),
                0,
                (&raw mut about).cast(),
                size_of::<SendInformation>() as u32,
                SENDV_SNDINFO,
                0,
            )
        };
        if sent < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    /// A message, or part of one: its stream and size.
    ///
    /// # Errors
    /// Those of the library; `WouldBlock`: there is none.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<(u16, usize)> {
        let mut about = ReceiveInformation::default();
        let (mut size, mut kind, mut flags) = (size_of::<ReceiveInformation>() as u32, 0, 0);
        let mut from = Address {
            family: 0,
            port: 0,
            address: null_mut(),
        };
        let mut from_size = size_of::<Address>() as u32;
        // SAFETY: the socket is open; everything pointed to lives until the call returns, and has the size that is given
        // with it.
        let count = unsafe {
            (self.functions.recvv)(
                self.raw,
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                &raw mut from,
                &raw mut from_size,
                (&raw mut about).cast(),
                &raw mut size,
                &raw mut kind,
                &raw mut flags,
            )
        };
        if count < 0 {
            return Err(io::Error::last_os_error());
        }
        if kind != RECVV_RCVINFO {
            return Ok((0, 0)); // the end
        }
        Ok((about.stream, count as usize))
    }
}

/// The library with one address, whose packets go wherever the caller brings them.
pub struct Stack {
    functions: &'static Functions,
    packets: &'static Packets,
}

impl Stack {
    /// The library. One thread may have one.
    ///
    /// # Errors
    /// If it is not there.
    pub fn new() -> Result<Stack, String> {
        let functions = functions()?;
        // The library may send at any time until the process ends.
        let packets: &'static Packets = Box::leak(Box::default());
        let stack = Stack { functions, packets };
        // SAFETY: the address is one for `output`.
        unsafe { (functions.register_address)(stack.address()) };
        Ok(stack)
    }

    fn address(&self) -> *mut c_void {
        std::ptr::from_ref(self.packets).cast_mut().cast()
    }

    fn end(&self, port: u16) -> Address {
        Address {
            family: AF_CONN as u16,
            port: port.to_be(),
            address: self.address(),
        }
    }

    fn socket(&self, port: u16, streams: u16, mtu: u32) -> io::Result<Socket> {
        // SAFETY: the library is initialised; there are no callbacks.
        let raw = unsafe {
            let stream = nix::libc::SOCK_STREAM;
            (self.functions.socket)(AF_CONN, stream, IPPROTO_SCTP, null(), null(), 0, null_mut())
        };
        if raw.is_null() {
            return Err(io::Error::last_os_error());
        }
        let socket = Socket {
            raw,
            functions: self.functions,
        };
        // SAFETY: the socket is open.
        checked(unsafe { (self.functions.set_non_blocking)(raw, 1) })?;
        let on: c_int = 1;
        socket.set(IPPROTO_SCTP, SCTP_NODELAY, &on)?;
        socket.set(IPPROTO_SCTP, SCTP_RECVRCVINFO, &on)?;
        let buffer: c_int = 4 << 20;
        socket.set(SOL_SOCKET, nix::libc::SO_SNDBUF, &buffer)?;
        socket.set(SOL_SOCKET, nix::libc::SO_RCVBUF, &buffer)?;
        let init = InitMessage {
            outgoing: streams,
            incoming: streams,
            attempts: 0,
            timeout: 0,
        };
        socket.set(IPPROTO_SCTP, SCTP_INITMSG, &init)?;
        let turns = AssociationValue {
            association: 0,
            value: SCTP_SS_ROUND_ROBIN,
        };
        socket.set(IPPROTO_SCTP, SCTP_PLUGGABLE_SS, &turns)?;
        // SAFETY: all-zero is a valid value of it: no address, which means all of them.
        let mut path: PathParameters = unsafe { std::mem::zeroed() };
        path.mtu = mtu;
        path.flags = SPP_PMTUD_DISABLE;
        socket.set(IPPROTO_SCTP, SCTP_PEER_ADDR_PARAMS, &path)?;
        let mut own = self.end(port);
        // SAFETY: the socket is open, and the address lives until the call returns.
        checked(unsafe { (self.functions.bind)(raw, &raw mut own, size_of::<Address>() as u32) })?;
        Ok(socket)
    }

    /// Begins an association.
    ///
    /// # Errors
    /// Those of the library.
    pub fn connect(&self, port: u16, streams: u16, mtu: u32) -> io::Result<Socket> {
        let socket = self.socket(port, streams, mtu)?;
        let mut peer = self.end(port);
        // SAFETY: as in `socket`.
        let result = unsafe {
            (self.functions.connect)(socket.raw, &raw mut peer, size_of::<Address>() as u32)
        };
        match checked(result) {
            Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => Err(error),
            _ => Ok(socket),
        }
    }

    /// Waits for associations.
    ///
    /// # Errors
    /// Those of the library.
    pub fn listen(&self, port: u16, streams: u16, mtu: u32) -> io::Result<Socket> {
        let socket = self.socket(port, streams, mtu)?;
        // SAFETY: the socket is open.
        checked(unsafe { (self.functions.listen)(socket.raw, 1) })?;
        Ok(socket)
    }

    /// A packet has come.
    pub fn receive(&self, packet: &[u8]) {
        // SAFETY: the address is registered, and the packet lives until the call returns.
        unsafe {
            (self.functions.conninput)(self.address(), packet.as_ptr().cast(), packet.len(), 0)
        }
    }

    /// Packets to be sent.
    pub fn take_packets(&self) -> Vec<Vec<u8>> {
        self.packets.take()
    }

    /// So much time has passed.
    pub fn timers(&self, milliseconds: u32) {
        // SAFETY: the library was initialised without threads of its own.
        unsafe { (self.functions.handle_timers)(milliseconds) }
    }
}
