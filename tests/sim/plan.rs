//! What the relays on top do with a circuit: a script for each of its two ends.

use utcp::error::CloseReason;
use utcp::time::{MILLISECOND, Micros, SECOND};

use super::stream::{HEADER, Stream};

/// What one end does, one after the other. Reading goes on beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write this many octets.
    Send(u64),
    /// Wait until this many octets have arrived in all.
    Receive(u64),
    /// Wait for the end of the other's stream.
    ReceiveEnd,
    Pause(Micros),
    Finish,
    /// Also stops reading.
    Close,
    /// Does as `Close`, and lets go of the circuit: it finishes by itself.
    CloseAndForget,
    Abort,
}

/// How an end reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// All that there is, at once.
    Eager,
    /// Nothing before `start`, then up to `octets` every `every`.
    Slow {
        start: Micros,
        octets: usize,
        every: Micros,
    },
}

/// The script of one end.
#[derive(Clone, Debug)]
pub struct End {
    pub steps: Vec<Step>,
    pub reader: Reader,
    /// Octets that must arrive, and then the end; `None`: any part of the other's stream may.
    pub expect: Option<u64>,
    /// How the circuit may end here.
    pub reasons: Vec<CloseReason>,
}

impl End {
    fn orderly(steps: Vec<Step>, expect: u64) -> End {
        End {
            steps,
            reader: Reader::Eager,
            expect: Some(expect),
            reasons: vec![CloseReason::Done],
        }
    }

    fn any(steps: Vec<Step>, reasons: &[CloseReason]) -> End {
        End {
            steps,
            reader: Reader::Eager,
            expect: None,
            reasons: reasons.to_vec(),
        }
    }

    /// What the script sends.
    pub fn sends(&self) -> u64 {
        self.steps
            .iter()
            .map(|s| if let Step::Send(n) = s { *n } else { 0 })
            .sum()
    }
}

/// Scripts of the opening and of the accepting end.
pub type Ends = [End; 2];

fn at_least_header(octets: u64) -> u64 {
    octets.max(HEADER as u64)
}

/// `octets` from the opening end.
pub fn upload(octets: u64) -> Ends {
    let octets = at_least_header(octets);
    [
        End::orderly(vec![Step::Send(octets), Step::Finish], 0),
        End::orderly(vec![Step::ReceiveEnd, Step::Finish], octets),
    ]
}

/// A request, and `octets` from the accepting end.
pub fn download(octets: u64) -> Ends {
    let request = HEADER as u64;
    [
        End::orderly(
            vec![
                Step::Send(request),
                Step::Receive(octets),
                Step::ReceiveEnd,
                Step::Finish,
            ],
            octets,
        ),
        End::orderly(
            vec![
                Step::Receive(request),
                Step::Send(octets),
                Step::Finish,
                Step::ReceiveEnd,
            ],
            request,
        ),
    ]
}

/// Both ends send all the time.
pub fn both_ways(up: u64, down: u64) -> Ends {
    let up = at_least_header(up);
    [
        End::orderly(vec![Step::Send(up), Step::Finish], down),
        End::orderly(vec![Step::Send(down), Step::Finish], up),
    ]
}

/// A request and its response, `times` over.
pub fn requests(times: u64, request: u64, response: u64) -> Ends {
    let request = at_least_header(request);
    let mut client = Vec::new();
    let mut server = Vec::new();
    for i in 1..=times {
        client.extend([Step::Send(request), Step::Receive(i * response)]);
        server.extend([Step::Receive(i * request), Step::Send(response)]);
    }
    client.push(Step::Finish);
    server.extend([Step::ReceiveEnd, Step::Finish]);
    [
        End::orderly(client, times * response),
        End::orderly(server, times * request),
    ]
}

/// `count` cells of `size` octets from each end, one every `every`.
pub fn cells(count: u64, size: u64, every: Micros) -> Ends {
    let size = at_least_header(size);
    let script = || {
        let mut steps = Vec::new();
        for _ in 0..count {
            steps.extend([Step::Send(size), Step::Pause(every)]);
        }
        steps.push(Step::Finish);
        End::orderly(steps, count * size)
    };
    [script(), script()]
}

