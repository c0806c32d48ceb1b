//! What a run measures, in which order.

use super::experiments::shared::Loss;
use super::experiments::{RATE_MBIT, Task, Work, mixed};
use super::network::{Kernel, Set};
use super::programs::{Program, Programs, Release};
use super::session::Lengths;
use super::torrc::Windows;

/// How much is measured, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For the record.
    Full,
    /// In minutes.
    Quick,
    /// Only to see that everything works.
    Smoke,
}

impl Form {
    /// How long the parts of an experiment take.
    pub fn lengths(self) -> Lengths {
        match self {
            Form::Full => Lengths::FULL,
            Form::Quick => Lengths::QUICK,
            Form::Smoke => Lengths::SMOKE,
        }
    }

    /// How often everything is measured, if nothing else is asked for.
    pub fn repetitions(self) -> u32 {
        match self {
            Form::Full => 6,
            Form::Quick => 2,
            Form::Smoke => 1,
        }
    }
}

/// Sets of relays that a network of this kind has.
fn sets(form: Form, programs: &Programs, release: Release, windows: Windows) -> Vec<Set> {
    let is_main = release == Release::Modern && windows == Windows::Vegas;
    let with_bbr = |program| match (form, program) {
        (Form::Full, _) => true,
        // The rival that patched Tor is held against.
        (Form::Quick, Program::Vanilla) => is_main,
        _ => false,
    };
    let mut sets = Vec::new();
    for program in [Program::Vanilla, Program::Patched] {
        if programs.get(program).is_none() {
            continue;
        }
        for kernel in [Kernel::Cubic, Kernel::Bbr] {
            if kernel == Kernel::Cubic || with_bbr(program) {
                sets.push(Set { program, kernel });
            }
        }
    }
    sets
}

/// Losses of Experiment 1.
fn losses(form: Form, is_main: bool) -> Vec<Loss> {
    let loss = |shared, remaining, rate| Loss {
        shared,
        remaining,
        rate,
    };
    let limited = |shared, remaining| loss(shared, remaining, RATE_MBIT);
    match form {
        Form::Full => vec![
            limited(0.0, 0.0),
            limited(0.0, 0.1),
            limited(0.1, 0.0),
            limited(0.0, 1.0),
            limited(1.0, 0.0),
            loss(0.0, 0.0, 0.0),
            loss(0.0, 0.1, 0.0),
            loss(0.1, 0.0, 0.0),
            loss(0.0, 0.0, 10.0),
            loss(0.1, 0.0, 10.0),
        ],
        Form::Quick if is_main => vec![
            limited(0.0, 0.0),
            limited(0.0, 0.1),
            limited(0.1, 0.0),
            limited(1.0, 0.0),
        ],
        Form::Quick => vec![limited(0.0, 0.0), limited(0.1, 0.0)],
        Form::Smoke => vec![limited(1.0, 0.0)],
    }
}

/// All that a run in this form measures, with the programs there are.
pub fn tasks(form: Form, programs: &Programs, release: Release) -> Vec<Task> {
    let all_windows: &[Windows] = match (form, release) {
        (_, Release::Old) => &[Windows::Fixed],
        (Form::Smoke, _) => &[Windows::Vegas],
        _ => &[Windows::Vegas, Windows::Fixed],
    };
    let mut tasks = Vec::new();
    for &windows in all_windows {
        let is_main = release == Release::Modern && windows == Windows::Vegas;
        let sets = sets(form, programs, release, windows);
        let mut add = |set: Set, work: Work| {
            tasks.push(Task {
                release,
                windows,
                set,
                work,
            });
        };
        for &set in &sets {
            add(set, Work::Basic);
        }
        for loss in losses(form, is_main) {
            for &set in &sets {
                add(set, Work::Shared(loss));
            }
        }
        if form != Form::Full && !is_main && release == Release::Modern {
            continue;
        }
        for work in [
            Work::Queues,
            Work::Picture,
            Work::Web,
            Work::Volume,
            Work::Relays,
        ] {
            for &set in sets
                .iter()
                .filter(|set| form == Form::Full || set.kernel == Kernel::Cubic)
            {
                add(set, work.clone());
            }
        }
        let mixed = mixed::sets();
        if mixed.iter().all(|set| sets.contains(set)) {
            for patched in 0..=mixed::PLACES {
                // The short forms leave out what lies between.
                if form == Form::Full || form == Form::Quick || patched == mixed::PLACES / 2 {
                    add(mixed[0], Work::Mixed(patched));
                }
            }
        }
    }
    tasks
}
