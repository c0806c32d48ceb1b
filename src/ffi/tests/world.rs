//! Two relays and a perfect network between them, in virtual time.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::{c_int, c_void};
use std::net::SocketAddr;
use std::ptr::{null, null_mut};
use std::rc::Rc;
use std::sync::OnceLock;

use libc::{sockaddr, socklen_t};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};

use crate::ffi::address::{self, Address};
use crate::ffi::callbacks::{utcp_callbacks, utcp_datagram};
use crate::ffi::circuit::*;
use crate::ffi::config::*;
use crate::ffi::connection::*;
use crate::ffi::endpoint::*;
use crate::ffi::error::*;
use crate::ffi::opaque::*;

/// What a relay was called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    Incoming(*mut utcp_connection),
    Verify(*mut utcp_connection),
    Ready(*mut utcp_connection),
    Closed(*mut utcp_connection, c_int),
    CircuitIncoming(*mut utcp_connection, *mut utcp_circuit, u32),
    Readable(*mut utcp_circuit),
    Writable(*mut utcp_circuit),
    CircuitClosed(*mut utcp_circuit, c_int),
    MemoryPressure(c_int),
    Tx(usize),
}

type Act = Rc<dyn Fn(&Relay, Heard)>;

pub struct Relay {
    pub endpoint: Cell<*mut utcp_endpoint>,
    pub address: SocketAddr,
    /// All that it was called for but tx.
    pub heard: RefCell<Vec<Heard>>,
    /// Done inside every callback.
    act: RefCell<Option<Act>>,
    /// What callbacks that are asked answer.
    pub verdict: Cell<c_int>,
    /// How many datagrams the socket takes until it is given more room.
    pub room: Cell<usize>,
    pub sent: RefCell<VecDeque<(SocketAddr, Vec<u8>)>>,
}

impl Relay {
    /// Calls `act` inside every callback from now on.
    pub fn on_callback(&self, act: impl Fn(&Relay, Heard) + 'static) {
        *self.act.borrow_mut() = Some(Rc::new(act));
    }

    fn hear(&self, what: Heard) -> c_int {
        if !matches!(what, Heard::Tx(_)) {
            self.heard.borrow_mut().push(what);
        }
        let act = self.act.borrow().clone();
        if let Some(act) = act {
            act(self, what);
        }
        self.verdict.get()
    }

    pub fn heard(&self, wanted: impl Fn(&Heard) -> bool) -> usize {
        self.heard
            .borrow()
            .iter()
            .filter(|heard| wanted(heard))
            .count()
    }

    /// The circuit that the peer opened last.
    pub fn accepted(&self) -> *mut utcp_circuit {
        let heard = self.heard.borrow();
        let last = heard.iter().rev().find_map(|heard| match heard {
            Heard::CircuitIncoming(_, circuit, _) => Some(*circuit),
            _ => None,
        });
        last.expect("the peer has opened a circuit")
    }

    pub fn ready(&self) -> *mut utcp_connection {
        let heard = self.heard.borrow();
        let ready = heard.iter().rev().find_map(|heard| match heard {
            Heard::Ready(connection) => Some(*connection),
            _ => None,
        });
        ready.expect("a connection is ready")
    }
}

fn relay<'a>(user: *mut c_void) -> &'a Relay {
    // SAFETY: every endpoint here has a relay, which outlives it.
    unsafe { &*user.cast::<Relay>() }
}

unsafe extern "C" fn tx(user: *mut c_void, batch: *const utcp_datagram, count: usize) -> usize {
    let relay = relay(user);
    relay.hear(Heard::Tx(count));
    // After whatever the relay did: all datagrams must still be whole.
    let taken = count.min(relay.room.get());
    // SAFETY: as the header says.
    for datagram in unsafe { std::slice::from_raw_parts(batch, count) }
        .iter()
        .take(taken)
    {
        // SAFETY: as the header says.
        let (to, data) = unsafe {
            (
                address::read(datagram.address, datagram.address_len).expect("an address"),
                std::slice::from_raw_parts(datagram.data, datagram.len),
            )
        };
        relay.sent.borrow_mut().push_back((to, data.to_vec()));
    }
    relay.room.set(relay.room.get() - taken);
    taken
}

unsafe extern "C" fn incoming(
    user: *mut c_void,
    connection: *mut utcp_connection,
    from: *const sockaddr,
    len: socklen_t,
) -> c_int {
    // SAFETY: as the header says.
    assert!(unsafe { address::read(from, len) }.is_ok());
    relay(user).hear(Heard::Incoming(connection))
}

