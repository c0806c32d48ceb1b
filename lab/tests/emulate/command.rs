//! Processes inside of hosts, the command line, and what is left behind.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread::{self, JoinHandle};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

use crate::{HOSTS, exists, possible, start, wait_until};

#[test]
fn a_process_is_inside_of_its_host_and_ends_with_it() {
    if !possible() {
        return;
    }
    let running = start("");
    let mut ask = Command::new("ip");
    ask.args(["-4", "address", "show", "dev", "tun0"])
        .stdout(Stdio::piped());
    let mut child = running.spawn_in("b", ask).expect("ip is there");
    let mut said = String::new();
    child
        .stdout
        .take()
        .expect("a pipe")
        .read_to_string(&mut said)
        .expect("text");
    child.wait().expect("it is ours");
    assert!(said.contains("10.77.0.2/32"), "{said}");
    let mut sleep = Command::new("sleep");
    sleep.arg("1000");
    let mut sleeper = running.spawn_in("a", sleep).expect("sleep is there");
    // And one that nobody waits for: its parent ends at once.
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "sleep 1000 & echo $!"])
        .stdout(Stdio::piped());
    let mut shell = running.spawn_in("c", shell).expect("sh is there");
    let mut line = String::new();
    let mut output = BufReader::new(shell.stdout.take().expect("a pipe"));
    output.read_line(&mut line).expect("text");
    shell.wait().expect("it is ours");
    let orphan = PathBuf::from("/proc").join(line.trim());
    assert!(orphan.exists());
    assert!(sleeper.try_wait().expect("it is ours").is_none());
    let names: Vec<String> = ["a", "b", "c"]
        .map(|host| running.namespace(host).expect("there"))
        .into();
    assert!(names.iter().all(|name| exists(name)));
    assert!(running.spawn_in("nowhere", Command::new("true")).is_err());
    assert!(
        running
            .spawn_in("a", Command::new("/no/such/program"))
            .is_err()
    );
    drop(running);
    assert_eq!(sleeper.wait().expect("it is ours").signal(), Some(9));
    wait_until("the end of an orphan", || {
        // Whoever adopts it may be slow to wait for it.
        let state = fs::read_to_string(orphan.join("stat")).unwrap_or_default();
        (state.is_empty() || state.contains(") Z ")).then_some(())
    });
    assert!(names.iter().all(|name| !exists(name)), "{names:?}");
}

/// A topology in a file of its own.
struct File(PathBuf);

impl File {
    fn new(name: &str, more: &str) -> File {
        let path =
            std::env::temp_dir().join(format!("utcp-lab-{}-{name}.toml", std::process::id()));
        fs::write(&path, format!("{HOSTS}{more}")).expect("a place for files");
        File(path)
    }

    fn lab(&self, options: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
        command
            .arg("emulate")
            .args(options.iter().take_while(|option| **option != "--"))
            .arg(&self.0);
        command.args(options.iter().skip_while(|option| **option != "--"));
        command
    }

