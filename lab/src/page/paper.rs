//! The figures of the paper ("Improving Tor using a TCP-over-DTLS Tunnel", USENIX Security 2009), as printed.

/// Which of the paper's two transports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One TCP connection for all circuits: vanilla Tor.
    Tcp,
    /// The paper's own.
    TcpOverDtls,
}

/// Where packets are dropped in Experiment 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drops {
    /// Nowhere.
    None,
    /// On all links but the shared one.
    Remaining,
    /// On the shared link.
    Shared,
}

impl Drops {
    /// As in the tables, with the rate in percent.
    pub fn words(self, percent: f64) -> String {
        match self {
            Drops::None => "No dropping".to_string(),
            Drops::Remaining => format!("{percent} % (remaining)"),
            Drops::Shared => format!("{percent} % (shared)"),
        }
    }
}

/// A row of Tables 1 and 5 (throughput) and of Tables 2 and 6 (latency).
#[derive(Clone, Copy, Debug)]
pub struct Experiment1 {
    /// Of which transport.
    pub transport: Transport,
    /// Where packets are dropped, 0.1 % of them.
    pub drop: Drops,
    /// Network throughput in KB/s, and half of its interval.
    pub network: (f64, f64),
    /// Circuit throughput in KB/s.
    pub circuit: (f64, f64),
    /// By how many percent the throughput is lower than without drops.
    pub degradation: f64,
    /// Average latency in ms.
    pub latency: (f64, f64),
    /// By how many percent it is higher than without drops.
    pub increase: f64,
    /// Effective drop rate in percent.
    pub effective: f64,
}

const fn row(
    transport: Transport,
    drop: Drops,
    network: (f64, f64),
    circuit: (f64, f64),
    degradation: f64,
    latency: (f64, f64),
    increase: f64,
) -> Experiment1 {
    Experiment1 {
        transport,
        drop,
        network,
        circuit,
        degradation,
        latency,
        increase,
        effective: match drop {
            Drops::None => 0.0,
            Drops::Remaining => 0.08,
            Drops::Shared => 0.03,
        },
    }
}

/// Tables 1, 2, 5 and 6.
pub const EXPERIMENT_1: [Experiment1; 6] = {
    use Drops::{None, Remaining, Shared};
    use Transport::{Tcp, TcpOverDtls};
    [
        row(
            Tcp,
            None,
            (221.0, 6.6),
            (36.9, 1.1),
            0.0,
            (933.0, 260.0),
            0.0,
        ),
        row(
            Tcp,
            Remaining,
            (208.0, 14.0),
            (34.7, 2.3),
            6.0,
            (983.0, 666.0),
            5.4,
        ),
        row(
            Tcp,
            Shared,
            (184.0, 17.0),
            (30.8, 2.8),
            17.0,
            (1_053.0, 409.0),
            12.9,
        ),
        row(
            TcpOverDtls,
            None,
            (284.0, 35.0),
            (47.3, 5.8),
            0.0,
            (428.0, 221.0),
            0.0,
        ),
        row(
            TcpOverDtls,
            Remaining,
            (261.0, 42.0),
            (43.5, 7.0),
            8.0,
            (510.0, 377.0),
            20.0,
        ),
        row(
            TcpOverDtls,
            Shared,
            (270.0, 34.0),
            (45.2, 5.6),
            4.0,
            (461.0, 356.0),
            7.0,
        ),
    ]
};

/// A row of Table 4.
#[derive(Clone, Copy, Debug)]
pub struct Experiment3 {
    /// Of which transport.
    pub transport: Transport,
    /// Network throughput in KB/s.
    pub throughput: (f64, f64),
    /// Circuit delay during the bulk transfer in ms.
    pub delay: (f64, f64),
    /// Base delay in ms.
    pub base: (f64, f64),
}

/// Table 4.
pub const EXPERIMENT_3: [Experiment3; 2] = [
    Experiment3 {
        transport: Transport::Tcp,
        throughput: (176.0, 24.9),
        delay: (1_026.0, 418.0),
        base: (281.0, 12.0),
    },
    Experiment3 {
        transport: Transport::TcpOverDtls,
        throughput: (111.0, 10.4),
        delay: (273.0, 31.0),
        base: (260.0, 1.0),
    },
];

/// The row of a transport and a place of drops.
pub fn experiment_1(transport: Transport, drop: Drops) -> &'static Experiment1 {
    let same = |row: &&Experiment1| row.transport == transport && row.drop == drop;
    EXPERIMENT_1.iter().find(same).expect("all six are there")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_degradations_follow_from_the_throughputs_as_far_as_they_were_rounded() {
        for row in EXPERIMENT_1 {
            let base = experiment_1(row.transport, Drops::None);
            let lower = (1.0 - row.network.0 / base.network.0) * 100.0;
            assert!((lower - row.degradation).abs() < 1.1, "{row:?}");
            let higher = (row.latency.0 / base.latency.0 - 1.0) * 100.0;
            assert!((higher - row.increase).abs() < 1.1, "{row:?}");
        }
    }
}
