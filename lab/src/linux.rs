//! What Linux's TCP reaches on points of the grid: `data/linux.csv`.

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Mbit/s.
    pub rate: f64,
    /// Milliseconds.
    pub rtt: f64,
    /// Percent, each way.
    pub loss: f64,
    /// Length of the run.
    pub seconds: u64,
    /// cubic or bbr.
    pub control: &'static str,
    /// Mbit/s.
    pub goodput: f64,
}

impl Measured {
    /// Its name in the grid.
    pub fn point(&self) -> String {
        format!("{}/{}/{}", self.rate, self.rtt, self.loss)
    }
}

/// All figures.
pub fn measured() -> Vec<Measured> {
    let lines = include_str!("../data/linux.csv").lines();
    lines
        .filter(|line| !line.starts_with('#'))
        .map(|line| parse(line).unwrap_or_else(|| panic!("linux.csv: {line}")))
        .collect()
}

fn parse(line: &'static str) -> Option<Measured> {
    let mut fields = line.split(',');
    let mut number = || fields.next()?.parse::<f64>().ok();
    Some(Measured {
        rate: number()?,
        rtt: number()?,
        loss: number()?,
        seconds: number()? as u64,
        control: fields.next()?,
        goodput: fields.next()?.parse().ok()?,
    })
}
