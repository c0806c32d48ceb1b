//! A relay on the C API, as `include/utcp.h` has it: an endpoint, the library's batched socket I/O, and callbacks.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_uint, c_void};
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::{null, null_mut};

use libc::{sockaddr, sockaddr_in, socklen_t};

// Without this the linker would not look for the functions in the library.
use utcp as _;

#[repr(C)]
struct Opaque([u8; 0]);

/// `utcp_circuit *`: a handle of the library's, which is never freed here, and so can always be used.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Circuit(*mut Opaque);

/// `utcp_connection *`, as [`Circuit`].
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Connection(*mut Opaque);

/// `UTCP_OPTION_MAX_CIRCUITS`.
pub const MAX_CIRCUITS: c_int = 5;
/// `UTCP_OPTION_RECEIVE_BUFFER`.
pub const RECEIVE_BUFFER: c_int = 7;

#[repr(C)]
struct Callbacks {
    size: usize,
    tx: unsafe extern "C" fn(*mut c_void, *const c_void, usize) -> usize,
    connection_incoming: Option<unsafe extern "C" fn()>,
    connection_verify: unsafe extern "C" fn(*mut c_void, Connection, *mut c_void) -> c_int,
    connection_ready: unsafe extern "C" fn(*mut c_void, Connection),
    connection_closed: unsafe extern "C" fn(*mut c_void, Connection, c_int),
    circuit_incoming: unsafe extern "C" fn(*mut c_void, Connection, Circuit, u32) -> c_int,
    circuit_readable: unsafe extern "C" fn(*mut c_void, Circuit),
    circuit_writable: unsafe extern "C" fn(*mut c_void, Circuit),
    circuit_closed: unsafe extern "C" fn(*mut c_void, Circuit, c_int),
}

unsafe extern "C" {
    fn utcp_config_new() -> *mut Opaque;
    fn utcp_config_free(config: *mut Opaque) -> c_int;
    fn utcp_config_set(config: *mut Opaque, option: c_int, value: u64) -> c_int;
    fn utcp_config_set_certificate(
        config: *mut Opaque,
        chain: *const u8,
        chain_len: usize,
        key: *const u8,
        key_len: usize,
    ) -> c_int;
    fn utcp_config_set_seed(config: *mut Opaque, seed: *const u8, len: usize) -> c_int;
    fn utcp_endpoint_new(
        config: *const Opaque,
        callbacks: *const Callbacks,
        user: *mut c_void,
        endpoint: *mut *mut Opaque,
    ) -> c_int;
    fn utcp_endpoint_free(endpoint: *mut Opaque) -> c_int;
    fn utcp_endpoint_process(endpoint: *mut Opaque, now: u64) -> c_int;
    fn utcp_endpoint_next_deadline(endpoint: *const Opaque) -> u64;
    fn utcp_endpoint_connect(
        endpoint: *mut Opaque,
        now: u64,
        peer: *const sockaddr,
        peer_len: socklen_t,
        pin: *const u8,
        connection: *mut Connection,
    ) -> c_int;
    fn utcp_connection_open_circuit(
        connection: Connection,
        number: u32,
        circuit: *mut Circuit,
    ) -> c_int;
    fn utcp_circuit_read(circuit: Circuit, buffer: *mut u8, room: usize, len: *mut usize) -> c_int;
    fn utcp_circuit_write(
        circuit: Circuit,
        data: *const u8,
        len: usize,
        written: *mut usize,
    ) -> c_int;
    fn utcp_circuit_number(circuit: Circuit) -> c_uint;
    fn utcp_socket_new(fd: c_int, without: u32, socket: *mut *mut Opaque) -> c_int;
    fn utcp_socket_free(socket: *mut Opaque) -> c_int;
    fn utcp_socket_send(socket: *mut Opaque, batch: *const c_void, count: usize) -> usize;
    fn utcp_socket_receive(
        socket: *mut Opaque,
        endpoint: *mut Opaque,
        now: u64,
        max_datagrams: usize,
        received: *mut usize,
    ) -> c_int;
}

