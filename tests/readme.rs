//! What README.md promises: its C program compiles with the command that stands there and runs, its table of options
//! is that of the header, and the links of all documents lead somewhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The content of the only fenced block of this language that contains `mark`.
fn block(document: &str, language: &str, mark: &str) -> String {
    let mut found = Vec::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        if let Some(info) = line.strip_prefix("```") {
            let content: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            let content = content.join("\n") + "\n";
            if info == language && content.contains(mark) {
                found.push(content);
            }
        }
    }
    assert_eq!(
        found.len(),
        1,
        "README.md has one {language} block with {mark:?}"
    );
    found.remove(0)
}

/// A directory with library, header and utcp.pc, as `make install` lays it out: the one that `UTCP_PREFIX` names, or
/// one made of what cargo has built for this test.
fn prefix(scratch: &Path) -> PathBuf {
    if let Some(prefix) = std::env::var_os("UTCP_PREFIX") {
        return PathBuf::from(prefix);
    }
    let prefix = scratch.join("prefix");
    let (lib, include) = (prefix.join("lib"), prefix.join("include"));
    fs::create_dir_all(lib.join("pkgconfig")).unwrap();
    fs::create_dir_all(&include).unwrap();
    // Tests are in the directory that the library of the same build is in.
    let built = std::env::current_exe()
        .unwrap()
        .with_file_name("libutcp.so");
    for name in ["libutcp.so", "libutcp.so.0"] {
        fs::copy(&built, lib.join(name)).unwrap_or_else(|e| panic!("{}: {e}", built.display()));
    }
    fs::write(include.join("utcp.h"), read("include/utcp.h")).unwrap();
    let description = read("utcp.pc.in")
        .replace("@PREFIX@", prefix.to_str().unwrap())
        .replace("@LIBDIR@", lib.to_str().unwrap())
        .replace("@INCLUDEDIR@", include.to_str().unwrap())
        .replace("@VERSION@", env!("CARGO_PKG_VERSION"))
        .replace("@LIBS_PRIVATE@", "");
    assert!(!description.contains('@'), "{description}");
    fs::write(lib.join("pkgconfig/utcp.pc"), description).unwrap();
    prefix
}

#[test]
fn the_program_compiles_and_runs() {
    let readme = read("README.md");
    let program = block(&readme, "c", "int main(");
    let commands = block(&readme, "sh", "echo.c");
    let (compile, run) = commands.trim_end().split_once('\n').expect("two commands");
    assert!(compile.starts_with("cc -o echo echo.c "), "{compile}");
    assert_eq!(run, "./echo");
    assert!(readme.contains("it prints `hello, circuit`."));

    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme");
    let _ = fs::remove_dir_all(&scratch);
    fs::create_dir_all(&scratch).unwrap();
    let lib = prefix(&scratch).join("lib");
    fs::write(scratch.join("echo.c"), program).unwrap();
    let shell = |command: &str| {
        let output = Command::new("sh")
            .args(["-ec", command])
            .current_dir(&scratch)
            .env("PKG_CONFIG_PATH", lib.join("pkgconfig"))
            .env("LD_LIBRARY_PATH", &lib)
            .output()
            .unwrap();
        let (said, complained) = (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        );
        assert!(
            output.status.success(),
            "{command}: {}\n{said}{complained}",
            output.status
        );
        assert_eq!(complained, "", "{command}");
        said
    };
    let strict = "cc -std=c11 -Wall -Wextra -Wpedantic -Wshadow -Werror ";
    shell(&compile.replacen("cc ", strict, 1));
    // As it stands there, too: without a standard, and as what a user would run.
    shell(compile);
    // A program that hangs fails.
    assert_eq!(shell(&format!("timeout 120 {run}")), "hello, circuit\n");
}

/// Options of the header with their defaults.
fn options(header: &str) -> Vec<(String, String)> {
    let mut options = Vec::new();
    let mut comment = String::new();
    for line in header.lines() {
        let text = line.trim();
        if text.starts_with("/**") {
            comment.clear();
        } else if let Some(text) = text.strip_prefix("* ") {
            comment += text;
            comment.push(' ');
        } else if let Some(name) = text.strip_prefix("#define UTCP_OPTION_") {
            let name = name.split(' ').next().unwrap();
            let words: Vec<&str> = comment.split_whitespace().collect();
            let default = match words.iter().position(|word| *word == "default") {
                Some(at) => words[at + 1],
                // As in "0 none (default)".
                None => {
                    words[words
                        .iter()
                        .position(|w| w.starts_with("(default)"))
                        .unwrap()
                        - 2]
                }
            };
            options.push((
                format!("UTCP_OPTION_{name}"),
                default.trim_end_matches(['.', ',']).to_owned(),
            ));
        }
    }
    options
}

#[test]
fn options_and_defaults_are_those_of_the_header() {
    let readme = read("README.md");
    let rows: Vec<(String, String)> = readme
        .lines()
        .filter(|line| line.starts_with("| `UTCP_OPTION_"))
        .map(|line| {
            let mut cells = line
                .split('|')
                .skip(1)
                .map(|cell| cell.trim().trim_matches('`'));
            (
                cells.next().unwrap().to_owned(),
                cells.next().unwrap().to_owned(),
            )
        })
        .collect();
    let options = options(&read("include/utcp.h"));
    assert!(options.len() >= 12, "{options:?}");
    assert_eq!(rows, options);
}

/// The anchor that a heading gets: lower case, blanks to hyphens, punctuation dropped.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let mut links = 0;
    for document in [
        "README.md",
        "CONTRIBUTING.md",
        "docs/architecture.md",
        "docs/congestion.md",
        "docs/operators.md",
        "docs/tcp.md",
        "docs/tortp.md",
    ] {
        for link in read(document).split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            if link.contains("://") {
                continue;
            }
            let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => Path::new(ROOT).join(document),
                path => Path::new(ROOT).join(document).with_file_name(path),
            };
            assert!(target.exists(), "{document}: {link}");
            if !fragment.is_empty() {
                let text = fs::read_to_string(&target).unwrap();
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                assert!(
                    headings.any(|line| anchor(line) == fragment),
                    "{document}: {link}"
                );
            }
            links += 1;
        }
    }
    assert!(links > 5);
}
