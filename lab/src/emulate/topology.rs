//! The topology file: hosts, the links between them, and the limits of the emulator. TOML, or JSON with the same names.
//!
//! Link settings apply in three layers: the emulator's own, `[defaults]`, and each of `[[links]]` that names the pair, in
//! the order of the file; a later one changes only what it mentions.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::delay::{Delay, LONGEST};
use super::host::{MTU, Settings};
use super::link::{Burst, Conditions, MILLIS, Nanos, bandwidth_delay};
use super::network::Limit;

/// Hosts of one topology, at most: there is a link for every ordered pair.
pub const MOST_HOSTS: usize = 100;

/// Network that addresses are taken from, and that the one route leads to.
const NETWORK: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 0, 0, 0), 8);

/// A queue holds no more octets: what waits is in memory.
const LONGEST_QUEUE: u64 = 1 << 30;

/// The fastest rate, in Mbit/s: far beyond what one thread carries.
const FASTEST: f64 = 100_000.0;

/// What is wrong with a topology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid(pub String);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Invalid {}

fn invalid<T>(text: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid(text.into()))
}

/// A whole file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Topology {
    /// Of all random choices.
    pub seed: u64,
    /// Largest IP packet on all links; 1500 if not given.
    pub mtu: Option<usize>,
    /// What the emulator has to keep to.
    pub limits: Limits,
    /// For every pair.
    pub defaults: LinkSettings,
    /// At least two.
    pub hosts: Vec<HostSettings>,
    /// For some pairs.
    pub links: Vec<LinkRule>,
}

/// What the emulator has to keep to, and how that is measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Mbit/s that all links carry together while exactness is measured: about what the experiment will bring.
    pub load_mbit: f64,
    /// How long delays are measured, in seconds.
    pub seconds: f64,
    /// The error of a round-trip time that 99 of 100 pings may not exceed, in milliseconds.
    pub rtt_error_ms: f64,
    /// The share by which the carried rate may differ from the rate that was set.
    pub rate_error: f64,
    /// How late 99 of 100 packets of an experiment may at most leave, in milliseconds.
    pub late_ms: f64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            load_mbit: 40.0,
            seconds: 3.0,
            rtt_error_ms: 2.0,
            rate_error: 0.02,
            late_ms: 1.0,
        }
    }
}

/// One host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostSettings {
    /// Letters, digits, `-` and `_`.
    pub name: String,
    /// Within 10.0.0.0/8; if not given, 10.77.0.1 and so on in the order of the file.
    #[serde(default)]
    pub address: Option<Ipv4Addr>,
    /// Congestion control of the kernel's TCP, if not the kernel's default.
    #[serde(default)]
    pub congestion: Option<String>,
    /// Rate of everything it sends, in Mbit/s.
    #[serde(default)]
    pub up_mbit: Option<f64>,
    /// Rate of everything it receives, in Mbit/s.
    #[serde(default)]
    pub down_mbit: Option<f64>,
    /// Queue before either, in octets; if not given, what the rate sends in 100 ms.
    #[serde(default)]
    pub access_queue_bytes: Option<u64>,
    /// Settings of the kernel within the namespace, such as `"net.ipv4.tcp_ecn" = "1"`.
    #[serde(default)]
    pub sysctl: BTreeMap<String, String>,
}

/// What a link does; what is not mentioned stays as it was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinkSettings {
    /// One-way delay, or its mean.
    pub delay_ms: Option<f64>,
    /// Half of the width (uniform), or the standard deviation (normal, pareto-normal).
    pub jitter_ms: Option<f64>,
    /// How the delay is distributed.
    pub distribution: Option<Distribution>,
    /// Measured one-way delays: for the distribution `table`, quantiles at equal steps.
    pub table_ms: Option<Vec<f64>>,
    /// Whether jitter leaves packets in order.
    pub keep_order: Option<bool>,
    /// Probability of loss.
    pub loss: Option<f64>,
    /// Loss in bursts, besides.
    pub burst: Option<BurstSettings>,
    /// Rate; 0 is no limit.
    pub rate_mbit: Option<f64>,
    /// Queue before the rate; if not given, what the rate sends in twice the delay, but no less than 30 packets.
    pub queue_bytes: Option<u64>,
    /// Probability that a packet is late by `reorder_ms`.
    pub reorder: Option<f64>,
    /// See `reorder`.
    pub reorder_ms: Option<f64>,
    /// Probability that a packet comes twice.
    pub duplicate: Option<f64>,
    /// Probability that a bit is flipped.
    pub corrupt: Option<f64>,
    /// ECN-capable packets that find so many octets waiting are marked.
    pub mark_bytes: Option<u64>,
}

