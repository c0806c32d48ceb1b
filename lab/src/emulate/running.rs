//! A topology at work.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};
use serde::Serialize;

use super::carrier::{Carrier, Clock, End, Nobody, TICK, own_time};
use super::claim::Claim;
use super::host::Host;
use super::link::{Conditions, Counters, Link, MILLIS, Nanos, SECONDS};
use super::network::{Ends, Network};
use super::realtime;
use super::record::{Recorder, Wanted};
use super::summary::{LinkSummary, Summary};
use super::topology::{Invalid, LinkSettings, Plan, Topology};
use crate::rng::mix;

/// A topology that can be started.
#[derive(Clone, Debug)]
pub struct Emulator {
    plan: Plan,
}

impl Emulator {
    /// Checks the topology.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(topology: &Topology) -> Result<Emulator, Invalid> {
        Ok(Emulator {
            plan: topology.plan()?,
        })
    }

    /// Makes the hosts, and begins to carry packets.
    ///
    /// # Errors
    /// If this is not root, the system does not let us, or `ip` fails.
    pub fn start(self) -> io::Result<Running> {
        if let Some(reason) = super::unavailable() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
        }
        has_controls(&self.plan)?;
        Running::start(self.plan)
    }
}

/// Not all kernels say so themselves.
fn has_controls(plan: &Plan) -> io::Result<()> {
    let available = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control")?;
    for host in &plan.hosts {
        if let Some(name) = &host.settings.congestion
            && !available.split_whitespace().any(|other| other == name)
        {
            return Err(io::Error::other(format!(
                "host \"{}\": this kernel has no congestion control {name} (modprobe tcp_{name}?); it has {}",
                host.name,
                available.trim()
            )));
        }
    }
    Ok(())
}

/// What the carrying thread can be asked to do.
type Request = Box<dyn FnOnce(&mut Carrier<Nobody>, Nanos) + Send>;

/// What the thread that starts processes is asked to do.
type Start = (Option<Host>, Command, Sender<io::Result<Child>>);

/// Whether a run counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// How late half of all packets left, in milliseconds.
    pub late_p50_ms: f64,
    /// The same of 99 of 100.
    pub late_p99_ms: f64,
    /// The same of 999 of 1,000.
    pub late_p999_ms: f64,
    /// The same of all.
    pub late_max_ms: f64,
    /// What the 99 of 100 may be.
    pub limit_ms: f64,
    /// Packets that left.
    pub packets: u64,
    /// Packets that TUN devices dropped since the emulator did not read them in time.
    pub device_drops: u64,
    /// Share of a processor that the carrying thread took.
    pub processor: f64,
    /// The run must not count: it was late, or devices dropped packets.
    pub overloaded: bool,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "late by {:.2} ms (p50), {:.2} ms (p99, limit {}), {:.2} ms (p99.9), {:.1} ms at most; {} packets; \
             {:.0} % of a processor{}: {}",
            self.late_p50_ms,
            self.late_p99_ms,
            self.limit_ms,
            self.late_p999_ms,
            self.late_max_ms,
            self.packets,
            self.processor * 100.0,
            match self.device_drops {
                0 => String::new(),
                drops => format!("; {drops} packets were dropped unread"),
            },
            if self.overloaded {
                "OVERLOADED, does not count"
            } else {
                "sound"
            },
        )
    }
}

/// Namespaces with their emulator at work; everything is removed when this is dropped.
pub struct Running {
    plan: Plan,
    hosts: Vec<Host>,
    requests: Sender<Request>,
    wake: Arc<EventFd>,
    starts: Option<Sender<Start>>,
    carrier: Option<JoinHandle<io::Result<()>>>,
    starter: Option<JoinHandle<()>>,
    writer: Option<JoinHandle<io::Result<()>>>,
    /// Processor time of the carrying thread, and the time, when counting began.
    began: (f64, Nanos),
    drops_before: u64,
    /// Nanoseconds since 1970 at the zero of the clock.
    epoch: u64,
    is_realtime: bool,
    is_locked: bool,
    // Last: namespaces are removed after the threads have ended.
    claim: Claim,
}

fn link_seed(plan: &Plan, ends: Ends) -> u64 {
    // By name: another host changes nothing for this pair.
    let name = |index: usize| {
        let octets = plan.hosts[index].name.bytes();
        octets.fold(0, |seed, octet| mix(seed ^ u64::from(octet)))
    };
    mix(mix(plan.seed ^ name(ends.from)).wrapping_add(name(ends.to)))
}

