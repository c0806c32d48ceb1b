//! Names of namespaces. Each run has a name of its own and holds a lock for it; what a run that was killed has left is
//! found by its lock, which nobody holds any more, and removed by the next run.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::host::{ip, named};

/// Where the locks are.
const LOCKS: &str = "/run/utcp-lab";

/// Where `ip netns` keeps namespaces.
const NAMESPACES: &str = "/run/netns";

/// The name of a run: the namespaces whose names begin with it are removed with it.
#[derive(Debug)]
pub struct Claim {
    name: String,
    lock: PathBuf,
    /// Locked as long as it is open.
    _file: File,
}

impl Claim {
    /// A name that no other run has. Removes what dead runs have left.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn new() -> io::Result<Claim> {
        fs::create_dir_all(LOCKS).map_err(|error| named(LOCKS, &error))?;
        sweep()?;
        for number in 0u64.. {
            let name = format!("lab-{}-{number}", std::process::id());
            let lock = lock_path(&name);
            if let Some(file) = hold(&lock).map_err(|error| named(LOCKS, &error))? {
                // It may be that of a run in another PID namespace that has just died.
                remove_namespaces(&name)?;
                return Ok(Claim {
                    name,
                    lock,
                    _file: file,
                });
            }
        }
        unreachable!("there are more numbers than runs")
    }

    /// The name that the namespace of a host gets.
    pub fn namespace(&self, host: &str) -> String {
        format!("{}-{host}", self.name)
    }

    /// Makes a namespace; gives the file that stands for it.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn make(&self, host: &str) -> io::Result<PathBuf> {
        let name = self.namespace(host);
        ip(&format!("netns add {name}\n"))?;
        Ok(Path::new(NAMESPACES).join(name))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // What cannot be removed keeps its lock file: the next run tries again.
        if remove_namespaces(&self.name).is_ok() {
            let _ = fs::remove_file(&self.lock);
        }
    }
}

fn lock_path(name: &str) -> PathBuf {
    Path::new(LOCKS).join(format!("{name}.lock"))
}

/// Locks a file, which is made if it is not there; `None` if somebody else holds it.
fn hold(path: &Path) -> io::Result<Option<File>> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // Whoever held it before may have removed it since it was opened.
    let same = fs::metadata(path)
        .is_ok_and(|there| file.metadata().is_ok_and(|ours| there.ino() == ours.ino()));
    Ok(same.then_some(file))
}

/// Removes what runs have left that were killed.
fn sweep() -> io::Result<()> {
    for entry in fs::read_dir(LOCKS)?.flatten() {
        let path = entry.path();
        let Some(name) = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .filter(|_| path.extension().is_some())
        else {
            continue;
        };
        if is_run(name)
            && let Some(_file) = hold(&path)?
        {
            // That is no reason not to begin; the lock stays, so that the next run tries again.
            match remove_namespaces(name) {
                Ok(()) => fs::remove_file(&path)?,
                Err(error) => eprintln!("lab: what a dead run has left cannot be removed: {error}"),
            }
        }
    }
    Ok(())
}

/// Whether this is a name of the kind that runs have: nothing else is ever removed.
fn is_run(name: &str) -> bool {
    let Some((pid, number)) = name
        .strip_prefix("lab-")
        .and_then(|rest| rest.split_once('-'))
    else {
        return false;
    };
    [pid, number]
        .iter()
        .all(|part| !part.is_empty() && part.bytes().all(|octet| octet.is_ascii_digit()))
}

/// Removes all namespaces of a run, and ends what still runs inside.
fn remove_namespaces(run: &str) -> io::Result<()> {
    let prefix = format!("{run}-");
    let Ok(entries) = fs::read_dir(NAMESPACES) else {
        return Ok(()); // no namespace was ever made
    };
    let mut commands = String::new();
    let mut inodes = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| name.starts_with(&prefix)) else {
            continue;
        };
        inodes.extend(fs::metadata(entry.path()).map(|there| (there.dev(), there.ino())));
        commands += &format!("netns delete {name}\n");
    }
    if commands.is_empty() {
        return Ok(());
    }
    end_processes(&inodes);
    ip(&commands)
}

/// Kills all processes whose network namespace is one of these.
fn end_processes(namespaces: &[(u64, u64)]) {
    let Ok(processes) = fs::read_dir("/proc") else {
        return;
    };
    for process in processes.flatten() {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let inside = fs::metadata(process.path().join("ns/net"))
            .is_ok_and(|there| namespaces.contains(&(there.dev(), there.ino())));
        if inside && pid != std::process::id() as i32 {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_runs_are_names_of_runs() {
        assert!(is_run("lab-17-0") && is_run("lab-1-23"));
        for other in [
            "lab-17",
            "lab-17-",
            "lab--1",
            "lab-17-0-relay",
            "lab-x-0",
            "lob-1-1",
            "",
        ] {
            assert!(!is_run(other), "{other}");
        }
    }

    #[test]
    fn a_lock_is_held_once_and_not_after_its_file_is_gone() {
        let path = std::env::temp_dir().join(format!("utcp-lab-claim-{}.lock", std::process::id()));
        let first = hold(&path).expect("a file");
        assert!(first.is_some());
        assert!(hold(&path).expect("a file").is_none());
        drop(first);
        assert!(hold(&path).expect("a file").is_some());
        fs::remove_file(&path).expect("it is there");
    }
}