    fn run(&self, options: &[&str]) -> Output {
        self.lab(options).output().expect("it was built")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_file_that_makes_no_sense_is_refused_before_anything_is_done() {
    let wrong = File::new("wrong", "[defaults]\nloss = 7\n");
    for options in [
        &["--validate"][..],
        &["--check"],
        &["--no-check", "--", "true"],
    ] {
        let output = wrong.run(options);
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("loss = 7: from 0 to 1"), "{said}");
    }
    let right = File::new("right", "").run(&["--validate"]);
    assert_eq!(right.status.code(), Some(0));
}

#[test]
fn without_privileges_it_says_that_it_needs_root() {
    let file = File::new("user", "");
    // Others must be able to read the file, and to run the program, wherever it was built.
    let mut lab = file.lab(&["--no-check", "--", "true"]);
    if Uid::effective().is_root() {
        let program = std::env::temp_dir().join(format!("utcp-lab-{}-lab", std::process::id()));
        fs::copy(env!("CARGO_BIN_EXE_lab"), &program).expect("a place for files");
        let mut other = Command::new(&program);
        other.args(lab.get_args()).uid(65_534).gid(65_534);
        lab = other;
        let output = lab.output();
        let _ = fs::remove_file(program);
        says_root(&output.expect("it was copied"));
    } else {
        says_root(&lab.output().expect("it was built"));
    }
}

fn says_root(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("this needs root"), "{said}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_command_finds_the_hosts_and_its_status_is_handed_on() {
    if !possible() {
        return;
    }
    let file = File::new("command", "[limits]\nlate_ms = 1000\n");
    let script = "echo in:$(ip netns exec $LAB_NS_B ip -4 -o address show dev tun0); echo $LAB_HOSTS $LAB_ADDR_C; exit 7";
    let output = file.run(&["--no-check", "--", "sh", "-c", script]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(7), "{said}");
    assert!(
        said.contains("10.77.0.2/32") && said.contains("a b c 10.77.0.3"),
        "{said}"
    );
    assert!(said.contains(": sound"), "{said}");
    let inside = file.run(&[
        "--no-check",
        "--in",
        "c",
        "--",
        "ip",
        "-4",
        "-o",
        "address",
        "show",
        "dev",
        "tun0",
    ]);
    let said = String::from_utf8_lossy(&inside.stdout);
    assert!(said.contains("10.77.0.3/32"), "{said}");
}

/// Starts `lab emulate` with a command that goes on until it is asked to end; the process, the namespaces of its hosts, and
/// what it prints after that.
fn waiting(file: &File) -> (Child, Vec<String>, JoinHandle<String>) {
    let script = "trap 'echo asked to end; exit' TERM; echo $LAB_NS_A $LAB_NS_B $LAB_NS_C; \
                  while :; do sleep 0.05; done";
    let mut lab = file.lab(&["--no-check", "--", "sh", "-c", script]);
    let mut child = lab.stdout(Stdio::piped()).spawn().expect("it was built");
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    output.read_line(&mut line).expect("text");
    let names: Vec<String> = line.split_whitespace().map(String::from).collect();
    assert_eq!(names.len(), 3);
    assert!(names.iter().all(|name| exists(name)));
    let rest = thread::spawn(move || {
        let mut rest = String::new();
        output.read_to_string(&mut rest).expect("text");
        rest
    });
    (child, names, rest)
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).expect("it is ours");
}

#[test]
fn signals_end_it_and_nothing_is_left() {
    if !possible() {
        return;
    }
    let file = File::new("signal", "");
    for by in [Signal::SIGINT, Signal::SIGTERM] {
        let (mut child, names, said) = waiting(&file);
        signal(&child, by);
        let status = child.wait().expect("it is ours");
        assert_eq!(status.code(), Some(128 + by as i32));
        let said = said.join().expect("no panic");
        assert!(said.starts_with("asked to end\n"), "{said}");
        assert!(names.iter().all(|name| !exists(name)), "{names:?}");
    }
}

#[test]
fn what_a_killed_run_has_left_is_removed_by_the_next() {
    if !possible() {
        return;
    }
    let file = File::new("killed", "");
    let (mut child, names, _) = waiting(&file);
    signal(&child, Signal::SIGKILL);
    child.wait().expect("it is ours");
    // Another test may have begun a run already; otherwise it is this.
    drop(start(""));
    assert!(names.iter().all(|name| !exists(name)), "{names:?}");
}

#[test]
fn an_emulator_that_is_not_exact_enough_is_refused_and_a_late_run_does_not_count() {
    if !possible() {
        return;
    }
    // Nothing is exact to the nanosecond.
    let file = File::new(
        "exact",
        "[limits]\nrtt_error_ms = 0\nseconds = 0.2\nload_mbit = 1\n",
    );
    let output = file.run(&["--", "echo", "it was run"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(75), "{said}");
    assert!(
        said.contains("missed") && said.contains("REFUSED") && !said.contains("it was run"),
        "{said}"
    );
    let file = File::new("late", "[limits]\nlate_ms = 0\n");
    let script = "ip netns exec $LAB_NS_A bash -c \"echo x > /dev/udp/$LAB_ADDR_B/9\"; sleep 0.2";
    let output = file.run(&["--no-check", "--", "sh", "-c", script]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(75), "{said}");
    assert!(said.contains("OVERLOADED"), "{said}");
}
