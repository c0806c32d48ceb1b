//! What the kernel tells of a process.

use std::fs;
use std::io;

use nix::unistd::{SysconfVar, sysconf};

/// What a process has used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Processor time, in seconds.
    pub cpu_s: f64,
    /// Resident memory, in octets.
    pub memory: u64,
    /// Sockets that it has open.
    pub sockets: usize,
}

impl Usage {
    /// Of a process.
    ///
    /// # Errors
    /// If there is none.
    pub fn of(pid: u32) -> io::Result<Usage> {
        let wrong = |what: &str| io::Error::other(format!("/proc/{pid}/{what} is not as expected"));
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name may hold anything, and ends with the last parenthesis.
        let after = stat.rsplit_once(") ").ok_or_else(|| wrong("stat"))?.1;
        let ticks: Vec<u64> = after
            .split(' ')
            .skip(11)
            .take(2)
            .filter_map(|word| word.parse().ok())
            .collect();
        if ticks.len() != 2 {
            return Err(wrong("stat"));
        }
        let second = sysconf(SysconfVar::CLK_TCK)?.unwrap_or(100) as f64;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let memory = status.lines().find_map(|line| {
            let words: Vec<&str> = line.strip_prefix("VmRSS:")?.split_whitespace().collect();
            words.first()?.parse::<u64>().ok()
        });
        let mut sockets = 0;
        for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
            // One that is closed meanwhile has no target.
            let target = fs::read_link(entry?.path()).unwrap_or_default();
            sockets += usize::from(target.to_string_lossy().starts_with("socket:"));
        }
        Ok(Usage {
            cpu_s: ticks.iter().sum::<u64>() as f64 / second,
            memory: memory.ok_or_else(|| wrong("status"))? * 1024,
            sockets,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_memory_and_a_socket_has_them() {
        let before = Usage::of(std::process::id()).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let after = Usage::of(std::process::id()).unwrap();
        assert!(before.memory > 100_000);
        assert!(after.sockets > 0 && after.cpu_s >= before.cpu_s);
        drop(listener);
        assert!(Usage::of(u32::MAX).is_err());
    }
}