/// A network with the links and limits of a plan.
pub fn network(plan: &Plan) -> Network {
    let count = plan.hosts.len();
    let addresses: Vec<Ipv4Addr> = plan
        .hosts
        .iter()
        .map(|host| host.settings.address)
        .collect();
    let mut network = Network::mesh(&addresses, |ends| {
        let conditions = plan.conditions[ends.from * count + ends.to].clone();
        Link::new(conditions, link_seed(plan, ends))
    });
    for (port, host) in plan.hosts.iter().enumerate() {
        network.set_access(port, host.up, host.down);
    }
    network
}

/// Carries until nobody can ask for anything any more.
fn carry(
    mut carrier: Carrier<Nobody>,
    clock: &Clock,
    requests: &Receiver<Request>,
    wake: &EventFd,
) -> io::Result<()> {
    let mut flushed = clock.now();
    carrier.run(clock, Some(wake.as_fd()), |now, carrier| {
        if now >= flushed + TICK {
            flushed = now;
            if let Some(recorder) = carrier.network.recorder() {
                recorder.flush();
            }
        }
        loop {
            match requests.try_recv() {
                Ok(request) => request(carrier, now),
                Err(std::sync::mpsc::TryRecvError::Empty) => return false,
                Err(std::sync::mpsc::TryRecvError::Disconnected) => return true,
            }
        }
    })
}

/// Starts processes, and lives as long as they may: they are killed when the thread that started them ends.
fn start_processes(outside: &Host, starts: &Receiver<Start>) {
    while let Ok((host, mut command, reply)) = starts.recv() {
        #[allow(unsafe_code)] // there is no other way to say it before the program runs
        // SAFETY: what runs between fork and exec are two system calls, prctl and sigprocmask, which are safe after a fork,
        // allocate nothing and touch no memory of the parent.
        unsafe {
            command.pre_exec(|| {
                set_pdeathsig(Signal::SIGKILL)?;
                // Whoever waits for signals here has blocked them, and a child takes that over.
                Ok(SigSet::empty().thread_set_mask()?)
            });
        }
        let place = match &host {
            Some(host) => host.enter(),
            None => outside.enter(),
        };
        let child = place.and_then(|()| command.spawn());
        let _ = reply.send(child);
    }
}

impl Running {
    fn start(plan: Plan) -> io::Result<Running> {
        let claim = Claim::new()?;
        let mut hosts = Vec::new();
        let mut ends = Vec::new();
        for host in &plan.hosts {
            let named = |error: io::Error| {
                io::Error::new(error.kind(), format!("host \"{}\": {error}", host.name))
            };
            let path = claim.make(&host.name).map_err(named)?;
            let (namespace, tun) = Host::within(&path, &host.settings).map_err(named)?;
            hosts.push(namespace);
            ends.push(End::Kernel(tun));
        }
        let carrier = Carrier::new(ends, network(&plan));
        let wake = Arc::new(EventFd::from_flags(
            EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK,
        )?);
        let is_locked = realtime::lock_memory();
        let clock = Clock::start();
        let since_1970 = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_err(io::Error::other)?;
        let epoch = since_1970.as_nanos() as u64 - clock.now();
        let (requests, asked) = channel();
        let (ready, is_ready) = channel();
        let thread = {
            let wake = wake.clone();
            thread::Builder::new()
                .name("carrier".into())
                .spawn(move || {
                    let _ = ready.send(realtime::fifo(realtime::EMULATOR));
                    carry(carrier, &clock, &asked, &wake)
                })?
        };
        let (starts, to_start) = channel();
        let outside = Host::here()?;
        let starter = thread::Builder::new()
            .name("starter".into())
            .spawn(move || start_processes(&outside, &to_start))?;
        let mut running = Running {
            plan,
            hosts,
            requests,
            wake,
            starts: Some(starts),
            carrier: Some(thread),
            starter: Some(starter),
            writer: None,
            began: (0.0, 0),
            drops_before: 0,
            epoch,
            is_realtime: is_ready.recv().unwrap_or(false),
            is_locked,
            claim,
        };
        running.restart()?;
        Ok(running)
    }

    /// What was asked for.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Whether the carrying thread is under SCHED_FIFO, and the memory of the process is locked.
    pub fn is_realtime(&self) -> (bool, bool) {
        (self.is_realtime, self.is_locked)
    }

    /// Names of hosts, in order.
    pub fn names(&self) -> Vec<String> {
        self.plan
            .hosts
            .iter()
            .map(|host| host.name.clone())
            .collect()
    }

