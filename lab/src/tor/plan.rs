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
            // Those that vary most are measured more often: see Task::times.
            Form::Quick | Form::Smoke => 1,
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

/// What is measured of a set in Experiment 1.
fn losses(form: Form, is_main: bool, set: Set) -> Vec<Loss> {
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
        Form::Quick if !is_main => vec![limited(0.1, 0.0)],
        // Only what patched Tor is held against.
        Form::Quick if set.kernel == Kernel::Bbr => {
            vec![limited(0.0, 0.0), limited(0.1, 0.0), limited(1.0, 0.0)]
        }
        Form::Quick => vec![
            limited(0.0, 0.0),
            limited(0.0, 0.1),
            limited(0.1, 0.0),
            limited(1.0, 0.0),
        ],
        Form::Smoke => vec![limited(1.0, 0.0)],
    }
}

/// All that a run in this form measures, with the programs there are. Variants take turns.
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
        // The paper's links have a delay and no rate.
        let rates: &[f64] = match form {
            Form::Full => &[0.0, RATE_MBIT],
            _ => &[0.0],
        };
        for &rate in rates {
            // The rival with BBR is for Experiment 1 where time is short.
            let some = |set: &&Set| form == Form::Full || set.kernel == Kernel::Cubic;
            for &set in sets.iter().filter(some) {
                add(set, Work::Basic(rate));
            }
        }
        // What takes turns is the same loss on different relays.
        let each: Vec<Vec<Loss>> = sets.iter().map(|set| losses(form, is_main, *set)).collect();
        let mut all: Vec<Loss> = Vec::new();
        for loss in each.iter().flatten() {
            if !all.contains(loss) {
                all.push(*loss);
            }
        }
        for loss in all {
            for (&set, _) in sets
                .iter()
                .zip(&each)
                .filter(|(_, own)| own.contains(&loss))
            {
                add(set, Work::Shared(loss));
            }
        }
        // Where Tor is as it comes, except that of 0.2.0.35 there is nothing else.
        if !is_main && release == Release::Modern {
            continue;
        }
        let works = [
            Work::Queues,
            Work::Picture,
            Work::Web,
            Work::Volume,
            Work::Relays,
        ];
        for work in works {
            for &set in sets.iter().filter(|set| set.kernel == Kernel::Cubic) {
                add(set, work.clone());
            }
        }
        let mixed = mixed::sets();
        if mixed.iter().all(|set| sets.contains(set)) {
            for patched in 0..=mixed::PLACES {
                let wanted = match form {
                    Form::Full => true,
                    Form::Quick => patched % 2 == 0,
                    Form::Smoke => patched == mixed::PLACES / 2,
                };
                if wanted {
                    add(mixed[0], Work::Mixed(patched));
                }
            }
        }
    }
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn programs() -> Programs {
        Programs {
            vanilla: Some(PathBuf::new()),
            patched: Some(PathBuf::new()),
            gencert: PathBuf::new(),
        }
    }

    #[test]
    fn every_form_has_every_experiment_and_no_task_twice() {
        for form in [Form::Full, Form::Quick, Form::Smoke] {
            let all = tasks(form, &programs(), Release::Modern);
            let mut names: Vec<&str> = all.iter().map(Task::experiment).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), 8, "{form:?}: {names:?}");
            for (number, task) in all.iter().enumerate() {
                assert!(!all[..number].contains(task), "{task:?}");
            }
        }
    }

    #[test]
    fn without_a_patched_program_only_the_other_is_measured() {
        let mut programs = programs();
        programs.patched = None;
        let all = tasks(Form::Full, &programs, Release::Old);
        assert!(all.iter().all(|task| task.set.program == Program::Vanilla));
        assert!(all.iter().all(|task| task.windows == Windows::Fixed));
        assert!(!all.is_empty());
    }
}