/// How a delay is distributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Distribution {
    /// Always `delay_ms`.
    Constant,
    /// `delay_ms` plus or minus `jitter_ms`.
    Uniform,
    /// Gaussian.
    Normal,
    /// Gaussian with a long tail of late packets.
    ParetoNormal,
    /// As `table_ms` says.
    Table,
}

/// Bursty loss by the model of Gilbert and Elliott.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BurstSettings {
    /// Probability to go from the good state to the bad one, for each packet.
    pub enter: f64,
    /// Probability to go back.
    pub leave: f64,
    /// Probability of loss in the bad state.
    #[serde(default = "one")]
    pub loss: f64,
    /// Probability of loss in the good state.
    #[serde(default)]
    pub loss_good: f64,
}

fn one() -> f64 {
    1.0
}

/// Hosts that a rule is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a host, a list of hosts, or \"*\" for all")]
pub enum Names {
    /// One, or `*`.
    One(String),
    /// Some.
    Some(Vec<String>),
}

impl Names {
    fn check(&self, known: &HashSet<&str>) -> Result<(), Invalid> {
        let names = match self {
            Names::One(name) if name == "*" => return Ok(()),
            Names::One(name) => std::slice::from_ref(name),
            Names::Some(names) => names,
        };
        match names.iter().find(|name| !known.contains(name.as_str())) {
            Some(name) => invalid(format!("unknown host \"{name}\"")),
            None => Ok(()),
        }
    }

    fn has(&self, host: &str) -> bool {
        match self {
            Names::One(name) => name == "*" || name == host,
            Names::Some(names) => names.iter().any(|name| name == host),
        }
    }
}

/// Link settings for some pairs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Rule")]
pub struct LinkRule {
    /// From these hosts
    pub from: Names,
    /// to these.
    pub to: Names,
    /// The way back too.
    #[serde(default)]
    pub both: bool,
    /// What changes.
    #[serde(flatten)]
    pub settings: LinkSettings,
}

/// A rule as it is read: what is left over has no meaning.
#[derive(Deserialize)]
struct Rule {
    from: Names,
    to: Names,
    #[serde(default)]
    both: bool,
    #[serde(flatten)]
    settings: LinkSettings,
    #[serde(flatten)]
    others: BTreeMap<String, IgnoredAny>,
}

impl TryFrom<Rule> for LinkRule {
    type Error = Invalid;

    fn try_from(rule: Rule) -> Result<LinkRule, Invalid> {
        if let Some(name) = rule.others.keys().next() {
            return invalid(format!("unknown field `{name}` of a link"));
        }
        Ok(LinkRule {
            from: rule.from,
            to: rule.to,
            both: rule.both,
            settings: rule.settings,
        })
    }
}

impl LinkRule {
    fn applies(&self, from: &str, to: &str) -> bool {
        let there = self.from.has(from) && self.to.has(to);
        there || self.both && self.from.has(to) && self.to.has(from)
    }
}

/// A host that can be made.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// How it is attached.
    pub settings: Settings,
    /// Limit of what it sends.
    pub up: Option<Limit>,
    /// Limit of what it receives.
    pub down: Option<Limit>,
}

/// A topology that was checked.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Of all random choices.
    pub seed: u64,
    /// What the emulator has to keep to.
    pub limits: Limits,
    /// In the order of the file.
    pub hosts: Vec<Host>,
    /// Of each pair: `links[from * hosts.len() + to]`.
    pub settings: Vec<LinkSettings>,
    /// The same, ready for use.
    pub conditions: Vec<Conditions>,
}

