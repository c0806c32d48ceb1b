//! Memory and allocations of the data path, counted at the allocator, for each end by itself: a program of its own, so
//! that counting slows down no other measurement. `make bench-datapath` runs it.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod linux {
    use std::cell::Cell;

    use clap::Parser;
    use serde_json::{Value, json};
    use utcp::time::{MILLISECOND, SECOND};
    use utcp_lab::datapath::pair::{CELL, Pair};

    thread_local! {
        /// Octets on the heap and allocations, of each end.
        static HELD: [Cell<i64>; 2] = const { [Cell::new(0), Cell::new(0)] };
        static ALLOCATIONS: [Cell<u64>; 2] = const { [Cell::new(0), Cell::new(0)] };
    }

    fn meter(who: usize, work: &mut dyn FnMut()) {
        let info = allocation_counter::measure(work);
        HELD.with(|held| held[who].set(held[who].get() + info.bytes_current));
        ALLOCATIONS.with(|count| count[who].set(count[who].get() + info.count_total));
    }

    fn held(who: usize) -> i64 {
        HELD.with(|held| held[who].get())
    }

    /// Ends of which nothing is left from measurements before.
    fn fresh(budget: u64) -> Pair {
        HELD.with(|held| held.iter().for_each(|octets| octets.set(0)));
        Pair::new(budget, meter)
    }

    fn allocations() -> u64 {
        ALLOCATIONS.with(|count| count[0].get() + count[1].get())
    }

    /// Memory and allocations of the data path. Prints JSON.
    #[derive(Parser)]
    struct Options {
        /// Circuits where many are opened.
        #[arg(long, default_value_t = 100_000)]
        circuits: u32,
        /// Rounds of opening and closing.
        #[arg(long, default_value_t = 10)]
        rounds: u32,
    }

    /// The larger of what the two ends hold, now.
    fn larger() -> i64 {
        held(0).max(held(1))
    }

    /// Of many circuits: what an idle one takes, and what all take while 1,000 are busy.
    fn many(circuits: u32) -> Value {
        let mut pair = fresh(1 << 32);
        pair.open(1..101);
        pair.run(100 * SECOND);
        let empty = [held(0), held(1)];
        let ids = pair.open(101..101 + circuits);
        pair.run(100 * SECOND);
        let grown = (0..2).map(|who| held(who) - empty[who]).max();
        let idle = grown.unwrap_or(0) as f64 / f64::from(circuits);
        // Each busy one has more to send than it may; windows are held to 64 KiB, so that there is an end to what is
        // in flight.
        let busy = &ids[..ids.len().min(1_000)];
        for id in busy {
            let set = pair.on(0, |end| end.set_send_buffer(*id, 64 << 10));
            set.expect("a live circuit");
        }
        let (mut whole, mut data) = (0, 0);
        for _ in 0..400 {
            for id in busy {
                pair.fill(*id);
            }
            pair.turn();
            for who in 0..2 {
                let queued = pair.end(who).memory() as i64;
                if held(who) - queued > whole - data {
                    (whole, data) = (held(who), queued);
                }
            }
        }
        json!({
            "circuits": circuits,
            "idle_octets": idle,
            "busy_circuits": busy.len(),
            "busy_octets": whole,
            "busy_data": data,
            "broken": pair.broken,
        })
    }

    /// Circuits opened and closed again and again: what is held after each round.
    fn storm(circuits: u32, rounds: u32) -> Value {
        let mut pair = fresh(1 << 32);
        pair.closing = true;
        let mut after = Vec::new();
        for _ in 0..rounds {
            let closed = pair.closed + 2 * u64::from(circuits);
            let ids = pair.open(1..1 + circuits);
            for chunk in ids.chunks(500) {
                for id in chunk {
                    pair.on(0, |end| end.close(*id)).expect("open");
                }
                pair.turn();
            }
            let given_up = pair.now + 600 * SECOND;
            while pair.closed < closed && pair.now < given_up {
                pair.turn();
            }
            assert_eq!(pair.closed, closed, "circuits end");
            // Until nothing of them could still arrive.
            pair.run(120 * SECOND);
            pair.incoming.clear();
            after.push(larger());
        }
        // The first round leaves behind what later ones use again.
        let growth = after[after.len() - 1] - after[0];
        json!({
            "circuits": circuits,
            "rounds": rounds,
            "octets_after": after,
            "growth": growth,
            "broken": pair.broken,
        })
    }

    /// Everybody receives, and nobody reads: what the pool holds, and whether all arrives in the end.
    fn budget(circuits: u32) -> Value {
        const BUDGET: u64 = 16 << 20;
        let mut pair = fresh(BUDGET);
        let ids = pair.open(1..1 + circuits);
        pair.run(2 * SECOND);
        pair.reading = false;
        // Four times what the budget is.
        let each = 4 * BUDGET as usize / circuits as usize;
        let data = vec![7; each];
        let mut left = vec![each; ids.len()];
        let begin = pair.read;
        let mut most = 0;
        let write = |pair: &mut Pair, left: &mut [usize]| {
            for (id, left) in ids
                .iter()
                .zip(left.iter_mut())
                .filter(|(_, left)| **left > 0)
            {
                *left -= pair
                    .on(0, |end| end.write(*id, &data[..*left]))
                    .unwrap_or(0);
            }
        };
        write(&mut pair, &mut left);
        let stopped = pair.now + 30 * SECOND;
        while pair.now < stopped {
            pair.turn();
            most = most.max(pair.end(1).memory());
        }
        write(&mut pair, &mut left);
        pair.resume();
        let resumed = pair.now;
        let want = begin + (each * ids.len()) as u64;
        while pair.read < want && pair.now < resumed + 600 * SECOND {
            write(&mut pair, &mut left);
            pair.turn();
            most = most.max(pair.end(1).memory());
        }
        json!({
            "circuits": circuits,
            "budget": BUDGET,
            "most": most,
            "sent": want - begin,
            "arrived": pair.read - begin,
            "broken": pair.broken,
            "milliseconds_after_resuming": (pair.now.0 - resumed.0) / MILLISECOND,
        })
    }

    /// Allocations for each datagram of steady traffic.
    fn steady() -> Value {
        let mut pair = fresh(1 << 32);
        let id = pair.open(1..2)[0];
        let ids = pair.open(2..52);
        let mut traffic = |turns: usize| {
            for turn in 0..turns {
                pair.fill(id);
                let cell = ids[turn % ids.len()];
                let _ = pair.on(0, |end| end.write(cell, &[7; CELL]));
                pair.turn();
            }
            pair.end(0).stats().datagrams_sent + pair.end(1).stats().datagrams_sent
        };
        let before = (traffic(2_000), allocations());
        let datagrams = traffic(1_000) - before.0;
        let allocations = allocations() - before.1;
        json!({
            "datagrams": datagrams,
            "allocations": allocations,
            "each": allocations as f64 / datagrams as f64,
        })
    }

    pub fn main() {
        let options = Options::parse();
        let all = json!({
            "steady": steady(),
            "many": many(options.circuits),
            "budget": budget(options.circuits.min(10_000)),
            "storm": storm(options.circuits, options.rounds),
        });
        println!("{all:#}");
    }
}

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    linux::main();
    ExitCode::SUCCESS
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("bench-memory: Linux only");
    ExitCode::from(2)
}
