//! How long a packet propagates: a distribution, and draws from it.

use std::sync::Arc;

use super::link::Nanos;
use crate::rng::Rng;

/// No draw is longer: heavy tails have no end of their own.
pub const LONGEST: Nanos = 60_000_000_000;

/// A distribution of one-way delays. What would be below zero is zero.
#[derive(Clone, Debug, PartialEq)]
pub enum Delay {
    /// Always the same.
    Constant(Nanos),
    /// Uniform within `mean - jitter ..= mean + jitter`.
    Uniform {
        /// The middle.
        mean: Nanos,
        /// Half of the width.
        jitter: Nanos,
    },
    /// Gaussian.
    Normal {
        /// The mean.
        mean: Nanos,
        /// The standard deviation.
        deviation: Nanos,
    },
    /// A quarter of a Gaussian and three quarters of a Pareto variable of shape 3, scaled: most packets are a little early,
    /// a few very late.
    ParetoNormal {
        /// The mean.
        mean: Nanos,
        /// The standard deviation.
        deviation: Nanos,
    },
    /// Quantiles at equal steps from the shortest delay to the longest, with straight lines between them.
    Table(Arc<[Nanos]>),
}

impl Delay {
    /// From measured delays, in any order; `None` if there are none.
    pub fn table(mut delays: Vec<Nanos>) -> Option<Delay> {
        delays.sort_unstable();
        (!delays.is_empty()).then(|| Delay::Table(delays.into()))
    }

    /// The mean, of what is drawn before it is cut off at zero.
    pub fn mean(&self) -> Nanos {
        match self {
            Delay::Constant(mean)
            | Delay::Uniform { mean, .. }
            | Delay::Normal { mean, .. }
            | Delay::ParetoNormal { mean, .. } => *mean,
            Delay::Table(table) if table.len() == 1 => table[0],
            Delay::Table(table) => {
                let sum: u128 = table
                    .windows(2)
                    .map(|w| u128::from(w[0]) + u128::from(w[1]))
                    .sum();
                (sum / 2 / (table.len() as u128 - 1)) as Nanos
            }
        }
    }

    /// Whether every draw is the same.
    pub fn is_constant(&self) -> bool {
        matches!(self, Delay::Constant(_))
    }

    /// The next delay.
    pub fn draw(&self, rng: &mut Rng) -> Nanos {
        let drawn = match self {
            Delay::Constant(delay) => return *delay,
            Delay::Uniform { mean, jitter } => {
                *mean as f64 + (2.0 * unit(rng) - 1.0) * *jitter as f64
            }
            Delay::Normal { mean, deviation } => *mean as f64 + normal(rng) * *deviation as f64,
            Delay::ParetoNormal { mean, deviation } => {
                // Both parts have variance 1; the sum of their squared weights is 10/16.
                let sum = 0.25 * normal(rng) + 0.75 * pareto(rng);
                *mean as f64 + sum / 0.625f64.sqrt() * *deviation as f64
            }
            Delay::Table(table) => {
                let place = unit(rng) * (table.len() - 1) as f64;
                let below = table[place as usize] as f64;
                let above = table[(place as usize + 1).min(table.len() - 1)] as f64;
                below + (above - below) * place.fract()
            }
        };
        // The cast saturates: below zero is zero.
        (drawn as Nanos).min(LONGEST)
    }
}

/// Uniform in `0.0..1.0`, with the 53 bits of a double's precision.
fn unit(rng: &mut Rng) -> f64 {
    (rng.next() >> 11) as f64 / (1u64 << 53) as f64
}

/// Mean 0, variance 1 (Box and Muller). Always two draws.
fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - unit(rng)).ln()).sqrt();
    radius * (std::f64::consts::TAU * unit(rng)).cos()
}

/// Mean 0, variance 1: Pareto of shape 3 from 1 on has mean 3/2 and variance 3/4.
fn pareto(rng: &mut Rng) -> f64 {
    ((1.0 - unit(rng)).powf(-1.0 / 3.0) - 1.5) / 0.75f64.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulate::link::MILLIS;

    /// Mean, standard deviation, shortest and longest of many draws, in milliseconds.
    fn moments(delay: &Delay) -> [f64; 4] {
        const DRAWS: usize = 200_000;
        let mut rng = Rng::new(7, 0);
        let drawn: Vec<f64> = (0..DRAWS)
            .map(|_| delay.draw(&mut rng) as f64 / MILLIS as f64)
            .collect();
        let mean = drawn.iter().sum::<f64>() / DRAWS as f64;
        let variance = drawn.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / DRAWS as f64;
        let fold = |f: fn(f64, f64) -> f64| drawn.iter().copied().reduce(f).expect("some");
        [mean, variance.sqrt(), fold(f64::min), fold(f64::max)]
    }

    fn near(figure: f64, wanted: f64, tolerance: f64) {
        assert!(
            (figure - wanted).abs() <= tolerance,
            "{figure}, not {wanted}"
        );
    }

    #[test]
    fn each_distribution_has_the_moments_that_were_asked_for() {
        let (mean, deviation) = (50 * MILLIS, 5 * MILLIS);
        let [m, d, least, most] = moments(&Delay::Uniform {
            mean,
            jitter: deviation,
        });
        near(m, 50.0, 0.05);
        near(d, 5.0 / 3f64.sqrt(), 0.05);
        assert!((45.0..45.1).contains(&least) && (54.9..=55.0).contains(&most));
        let [m, d, _, _] = moments(&Delay::Normal { mean, deviation });
        near(m, 50.0, 0.1);
        near(d, 5.0, 0.1);
        let [m, d, least, most] = moments(&Delay::ParetoNormal { mean, deviation });
        near(m, 50.0, 0.1);
        // The fourth moment is infinite: the sample's deviation converges slowly.
        near(d, 5.0, 1.0);
        assert!(
            50.0 - least < 20.0 && most - 50.0 > 50.0,
            "a tail to one side: {least} {most}"
        );
        let [m, d, _, _] = moments(&Delay::Constant(mean));
        assert_eq!([m, d], [50.0, 0.0]);
    }

    #[test]
    fn a_table_is_a_list_of_quantiles() {
        let table = Delay::table(vec![30 * MILLIS, 10 * MILLIS, 20 * MILLIS, 60 * MILLIS])
            .expect("not empty");
        // Thirds within 10..20, 20..30 and 30..60.
        let [mean, _, least, most] = moments(&table);
        near(mean, (15.0 + 25.0 + 45.0) / 3.0, 0.1);
        assert_eq!(table.mean() / MILLIS, 28);
        assert!((10.0..10.1).contains(&least) && (59.0..=60.0).contains(&most));
        assert_eq!(Delay::table(vec![]), None);
        assert_eq!(
            moments(&Delay::table(vec![MILLIS]).expect("one"))[..2],
            [1.0, 0.0]
        );
    }

    #[test]
    fn what_would_be_before_now_is_now_and_tails_end() {
        let [_, _, least, _] = moments(&Delay::Normal {
            mean: MILLIS,
            deviation: 5 * MILLIS,
        });
        assert_eq!(least, 0.0);
        let [_, _, _, most] = moments(&Delay::Normal {
            mean: 0,
            deviation: LONGEST,
        });
        assert_eq!(most, (LONGEST / MILLIS) as f64);
    }
}