unsafe extern "C" fn verify(
    user: *mut c_void,
    connection: *mut utcp_connection,
    ssl: *mut ssl_st,
) -> c_int {
    assert!(!ssl.is_null());
    // SAFETY: a live handle.
    assert_eq!(unsafe { utcp_connection_ssl(connection) }, ssl);
    relay(user).hear(Heard::Verify(connection))
}

unsafe extern "C" fn ready(user: *mut c_void, connection: *mut utcp_connection) {
    relay(user).hear(Heard::Ready(connection));
}

unsafe extern "C" fn closed(user: *mut c_void, connection: *mut utcp_connection, reason: c_int) {
    relay(user).hear(Heard::Closed(connection, reason));
}

unsafe extern "C" fn circuit_incoming(
    user: *mut c_void,
    connection: *mut utcp_connection,
    circuit: *mut utcp_circuit,
    number: u32,
) -> c_int {
    relay(user).hear(Heard::CircuitIncoming(connection, circuit, number))
}

unsafe extern "C" fn readable(user: *mut c_void, circuit: *mut utcp_circuit) {
    relay(user).hear(Heard::Readable(circuit));
}

unsafe extern "C" fn writable(user: *mut c_void, circuit: *mut utcp_circuit) {
    relay(user).hear(Heard::Writable(circuit));
}

unsafe extern "C" fn circuit_closed(user: *mut c_void, circuit: *mut utcp_circuit, reason: c_int) {
    relay(user).hear(Heard::CircuitClosed(circuit, reason));
}

unsafe extern "C" fn memory_pressure(user: *mut c_void, level: c_int) {
    relay(user).hear(Heard::MemoryPressure(level));
}

pub fn callbacks() -> utcp_callbacks {
    utcp_callbacks {
        size: size_of::<utcp_callbacks>(),
        tx: Some(tx),
        connection_incoming: Some(incoming),
        connection_verify: Some(verify),
        connection_ready: Some(ready),
        connection_closed: Some(closed),
        circuit_incoming: Some(circuit_incoming),
        circuit_readable: Some(readable),
        circuit_writable: Some(writable),
        circuit_closed: Some(circuit_closed),
        memory_pressure: Some(memory_pressure),
    }
}

