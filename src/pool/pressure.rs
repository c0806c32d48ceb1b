//! How full the pool is, as the relay hears of it.

/// How much of its budget an endpoint holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Pressure {
    /// Not much.
    #[default]
    Normal = 0,
    /// It was more than half, and has not fallen below three eighths since.
    High = 1,
    /// It was more than seven eighths, and has not fallen below three quarters since.
    Critical = 2,
}

/// In eighths of the budget: above the first it rises, from what is below the second it has fallen again.
const HIGH: (u64, u64) = (4, 3);
/// See [`HIGH`].
const CRITICAL: (u64, u64) = (7, 6);

fn eighths(budget: u64, n: u64) -> u64 {
    // Budgets may be close to the largest number.
    budget / 8 * n + budget % 8 * n / 8
}

/// Follows what is in use. The marks that come next are kept, so that most changes cost a comparison.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gauge {
    budget: u64,
    level: Pressure,
    told: Pressure,
    /// More than this in use: it rises.
    rise: u64,
    /// Less than this in use: it falls.
    fall: u64,
}

impl Gauge {
    pub fn new(budget: u64) -> Gauge {
        let mut gauge = Gauge {
            budget,
            level: Pressure::Normal,
            told: Pressure::Normal,
            rise: 0,
            fall: 0,
        };
        gauge.set_budget(budget, 0);
        gauge
    }

    pub fn set_budget(&mut self, budget: u64, in_use: u64) {
        self.budget = budget;
        self.mark();
        self.follow(in_use);
    }

    fn mark(&mut self) {
        let (rise, fall) = match self.level {
            Pressure::Normal => (eighths(self.budget, HIGH.0), 0),
            Pressure::High => (
                eighths(self.budget, CRITICAL.0),
                eighths(self.budget, HIGH.1),
            ),
            Pressure::Critical => (u64::MAX, eighths(self.budget, CRITICAL.1)),
        };
        self.rise = rise;
        self.fall = fall;
    }

    /// So much is in use now.
    #[inline]
    pub fn follow(&mut self, in_use: u64) {
        if in_use > self.rise || in_use < self.fall {
            self.pass(in_use);
        }
    }

    #[cold]
    fn pass(&mut self, in_use: u64) {
        while in_use > self.rise || in_use < self.fall {
            self.level = match (in_use > self.rise, self.level) {
                (true, Pressure::Normal) | (false, Pressure::Critical) => Pressure::High,
                (true, _) => Pressure::Critical,
                (false, _) => Pressure::Normal,
            };
            self.mark();
        }
    }

    /// It is not what the relay was told last.
    pub fn has_notice(&self) -> bool {
        self.level != self.told
    }

    /// What the relay is to be told.
    pub fn take_notice(&mut self) -> Option<Pressure> {
        let news = self.has_notice().then_some(self.level);
        self.told = self.level;
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(gauge: &mut Gauge, uses: &[u64]) -> Vec<Pressure> {
        uses.iter()
            .filter_map(|&in_use| {
                gauge.follow(in_use);
                gauge.take_notice()
            })
            .collect()
    }

    #[test]
    fn each_mark_is_told_once_on_the_way_up_and_once_well_below() {
        use Pressure::{Critical, High, Normal};
        let mut gauge = Gauge::new(800);
        let none: &[Pressure] = &[];
        assert_eq!(told(&mut gauge, &[0, 400]), none);
        assert_eq!(told(&mut gauge, &[401, 399, 401, 300, 700]), [High]);
        assert_eq!(
            told(&mut gauge, &[701, 650, 720, 600, 599]),
            [Critical, High]
        );
        assert_eq!(told(&mut gauge, &[299, 400, 0]), [Normal]);
        assert_eq!(told(&mut gauge, &[800, 0]), [Critical, Normal]);
    }

    #[test]
    fn what_has_passed_before_it_was_asked_is_not_told() {
        let mut gauge = Gauge::new(800);
        gauge.follow(800);
        gauge.follow(0);
        assert!(!gauge.has_notice());
        assert_eq!(gauge.take_notice(), None);
    }

    #[test]
    fn another_budget_has_other_marks() {
        let mut gauge = Gauge::new(u64::MAX);
        assert_eq!(told(&mut gauge, &[1_000]), []);
        gauge.set_budget(1_000, 1_000);
        assert_eq!(gauge.take_notice(), Some(Pressure::Critical));
        gauge.set_budget(10_000, 1_000);
        assert_eq!(gauge.take_notice(), Some(Pressure::Normal));
        assert_eq!(told(&mut gauge, &[5_000, 5_001]), [Pressure::High]);
    }
}
