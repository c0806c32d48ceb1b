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
    /// Whether the kernel would take more.
    pub is_writable: bool,
    /// Segments sent again.
    pub retransmits: u64,
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
        is_writable,
        retransmits: retransmits.unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
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
                is_writable: false,
                retransmits: 3
            }
        );
        assert!(parse("0 0 a:1 b:2 cubic").unwrap().is_writable);
        assert_eq!(parse(""), None);
    }
}