impl Topology {
    /// Reads a file: JSON if its name ends in `.json`, otherwise TOML.
    ///
    /// # Errors
    /// If it cannot be read, or is not a topology.
    pub fn load(path: &Path) -> Result<Topology, Invalid> {
        let named = |error: &dyn fmt::Display| Invalid(format!("{}: {error}", path.display()));
        let text = fs::read_to_string(path).map_err(|error| named(&error))?;
        let topology = if path.extension().is_some_and(|end| end == "json") {
            Topology::from_json(&text)
        } else {
            Topology::from_toml(&text)
        };
        topology.map_err(|error| named(&error))
    }

    /// From TOML.
    ///
    /// # Errors
    /// If it is not TOML, or something in it has no meaning or a wrong type.
    pub fn from_toml(text: &str) -> Result<Topology, Invalid> {
        toml::from_str(text).map_err(|error| Invalid(error.to_string().trim_end().to_string()))
    }

    /// From JSON.
    ///
    /// # Errors
    /// The same.
    pub fn from_json(text: &str) -> Result<Topology, Invalid> {
        serde_json::from_str(text).map_err(|error| Invalid(error.to_string()))
    }

    /// Checks everything, and works out what each pair gets.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn plan(&self) -> Result<Plan, Invalid> {
        self.limits.check()?;
        let mtu = self.mtu.unwrap_or(MTU);
        if !(576..=65_535).contains(&mtu) {
            return invalid(format!("mtu = {mtu}: from 576 to 65535"));
        }
        if !(2..=MOST_HOSTS).contains(&self.hosts.len()) {
            let count = self.hosts.len();
            return invalid(format!("{count} hosts: there have to be 2 to {MOST_HOSTS}"));
        }
        let mut hosts = Vec::new();
        let (mut names, mut variables, mut addresses) =
            (HashSet::new(), HashSet::new(), HashSet::new());
        for (number, host) in self.hosts.iter().enumerate() {
            let within = |error: Invalid| Invalid(format!("host \"{}\": {error}", host.name));
            let plan = host.plan(number, mtu).map_err(within)?;
            if !variables.insert(variable(&host.name)) {
                let text =
                    "there is another with this name, or one that differs only in case or - and _";
                return Err(within(Invalid(text.into())));
            }
            if !addresses.insert(plan.settings.address) {
                let address = plan.settings.address;
                return Err(within(Invalid(format!(
                    "another host has the address {address}"
                ))));
            }
            names.insert(host.name.as_str());
            hosts.push(plan);
        }
        for (number, rule) in self.links.iter().enumerate() {
            let checked = rule.from.check(&names).and_then(|()| rule.to.check(&names));
            checked.map_err(|error| Invalid(format!("link {}: {error}", number + 1)))?;
        }
        let mut all = Vec::new();
        let mut conditions = Vec::new();
        for from in &hosts {
            for to in &hosts {
                let mut settings = self.defaults.clone();
                for rule in &self.links {
                    if from.name != to.name && rule.applies(&from.name, &to.name) {
                        settings = settings.with(&rule.settings);
                    }
                }
                let within =
                    |error: Invalid| Invalid(format!("link {} to {}: {error}", from.name, to.name));
                conditions.push(settings.conditions(mtu).map_err(within)?);
                all.push(settings);
            }
        }
        Ok(Plan {
            seed: self.seed,
            limits: self.limits.clone(),
            hosts,
            settings: all,
            conditions,
        })
    }
}

/// The name of a host as part of the name of an environment variable.
pub fn variable(host: &str) -> String {
    host.to_uppercase().replace('-', "_")
}

impl Limits {
    fn check(&self) -> Result<(), Invalid> {
        within("limits: load_mbit", self.load_mbit, 0.0, FASTEST)?;
        within("limits: seconds", self.seconds, 0.1, 3_600.0)?;
        within("limits: rtt_error_ms", self.rtt_error_ms, 0.0, 1e3)?;
        within("limits: rate_error", self.rate_error, 0.0, 1.0)?;
        within("limits: late_ms", self.late_ms, 0.0, 1e3)
    }
}

