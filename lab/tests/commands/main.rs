//! `lab sim`, `lab report` and `lab compare` as they are typed, in their shortest form: one experiment, one seed.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use utcp_lab::page;
use utcp_lab::results::Run;

const LAB: &str = env!("CARGO_BIN_EXE_lab");

/// A folder of the test's own, removed at its end.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn lab(folder: &Folder, arguments: &[&str]) -> Output {
    let mut command = Command::new(LAB);
    let output = command.current_dir(&folder.0).args(arguments).output();
    output.expect("the program is there")
}

fn text(output: &Output) -> String {
    let mut all = String::from_utf8_lossy(&output.stdout).into_owned();
    all.push_str(&String::from_utf8_lossy(&output.stderr));
    all
}

/// Whether a file is a PNG image whose largest part is not one colour: that compresses to almost nothing.
fn is_picture(file: &Path) -> bool {
    let octets = fs::read(file).expect("it was written");
    octets.starts_with(b"\x89PNG\r\n\x1a\n") && octets.len() > 3_000
}

#[test]
fn a_run_becomes_a_page_and_is_no_different_from_itself() {
    let folder = format!("utcp-lab-commands-{}", std::process::id());
    let folder = Folder(std::env::temp_dir().join(folder));
    fs::create_dir_all(&folder.0).unwrap();
    let sim = "sim --quick --only rtt-leak --seeds 1 --losses 0.5 --out run";
    let mut arguments: Vec<&str> = sim.split(' ').collect();
    let transports = ["multiplexed, cubic", "utcp, cubic"];
    for transport in transports {
        arguments.extend(["--transport", transport]);
    }
    let output = lab(&folder, &arguments);
    assert!(output.status.success(), "{}", text(&output));
    let run = Run::read(&folder.0.join("run")).unwrap();
    assert_eq!(run.outcomes.len(), transports.len(), "{}", text(&output));
    for transport in transports {
        let outcome = run.outcomes.iter().find(|o| o.variant == transport);
        let auc = outcome.and_then(|o| o.figures.get("auc_ratio"));
        let auc = *auc.expect("each transport was attacked");
        assert!((0.0..=1.0).contains(&auc), "{transport}: {auc}");
    }

    let output = lab(&folder, &["report", "run", "--out", "own"]);
    assert!(output.status.success(), "{}", text(&output));
    let own = folder.0.join("own");
    let page = fs::read_to_string(own.join(page::INDEX)).unwrap();
    for wanted in ["sim-rtt-leak", sim].iter().chain(&transports) {
        assert!(page.contains(wanted), "{wanted}");
    }
    // Namespaces of SVG are names, not addresses that anything is fetched from.
    let rest = page.replace("http://www.w3.org/2000/svg", "");
    for forbidden in ["http:", "https:", "<script", "src=", "@import", "url("] {
        assert!(!rest.contains(forbidden), "{forbidden}");
    }
    // The program was called by its absolute path.
    let place = Path::new(LAB).parent().unwrap().display().to_string();
    assert!(!place.is_empty() && !page.contains(&place), "{place}");
    let mut files: Vec<PathBuf> = fs::read_dir(own.join(page::CHARTS))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let (pictures, drawings): (Vec<_>, Vec<_>) = files
        .iter()
        .partition(|file| file.extension().is_some_and(|end| end == "png"));
    assert!(!pictures.is_empty());
    assert_eq!(pictures.len(), drawings.len(), "{files:?}");
    for picture in pictures {
        assert!(is_picture(picture), "{}", picture.display());
    }

    let output = lab(&folder, &["compare", "run", "run", "--all"]);
    assert!(output.status.success(), "{}", text(&output));
    let said = text(&output);
    let last = said.lines().last().unwrap_or_default();
    let figures: usize = run.outcomes.iter().map(|o| o.figures.len()).sum();
    assert_eq!(
        last,
        format!("{figures} figures in both, 0 clearly different")
    );
    assert_eq!(said.lines().count(), figures + 1, "{said}");

    let output = lab(&folder, &["report", "nowhere"]);
    assert!(!output.status.success(), "there is nothing to report");
}
