//! A network namespace with one TUN device: a host, with the kernel's TCP in it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};

use nix::sched::{CloneFlags, setns, unshare};

use super::tun::Tun;

/// The addresses of the two ends of every path without names; namespaces keep paths apart.
pub const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];

/// Largest IP packet, unless another is asked for.
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

/// How a host is attached.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its own.
    pub address: Ipv4Addr,
    /// What is reached through the TUN device: an address and the length of its prefix.
    pub network: (Ipv4Addr, u8),
    /// Congestion control of the kernel's TCP on the route, if not the kernel's default.
    pub congestion: Option<String>,
    /// Largest IP packet.
    pub mtu: usize,
    /// Set after those that every host has: names with dots, and values.
    pub sysctls: Vec<(String, String)>,
}

/// See the module. A namespace without a name ends with the last of this, its threads and its sockets.
#[derive(Debug)]
pub struct Host {
    namespace: File,
}

impl Host {
    /// A namespace without a name, in which `address` is the kernel's own and `peer` is reached through the TUN device.
    ///
    /// # Errors
    /// What the system says, or `ip` from the package iproute2.
    pub fn new(address: Ipv4Addr, peer: Ipv4Addr) -> io::Result<(Host, Tun)> {
        let settings = Settings {
            address,
            network: (peer, 32),
            congestion: None,
            mtu: MTU,
            sysctls: Vec::new(),
        };
        // A thread of its own, so that the caller stays where it is.
        apart(move || {
            unshare(CloneFlags::CLONE_NEWNET)?;
            let namespace = File::open("/proc/thread-self/ns/net")?;
            Ok((Host { namespace }, furnish(&settings)?))
        })
    }

    /// The same inside of a namespace that is there already, with a file that stands for it.
    ///
    /// # Errors
    /// The same.
    pub fn within(path: &Path, settings: &Settings) -> io::Result<(Host, Tun)> {
        let namespace = File::open(path)?;
        let settings = settings.clone();
        apart(move || {
            setns(&namespace, CloneFlags::CLONE_NEWNET)?;
            Ok((Host { namespace }, furnish(&settings)?))
        })
    }

    /// The namespace of the calling thread, as it is.
    ///
    /// # Errors
    /// Those of the system.
    pub fn here() -> io::Result<Host> {
        let namespace = File::open("/proc/thread-self/ns/net")?;
        Ok(Host { namespace })
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

    /// Moves the calling thread inside.
    ///
    /// # Errors
    /// Those of the system.
    pub fn enter(&self) -> io::Result<()> {
        Ok(setns(&self.namespace, CloneFlags::CLONE_NEWNET)?)
    }

    /// Another handle of the same namespace.
    ///
    /// # Errors
    /// If no descriptor is left.
    pub fn try_clone(&self) -> io::Result<Host> {
        let namespace = self.namespace.try_clone()?;
        Ok(Host { namespace })
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

    /// Packets that the TUN device dropped before the emulator could read them.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn device_drops(&self) -> io::Result<u64> {
        self.spawn(|| {
            let table = fs::read_to_string("/proc/thread-self/net/dev")?;
            // Eight columns of what was received; then octets, packets, errors, drops of what was sent.
            let drops = table.lines().find_map(|line| {
                let columns = line.trim().strip_prefix(DEVICE)?.strip_prefix(':')?;
                columns.split_whitespace().nth(8 + 3)?.parse().ok()
            });
            drops.ok_or_else(|| io::Error::other("no statistics of the TUN device"))
        })
        .join()
        .expect("it does not panic")
    }
}

fn apart<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    thread::spawn(work).join().expect("it does not panic")
}

/// Everything inside of the namespace that the calling thread is in.
fn furnish(settings: &Settings) -> io::Result<Tun> {
    for (name, value) in SYSCTLS {
        match fs::write(format!("/proc/sys/{name}"), value) {
            // A kernel without IPv6 needs none of it switched off.
            Err(error) if error.kind() == io::ErrorKind::NotFound && name.contains("ipv6") => {}
            other => other.map_err(|error| named(name, &error))?,
        }
    }
    for (name, value) in &settings.sysctls {
        fs::write(format!("/proc/sys/{}", name.replace('.', "/")), value)
            .map_err(|error| named(name, &error))?;
    }
    let tun = Tun::new(DEVICE).map_err(|error| named("TUN device", &error))?;
    let Settings { address, mtu, .. } = settings;
    let (network, prefix) = settings.network;
    let congestion = match &settings.congestion {
        Some(name) => format!(" congctl {name}"),
        None => String::new(),
    };
    // A longer queue than the kernel's default: the only queue that may overflow is the link's.
    ip(&format!(
        "link set lo up\n\
         address add {address}/32 dev {DEVICE}\n\
         link set {DEVICE} mtu {mtu} txqueuelen 20000 up\n\
         route add {network}/{prefix} dev {DEVICE} src {address}{congestion}\n"
    ))?;
    Ok(tun)
}

pub(super) fn named(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// Runs commands of `ip`, one a line. A child process starts in the namespace of the thread that starts it.
pub(super) fn ip(commands: &str) -> io::Result<()> {
    let failed = |error: io::Error| named("ip (package iproute2)", &error);
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut input = child.stdin.take().expect("it is a pipe");
    // It may have given up before it has read everything: what it says then counts.
    let _ = input.write_all(commands.as_bytes());
    drop(input);
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "ip, given \"{}\": {}",
        commands.trim().replace('\n', "; "),
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}
