//! A run's file: written line by line, so that a run that is broken off leaves what it had.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use super::interval::{Interval, interval};
use super::record::{About, Key, Line, Outcome, Series};

/// The file's name in a run's folder.
pub const FILE: &str = "results.jsonl";

/// All lines of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// What it was.
    pub about: About,
    /// What was measured.
    pub outcomes: Vec<Outcome>,
    /// What changed over time.
    pub series: Vec<Series>,
}

impl Run {
    /// Reads the file in `folder`.
    ///
    /// # Errors
    /// What the file system says, or which line is wrong.
    pub fn read(folder: &Path) -> io::Result<Run> {
        let file = folder.join(FILE);
        let wrong = |what: String| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{}: {what}", file.display()),
            )
        };
        let text = fs::read_to_string(&file)
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", file.display())))?;
        let mut run = Run::default();
        for (number, line) in text.lines().enumerate() {
            let line: Line = serde_json::from_str(line)
                .map_err(|e| wrong(format!("line {}: {e}", number + 1)))?;
            match (number, line) {
                (0, Line::About(about)) => run.about = about,
                (0, _) => return Err(wrong("the first line does not say what it is".into())),
                (_, Line::About(_)) => {
                    return Err(wrong(format!("line {}: a second run", number + 1)));
                }
                (_, Line::Outcome(outcome)) => run.outcomes.push(outcome),
                (_, Line::Series(series)) => run.series.push(series),
            }
        }
        if text.is_empty() {
            return Err(wrong("it is empty".into()));
        }
        Ok(run)
    }

    /// The repetitions that count, by what they have in common.
    pub fn groups(&self) -> BTreeMap<Key, Vec<&Outcome>> {
        let mut groups: BTreeMap<Key, Vec<&Outcome>> = BTreeMap::new();
        for outcome in self.outcomes.iter().filter(|o| o.refused.is_none()) {
            groups.entry(outcome.key()).or_default().push(outcome);
        }
        groups
    }

    /// The mean of a figure over the repetitions at `at` that count; coordinates that are not named do not matter.
    pub fn mean(
        &self,
        experiment: &str,
        variant: &str,
        at: &[(&str, f64)],
        figure: &str,
    ) -> Option<Interval> {
        let values: Vec<f64> = self
            .outcomes
            .iter()
            .filter(|o| o.refused.is_none() && o.experiment == experiment && o.variant == variant)
            .filter(|o| at.iter().all(|(name, v)| o.at.get(*name) == Some(v)))
            .filter_map(|o| o.figures.get(figure).copied())
            .collect();
        interval(&values)
    }
}

/// Writes a run's file.
#[derive(Debug)]
pub struct Writer(File);

impl Writer {
    /// Makes `folder` and the file in it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn new(folder: &Path, about: &About) -> io::Result<Writer> {
        fs::create_dir_all(folder)?;
        let mut writer = Writer(File::create(folder.join(FILE))?);
        writer.add(&Line::About(about.clone()))?;
        Ok(writer)
    }

    /// Adds a line.
    ///
    /// # Errors
    /// What the file system says.
    pub fn add(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        self.0.write_all(text.as_bytes())
    }

    /// Adds an outcome.
    ///
    /// # Errors
    /// What the file system says.
    pub fn outcome(&mut self, outcome: Outcome) -> io::Result<()> {
        self.add(&Line::Outcome(outcome))
    }

    /// Adds a series.
    ///
    /// # Errors
    /// What the file system says.
    pub fn series(&mut self, series: Series) -> io::Result<()> {
        self.add(&Line::Series(series))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(variant: &str, loss: f64, repetition: u32, mbit: f64) -> Outcome {
        Outcome {
            experiment: "e".into(),
            variant: variant.into(),
            at: [("loss_percent".to_string(), loss)].into(),
            repetition,
            figures: [("sum_mbit".to_string(), mbit)].into(),
            refused: None,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = std::env::temp_dir().join(format!("utcp-lab-run-{}", std::process::id()));
        let about = About {
            command: vec!["lab".into(), "all".into()],
            seed: 7,
            ..About::default()
        };
        let series = Series {
            experiment: "e".into(),
            points: vec![(0.0, 1.5), (0.25, 2.0)],
            ..Series::default()
        };
        let mut writer = Writer::new(&folder, &about).unwrap();
        writer.outcome(outcome("a", 0.1, 1, 34.0)).unwrap();
        writer.series(series.clone()).unwrap();
        let run = Run::read(&folder).unwrap();
        assert_eq!(run.about, about);
        assert_eq!(run.outcomes, [outcome("a", 0.1, 1, 34.0)]);
        assert_eq!(run.series, [series]);

        fs::write(folder.join(FILE), "{\"kind\":\"outcome\"}\n").unwrap();
        assert!(Run::read(&folder).is_err(), "nothing says what the run is");
        fs::write(folder.join(FILE), "").unwrap();
        assert!(Run::read(&folder).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn means_leave_out_what_was_refused() {
        let mut late = outcome("a", 0.1, 3, 1.0);
        late.refused = Some("the emulator was late".into());
        let run = Run {
            outcomes: vec![
                outcome("a", 0.1, 1, 30.0),
                outcome("a", 0.1, 2, 34.0),
                late,
                outcome("a", 0.0, 1, 99.0),
                outcome("b", 0.1, 1, 99.0),
            ],
            ..Run::default()
        };
        let at = [("loss_percent", 0.1)];
        assert_eq!(run.mean("e", "a", &at, "sum_mbit").unwrap().mean, 32.0);
        assert_eq!(run.mean("e", "a", &at, "other"), None);
        assert_eq!(run.groups().len(), 3);
    }
}
