//! From repetitions to one number: the median, and the worst beside it.

use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// What repetitions of one measurement gave.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Repeated {
    /// The middle one; of an even number the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub least: f64,
    /// The largest.
    pub most: f64,
}

impl Repeated {
    /// Of these values; none of none, or if one of them is not a number.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        if values.iter().any(|value| value.is_nan()) {
            return None;
        }
        values.sort_unstable_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, least, most })
    }
}

/// The ratios `numerators[i] / denominators[i]` of values that were measured side by side, summed up. Ratios of
/// neighbours hold where absolute values drift: the machine's mood is the same for both.
pub fn paired_ratio(numerators: &[f64], denominators: &[f64]) -> Option<Repeated> {
    if numerators.len() != denominators.len() || denominators.contains(&0.0) {
        return None;
    }
    Repeated::of(numerators.iter().zip(denominators).map(|(numerator, denominator)| numerator / denominator))
}
