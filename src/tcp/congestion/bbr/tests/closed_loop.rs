use super::path::{Flow, Link, MSS, Path};
use crate::time::SECOND;

#[test]
fn explore() {
    for loss in [0, 10, 30] {
        for mbit in [10, 100, 1000] {
            for rtt in [20, 50, 200] {
                let mut path = Path::single(mbit, rtt, 100);
                path.link.loss = loss;
                let secs = if mbit == 1000 { 12 } else { 25 };
                let from = 3 * SECOND;
                let rate = path.goodput(from, secs * SECOND)[0];
                println!(
                    "loss {loss} {mbit} Mbit/s {rtt} ms: {:.3}  median queue {:.3} rtt, drops {} timeouts {} bw {:.3} cwnd/bdp {:.2} {:?}",
                    rate as f64 / (mbit * 125_000) as f64,
                    path.link.median_delay(from) as f64 / (rtt * 1000) as f64,
                    path.link.drops,
                    path.flows[0].timeouts,
                    path.flows[0].bbr.bandwidth() as f64 / (mbit * 125_000) as f64,
                    path.flows[0].bbr.cwnd() as f64 / (mbit * 125 * rtt) as f64,
                    path.flows[0].states.len(),
                );
            }
        }
    }
}
