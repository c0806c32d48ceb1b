//! A client's circuits over chosen paths, and streams put on chosen circuits.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::control::{Control, keywords};
use super::programs::Release;

/// What became of a circuit.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Built,
    Gone(String),
}

#[derive(Default)]
struct State {
    circuits: HashMap<String, Fate>,
    /// By where a stream comes from, the circuit that it goes on.
    expected: HashMap<String, String>,
    /// Streams that went on a circuit, and where they come from.
    attached: HashMap<String, String>,
    /// By where a stream comes from, why it left its circuit.
    detached: HashMap<String, String>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// A client whose circuits and streams are all decided here.
#[derive(Clone)]
pub struct Pinning {
    /// Its connection.
    pub control: Control,
    shared: Arc<Shared>,
}

impl Pinning {
    /// Connects to a client's control socket.
    ///
    /// # Errors
    /// Also while it does not listen yet.
    pub fn connect(name: &str, socket: &Path, release: Release) -> io::Result<Pinning> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let seen = shared.clone();
        let control = Control::connect(name, socket, move |control, event| {
            seen.on_event(control, event)
        })?;
        if release == Release::Old {
            // It says where streams come from, and reasons, only then.
            control.command("USEFEATURE EXTENDED_EVENTS VERBOSE_NAMES")?;
        }
        control.command("SETEVENTS CIRC STREAM")?;
        Ok(Pinning { control, shared })
    }

    /// Builds a circuit over the relays with these fingerprints; gives its number.
    ///
    /// # Errors
    /// If it is not built in time, and why.
    pub fn open(&self, fingerprints: &[&str], patience: Duration) -> io::Result<String> {
        let hops: Vec<String> = fingerprints.iter().map(|one| format!("${one}")).collect();
        let reply = self
            .control
            .command(&format!("EXTENDCIRCUIT 0 {}", hops.join(",")))?;
        let number = reply[0]
            .split_whitespace()
            .nth(1)
            .unwrap_or_default()
            .to_string();
        let deadline = Instant::now() + patience;
        let mut state = self.shared.state.lock().expect("no panic");
        loop {
            match state.circuits.get(&number) {
                Some(Fate::Built) => return Ok(number),
                Some(Fate::Gone(reason)) => {
                    return Err(io::Error::other(format!(
                        "a circuit was not built: {reason}"
                    )));
                }
                None => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(state);
                self.close(&number);
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("a circuit was not built in {} s", patience.as_secs()),
                ));
            }
            state = self
                .shared
                .changed
                .wait_timeout(state, left)
                .expect("no panic")
                .0;
        }
    }

    /// Closes a circuit, if it is still there.
    pub fn close(&self, circuit: &str) {
        let _ = self.control.send(&format!("CLOSECIRCUIT {circuit}"));
    }

    /// Why a circuit that was built is not there any more, if it is not.
    pub fn gone(&self, circuit: &str) -> Option<String> {
        match self
            .shared
            .state
            .lock()
            .expect("no panic")
            .circuits
            .get(circuit)
        {
            Some(Fate::Gone(reason)) => Some(reason.clone()),
            _ => None,
        }
    }

    /// Why the stream from `source` left its circuit, if it did.
    pub fn detached(&self, source: SocketAddr) -> Option<String> {
        let state = self.shared.state.lock().expect("no panic");
        state.detached.get(&source.to_string()).cloned()
    }

    /// The stream that comes from `source` goes on `circuit`.
    pub fn expect(&self, source: SocketAddr, circuit: &str) {
        let mut state = self.shared.state.lock().expect("no panic");
        state
            .expected
            .insert(source.to_string(), circuit.to_string());
    }
}

impl Shared {
    fn on_event(&self, control: &Control, event: &str) {
        let mut words = event.split_whitespace();
        let (Some(kind), Some(number), Some(status)) = (words.next(), words.next(), words.next())
        else {
            return;
        };
        let values = keywords(event);
        let reason = || {
            let reason = values.get("REASON").copied().unwrap_or("unknown reason");
            match values.get("REMOTE_REASON") {
                Some(remote) => format!("{reason}, remote: {remote}"),
                None => reason.to_string(),
            }
        };
        let mut state = self.state.lock().expect("no panic");
        match (kind, status) {
            ("CIRC", "BUILT") => {
                state.circuits.insert(number.to_string(), Fate::Built);
            }
            ("CIRC", "FAILED" | "CLOSED") => {
                let fate = state
                    .circuits
                    .entry(number.to_string())
                    .or_insert(Fate::Built);
                // The first reason is the one that says why.
                if *fate == Fate::Built {
                    *fate = Fate::Gone(reason());
                }
            }
            ("STREAM", "NEW") => {
                let source = values.get("SOURCE_ADDR").copied().unwrap_or_default();
                if let Some(circuit) = state.expected.remove(source) {
                    state
                        .attached
                        .insert(number.to_string(), source.to_string());
                    let _ = control.send(&format!("ATTACHSTREAM {number} {circuit}"));
                }
            }
            // The exit refused. Tor would wait for another circuit; here there is none.
            ("STREAM", "DETACHED") => {
                if let Some(source) = state.attached.remove(number) {
                    state.detached.insert(source, reason());
                    let _ = control.send(&format!("CLOSESTREAM {number} 1"));
                }
            }
            ("STREAM", "CLOSED" | "FAILED") => {
                state.attached.remove(number);
            }
            _ => {}
        }
        self.changed.notify_all();
    }
}
