//! What a random value is, and how one is drawn: pure functions of a generator and a range.
//!
//! Bounds are checked before they get here (see [`crate::query`]); a [`Draw`] can only be made from a range
//! that holds at least one value. Nothing here reads a clock, an address or the operating system.

use rand::{Rng, RngExt};
use serde::Serialize;

#[cfg(test)]
mod tests;

/// Which type of value a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A 32-bit signed integer.
    Int,
    /// A 32-bit floating-point number.
    Float,
    /// A 64-bit floating-point number.
    Double,
}

impl Kind {
    /// The word used in paths, JSON and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Float => "float",
            Self::Double => "double",
        }
    }
}

/// A value that was drawn. Its JSON form is the bare literal; reals print in the shortest form that reads
/// back as the same number of their own type.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// Of kind `bool`.
    Bool(bool),
    /// Of kind `int`.
    Int(i32),
    /// Of kind `float`.
    Float(f32),
    /// Of kind `double`.
    Double(f64),
}

/// What to draw: a kind and a range that is known to be sound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Draw {
    /// Both values equally likely.
    Bool,
    /// Each integer of the range equally likely.
    Int(IntRange),
    /// Uniform over the range.
    Float(RealRange<f32>),
    /// Uniform over the range.
    Double(RealRange<f64>),
}

impl Draw {
    /// The kind of the value that will come out.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Bool => Kind::Bool,
            Self::Int(_) => Kind::Int,
            Self::Float(_) => Kind::Float,
            Self::Double(_) => Kind::Double,
        }
    }

    /// Draws one value.
    pub fn draw<R: Rng + ?Sized>(&self, rng: &mut R) -> Value {
        match self {
            Self::Bool => Value::Bool(rng.random()),
            Self::Int(range) => Value::Int(range.draw(rng)),
            Self::Float(range) => Value::Float(range.draw(rng)),
            Self::Double(range) => Value::Double(range.draw(rng)),
        }
    }
}

/// Integers from `min` to `max`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntRange {
    min: i32,
    max: i32,
}

impl IntRange {
    /// None if no integer lies between the bounds, that is if `min > max`.
    pub const fn new(min: i32, max: i32) -> Option<Self> {
        if min <= max { Some(Self { min, max }) } else { None }
    }

    /// Draws without bias: a draw that would favour the low values is thrown away and repeated
    /// (D. Lemire, "Fast Random Integer Generation in an Interval", 2019).
    fn draw<R: Rng + ?Sized>(self, rng: &mut R) -> i32 {
        // The distance of two i32 always fits a u32; the count of values may be 2^32 and not fit.
        let Some(count) = self.max.abs_diff(self.min).checked_add(1) else {
            return rng.next_u32().cast_signed();
        };
        let rejected_below = count.wrapping_neg() % count;
        loop {
            let product = u64::from(rng.next_u32()) * u64::from(count);
            let [high, low] = halves(product);
            if low >= rejected_below {
                return self.min.wrapping_add_unsigned(high);
            }
        }
    }
}

#[allow(clippy::cast_possible_truncation)] // splitting is the purpose
const fn halves(wide: u64) -> [u32; 2] {
    [(wide >> 32) as u32, wide as u32]
}

/// Reals from `min` (included) to `max` (not included).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RealRange<T> {
    min: T,
    max: T,
}

/// Why two numbers are no range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeError {
    /// `min >= max`: there is nothing to draw.
    Empty,
    /// A bound is NaN or infinite.
    NotFinite,
    /// `max - min` is beyond the largest number of the type.
    TooWide,
}

/// Rounding may carry a draw up to `max` itself. Such a draw is repeated, this many times at most: in the
/// worst case (one value in the range) half of all draws are repeated, so the end is reached once in 2^64.
const REDRAWS: u32 = 64;

macro_rules! real_range {
    ($real:ty, $unit:ident) => {
        impl RealRange<$real> {
            /// A range that holds at least one number.
            ///
            /// # Errors
            /// See [`RangeError`].
            pub fn new(min: $real, max: $real) -> Result<Self, RangeError> {
                if !min.is_finite() || !max.is_finite() {
                    Err(RangeError::NotFinite)
                } else if min >= max {
                    Err(RangeError::Empty)
                } else if !(max - min).is_finite() {
                    Err(RangeError::TooWide)
                } else {
                    Ok(Self { min, max })
                }
            }

            fn draw<R: Rng + ?Sized>(self, rng: &mut R) -> $real {
                for _ in 0..REDRAWS {
                    let value = $unit(rng) * (self.max - self.min) + self.min;
                    if value < self.max {
                        return value;
                    }
                }
                self.max.next_down()
            }
        }
    };
}

real_range!(f32, unit_f32);
real_range!(f64, unit_f64);

/// A multiple of 2^-24 in `[0, 1)`: every one is exact, so none is rounded up to 1.
#[allow(clippy::cast_precision_loss)] // 24 bits are what an f32 holds
fn unit_f32<R: Rng + ?Sized>(rng: &mut R) -> f32 {
    (rng.next_u32() >> 8) as f32 * (1.0 / (1_u32 << 24) as f32)
}

/// A multiple of 2^-53 in `[0, 1)`: every one is exact, so none is rounded up to 1.
#[allow(clippy::cast_precision_loss)] // 53 bits are what an f64 holds
fn unit_f64<R: Rng + ?Sized>(rng: &mut R) -> f64 {
    (rng.next_u64() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
}
