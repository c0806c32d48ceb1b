//! Targets: what a figure has to reach, and whether it does.

/// One target with its figure.
#[derive(Clone, Debug)]
pub struct Target {
    /// What is asked for.
    pub name: String,
    /// What was measured, if it was.
    pub figure: Option<f64>,
    /// What it has to be.
    pub bound: Bound,
}

/// What a figure has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

impl Target {
    /// What was not measured is missed.
    pub fn is_met(&self) -> bool {
        match (self.figure, self.bound) {
            (Some(figure), Bound::AtLeast(bound)) => figure >= bound,
            (Some(figure), Bound::AtMost(bound)) => figure <= bound,
            (None, _) => false,
        }
    }

    /// A line of the table.
    pub fn line(&self) -> String {
        let figure = match self.figure {
            Some(figure) => format!("{figure:8.3}"),
            None => "    none".to_string(),
        };
        let bound = match self.bound {
            Bound::AtLeast(bound) => format!("at least {bound}"),
            Bound::AtMost(bound) => format!("at most {bound}"),
        };
        let verdict = if self.is_met() { "met" } else { "missed" };
        format!("{:<52} {figure}  {bound:<15} {verdict}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(figure: Option<f64>, bound: Bound) -> Target {
        Target {
            name: "delay".into(),
            figure,
            bound,
        }
    }

    #[test]
    fn bounds_include_their_value_and_nothing_measured_is_missed() {
        assert!(target(Some(1.05), Bound::AtMost(1.05)).is_met());
        assert!(!target(Some(1.06), Bound::AtMost(1.05)).is_met());
        assert!(target(Some(1.0), Bound::AtLeast(1.0)).is_met());
        assert!(!target(Some(0.99), Bound::AtLeast(1.0)).is_met());
        assert!(!target(None, Bound::AtMost(1.0)).is_met());
        assert!(!target(Some(f64::NAN), Bound::AtMost(1.0)).is_met());
        assert!(target(None, Bound::AtMost(1.0)).line().ends_with("missed"));
    }
}