impl HostSettings {
    fn plan(&self, number: usize, mtu: usize) -> Result<Host, Invalid> {
        let is_name = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        if !(1..=32).contains(&self.name.len()) || !self.name.bytes().all(is_name) {
            return invalid("a name has 1 to 32 letters, digits, - and _");
        }
        let address = self
            .address
            .unwrap_or(Ipv4Addr::new(10, 77, 0, number as u8 + 1));
        let [first, .., last] = address.octets();
        if first != NETWORK.0.octets()[0] || last == 0 || last == 255 {
            return invalid(format!(
                "address {address}: within 10.0.0.0/8, not ending in 0 or 255"
            ));
        }
        if let Some(name) = &self.congestion
            && (name.is_empty() || !name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_'))
        {
            return invalid(format!(
                "congestion = \"{name}\" is no name of a congestion control"
            ));
        }
        for (name, value) in &self.sysctl {
            let is_part = |part: &str| {
                !part.is_empty()
                    && part
                        .bytes()
                        .all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'-')
            };
            // Others are not of a namespace: they would change the machine.
            if !name.starts_with("net.") || !name.split('.').all(is_part) {
                return invalid(format!(
                    "sysctl \"{name}\": only names that begin with net."
                ));
            }
            if value.contains(['\n', '\0']) {
                return invalid(format!("sysctl \"{name}\": one line"));
            }
        }
        let limit = |key: &str, mbit: Option<f64>| -> Result<Option<Limit>, Invalid> {
            let Some(mbit) = mbit else { return Ok(None) };
            let rate = rate(key, mbit)?;
            let queue = match self.access_queue_bytes {
                Some(octets) => queue("access_queue_bytes", octets)?,
                None => bandwidth_delay(rate.unwrap_or(0), 100 * MILLIS).max(30 * mtu),
            };
            Ok(rate.map(|rate| Limit { rate, queue }))
        };
        Ok(Host {
            name: self.name.clone(),
            settings: Settings {
                address,
                network: NETWORK,
                congestion: self.congestion.clone(),
                mtu,
                sysctls: self.sysctl.clone().into_iter().collect(),
            },
            up: limit("up_mbit", self.up_mbit)?,
            down: limit("down_mbit", self.down_mbit)?,
        })
    }
}

impl LinkSettings {
    /// These, changed by what others mention.
    pub fn with(&self, over: &LinkSettings) -> LinkSettings {
        let (a, b) = (self, over);
        LinkSettings {
            delay_ms: b.delay_ms.or(a.delay_ms),
            jitter_ms: b.jitter_ms.or(a.jitter_ms),
            distribution: b.distribution.or(a.distribution),
            table_ms: b.table_ms.clone().or_else(|| a.table_ms.clone()),
            keep_order: b.keep_order.or(a.keep_order),
            loss: b.loss.or(a.loss),
            burst: b.burst.or(a.burst),
            rate_mbit: b.rate_mbit.or(a.rate_mbit),
            queue_bytes: b.queue_bytes.or(a.queue_bytes),
            reorder: b.reorder.or(a.reorder),
            reorder_ms: b.reorder_ms.or(a.reorder_ms),
            duplicate: b.duplicate.or(a.duplicate),
            corrupt: b.corrupt.or(a.corrupt),
            mark_bytes: b.mark_bytes.or(a.mark_bytes),
        }
    }

