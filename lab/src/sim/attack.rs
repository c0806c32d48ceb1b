//! How well a guess separates from chance.

/// Part of the others that score below the right one, ties counted half: 0.5 is chance, 1 is always first (the area
/// under the ROC curve). None without others.
pub fn auc(right: f64, others: &[f64]) -> Option<f64> {
    let points = others.iter().map(|other| match right.total_cmp(other) {
        std::cmp::Ordering::Greater => 1.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Less => 0.0,
    });
    (!others.is_empty()).then(|| points.sum::<f64>() / others.len() as f64)
}

/// How likely it is that the guess, the one with the highest score, is right; those that tie share it.
pub fn first(right: f64, others: &[f64]) -> f64 {
    if others.iter().any(|other| *other > right) {
        return 0.0;
    }
    1.0 / (1 + others.iter().filter(|other| **other == right).count()) as f64
}

/// A density estimated from samples: normal kernels of Silverman's width, but at least `narrowest`.
pub struct Density {
    samples: Vec<f64>,
    width: f64,
}

impl Density {
    /// Of one sample or more.
    pub fn new(samples: Vec<f64>, narrowest: f64) -> Density {
        let n = samples.len() as f64;
        let mean = samples.iter().sum::<f64>() / n;
        let variance = samples.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / n;
        // The smaller of deviation and scaled quartile distance, so that few far away do not blur the rest.
        let spread =
            crate::figures::quantile(&samples, 0.75) - crate::figures::quantile(&samples, 0.25);
        let deviation = match spread / 1.34 {
            s if s > 0.0 => s.min(variance.sqrt()),
            _ => variance.sqrt(),
        };
        Density {
            width: (0.9 * deviation * n.powf(-0.2)).max(narrowest),
            samples,
        }
    }

    /// At `x`, leaving out the sample `without`.
    pub fn at(&self, x: f64, without: usize) -> f64 {
        let used = self
            .samples
            .iter()
            .enumerate()
            .filter(|(n, _)| *n != without);
        let all: f64 = used
            .map(|(_, s)| (-((x - s) / self.width).powi(2) / 2.0).exp())
            .sum();
        // What has never been seen may still be.
        all / self.width + 1e-4
    }
}

/// Bits that a guess gives: by how much more likely than all others the right one was held to be; chance is 0, and
/// to be sure of one of n is log2 n. Below 0 if it misleads.
pub fn bits(right: f64, others: &[f64]) -> f64 {
    let all = right + others.iter().sum::<f64>();
    (right / all * (others.len() + 1) as f64).log2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_are_worth_what_they_separate() {
        assert_eq!(auc(3.0, &[1.0, 2.0]), Some(1.0));
        assert_eq!(auc(1.5, &[1.0, 2.0]), Some(0.5));
        assert_eq!(auc(1.0, &[1.0, 1.0]), Some(0.5));
        assert_eq!(auc(1.0, &[]), None);
        assert_eq!(first(2.0, &[1.0, 2.0]), 0.5);
        assert_eq!(first(2.0, &[3.0]), 0.0);
        assert_eq!(bits(1.0, &[1.0, 1.0, 1.0]), 0.0);
        assert_eq!(bits(1.0, &[0.0, 0.0, 0.0]), 2.0);
        assert!(bits(0.1, &[0.9]) < 0.0);
    }

    #[test]
    fn a_density_is_high_where_samples_are_and_knows_none_that_is_left_out() {
        let density = Density::new(vec![10.0, 10.2, 9.8, 10.1, 50.0], 0.1);
        assert!(density.at(10.0, 9) > 10.0 * density.at(20.0, 9));
        assert!(density.at(50.0, 9) > 100.0 * density.at(50.0, 4));
    }
}
