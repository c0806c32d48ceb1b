//! The grid that the kernel and utcp are measured on, and the flows of one run.
//!
//! All contenders of a point run at the same time with the same seed, each over links of its own, so that whatever
//! disturbs the machine disturbs all of them. A run in which the emulator was late does not count.

pub mod flows;
pub mod report;
pub mod tail;
pub mod targets;

use crate::emulate::link::{Conditions, MILLIS, Nanos};

/// A sender's or receiver's TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tcp {
    /// The kernel's.
    Linux,
    /// The inner TCP of the library.
    Utcp,
}

/// Who sends to whom, with which congestion control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contender {
    /// Who sends.
    pub sender: Tcp,
    /// As both name it.
    pub congestion: &'static str,
    /// Who receives.
    pub receiver: Tcp,
}

impl Contender {
    /// For tables and files.
    pub fn name(&self) -> String {
        let tcp = |tcp| match tcp {
            Tcp::Linux => "linux",
            Tcp::Utcp => "utcp",
        };
        format!(
            "{}-{}>{}",
            tcp(self.sender),
            self.congestion,
            tcp(self.receiver)
        )
    }

    /// Whether both TCPs have the congestion control.
    pub fn exists(&self) -> bool {
        self.sender == Tcp::Linux || super::inner::algorithm(self.congestion).is_some()
    }
}

/// Who takes part for one congestion control: the kernel, utcp to the kernel, utcp alone, and the kernel to utcp.
pub fn contenders(congestion: &'static str) -> [Contender; 4] {
    let pairs = [
        (Tcp::Linux, Tcp::Linux),
        (Tcp::Utcp, Tcp::Linux),
        (Tcp::Utcp, Tcp::Utcp),
        (Tcp::Linux, Tcp::Utcp),
    ];
    pairs.map(|(sender, receiver)| Contender {
        sender,
        congestion,
        receiver,
    })
}

/// Congestion controls that are compared.
pub const CONTROLS: [&str; 2] = ["cubic", "bbr"];

/// One point of the grid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Mbit/s.
    pub rate: u64,
    /// Milliseconds.
    pub rtt: u64,
    /// Percent.
    pub loss: f64,
    /// Percent of packets 5 ms late.
    pub late: f64,
}

impl Point {
    /// For tables, files and the filter.
    pub fn name(&self) -> String {
        let late = if self.late > 0.0 {
            format!("-late{}%", self.late)
        } else {
            String::new()
        };
        format!("{}mbit-{}ms-{}%{late}", self.rate, self.rtt, self.loss)
    }

    fn conditions(&self) -> Conditions {
        let mut conditions = Conditions::new(self.rate * 1_000_000, self.rtt * MILLIS);
        conditions.loss = self.loss / 100.0;
        conditions.reorder = self.late / 100.0;
        conditions.reorder_by = 5 * MILLIS;
        conditions
    }
}

/// The grid: 10 and 100 Mbit/s, round trips of 20, 50 and 100 ms, loss of 0 to 3 % in each direction, and one link that
/// makes 1 % of packets late. `quick`: only round trips of 50 ms.
pub fn grid(quick: bool) -> Vec<Point> {
    let mut points = Vec::new();
    for rate in [10, 100] {
        for rtt in [20, 50, 100] {
            if quick && rtt != 50 {
                continue;
            }
            for loss in [0.0, 0.1, 1.0, 3.0] {
                points.push(Point {
                    rate,
                    rtt,
                    loss,
                    late: 0.0,
                });
            }
        }
    }
    points.push(Point {
        rate: 100,
        rtt: 50,
        loss: 0.0,
        late: 1.0,
    });
    points
}

/// The emulator may be so late for 99 of 100 packets, and for 999 of 1,000, before a run is thrown away.
pub const LATE: [(f64, Nanos); 2] = [(0.99, MILLIS / 2), (0.999, 3 * MILLIS)];

/// The median; the mean of the middle two of an even number.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    match n {
        0 => None,
        _ if n % 2 == 1 => Some(sorted[n / 2]),
        _ => Some((sorted[n / 2 - 1] + sorted[n / 2]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn the_library_has_the_controls_that_have_names() {
        use utcp::tcp::congestion::Algorithm;
        let algorithm = crate::kernel::inner::algorithm;
        assert_eq!(algorithm("cubic"), Some(Algorithm::Cubic));
        assert_eq!(algorithm("newreno"), Some(Algorithm::NewReno));
        assert_eq!(algorithm("vegas"), None);
    }

    #[test]
    fn points_have_names_of_their_own() {
        let mut names: Vec<String> = grid(false).iter().map(Point::name).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(names.contains(&"100mbit-50ms-0.1%".to_string()));
    }
}
