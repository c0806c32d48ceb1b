//! The fuzz targets without a fuzzer: every input of the corpus, then mutations of them. The same every time.
//!
//! An input that fails is written to a file, which the message names. To run it again:
//! `FUZZ_INPUT=FILE cargo test --test fuzz_corpus`. `FUZZ_ROUNDS=N` runs N times as many mutations, of which the first
//! are those of every run.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

#[path = "../fuzz/src/lib.rs"]
mod targets;

/// Longer inputs only take longer.
const MAX_LEN: usize = 2_048;

type Target = fn(&[u8]);

/// xorshift64*, seeded by the target's name.
struct Rng(u64);

impl Rng {
    fn new(name: &str) -> Rng {
        let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, octet| {
            (hash ^ u64::from(octet)).wrapping_mul(0x100_0000_01b3)
        });
        Rng(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `n`, which is not 0.
    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 32) as usize % n
    }
}

/// The committed inputs of a target, in the order of their names.
fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(name);
    let mut files: Vec<PathBuf> = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.expect("a directory entry").path())
        .collect();
    files.sort();
    assert!(files.len() >= 5, "{name}: the corpus is gone");
    files
        .into_iter()
        .map(|path| {
            let input = fs::read(&path).expect("a readable file");
            (path, input)
        })
        .collect()
}

/// Changes an input a little, in one of the ways of fuzzers.
fn mutate(rng: &mut Rng, input: &mut Vec<u8>, other: &[u8]) {
    let at = rng.below(input.len() + 1);
    match rng.below(8) {
        0 | 1 if at < input.len() => input[at] ^= 1 << rng.below(8),
        2 if at < input.len() => {
            input[at] = [0, 1, 0x7f, 0x80, 0xff, 0x10, 0x12, 0x14][rng.below(8)];
        }
        3 if at < input.len() => input[at] = rng.next() as u8,
        4 => input.truncate(at),
        5 => {
            let n = 1 + rng.below(8);
            let fresh: Vec<u8> = (0..n).map(|_| rng.next() as u8).collect();
            input.splice(at..at, fresh);
        }
        6 => {
            let end = (at + 1 + rng.below(16)).min(input.len());
            input.drain(at..end);
        }
        _ if !other.is_empty() => {
            let start = rng.below(other.len());
            let end = (start + 1 + rng.below(64)).min(other.len());
            input.splice(at..at, other[start..end].iter().copied());
        }
        _ => {}
    }
    input.truncate(MAX_LEN);
}

fn run(name: &str, target: Target, input: &[u8], origin: &str) {
    let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) else {
        return;
    };
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}"));
    fs::write(&file, input).expect("the input can be saved");
    eprintln!("{name}: {origin} fails; the input is in {}", file.display());
    resume_unwind(panic);
}

/// The corpus, then `mutations` changed inputs.
fn fuzz(name: &str, target: Target, mutations: usize) {
    if let Ok(file) = std::env::var("FUZZ_INPUT") {
        // Files of another target are only noise.
        if file.contains(name) {
            let input = fs::read(&file).expect("FUZZ_INPUT names a file");
            run(name, target, &input, &file);
        }
        return;
    }
    let corpus = corpus(name);
    for (path, input) in &corpus {
        run(name, target, input, &path.display().to_string());
    }
    let rounds = match std::env::var("FUZZ_ROUNDS") {
        Ok(text) => text.parse().expect("FUZZ_ROUNDS is a number"),
        Err(_) => 1,
    };
    let mut rng = Rng::new(name);
    for round in 0..mutations * rounds {
        let mut input = corpus[rng.below(corpus.len())].1.clone();
        for _ in 0..1 + rng.below(6) {
            let other = &corpus[rng.below(corpus.len())].1;
            mutate(&mut rng, &mut input, other);
        }
        run(name, target, &input, &format!("mutation {round}"));
    }
}

#[test]
fn tortp() {
    fuzz("tortp", targets::tortp::run, 200_000);
}

#[test]
fn tcb() {
    fuzz("tcb", targets::tcb::run, 30_000);
}

#[test]
fn connection() {
    fuzz("connection", targets::connection::run, 800);
}

#[test]
fn inject() {
    fuzz("inject", targets::inject::run, 400);
}