/// A certificate that signs itself, and its key.
fn credentials() -> &'static (Vec<u8>, Vec<u8>) {
    static MADE: OnceLock<(Vec<u8>, Vec<u8>)> = OnceLock::new();
    MADE.get_or_init(|| {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a P-256 key");
        let params = CertificateParams::new(vec!["relay.example".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate");
        (certificate.der().to_vec(), key.serialize_der())
    })
}

/// A configuration with a certificate and a fixed seed.
pub fn config(seed: u8) -> *mut utcp_config {
    let (chain, key) = credentials();
    // SAFETY: a live configuration and valid buffers.
    unsafe {
        let config = utcp_config_new();
        let (c, k) = (chain.as_ptr(), key.as_ptr());
        assert_eq!(
            utcp_config_set_certificate(config, c, chain.len(), k, key.len()),
            UTCP_OK
        );
        assert_eq!(
            utcp_config_set_seed(config, [seed; 32].as_ptr(), 32),
            UTCP_OK
        );
        config
    }
}

/// Two relays, `a` and `b`. Their endpoints are freed with it, unless a test has done so.
pub struct World {
    pub a: Box<Relay>,
    pub b: Box<Relay>,
    pub now: u64,
}

impl World {
    pub fn new() -> World {
        World::with(&callbacks(), &callbacks())
    }

    pub fn with(a: &utcp_callbacks, b: &utcp_callbacks) -> World {
        let relay = |index: u8, callbacks: &utcp_callbacks| {
            let relay = Box::new(Relay {
                endpoint: Cell::new(null_mut()),
                address: format!("192.0.2.{index}:9001").parse().expect("an address"),
                heard: RefCell::default(),
                act: RefCell::default(),
                verdict: Cell::new(0),
                room: Cell::new(usize::MAX),
                sent: RefCell::default(),
            });
            let config = config(index);
            let user = std::ptr::from_ref(&*relay).cast_mut().cast();
            let mut endpoint = null_mut();
            // SAFETY: all pointers are live.
            unsafe {
                assert_eq!(
                    utcp_endpoint_new(config, callbacks, user, &raw mut endpoint),
                    UTCP_OK
                );
                assert_eq!(utcp_config_free(config), UTCP_OK);
            }
            relay.endpoint.set(endpoint);
            relay
        };
        World {
            a: relay(1, a),
            b: relay(2, b),
            now: 1_000_000,
        }
    }

    fn relays(&self) -> [(&Relay, &Relay); 2] {
        [(&self.a, &self.b), (&self.b, &self.a)]
    }

    /// Lets `span` microseconds pass.
    pub fn run(&mut self, span: u64) {
        let end = self.now + span;
        for _ in 0..100_000 {
            let mut quiet = true;
            for (relay, peer) in self.relays() {
                if relay.endpoint.get().is_null() {
                    continue;
                }
                // SAFETY: a live endpoint.
                unsafe {
                    if utcp_endpoint_next_deadline(relay.endpoint.get()) <= self.now {
                        assert_eq!(
                            utcp_endpoint_process(relay.endpoint.get(), self.now),
                            UTCP_OK
                        );
                        quiet = false;
                    }
                }
                let sent: Vec<_> = relay.sent.borrow_mut().drain(..).collect();
                for (to, data) in sent {
                    quiet = false;
                    if to == peer.address && !peer.endpoint.get().is_null() {
                        assert_eq!(self.inject(peer, relay.address, &data), UTCP_OK);
                    }
                }
            }
            if quiet {
                let next = self.relays().map(|(relay, _)| {
                    // SAFETY: NULL or a live endpoint.
                    unsafe { utcp_endpoint_next_deadline(relay.endpoint.get()) }
                });
                let next = next[0].min(next[1]);
                if next > end {
                    self.now = end;
                    return;
                }
                self.now = next;
            }
        }
        panic!("the endpoints never come to rest");
    }

    pub fn inject(&self, relay: &Relay, from: SocketAddr, data: &[u8]) -> c_int {
        let from = Address::new(from);
        let (address, len) = (from.as_ptr(), from.len());
        // SAFETY: a live endpoint and valid buffers.
        unsafe {
            utcp_endpoint_inject(
                relay.endpoint.get(),
                self.now,
                address,
                len,
                data.as_ptr(),
                data.len(),
            )
        }
    }

    pub fn connect(&self) -> *mut utcp_connection {
        let to = Address::new(self.b.address);
        let mut connection = null_mut();
        // SAFETY: a live endpoint and valid buffers.
        let result = unsafe {
            let (address, len) = (to.as_ptr(), to.len());
            let out = &raw mut connection;
            utcp_endpoint_connect(self.a.endpoint.get(), self.now, address, len, null(), out)
        };
        assert_eq!(result, UTCP_OK);
        connection
    }

    /// Connects `a` to `b` and waits until both are ready.
    pub fn connected() -> (World, *mut utcp_connection) {
        let mut world = World::new();
        let connection = world.connect();
        world.run(1_000_000);
        assert_eq!(
            world
                .a
                .heard(|h| matches!(h, Heard::Ready(c) if *c == connection)),
            1
        );
        world.b.ready();
        (world, connection)
    }

    pub fn free_endpoint(relay: &Relay) {
        // SAFETY: NULL or a live endpoint.
        let result = unsafe { utcp_endpoint_free(relay.endpoint.take()) };
        assert_eq!(result, UTCP_OK);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        World::free_endpoint(&self.a);
        World::free_endpoint(&self.b);
    }
}

pub fn open(connection: *mut utcp_connection, number: u32) -> *mut utcp_circuit {
    let mut circuit = null_mut();
    // SAFETY: a live handle.
    let result = unsafe { utcp_connection_open_circuit(connection, number, &raw mut circuit) };
    assert_eq!(result, UTCP_OK);
    circuit
}

pub fn write(circuit: *mut utcp_circuit, data: &[u8]) -> Result<usize, c_int> {
    let mut written = 0;
    // SAFETY: a handle and valid buffers.
    match unsafe { utcp_circuit_write(circuit, data.as_ptr(), data.len(), &raw mut written) } {
        UTCP_OK => Ok(written),
        error => Err(error),
    }
}

/// Everything that can be read now, and the error that follows it.
pub fn read(circuit: *mut utcp_circuit) -> (Vec<u8>, c_int) {
    let mut all = Vec::new();
    loop {
        let mut buffer = [0u8; 1000];
        let mut len = 0;
        // SAFETY: a handle and valid buffers.
        let result = unsafe { utcp_circuit_read(circuit, buffer.as_mut_ptr(), 1000, &raw mut len) };
        if result != UTCP_OK {
            return (all, result);
        }
        all.extend_from_slice(&buffer[..len]);
    }
}
