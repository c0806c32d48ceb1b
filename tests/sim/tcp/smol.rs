//! smoltcp's TCP, an independent peer.

use std::collections::VecDeque;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{RecvError, Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpCidr};
use utcp::time::Time;

use super::{Read, Tcp, address};

/// Packets in and out.
#[derive(Default)]
struct Queues {
    incoming: VecDeque<Vec<u8>>,
    outgoing: Vec<Vec<u8>>,
}

struct Incoming(Vec<u8>);
struct Outgoing<'a>(&'a mut Vec<Vec<u8>>);

impl RxToken for Incoming {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut packet = vec![0; length];
        let result = f(&mut packet);
        self.0.push(packet);
        result
    }
}

impl Device for Queues {
    type RxToken<'a> = Incoming;
    type TxToken<'a> = Outgoing<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Incoming, Outgoing<'_>)> {
        let packet = self.incoming.pop_front()?;
        Some((Incoming(packet), Outgoing(&mut self.outgoing)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Outgoing<'_>> {
        Some(Outgoing(&mut self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = 1_500;
        capabilities
    }
}

pub struct Smol {
    queues: Queues,
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
}

fn instant(now: Time) -> Instant {
    Instant::from_micros(now.0 as i64)
}

impl Smol {
    fn new(index: usize, seed: u64) -> Smol {
        let mut queues = Queues::default();
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut queues, instant(Time(0)));
        interface.update_ip_addrs(|addresses| {
            let cidr = IpCidr::new(address(index).ip().into(), 24);
            addresses.push(cidr).expect("room for one");
        });
        let buffer = || SocketBuffer::new(vec![0; 100_000]);
        let mut socket = Socket::new(buffer(), buffer());
        // Interactive scripts would wait for Nagle's algorithm.
        socket.set_nagle_enabled(false);
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(socket);
        Smol {
            queues,
            interface,
            sockets,
            handle,
        }
    }

    /// Sends a SYN.
    pub fn active(index: usize, seed: u64) -> Box<Smol> {
        let mut smol = Smol::new(index, seed);
        let socket = smol.sockets.get_mut::<Socket>(smol.handle);
        socket
            .connect(
                smol.interface.context(),
                address(1 - index),
                address(index).port(),
            )
            .expect("a fresh socket connects");
        Box::new(smol)
    }

    /// Waits for one.
    pub fn passive(index: usize, seed: u64) -> Box<Smol> {
        let mut smol = Smol::new(index, seed);
        smol.socket()
            .listen(address(index).port())
            .expect("a fresh socket listens");
        Box::new(smol)
    }

    fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }
}

impl Tcp for Smol {
    fn inject(&mut self, _: Time, packet: &[u8], _: bool) {
        self.queues.incoming.push_back(packet.to_vec());
    }

    fn poll(&mut self, now: Time) -> Vec<Vec<u8>> {
        self.interface
            .poll(instant(now), &mut self.queues, &mut self.sockets);
        std::mem::take(&mut self.queues.outgoing)
    }

    fn deadline(&mut self, now: Time) -> Time {
        if !self.queues.incoming.is_empty() {
            return now;
        }
        match self.interface.poll_at(instant(now), &self.sockets) {
            Some(at) => Time(at.total_micros().max(0) as u64),
            None => Time::NEVER,
        }
    }

    fn write(&mut self, data: &[u8]) -> usize {
        self.socket().send_slice(data).unwrap_or(0)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Read {
        match self.socket().recv_slice(buffer) {
            Ok(0) => Read::Nothing,
            Ok(n) => Read::Data(n),
            Err(RecvError::Finished) => Read::End,
            Err(RecvError::InvalidState) => match self.socket().state() {
                State::Closed => Read::Broken,
                State::CloseWait | State::LastAck | State::Closing | State::TimeWait => Read::End,
                _ => Read::Nothing,
            },
        }
    }

    fn finish(&mut self) {
        self.socket().close();
    }

    fn abort(&mut self) {
        self.socket().abort();
    }

    fn is_over(&self) -> bool {
        let socket: &Socket<'_> = self.sockets.get(self.handle);
        matches!(socket.state(), State::Closed | State::TimeWait)
    }

    fn describe(&self) -> String {
        let socket: &Socket<'_> = self.sockets.get(self.handle);
        format!(
            "smoltcp {:?}, {} to send, {} to read",
            socket.state(),
            socket.send_queue(),
            socket.recv_queue()
        )
    }
}
