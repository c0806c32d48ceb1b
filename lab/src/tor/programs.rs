//! Which programs of Tor there are, and where.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

/// A release of Tor that the laboratory can configure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Release {
    /// 0.4.9 and what is near it.
    Modern,
    /// 0.2.0.35, the paper's.
    Old,
}

/// A program of one release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// As its authors release it.
    Vanilla,
    /// With our transport.
    Patched,
}

impl Program {
    /// For names of variants.
    pub fn name(self) -> &'static str {
        match self {
            Program::Vanilla => "vanilla",
            Program::Patched => "patched",
        }
    }
}

/// Where the programs of one release are.
#[derive(Clone, Debug, Default)]
pub struct Programs {
    /// Unpatched.
    pub vanilla: Option<PathBuf>,
    /// Patched.
    pub patched: Option<PathBuf>,
    /// Makes the keys of authorities.
    pub gencert: PathBuf,
}

/// What `demo/run --build-only` says.
#[derive(Deserialize)]
struct Built {
    plain: PathBuf,
    patched: PathBuf,
    gencert: PathBuf,
}

impl Programs {
    /// The programs that were named; `tor-gencert` is beside one of them, or in `../tools` as in a source tree. None if
    /// none was named.
    ///
    /// # Errors
    /// If one is not there.
    pub fn named(
        vanilla: Option<&Path>,
        patched: Option<&Path>,
    ) -> Result<Option<Programs>, Box<dyn Error>> {
        let all: Vec<&Path> = [vanilla, patched].into_iter().flatten().collect();
        let Some(any) = all.first() else {
            return Ok(None);
        };
        for program in &all {
            if !program.is_file() {
                return Err(format!("{}: there is no such program", program.display()).into());
            }
        }
        let gencert = all.iter().find_map(|program| gencert(program));
        let Some(gencert) = gencert else {
            return Err(format!("no tor-gencert beside {} nor in ../tools", any.display()).into());
        };
        let absolute = |path: Option<&Path>| path.map(std::path::absolute).transpose();
        Ok(Some(Programs {
            vanilla: absolute(vanilla)?,
            patched: absolute(patched)?,
            gencert: std::path::absolute(gencert)?,
        }))
    }

    /// Builds what has not been built yet, as the demo does, and says where it is. What the build says is shown.
    ///
    /// # Errors
    /// If it fails.
    pub fn built(project: &Path) -> Result<Programs, Box<dyn Error>> {
        let output = Command::new(project.join("demo/run"))
            .arg("--build-only")
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| format!("demo/run: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            return Err(
                format!("demo/run --build-only: {}\n{}", output.status, text.trim()).into(),
            );
        }
        let line = text.lines().find(|line| line.starts_with('{'));
        let line = line.ok_or("demo/run --build-only does not say where the programs are")?;
        let built: Built = serde_json::from_str(line)?;
        Ok(Programs {
            vanilla: Some(built.plain),
            patched: Some(built.patched),
            gencert: built.gencert,
        })
    }

    /// Where one is.
    pub fn get(&self, program: Program) -> Option<&Path> {
        match program {
            Program::Vanilla => self.vanilla.as_deref(),
            Program::Patched => self.patched.as_deref(),
        }
    }

    /// Any of them: they differ in nothing but the transport between relays.
    pub fn any(&self) -> &Path {
        let any = self.vanilla.as_deref().or(self.patched.as_deref());
        any.expect("there is one, or there are no programs")
    }

    /// What a program says of its version.
    pub fn version(program: &Path) -> Option<String> {
        let output = Command::new(program).arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        // 0.2.0.35 logs before.
        let line = text
            .lines()
            .find(|line| line.contains("Tor version") || line.contains("Tor v"))?;
        let words = line.split_whitespace().find(|word| {
            word.trim_start_matches('v')
                .starts_with(|c: char| c.is_ascii_digit())
                && word.contains('.')
        })?;
        Some(
            words
                .trim_start_matches('v')
                .trim_end_matches('.')
                .to_string(),
        )
    }
}

fn gencert(program: &Path) -> Option<PathBuf> {
    let folder = program.parent()?;
    let places = [
        folder.join("tor-gencert"),
        folder.join("../tools/tor-gencert"),
    ];
    places.into_iter().find(|place| place.is_file())
}
