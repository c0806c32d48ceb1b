//! Means of repetitions, with Student's t 95 % interval, as in the paper's tables.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// A mean and how far the truth may be from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The mean of the repetitions.
    pub mean: f64,
    /// Half of the 95 % interval; none from a single repetition.
    pub half: Option<f64>,
    /// How many repetitions.
    pub count: usize,
}

/// The interval of `values`; none of nothing, or if one is not a number.
pub fn interval(values: &[f64]) -> Option<Interval> {
    let count = values.len();
    if count == 0 || values.iter().any(|v| !v.is_finite()) {
        return None;
    }
    let n = count as f64;
    let mean = values.iter().sum::<f64>() / n;
    let half = (count > 1).then(|| {
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let t = StudentsT::new(0.0, 1.0, n - 1.0).expect("one degree of freedom or more");
        t.inverse_cdf(0.975) * (variance / n).sqrt()
    });
    Some(Interval { mean, half, count })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_few_repetitions_is_students() {
        // t of 2 degrees of freedom is 4.303; the standard error of 1, 2, 3 is 1/sqrt 3.
        let i = interval(&[1.0, 2.0, 3.0]).unwrap();
        assert_eq!(i.mean, 2.0);
        assert!((i.half.unwrap() - 4.302_652_73 / 3f64.sqrt()).abs() < 1e-6);
    }

    #[test]
    fn one_repetition_has_no_interval_and_none_has_no_mean() {
        assert_eq!(interval(&[5.0]).unwrap().half, None);
        assert_eq!(interval(&[]), None);
        assert_eq!(interval(&[1.0, f64::NAN]), None);
    }
}