/// The opening end finishes after `up`, and only then the accepting end sends `down`, slowly started.
pub fn half_close_by_opener(up: u64, down: u64) -> Ends {
    let up = at_least_header(up);
    [
        End::orderly(vec![Step::Send(up), Step::Finish], down),
        End::orderly(
            vec![
                Step::ReceiveEnd,
                Step::Pause(3 * SECOND),
                Step::Send(down),
                Step::Finish,
            ],
            up,
        ),
    ]
}

/// The accepting end finishes first; the opening end sends `up` only after that.
pub fn half_close_by_acceptor(up: u64, down: u64) -> Ends {
    let first = HEADER as u64;
    [
        End::orderly(
            vec![
                Step::Send(first),
                Step::ReceiveEnd,
                Step::Pause(3 * SECOND),
                Step::Send(up),
                Step::Finish,
            ],
            down,
        ),
        End::orderly(vec![Step::Send(down), Step::Finish], first + up),
    ]
}

/// The opening end closes after `wanted` octets of `octets` have arrived, and discards the rest.
pub fn close_early(octets: u64, wanted: u64) -> Ends {
    [
        End::any(
            vec![
                Step::Send(HEADER as u64),
                Step::Receive(wanted),
                Step::Close,
            ],
            &[CloseReason::Done, CloseReason::Local],
        ),
        End::orderly(
            vec![Step::Send(octets), Step::ReceiveEnd, Step::Finish],
            HEADER as u64,
        ),
    ]
}

/// Both ends let go of the circuit as soon as they have what they wanted.
pub fn let_go(octets: u64) -> Ends {
    let octets = at_least_header(octets);
    let script = || {
        End::any(
            vec![
                Step::Send(octets),
                Step::Receive(octets),
                Step::CloseAndForget,
            ],
            &[CloseReason::Done],
        )
    };
    [script(), script()]
}

/// The opening end resets in the middle of traffic both ways.
pub fn abort_by_opener(octets: u64) -> Ends {
    let octets = at_least_header(octets);
    [
        End::any(vec![Step::Send(octets), Step::Abort], &[]),
        // It keeps trying to send, so that it learns of the reset even if the RST is lost.
        End::any(
            vec![
                Step::Send(octets),
                Step::Pause(SECOND),
                Step::Send(octets),
                Step::Pause(10 * SECOND),
                Step::Close,
            ],
            &[CloseReason::Reset],
        ),
    ]
}

/// How an opening end hears of a reset: before it has heard anything else, it cannot be told from a refusal.
const RESET_OR_REFUSED: [CloseReason; 2] = [CloseReason::Reset, CloseReason::Refused];

/// The accepting end resets after `octets` have arrived.
pub fn abort_by_acceptor(octets: u64) -> Ends {
    [
        End::any(
            vec![
                Step::Send(at_least_header(octets) + 100_000),
                Step::Pause(SECOND),
                Step::Send(100),
                Step::Pause(10 * SECOND),
                Step::Close,
            ],
            &RESET_OR_REFUSED,
        ),
        End::any(
            vec![Step::Receive(at_least_header(octets)), Step::Abort],
            &[],
        ),
    ]
}

/// Both ends reset at about the same time.
pub fn abort_by_both(octets: u64) -> Ends {
    let octets = at_least_header(octets);
    let script = || End::any(vec![Step::Send(octets), Step::Abort], &RESET_OR_REFUSED);
    [script(), script()]
}

/// The accepting end reads nothing for `start`, then a little at a time.
pub fn slow_reader(octets: u64, start: Micros) -> Ends {
    let mut ends = upload(octets);
    ends[1].reader = Reader::Slow {
        start,
        octets: 20_000,
        every: 50 * MILLISECOND,
    };
    ends
}

/// A circuit that is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Index of the host that opens it.
    pub opener: usize,
    /// Index of the other.
    pub acceptor: usize,
    /// The relay's number; 0 is control: nobody opens it.
    pub number: u32,
    pub ends: Ends,
    /// Content of the opening end's stream, and of the other's.
    pub streams: [Stream; 2],
    /// Opened under the same number as soon as this one has ended at its opening end.
    pub next: Option<usize>,
    /// The connection was cut: any end will do.
    pub doomed: bool,
    /// Whether the simulation waits for the end.
    pub pending: [bool; 2],
    pub progress: [Progress; 2],
}

/// How far an end has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub started: Option<u64>,
    /// When the first octet was read.
    pub first_octet: Option<u64>,
    pub received: u64,
    /// When it ended.
    pub done: Option<u64>,
    pub reason: Option<CloseReason>,
}
