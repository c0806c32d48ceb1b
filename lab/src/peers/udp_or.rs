//! UDP-OR (§5.1 of the paper): TCP from end to end, a connection for each circuit; hop by hop only DTLS, which knows nothing
//! of it. On one link, hop and end are the same.

use super::clock::{self, Micros};
use super::dtls::{Dtls, PLAIN};
use super::identity::Identity;
use super::segments::Segments;
use super::transport::{Control, Failure, Side, Transport};
use utcp::time::Time;

/// See the module.
pub struct UdpOr {
    dtls: Dtls,
    segments: Segments,
    plain: Vec<u8>,
}

impl UdpOr {
    /// One side.
    ///
    /// # Errors
    /// Those of [`Dtls::new`].
    pub fn new(control: Control, side: &Side, identity: &Identity) -> Result<UdpOr, Failure> {
        Ok(UdpOr {
            dtls: Dtls::new(side, identity)?,
            segments: Segments::new(control, PLAIN, side.is_client()),
            plain: Vec::new(),
        })
    }

    fn send(&mut self) -> Result<(), Failure> {
        let now = Time(clock::now());
        self.segments.timers(now);
        self.dtls.flush();
        while self.dtls.has_room() && self.segments.next(now, &mut self.plain) {
            self.dtls.send(&self.plain)?;
            if !self.dtls.has_room() {
                self.dtls.flush();
            }
        }
        self.dtls.flush();
        Ok(())
    }
}

impl Transport for UdpOr {
    fn is_ready(&self) -> bool {
        self.dtls.is_ready()
    }

    fn write(&mut self, circuit: u32, data: &[u8]) -> Result<usize, Failure> {
        self.segments.write(circuit, data)
    }

    fn read(&mut self, to: &mut dyn FnMut(u32, &[u8])) -> Result<(), Failure> {
        self.segments.read(to)
    }

    fn turn(&mut self, until: Micros) -> Result<(), Failure> {
        self.send()?;
        let due = if self.dtls.is_blocked() {
            Time::NEVER
        } else {
            self.segments.deadline()
        };
        let until = if self.segments.take_writable() {
            0
        } else {
            until.min(due.0)
        };
        let segments = &mut self.segments;
        self.dtls
            .receive(until, &mut |now, plain| segments.receive(now, plain))?;
        self.send()
    }
}