/// What a relay does with its circuits.
pub trait Application {
    /// Circuits can be opened.
    fn ready(&mut self, _connection: Connection) {}
    /// The peer opened a circuit.
    fn incoming(&mut self, _connection: Connection, _circuit: Circuit, _number: u32) {}
    /// Something has arrived.
    fn readable(&mut self, _circuit: Circuit) {}
    /// There is room again.
    fn writable(&mut self, _circuit: Circuit) {}
}

/// What the callbacks get.
struct User<A> {
    socket: *mut Opaque,
    app: A,
}

/// A relay: socket, endpoint and application. Connections and circuits stay until it is dropped.
pub struct Relay<A: Application> {
    udp: UdpSocket,
    endpoint: *mut Opaque,
    user: *mut User<A>,
}

// SAFETY: an endpoint and a socket may be used by any one thread at a time, and the application is Send.
unsafe impl<A: Application + Send> Send for Relay<A> {}

fn good(code: c_int) {
    assert_eq!(code, 0, "the library refuses");
}

impl<A: Application> Relay<A> {
    /// A relay on loopback with these options, `UTCP_OPTION_*` and their values.
    pub fn new(udp: UdpSocket, options: &[(c_int, u64)], app: A) -> Relay<A> {
        let (chain, key) = super::identity();
        let mut socket = null_mut();
        let mut endpoint = null_mut();
        let seed = [7u8; 32];
        // SAFETY: all pointers are to what the header asks for and outlive the calls; `user` lives until drop.
        let user = unsafe {
            good(utcp_socket_new(udp.as_raw_fd(), 0, &mut socket));
            let user = Box::into_raw(Box::new(User { socket, app }));
            let config = utcp_config_new();
            for &(option, value) in options {
                good(utcp_config_set(config, option, value));
            }
            good(utcp_config_set_seed(config, seed.as_ptr(), seed.len()));
            good(utcp_config_set_certificate(
                config,
                chain.as_ptr(),
                chain.len(),
                key.as_ptr(),
                key.len(),
            ));
            let callbacks = Callbacks {
                size: size_of::<Callbacks>(),
                tx: tx::<A>,
                connection_incoming: None,
                connection_verify: verify,
                connection_ready: ready::<A>,
                connection_closed,
                circuit_incoming: incoming::<A>,
                circuit_readable: readable::<A>,
                circuit_writable: writable::<A>,
                circuit_closed,
            };
            good(utcp_endpoint_new(
                config,
                &callbacks,
                user.cast(),
                &mut endpoint,
            ));
            good(utcp_config_free(config));
            user
        };
        Relay {
            udp,
            endpoint,
            user,
        }
    }

    /// Where it is to be found.
    pub fn address(&self) -> SocketAddr {
        self.udp.local_addr().expect("bound")
    }

    /// Its socket.
    pub fn fd(&self) -> RawFd {
        self.udp.as_raw_fd()
    }

    /// The application. Not to be used while the library runs, which the borrow sees to.
    pub fn app(&mut self) -> &mut A {
        // SAFETY: made by Box::into_raw; callbacks, the only other users, run inside of methods that borrow `self`.
        unsafe { &mut (*self.user).app }
    }

    /// Starts a connection to another relay.
    pub fn connect(&mut self, now: u64, peer: SocketAddr) {
        let SocketAddr::V4(peer) = peer else {
            unreachable!("sockets are bound to 127.0.0.1")
        };
        let address = raw(peer);
        let mut connection = Connection(null_mut());
        // SAFETY: the address and the place for the handle outlive the call.
        good(unsafe {
            utcp_endpoint_connect(
                self.endpoint,
                now,
                (&raw const address).cast(),
                size_of::<sockaddr_in>() as socklen_t,
                null(),
                &mut connection,
            )
        });
    }

    /// Reads up to `limit` datagrams and does what follows from them; returns how many they were.
    pub fn receive(&mut self, now: u64, limit: usize) -> usize {
        let mut received = 0;
        // SAFETY: socket and endpoint live until drop.
        good(unsafe {
            utcp_socket_receive(
                (*self.user).socket,
                self.endpoint,
                now,
                limit,
                &mut received,
            )
        });
        received
    }

