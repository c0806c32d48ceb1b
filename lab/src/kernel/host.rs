//! A network namespace with one TUN device: one end of a path, with the kernel's TCP in it.

use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::process::Command;
use std::thread::{self, JoinHandle};

use nix::sched::{CloneFlags, setns, unshare};

use super::tun::Tun;

/// The addresses of the two ends of every path; namespaces keep paths apart.
pub const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];

/// Largest IP packet.
pub const MTU: usize = 1_500;

const DEVICE: &str = "tun0";

/// What could limit or colour a measurement, set for the namespace.
const SYSCTLS: [(&str, &str); 5] = [
    ("net/ipv6/conf/all/disable_ipv6", "1"),
    ("net/ipv6/conf/default/disable_ipv6", "1"),
    // Nothing learned by an earlier connection.
    ("net/ipv4/tcp_no_metrics_save", "1"),
    // Windows never limit, and the receiver need not grow its own first.
    ("net/ipv4/tcp_rmem", "4096 8388608 67108864"),
    ("net/ipv4/tcp_wmem", "4096 131072 67108864"),
];

/// See the module. The namespace has no name and ends with the last of this, its threads and its sockets.
#[derive(Debug)]
pub struct Host {
    namespace: File,
}

impl Host {
    /// A namespace in which `address` is the kernel's own and `peer` is reached through the TUN device.
    ///
    /// # Errors
    /// What the system says, or `ip` from the package iproute2.
    pub fn new(address: Ipv4Addr, peer: Ipv4Addr) -> io::Result<(Host, Tun)> {
        // A thread of its own, so that the caller stays where it is.
        thread::spawn(move || make(address, peer))
            .join()
            .expect("it does not panic")
    }

    /// Runs `work` on a thread inside of the namespace.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let namespace = self.namespace.try_clone();
        thread::spawn(move || {
            let namespace = namespace.expect("a descriptor is left");
            setns(&namespace, CloneFlags::CLONE_NEWNET).expect("we have made it");
            drop(namespace);
            work()
        })
    }

    /// The states of all TCP sockets but listening ones, as in /proc/net/tcp (1 is ESTABLISHED, 6 TIME-WAIT).
    pub fn socket_states(&self) -> Vec<u8> {
        self.spawn(|| {
            let table = fs::read_to_string("/proc/thread-self/net/tcp").unwrap_or_default();
            table
                .lines()
                .skip(1)
                .filter_map(|line| u8::from_str_radix(line.split_whitespace().nth(3)?, 16).ok())
                .filter(|&state| state != 10)
                .collect()
        })
        .join()
        .expect("it does not panic")
    }
}

fn make(address: Ipv4Addr, peer: Ipv4Addr) -> io::Result<(Host, Tun)> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    let namespace = File::open("/proc/thread-self/ns/net")?;
    for (name, value) in SYSCTLS {
        match fs::write(format!("/proc/sys/{name}"), value) {
            // A kernel without IPv6 needs none of it switched off.
            Err(error) if error.kind() == io::ErrorKind::NotFound && name.contains("ipv6") => {}
            other => other.map_err(|error| named(name, &error))?,
        }
    }
    let tun = Tun::new(DEVICE).map_err(|error| named("TUN device", &error))?;
    ip(&["link", "set", "lo", "up"])?;
    ip(&[
        "address",
        "add",
        &address.to_string(),
        "peer",
        &peer.to_string(),
        "dev",
        DEVICE,
    ])?;
    // A longer queue than the kernel's default: the only queue that may overflow is the link's.
    ip(&[
        "link",
        "set",
        DEVICE,
        "mtu",
        &MTU.to_string(),
        "txqueuelen",
        "20000",
        "up",
    ])?;
    Ok((Host { namespace }, tun))
}

fn named(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// A child process starts in the namespace of the thread that starts it.
fn ip(arguments: &[&str]) -> io::Result<()> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .map_err(|error| named("ip (package iproute2)", &error))?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "ip {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}
