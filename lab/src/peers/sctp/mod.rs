//! SCTP over DTLS (§5.2 of the paper): one association, a stream for each circuit, in user space by libusrsctp.

pub mod ffi;

use std::io::ErrorKind;

use super::cells::CELL;
use super::clock::{self, MILLI, Micros};
use super::dtls::{Dtls, PLAIN};
use super::identity::Identity;
use super::transport::{Failure, Side, Transport};
use ffi::{EVENT_ERROR, EVENT_READ, EVENT_WRITE, Socket, Stack};

/// Both sides' port.
const PORT: u16 = 5_000;

/// Streams in each direction.
const STREAMS: u16 = 1_024;

/// How often timers are looked at; the library's own thread does the same.
const TICK: Micros = 10 * MILLI;

/// Cells in a message. Messages of different streams do not mix.
const MESSAGE: usize = 8 * CELL;

/// See the module.
pub struct Sctp {
    dtls: Dtls,
    stack: Stack,
    listener: Option<Socket>,
    socket: Option<Socket>,
    is_client: bool,
    ticked: Micros,
    /// A message was refused.
    refused: bool,
    buffer: Vec<u8>,
}

impl Sctp {
    /// One side; one a process.
    ///
    /// # Errors
    /// If the library is not there; those of [`Dtls::new`].
    pub fn new(side: &Side, identity: &Identity) -> Result<Sctp, Failure> {
        let stack = Stack::new()?;
        let listener = match side {
            Side::Client(_) => None,
            Side::Server(_) => Some(stack.listen(PORT, STREAMS, PLAIN as u32)?),
        };
        Ok(Sctp {
            dtls: Dtls::new(side, identity)?,
            stack,
            listener,
            socket: None,
            is_client: side.is_client(),
            ticked: clock::now(),
            refused: false,
            buffer: vec![0; 65_536],
        })
    }

    fn process(&mut self) -> Result<(), Failure> {
        let passed = clock::now().saturating_sub(self.ticked);
        if passed >= TICK {
            let passed = passed / MILLI;
            self.ticked += passed * MILLI;
            self.stack.timers(passed as u32);
        }
        if self.socket.is_none() && self.dtls.is_ready() {
            self.socket = match &self.listener {
                None => Some(self.stack.connect(PORT, STREAMS, PLAIN as u32)?),
                Some(listener) if listener.events() & EVENT_READ != 0 => listener.accept(),
                Some(_) => None,
            };
        }
        self.dtls.flush();
        // It has a window of its own: what it hands over may be sent.
        for packet in self.stack.take_packets() {
            if self.dtls.is_ready() {
                self.dtls.send(&packet)?;
            }
        }
        self.dtls.flush();
        Ok(())
    }

    fn is_writable(&self) -> bool {
        self.socket
            .as_ref()
            .is_some_and(|socket| socket.events() & EVENT_WRITE != 0)
    }
}

impl Transport for Sctp {
    fn is_ready(&self) -> bool {
        self.is_writable()
    }

    fn write(&mut self, circuit: u32, data: &[u8]) -> Result<usize, Failure> {
        let socket = self.socket.as_ref().ok_or("no association")?;
        let stream = u16::try_from(circuit)?;
        let mut taken = 0;
        for message in data.chunks(MESSAGE) {
            match socket.send(stream, message) {
                Ok(()) => taken += message.len(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.refused = true;
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(taken)
    }

    fn read(&mut self, to: &mut dyn FnMut(u32, &[u8])) -> Result<(), Failure> {
        let Some(socket) = &self.socket else {
            return Ok(());
        };
        loop {
            match socket.receive(&mut self.buffer) {
                Ok((_, 0)) => return Err("the association has ended".into()),
                Ok((stream, count)) => to(u32::from(stream), &self.buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error)
                    if self.is_client
                        && !self.is_writable()
                        && error.kind() == ErrorKind::NotConnected =>
                {
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn turn(&mut self, until: Micros) -> Result<(), Failure> {
        self.process()?;
        let stack = &self.stack;
        self.dtls
            .receive(until.min(self.ticked + TICK), &mut |_, packet| {
                stack.receive(packet)
            })?;
        if std::mem::take(&mut self.refused) && !self.is_writable() {
            self.refused = true;
        }
        self.process()?;
        match &self.socket {
            Some(socket) if socket.events() & EVENT_ERROR != 0 => {
                Err("the association has failed".into())
            }
            _ => Ok(()),
        }
    }
}