    /// What a link with these settings does.
    ///
    /// # Errors
    /// What is out of its bounds, or lacks something.
    pub fn conditions(&self, mtu: usize) -> Result<Conditions, Invalid> {
        let delay = self.delay()?;
        let rate = rate("rate_mbit", self.rate_mbit.unwrap_or(0.0))?;
        let queue = match (self.queue_bytes, rate) {
            (Some(octets), _) => queue("queue_bytes", octets)?,
            (None, Some(rate)) => {
                bandwidth_delay(rate, 2 * delay.mean()).clamp(30 * mtu, LONGEST_QUEUE as usize)
            }
            (None, None) => 0,
        };
        let mark = match self.mark_bytes {
            None => None,
            Some(octets) => Some(self::queue("mark_bytes", octets)?),
        };
        if mark.is_some() && rate.is_none() {
            return invalid("mark_bytes has no effect without rate_mbit");
        }
        let burst = match self.burst {
            None => None,
            Some(burst) => Some(burst.check()?),
        };
        let reorder = probability("reorder", self.reorder)?;
        if reorder > 0.0 && self.reorder_ms.is_none() {
            return invalid("reorder needs reorder_ms");
        }
        Ok(Conditions {
            rate,
            queue,
            mark,
            delay,
            keep_order: self.keep_order.unwrap_or(true),
            loss: probability("loss", self.loss)?,
            burst,
            reorder,
            reorder_by: time("reorder_ms", self.reorder_ms.unwrap_or(0.0))?,
            duplicate: probability("duplicate", self.duplicate)?,
            corrupt: probability("corrupt", self.corrupt)?,
        })
    }

    fn delay(&self) -> Result<Delay, Invalid> {
        let mean = time("delay_ms", self.delay_ms.unwrap_or(0.0))?;
        let jitter = time("jitter_ms", self.jitter_ms.unwrap_or(0.0))?;
        let Some(distribution) = self.distribution else {
            // Jitter alone is what most people mean by it.
            return Ok(match jitter {
                0 => Delay::Constant(mean),
                _ => Delay::Uniform { mean, jitter },
            });
        };
        Ok(match distribution {
            Distribution::Constant => Delay::Constant(mean),
            Distribution::Uniform => Delay::Uniform { mean, jitter },
            Distribution::Normal => Delay::Normal {
                mean,
                deviation: jitter,
            },
            Distribution::ParetoNormal => Delay::ParetoNormal {
                mean,
                deviation: jitter,
            },
            Distribution::Table => {
                let values = self.table_ms.as_deref().unwrap_or_default();
                let times: Result<Vec<Nanos>, Invalid> = values
                    .iter()
                    .map(|&value| time("table_ms", value))
                    .collect();
                match Delay::table(times?) {
                    Some(delay) => delay,
                    None => return invalid("distribution \"table\" needs table_ms"),
                }
            }
        })
    }
}

impl BurstSettings {
    fn check(self) -> Result<Burst, Invalid> {
        let burst = Burst {
            enter: probability("burst: enter", Some(self.enter))?,
            leave: probability("burst: leave", Some(self.leave))?,
            loss: probability("burst: loss", Some(self.loss))?,
            loss_good: probability("burst: loss_good", Some(self.loss_good))?,
        };
        if burst.leave == 0.0 {
            return invalid("burst: leave = 0: a burst would never end");
        }
        Ok(burst)
    }
}

/// NaN is within nothing.
fn within(key: &str, value: f64, least: f64, most: f64) -> Result<(), Invalid> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    invalid(format!("{key} = {value}: from {least} to {most}"))
}

fn probability(key: &str, value: Option<f64>) -> Result<f64, Invalid> {
    let value = value.unwrap_or(0.0);
    within(key, value, 0.0, 1.0)?;
    Ok(value)
}

fn time(key: &str, millis: f64) -> Result<Nanos, Invalid> {
    within(key, millis, 0.0, (LONGEST / MILLIS) as f64)?;
    Ok((millis * MILLIS as f64) as Nanos)
}

/// Zero is no limit.
fn rate(key: &str, mbit: f64) -> Result<Option<u64>, Invalid> {
    if mbit == 0.0 {
        return Ok(None);
    }
    // Slower links would keep a packet for longer than any experiment lasts.
    within(key, mbit, 0.001, FASTEST)?;
    Ok(Some((mbit * 1e6) as u64))
}

fn queue(key: &str, octets: u64) -> Result<usize, Invalid> {
    if octets > LONGEST_QUEUE {
        return invalid(format!("{key} = {octets}: at most {LONGEST_QUEUE}"));
    }
    Ok(octets as usize)
}

#[cfg(test)]
mod tests;
