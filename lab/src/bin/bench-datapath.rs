//! What the data path costs. `make bench-datapath` runs it.

use clap::Parser;
use utcp_lab::datapath::median;
use utcp_lab::datapath::throughput::{self, CHUNK, Progress, Span, Threads};

/// What the data path costs, beside the paper's figures and other transports.
#[derive(Parser)]
struct Options {
    /// Fewer rounds: for development, not for the record.
    #[arg(long)]
    quick: bool,
    #[arg(long, default_value_t = 16)]
    circuits: u32,
    #[arg(long)]
    only: Option<usize>,
}

fn main() {
    let options = Options::parse();
    let rounds = if options.quick { 3 } else { 9 };
    let span = Span {
        begin: 64 << 20,
        end: 320 << 20,
    };
    for threads in [Threads::One, Threads::Two] {
        let mut all = [vec![], vec![], vec![], vec![], vec![]];
        for _ in 0..rounds {
            for (n, list) in all.iter_mut().enumerate() {
                if options.only.is_some_and(|only| only != n) {
                    continue;
                }
                let progress = Progress::default();
                let [a, b] = match n {
                    0 => throughput::utcp::pair(options.circuits, CHUNK, &progress),
                    1 => throughput::dtls::pair(&progress),
                    2 => throughput::tls::pair(&progress),
                    3 => throughput::quinn::pair(options.circuits, &progress),
                    _ => throughput::utcp::pair(options.circuits, 514, &progress),
                };
                list.push(throughput::run(a, b, &progress, threads, span) * 8e-9);
            }
        }
        println!(
            "{threads:?}: {:?} {all:.2?}",
            all.each_ref().map(|l| median(l))
        );
    }
}
