//! What the kernel tells of the TCP connections of a host.

use std::io;
use std::net::Ipv4Addr;
use std::process::Command;

use crate::emulate::host::Host;

/// One connection, as `ss` (package iproute2) tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// Octets that the application has written and the peer has not acknowledged.
    pub queued: u64,
    /// The part of these that was never sent.
    pub unsent: u64,
    /// Congestion window, in segments.
    pub window: u64,
    /// Segments that were sent and not acknowledged.
    pub in_flight: u64,
    /// Octets of a segment.
    pub segment: u64,
    /// Smoothed round-trip time, in microseconds.
    pub round_trip_us: u64,
    /// Whether the kernel would take more.
    pub is_writable: bool,
    /// Segments sent again.
    pub retransmits: u64,
}

/// How often the scheduler of Tor 0.4.9 (KIST) looks at its connections, in microseconds.
const SCHEDULER_US: u64 = 10_000;

impl Connection {
    /// Whether it held as much as Tor's scheduler lets it when that looked last: what fills the congestion window, and as
    /// much again. The kernel would take more, but Tor has its cells wait in their circuits. What the window has brought
    /// away since then is not held against it.
    pub fn is_full_for_scheduler(&self) -> bool {
        let window = self.window * self.segment;
        let left = self.window.saturating_sub(self.in_flight) * self.segment;
        let room = (left + window).saturating_sub(self.unsent);
        self.unsent > 0 && room <= window * SCHEDULER_US / self.round_trip_us.max(SCHEDULER_US)
    }
}

/// Open connections of a host with `peer`, one of whose ends has this port.
///
/// # Errors
/// If `ss` is not there.
pub fn connections(host: &Host, peer: Ipv4Addr, port: u16) -> io::Result<Vec<Connection>> {
    let filter = format!("dst {peer} and ( sport = :{port} or dport = :{port} )");
    let work = move || {
        Command::new("ss")
            .args(["-tinmOH", "state", "established"])
            .arg(filter)
            .output()
    };
    let output = host.spawn(work).join().expect("it does not panic")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
        return Err(io::Error::other(format!("ss: {said}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(parse)
        .collect())
}

/// One line of `ss -tinmOH`.
fn parse(line: &str) -> Option<Connection> {
    let mut words = line.split_whitespace();
    let queued = words.nth(1)?.parse().ok()?;
    let value = |name: &str| {
        let word = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix(name))?;
        word.parse::<u64>().ok()
    };
    let round_trip_ms = line.split_whitespace().find_map(|word| {
        let (smoothed, _) = word.strip_prefix("rtt:")?.split_once('/')?;
        smoothed.parse::<f64>().ok()
    });
    let retransmits = line.split_whitespace().find_map(|word| {
        let (_, total) = word.strip_prefix("retrans:")?.split_once('/')?;
        total.parse().ok()
    });
    let memory = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix("skmem:("));
    let memory = |name: &str| {
        let fields = memory?.trim_end_matches(')').split(',');
        fields
            .filter_map(|field| field.strip_prefix(name))
            .find_map(|v| v.parse::<u64>().ok())
    };
    // The kernel asks for a third of the buffer to be free: sk_stream_is_writeable().
    let is_writable = match (memory("tb"), memory("w")) {
        (Some(buffer), Some(used)) => buffer.saturating_sub(used) >= used / 2,
        _ => true,
    };
    Some(Connection {
        queued,
        unsent: value("notsent:").unwrap_or(0),
        window: value("cwnd:").unwrap_or(0),
        in_flight: value("unacked:").unwrap_or(0),
        segment: value("mss:").unwrap_or(0),
        round_trip_us: (round_trip_ms.unwrap_or(0.0) * 1e3) as u64,
        is_writable,
        retransmits: retransmits.unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    #[test]
    fn a_line_of_ss_is_understood() {
        let line = "0 36920 10.77.0.2:5000 10.77.0.3:41234 skmem:(r0,rb131072,t0,tb87040,f1,w61440,o0,bl0,d0) cubic \
                    wscale:7,7 rto:250 rtt:50.1/0.2 mss:1448 cwnd:10 bytes_sent:5 retrans:0/3 unacked:9 notsent:23888";
        let connection = parse(line).unwrap();
        assert_eq!(
            connection,
            Connection {
                queued: 36920,
                unsent: 23888,
                window: 10,
                in_flight: 9,
                segment: 1448,
                round_trip_us: 50_100,
                is_writable: false,
                retransmits: 3
            }
        );
        let holds = |unsent: u64| Connection {
            unsent,
            ..connection
        };
        // One more segment, and a window of those that wait; in 10 of 50 ms almost two of them go.
        for (segments, full) in [(11, true), (10, true), (8, false), (0, false)] {
            let connection = holds(segments * 1448);
            assert_eq!(connection.is_full_for_scheduler(), full, "{segments}");
        }
        assert!(parse("0 0 a:1 b:2 cubic").unwrap().is_writable);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn the_kernel_takes_more_exactly_while_a_connection_is_writable() {
        let address = Ipv4Addr::new(127, 79, 4, 1);
        let listener = TcpListener::bind((address, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut stream = TcpStream::connect((address, port)).unwrap();
        let (_peer, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let host = Host::here().unwrap();
        let takes = |stream: &TcpStream| {
            let mut asked = [PollFd::new(stream.as_fd(), PollFlags::POLLOUT)];
            poll(&mut asked, PollTimeout::ZERO).unwrap() == 1
        };
        let look = |stream: &TcpStream| {
            loop {
                let before = takes(stream);
                // Both ends are here; the peer writes nothing.
                let all = connections(&host, address, port).unwrap();
                let ours = all.into_iter().max_by_key(|c| c.queued).unwrap();
                // Else something was acknowledged meanwhile.
                if before == takes(stream) {
                    assert_eq!(ours.is_writable, before, "{ours:?}");
                    return before;
                }
            }
        };
        assert!(look(&stream));
        while let Ok(count) = stream.write(&[0; 16 * 1024]) {
            assert!(count > 0);
        }
        assert!(!look(&stream));
    }
}
