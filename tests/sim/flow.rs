//! One end of a circuit, working through its script and comparing every octet that arrives.

use utcp::endpoint::{CircuitId, ConnectionId};
use utcp::error::{CloseReason, Error};
use utcp::time::Time;

use super::host::{Host, Shared};
use super::plan::{Reader, Step};
use super::stream::HEADER;

#[derive(Debug)]
pub struct Flow {
    pub id: CircuitId,
    pub connection: ConnectionId,
    pub number: u32,
    pub control: bool,
    pub opened: Time,
    /// Which plan it serves; an accepted circuit learns it from the first octets.
    pub plan: Option<usize>,
    /// 0 at the opening end, 1 at the other.
    pub side: usize,
    header: Vec<u8>,
    step: usize,
    step_sent: u64,
    pause: Option<Time>,
    next_read: Time,
    pub sent: u64,
    pub received: u64,
    pub readable: bool,
    pub blocked: bool,
    pub ended: bool,
    pub closing: bool,
}

impl Flow {
    pub fn new(id: CircuitId, connection: ConnectionId, number: u32, now: Time) -> Flow {
        Flow {
            id,
            connection,
            number,
            control: false,
            opened: now,
            plan: None,
            side: 1,
            header: Vec::new(),
            step: 0,
            step_sent: 0,
            pause: None,
            next_read: Time(0),
            sent: 0,
            received: 0,
            readable: false,
            blocked: false,
            ended: false,
            closing: false,
        }
    }

    /// An accepted circuit that has not said yet what it is for.
    pub fn unnamed(&self) -> bool {
        self.plan.is_none() && !self.control
    }

    /// Index of the step it is at.
    pub fn at_step(&self) -> usize {
        self.step
    }

    /// Makes it serve `plan`.
    pub fn assign(&mut self, shared: &mut Shared, plan: usize, side: usize) {
        self.plan = Some(plan);
        self.side = side;
        let now = shared.now;
        let entry = &mut shared.plans[plan];
        if entry.progress[side].started.is_some() {
            shared.fault(format!("plan {plan} has begun twice on side {side}"));
            return;
        }
        entry.progress[side].started = Some(now.0);
        if let Reader::Slow { start, .. } = entry.ends[side].reader {
            self.next_read = now + start;
        }
    }

    /// Does what can be done now; false when the circuit is over for the script.
    pub fn run(&mut self, host: &mut Host, shared: &mut Shared) -> bool {
        loop {
            self.read(host, shared);
            let before = (self.step, self.step_sent, self.received);
            if !self.write(host, shared) {
                return false;
            }
            if shared.fault.is_some() {
                return true;
            }
            if before == (self.step, self.step_sent, self.received) {
                break;
            }
        }
        if self.control {
            self.finish_control(shared);
        }
        true
    }

    /// A control circuit stays open: its script is done when all was said and heard.
    fn finish_control(&mut self, shared: &mut Shared) {
        let Some(index) = self.plan else { return };
        let now = shared.now;
        let plan = &mut shared.plans[index];
        let end = &plan.ends[self.side];
        let all = self.step == end.steps.len() && end.expect.is_none_or(|n| n == self.received);
        if all && plan.progress[self.side].done.is_none() {
            plan.progress[self.side].done = Some(now.0);
            shared.settle(index, self.side);
        }
    }

    // ---- reading ----

    fn read(&mut self, host: &mut Host, shared: &mut Shared) {
        let mut buffer = [0; 8_192];
        while self.readable && !self.closing && shared.fault.is_none() {
            let mut room = host.rng.between(1, buffer.len() as u64) as usize;
            if self.unnamed() {
                room = HEADER - self.header.len();
            } else if let Some(plan) = self.plan
                && let Reader::Slow { octets, every, .. } =
                    shared.plans[plan].ends[self.side].reader
            {
                if shared.now < self.next_read {
                    host.wake_at(self.next_read, self.id);
                    return;
                }
                // One read of a bounded size, then a pause.
                self.next_read = shared.now + every;
                room = octets.min(buffer.len());
            }
            self.read_once(host, shared, &mut buffer[..room]);
        }
    }