    /// Does what is due, and sends.
    pub fn process(&mut self, now: u64) {
        // SAFETY: the endpoint lives until drop.
        good(unsafe { utcp_endpoint_process(self.endpoint, now) });
    }

    /// When to process next.
    pub fn deadline(&self) -> u64 {
        // SAFETY: the endpoint lives until drop.
        unsafe { utcp_endpoint_next_deadline(self.endpoint) }
    }
}

impl<A: Application> Drop for Relay<A> {
    fn drop(&mut self) {
        // SAFETY: made in `new`, and freed nowhere else. Handles of connections and circuits are kept: they may
        // still be used, and then are told to be closed.
        unsafe {
            let socket = (*self.user).socket;
            utcp_endpoint_free(self.endpoint);
            utcp_socket_free(socket);
            drop(Box::from_raw(self.user));
        }
    }
}

fn raw(address: SocketAddrV4) -> sockaddr_in {
    sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(*address.ip()).to_be(),
        },
        sin_zero: [0; 8],
    }
}

/// Opens a circuit.
pub fn open(connection: Connection, number: u32) -> Circuit {
    let mut circuit = Circuit(null_mut());
    // SAFETY: the handle came from the library and was never freed.
    good(unsafe { utcp_connection_open_circuit(connection, number, &mut circuit) });
    circuit
}

/// Reads what there is; 0: nothing.
pub fn read(circuit: Circuit, buffer: &mut [u8]) -> usize {
    let mut n = 0;
    // SAFETY: the buffer is as long as is said.
    let code = unsafe { utcp_circuit_read(circuit, buffer.as_mut_ptr(), buffer.len(), &mut n) };
    if code == 0 { n } else { 0 }
}

/// Writes what there is room for; returns how much that was.
pub fn write(circuit: Circuit, data: &[u8]) -> usize {
    let mut n = 0;
    // SAFETY: the data are as long as is said.
    let code = unsafe { utcp_circuit_write(circuit, data.as_ptr(), data.len(), &mut n) };
    if code == 0 { n } else { 0 }
}

/// The number of a circuit.
pub fn number(circuit: Circuit) -> u32 {
    // SAFETY: the handle came from the library and was never freed.
    unsafe { utcp_circuit_number(circuit) }
}

// SAFETY, for all callbacks: `user` is the pointer that `Relay::new` gave to the endpoint, nothing else refers to its
// target while the library runs, and handles are passed on as they come.

unsafe extern "C" fn tx<A>(user: *mut c_void, batch: *const c_void, count: usize) -> usize {
    // SAFETY: see above.
    unsafe { utcp_socket_send((*user.cast::<User<A>>()).socket, batch, count) }
}

unsafe extern "C" fn verify(_: *mut c_void, _: Connection, _: *mut c_void) -> c_int {
    0
}

unsafe extern "C" fn ready<A: Application>(user: *mut c_void, connection: Connection) {
    // SAFETY: see above.
    unsafe { (*user.cast::<User<A>>()).app.ready(connection) }
}

unsafe extern "C" fn connection_closed(_: *mut c_void, _: Connection, reason: c_int) {
    eprintln!("a connection has ended: reason {reason}");
}

unsafe extern "C" fn incoming<A: Application>(
    user: *mut c_void,
    connection: Connection,
    circuit: Circuit,
    number: u32,
) -> c_int {
    // SAFETY: see above.
    unsafe {
        (*user.cast::<User<A>>())
            .app
            .incoming(connection, circuit, number);
    }
    0
}

unsafe extern "C" fn readable<A: Application>(user: *mut c_void, circuit: Circuit) {
    // SAFETY: see above.
    unsafe { (*user.cast::<User<A>>()).app.readable(circuit) }
}

unsafe extern "C" fn writable<A: Application>(user: *mut c_void, circuit: Circuit) {
    // SAFETY: see above.
    unsafe { (*user.cast::<User<A>>()).app.writable(circuit) }
}

unsafe extern "C" fn circuit_closed(_: *mut c_void, circuit: Circuit, reason: c_int) {
    eprintln!("circuit {} has ended: reason {reason}", number(circuit));
}