    fn index(&self, host: &str) -> io::Result<usize> {
        let found = self.plan.hosts.iter().position(|other| other.name == host);
        found.ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("unknown host \"{host}\""))
        })
    }

    /// The address of a host.
    ///
    /// # Errors
    /// If there is no such host.
    pub fn address(&self, host: &str) -> io::Result<Ipv4Addr> {
        Ok(self.plan.hosts[self.index(host)?].settings.address)
    }

    /// The name of a host's namespace, for `ip netns exec`.
    ///
    /// # Errors
    /// If there is no such host.
    pub fn namespace(&self, host: &str) -> io::Result<String> {
        self.index(host)?;
        Ok(self.claim.namespace(host))
    }

    /// The namespace of a host, for threads inside.
    ///
    /// # Errors
    /// If there is no such host.
    pub fn host(&self, host: &str) -> io::Result<&Host> {
        Ok(&self.hosts[self.index(host)?])
    }

    /// Starts a process inside of a host. It is killed when this ends, however that comes about, and so is everything else
    /// that runs inside of the host then.
    ///
    /// # Errors
    /// If there is no such host, or the process cannot be started.
    pub fn spawn_in(&self, host: &str, command: Command) -> io::Result<Child> {
        let host = self.host(host)?.try_clone()?;
        self.start_process(Some(host), command)
    }

    /// The same outside of all hosts: the command enters them itself.
    ///
    /// # Errors
    /// If the process cannot be started.
    pub fn spawn(&self, command: Command) -> io::Result<Child> {
        self.start_process(None, command)
    }

    fn start_process(&self, host: Option<Host>, command: Command) -> io::Result<Child> {
        let (reply, child) = channel();
        let starts = self.starts.as_ref().expect("it ends with this");
        starts
            .send((host, command, reply))
            .map_err(io::Error::other)?;
        child.recv().map_err(io::Error::other)?
    }

    /// Has the carrying thread do something between two packets.
    fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Carrier<Nobody>, Nanos) -> T + Send + 'static,
    ) -> io::Result<T> {
        let (reply, answer) = channel();
        let request: Request = Box::new(move |carrier, now| {
            let _ = reply.send(work(carrier, now));
        });
        let ended = || io::Error::other("the emulator has ended: a TUN device failed");
        self.requests.send(request).map_err(|_| ended())?;
        self.wake.write(1)?;
        answer.recv().map_err(|_| ended())
    }

    fn pair(&self, from: &str, to: &str) -> io::Result<usize> {
        let (from, to) = (self.index(from)?, self.index(to)?);
        Ok(from * self.plan.hosts.len() + to)
    }

    /// Changes what the link from one host to another does, from the next packet on: what `settings` mentions replaces
    /// what the topology, or an earlier call, said.
    ///
    /// # Errors
    /// If there is no such host, or the settings are invalid.
    pub fn set_link(&mut self, from: &str, to: &str, settings: &LinkSettings) -> io::Result<()> {
        let link = self.pair(from, to)?;
        let settings = self.plan.settings[link].with(settings);
        let conditions = settings
            .conditions(self.plan.hosts[0].settings.mtu)
            .map_err(io::Error::other)?;
        self.plan.settings[link] = settings;
        self.plan.conditions[link] = conditions.clone();
        self.set_conditions(vec![(link, conditions)])
    }

    pub(super) fn set_conditions(&self, all: Vec<(usize, Conditions)>) -> io::Result<()> {
        self.ask(move |carrier, _| {
            for (link, conditions) in all {
                carrier.network.set_conditions(link, conditions);
            }
        })
    }

    /// Limits of all hosts as the plan has them, or none.
    pub(super) fn limit_access(&self, limited: bool) -> io::Result<()> {
        let limits: Vec<_> = self
            .plan
            .hosts
            .iter()
            .map(|host| (host.up, host.down))
            .collect();
        self.ask(move |carrier, _| {
            for (port, (up, down)) in limits.into_iter().enumerate() {
                let (up, down) = if limited { (up, down) } else { (None, None) };
                carrier.network.set_access(port, up, down);
            }
        })
    }

    /// Begins anew: counters are zero, nothing is under way, random choices are those of the seed again.
    ///
    /// # Errors
    /// If the emulator has ended.
    pub fn restart(&mut self) -> io::Result<()> {
        self.began = self.ask(|carrier, now| {
            carrier.network.restart();
            carrier.lateness = Default::default();
            own_time().map(|time| (time.as_secs_f64(), now))
        })??;
        self.drops_before = self.device_drops()?;
        Ok(())
    }

    /// The verdict is about what comes from now on; links stay as they are, with what is under way.
    ///
    /// # Errors
    /// If the emulator has ended.
    pub fn judge_anew(&mut self) -> io::Result<()> {
        self.began = self.ask(|carrier, now| {
            carrier.lateness = Default::default();
            own_time().map(|time| (time.as_secs_f64(), now))
        })??;
        self.drops_before = self.device_drops()?;
        Ok(())
    }

    fn device_drops(&self) -> io::Result<u64> {
        self.hosts.iter().map(Host::device_drops).sum()
    }

    /// Writes down what happens to every packet from now on.
    ///
    /// # Errors
    /// If a file cannot be made, or something is recorded already.
    pub fn record(&mut self, wanted: &Wanted) -> io::Result<()> {
        if self.writer.is_some() {
            return Err(io::Error::other("packets are recorded already"));
        }
        if wanted.is_nothing() {
            return Ok(());
        }
        let (recorder, writer) = Recorder::start(wanted, &self.names(), self.epoch)?;
        self.ask(move |carrier, _| drop(carrier.network.record(Some(recorder))))?;
        self.writer = Some(writer);
        Ok(())
    }

    /// Ends what [`Running::record`] began; gives how many packets had to be left out since the disk was too slow.
    ///
    /// # Errors
    /// If a file could not be written.
    pub fn end_record(&mut self) -> io::Result<u64> {
        let Some(writer) = self.writer.take() else {
            return Ok(0);
        };
        let left_out = self.ask(|carrier, _| {
            let mut recorder = carrier.network.record(None)?;
            recorder.flush();
            Some(recorder.left_out)
        })?;
        writer.join().expect("it does not panic")?;
        Ok(left_out.unwrap_or(0))
    }

    /// The counters of one link.
    ///
    /// # Errors
    /// If there is no such host, or the emulator has ended.
    pub fn link_counters(&self, from: &str, to: &str) -> io::Result<Counters> {
        let link = self.pair(from, to)?;
        self.ask(move |carrier, _| carrier.network.link(link).counters)
    }

    /// The counters and queues of all links that packets have entered.
    ///
    /// # Errors
    /// If the emulator has ended.
    pub fn counters(&self) -> io::Result<Summary> {
        let names = self.names();
        self.ask(move |carrier, _| {
            let links = carrier.network.links().iter();
            let used = links.filter(|(_, link)| link.counters.entered > 0);
            let links = used.map(|(ends, link)| LinkSummary {
                from: names[ends.from].clone(),
                to: names[ends.to].clone(),
                counters: link.counters,
                queue_p50: link.bottleneck().quantile(0.5),
                queue_p99: link.bottleneck().quantile(0.99),
                queue_max: link.bottleneck().quantile(1.0),
            });
            Summary {
                links: links.collect(),
                unroutable: carrier.network.unroutable,
            }
        })
    }

    /// Whether what was carried since the start, or the last [`Running::restart`], counts.
    ///
    /// # Errors
    /// If the emulator has ended: then nothing counts.
    pub fn verdict(&self) -> io::Result<Verdict> {
        let (lateness, now, time) =
            self.ask(|carrier, now| (carrier.lateness.clone(), now, own_time()))?;
        let millis = |nanos: Nanos| nanos as f64 / MILLIS as f64;
        let late = |share| millis(lateness.quantile(share));
        let device_drops = self.device_drops()?.saturating_sub(self.drops_before);
        let limit_ms = self.plan.limits.late_ms;
        let elapsed = now.saturating_sub(self.began.1).max(1) as f64 / SECONDS as f64;
        Ok(Verdict {
            late_p50_ms: late(0.5),
            late_p99_ms: late(0.99),
            late_p999_ms: late(0.999),
            late_max_ms: millis(lateness.worst()),
            limit_ms,
            packets: lateness.count(),
            device_drops,
            processor: (time?.as_secs_f64() - self.began.0) / elapsed,
            overloaded: late(0.99) > limit_ms || device_drops > 0,
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The thread ends when nobody can ask it for anything.
        let (nowhere, _) = channel();
        self.requests = nowhere;
        let _ = self.wake.write(1);
        if let Some(carrier) = self.carrier.take()
            && let Ok(Err(error)) = carrier.join()
        {
            eprintln!("lab: the emulator ended early: {error}");
        }
        // The recorder went with the network, so that the writer ends too.
        if let Some(writer) = self.writer.take()
            && let Ok(Err(error)) = writer.join()
        {
            eprintln!("lab: packets could not be recorded: {error}");
        }
        self.starts = None;
        if let Some(starter) = self.starter.take() {
            let _ = starter.join();
        }
    }
}