    fn read_once(&mut self, host: &mut Host, shared: &mut Shared, buffer: &mut [u8]) {
        match host.endpoint.read(self.id, buffer) {
            Ok(n) if n == 0 || n > buffer.len() => {
                shared.fault(format!("{:?}: read gave {n} of {}", self.id, buffer.len()));
            }
            Ok(n) => self.arrived(host, shared, &buffer[..n]),
            Err(Error::WouldBlock | Error::Closed) => self.readable = false,
            Err(Error::End) => {
                self.readable = false;
                self.end_of_stream(shared);
            }
            Err(error) => shared.fault(format!("{:?}: read: {error:?}", self.id)),
        }
    }

    fn arrived(&mut self, host: &mut Host, shared: &mut Shared, data: &[u8]) {
        if self.ended {
            shared.fault(format!("{:?}: data after the end", self.id));
        }
        shared.progress = shared.now;
        shared.octets += data.len() as u64;
        if self.unnamed() {
            self.header.extend_from_slice(data);
            if self.header.len() < HEADER {
                return;
            }
            self.recognize(host, shared);
            return;
        }
        let Some(index) = self.plan else {
            shared.fault(format!("{:?}: data without a script", self.id));
            return;
        };
        let now = shared.now;
        let plan = &mut shared.plans[index];
        let stream = plan.streams[1 - self.side];
        if let Some(position) = stream.differs(self.received, data) {
            let offset = (position - self.received) as usize;
            let mut expected = vec![0; data.len() - offset];
            stream.fill(position, &mut expected);
            expected.truncate(16);
            let got = &data[offset..(offset + 16).min(data.len())];
            let owner = shared.plans.iter().position(|p| {
                p.streams.iter().any(|s| {
                    (0..p.ends[0].sends().max(p.ends[1].sends()))
                        .step_by(8)
                        .take(4_096)
                        .any(|at| got.len() == 16 && s.differs(at, got).is_none())
                })
            });
            shared.fault(format!(
                "host {} {:?} plan {index}: octet {position} differs: expected {expected:02x?}, got {got:02x?}, \
                 which is of plan {owner:?}",
                host.index, self.id
            ));
            return;
        }
        plan.progress[self.side].first_octet.get_or_insert(now.0);
        self.received += data.len() as u64;
        plan.progress[self.side].received = self.received;
        if let Some(expect) = plan.ends[self.side].expect
            && self.received > expect
        {
            shared.fault(format!(
                "{:?} plan {index}: {} octets where {expect} were sent",
                self.id, self.received
            ));
        }
    }

    /// The header is complete: finds the plan.
    fn recognize(&mut self, host: &mut Host, shared: &mut Shared) {
        let header = std::mem::take(&mut self.header);
        let word = u64::from_le_bytes(header.clone().try_into().expect("eight octets"));
        let index = (word & 0xffff_ffff) as usize;
        let fits = shared.plans.get(index).is_some_and(|plan| {
            plan.streams[0].differs(0, &header).is_none()
                && plan.number == self.number
                && plan.acceptor == host.index
        });
        if !fits {
            shared.fault(format!(
                "host {} {:?} number {}: begins with {header:02x?}, which is no circuit's header",
                host.index, self.id, self.number
            ));
            return;
        }
        // The end that recognized itself is counted by its plan from now on.
        shared.unfinished -= 1;
        let plan = &mut shared.plans[index];
        if !plan.pending[1] && plan.progress[1].done.is_none() {
            plan.pending[1] = true;
            shared.unfinished += 1;
        }
        self.assign(shared, index, 1);
        let now = shared.now;
        let progress = &mut shared.plans[index].progress[1];
        progress.first_octet = Some(now.0);
        progress.received = HEADER as u64;
        self.received = HEADER as u64;
    }

    fn end_of_stream(&mut self, shared: &mut Shared) {
        self.ended = true;
        shared.progress = shared.now;
        let Some(index) = self.plan else { return };
        let plan = &shared.plans[index];
        if let Some(expect) = plan.ends[self.side].expect
            && expect != self.received
            && !plan.doomed
        {
            shared.fault(format!(
                "{:?} plan {index} side {}: the stream ended at {} of {expect}",
                self.id, self.side, self.received
            ));
        }
    }

    // ---- writing ----

