//! Keys that have to be there before a network starts: those of its authority.

use std::error::Error;
use std::fs::{self, DirBuilder};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::node::Node;
use super::programs::{Programs, Release};
use super::torrc::DIR_PORT;

/// Makes a directory that nobody else may look into: Tor insists.
///
/// # Errors
/// What the file system says.
pub fn private_directory(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().mode(0o700).recursive(true).create(path)
}

/// Makes the keys of an authority, and notes both fingerprints in the node.
///
/// # Errors
/// What Tor's tools say.
pub fn make_authority(
    node: &mut Node,
    programs: &Programs,
    release: Release,
) -> Result<(), Box<dyn Error>> {
    let keys = node.directory.join("keys");
    private_directory(&keys)?;
    let certificate = keys.join("authority_certificate");
    let mut gencert = Command::new(&programs.gencert);
    gencert.args([
        "--create-identity-key",
        "-m",
        "24",
        "--passphrase-fd",
        "0",
        "-a",
    ]);
    gencert.arg(format!("{}:{DIR_PORT}", node.address));
    gencert.arg("-i").arg(keys.join("authority_identity_key"));
    gencert.arg("-s").arg(keys.join("authority_signing_key"));
    gencert.arg("-c").arg(&certificate);
    run(&mut gencert, Some(b"laboratory\n"))?;
    let text = fs::read_to_string(&certificate)?;
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix("fingerprint "));
    node.v3ident = found
        .ok_or("tor-gencert has made no certificate")?
        .trim()
        .to_string();

    // An authority needs to be told its own fingerprint, so it is asked for with a placeholder first.
    let nothing = node.directory.join("no-torrc");
    fs::write(&nothing, "")?;
    let mut tor = Command::new(programs.any());
    tor.arg("-f").arg(&nothing);
    tor.arg("--DataDirectory").arg(&node.directory);
    tor.args(["--Nickname", &node.name, "--ORPort", "1"]);
    let placeholder = format!(
        "{} {}:{DIR_PORT} {}",
        node.name,
        node.address,
        "0".repeat(40)
    );
    match release {
        Release::Modern => tor.args(["--hush", "--DirAuthority", &placeholder]),
        Release::Old => tor.args([
            "--Address",
            &node.address.to_string(),
            "--DirServer",
            &placeholder,
            "--DirAllowPrivateAddresses",
            "1",
        ]),
    };
    tor.arg("--list-fingerprint");
    run(&mut tor, None)?;
    node.fingerprint = read_fingerprint(&node.directory)?;
    Ok(())
}

/// The fingerprint that a node has written: its name, and 40 digits, of 0.2.0.35 in groups.
///
/// # Errors
/// If it has not yet.
pub fn read_fingerprint(directory: &Path) -> Result<String, Box<dyn Error>> {
    let file = directory.join("fingerprint");
    let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let digits: String = text.split_whitespace().skip(1).collect();
    if digits.len() != 40 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(format!("{}: no fingerprint", file.display()).into());
    }
    Ok(digits)
}

fn run(command: &mut Command, input: Option<&[u8]>) -> Result<(), Box<dyn Error>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{name}: {error}"))?;
    if let (Some(input), Some(mut pipe)) = (input, child.stdin.take()) {
        pipe.write_all(input)?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!(
        "{name}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&said).trim()
    )
    .into())
}
