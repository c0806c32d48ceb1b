//! Who takes part, and on which links.

use std::collections::BTreeMap;

use super::transport::{Control, Kind};

/// A rival with its congestion control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Variant {
    /// Which.
    pub kind: Kind,
    /// Of both sides.
    pub control: Control,
}

/// All kinds, rivals first.
pub const KINDS: [Kind; 9] = [
    Kind::Tls,
    Kind::TlsPerCircuit,
    Kind::QuicStreams,
    Kind::QuicDatagrams,
    Kind::Sctp,
    Kind::Utp,
    Kind::UdpOr,
    Kind::Utcp,
    Kind::UtcpCoupled,
];

impl Variant {
    /// All of them.
    pub fn all() -> Vec<Variant> {
        let of = |kind: Kind| {
            let controls = kind.controls().iter();
            controls.map(move |&control| Variant { kind, control })
        };
        KINDS.into_iter().flat_map(of).collect()
    }

    /// As in tables, files and the filter.
    pub fn name(&self) -> String {
        format!("{}, {}", self.kind.name(), self.control.name())
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Experiment {
    /// All kinds of circuits together.
    Load,
    /// Quiet circuits alone, and single packets that are dropped.
    Drops,
}

impl Experiment {
    /// As in files.
    pub fn name(self) -> &'static str {
        match self {
            Experiment::Load => "peers",
            Experiment::Drops => "peers-drops",
        }
    }
}

/// A link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// What for.
    pub experiment: Experiment,
    /// Mbit/s in each direction.
    pub rate: f64,
    /// Milliseconds.
    pub rtt: f64,
    /// Percent, in each direction.
    pub loss: f64,
}

/// Milliseconds of all links here.
pub const RTT: f64 = 50.0;

/// Percent.
pub const LOSSES: [f64; 3] = [0.0, 0.1, 1.0];

impl Point {
    /// As in results.
    pub fn at(&self) -> BTreeMap<String, f64> {
        let at = [
            ("rate_mbit", self.rate),
            ("rtt_ms", self.rtt),
            ("loss_percent", self.loss),
        ];
        at.map(|(name, value)| (name.to_string(), value)).into()
    }

    /// As in tables and the filter.
    pub fn name(&self) -> String {
        format!(
            "{} {}mbit-{}ms-{}%",
            self.experiment.name(),
            self.rate,
            self.rtt,
            self.loss
        )
    }
}

/// All links; `quick`: only the slower one.
pub fn points(quick: bool) -> Vec<Point> {
    let rates: &[f64] = if quick { &[40.0] } else { &[40.0, 100.0] };
    let load = rates.iter().flat_map(|&rate| {
        LOSSES.map(|loss| Point {
            experiment: Experiment::Load,
            rate,
            rtt: RTT,
            loss,
        })
    });
    let drops = Point {
        experiment: Experiment::Drops,
        rate: 40.0,
        rtt: RTT,
        loss: 0.0,
    };
    load.chain([drops]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_and_points_have_names_of_their_own() {
        let variants = Variant::all().into_iter().map(|variant| variant.name());
        let mut names: Vec<String> = variants
            .chain(points(false).iter().map(Point::name))
            .collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(names.contains(&"utcp-coupled, bbr".to_string()));
        assert!(names.contains(&"peers 100mbit-50ms-0.1%".to_string()));
    }
}