    /// Works through the steps; false when the circuit is over for the script.
    fn write(&mut self, host: &mut Host, shared: &mut Shared) -> bool {
        let Some(index) = self.plan else { return true };
        loop {
            let Some(step) = shared.plans[index].ends[self.side].steps.get(self.step) else {
                return true;
            };
            let passed = match *step {
                Step::Send(octets) => self.send(host, shared, index, octets),
                Step::Receive(octets) => self.received >= octets,
                Step::ReceiveEnd => self.ended,
                Step::Pause(time) => {
                    let until = *self.pause.get_or_insert(shared.now + time);
                    if shared.now < until {
                        host.wake_at(until, self.id);
                    } else {
                        self.pause = None;
                    }
                    shared.now >= until
                }
                Step::Finish => self.finished(host.endpoint.finish(self.id), shared, "finish"),
                Step::Close => {
                    self.closing = true;
                    self.finished(host.endpoint.close(self.id), shared, "close")
                }
                Step::CloseAndForget => {
                    self.closing = true;
                    if self.finished(host.endpoint.close(self.id), shared, "close") {
                        host.endpoint.circuit_forget(self.id);
                        self.over(shared, None);
                        return false;
                    }
                    false
                }
                Step::Abort => {
                    match host.endpoint.abort(self.id) {
                        Ok(()) => {
                            host.endpoint.circuit_forget(self.id);
                            self.over(shared, None);
                            return false;
                        }
                        // It was reset from the other side: the event is on its way.
                        Err(Error::Closed) => false,
                        Err(error) => {
                            shared.fault(format!("{:?}: abort: {error:?}", self.id));
                            false
                        }
                    }
                }
            };
            if !passed || shared.fault.is_some() {
                return true;
            }
            self.step += 1;
            self.step_sent = 0;
        }
    }

    /// Closed is no fault here: the event that says why is on its way.
    fn finished(&self, result: Result<(), Error>, shared: &mut Shared, what: &str) -> bool {
        match result {
            Ok(()) => true,
            Err(Error::Closed) => false,
            Err(error) => {
                shared.fault(format!("{:?}: {what}: {error:?}", self.id));
                false
            }
        }
    }

    fn send(&mut self, host: &mut Host, shared: &mut Shared, index: usize, octets: u64) -> bool {
        let stream = shared.plans[index].streams[self.side];
        let mut buffer = [0; 16_384];
        while self.step_sent < octets && !self.blocked {
            let most = (octets - self.step_sent).min(buffer.len() as u64);
            let length = host.rng.between(1, most) as usize;
            stream.fill(self.sent, &mut buffer[..length]);
            match host.endpoint.write(self.id, &buffer[..length]) {
                Ok(n) if n == 0 || n > length => {
                    shared.fault(format!("{:?}: write took {n} of {length}", self.id));
                    return false;
                }
                Ok(n) => {
                    self.sent += n as u64;
                    self.step_sent += n as u64;
                    self.blocked = n < length;
                }
                Err(Error::WouldBlock) => self.blocked = true,
                Err(Error::Closed) => return false,
                Err(error) => {
                    shared.fault(format!("{:?}: write: {error:?}", self.id));
                    return false;
                }
            }
        }
        self.step_sent == octets
    }

    // ---- the end ----

    /// The circuit has ended: what was received in order can still be read.
    pub fn closed(&mut self, host: &mut Host, shared: &mut Shared, reason: CloseReason) {
        let mut buffer = [0; 8_192];
        self.readable = !self.closing && !self.unnamed();
        while self.readable && shared.fault.is_none() {
            self.read_once(host, shared, &mut buffer);
        }
        if self.plan.is_some() || !self.control {
            self.over(shared, Some(reason));
        }
    }

    fn over(&mut self, shared: &mut Shared, reason: Option<CloseReason>) {
        shared.progress = shared.now;
        let Some(index) = self.plan else {
            // It never said what it was for.
            shared.unfinished -= 1;
            return;
        };
        let now = shared.now;
        let side = self.side;
        let plan = &mut shared.plans[index];
        let progress = &mut plan.progress[side];
        let end = &plan.ends[side];
        if self.control && progress.done.is_some() {
            return;
        }
        progress.done = Some(now.0);
        progress.reason = reason;
        let missing = reason == Some(CloseReason::Done)
            && end
                .expect
                .is_some_and(|n| n != self.received || !self.ended);
        let wrong = reason.is_some_and(|r| !end.reasons.contains(&r));
        let text = format!("plan {index} side {side} ended with {reason:?}: {self:?}");
        let doomed = plan.doomed;
        let aborted = end.steps.get(self.step) == Some(&Step::Abort);
        if aborted && side == 0 && plan.progress[1].started.is_none() {
            // Reset before the other end heard of it, which it may or may not do still.
            shared.settle(index, 1);
        }
        shared.settle(index, side);
        if (missing || wrong) && !doomed {
            shared.fault(text);
        }
    }
}
