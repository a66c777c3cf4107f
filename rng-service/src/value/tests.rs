//! What must hold of every draw, and the distribution's shape with fixed seeds.

use std::convert::Infallible;

use proptest::prelude::{any, prop_assert, prop_assert_eq, prop_assume, proptest};
use rand::rngs::StdRng;
use rand::{SeedableRng, TryRng};

use super::{Draw, IntRange, Kind, RangeError, RealRange, Value};

/// A generator that always gives the same bits: the extremes that a real one shows once in 2^64.
struct Constant(u64);

impl TryRng for Constant {
    type Error = Infallible;

    #[allow(clippy::cast_possible_truncation)]
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.0 >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.fill(self.0.to_le_bytes()[0]);
        Ok(())
    }
}

fn int(min: i32, max: i32, seed: u64) -> i32 {
    IntRange::new(min, max).expect("a sound range").draw(&mut StdRng::seed_from_u64(seed))
}

proptest! {
    #[test]
    fn an_int_is_within_its_inclusive_range(a: i32, b: i32, seed: u64) {
        let (min, max) = (a.min(b), a.max(b));
        let value = int(min, max, seed);
        prop_assert!((min..=max).contains(&value));
    }

    #[test]
    fn a_range_of_one_int_has_one_answer(only: i32, seed: u64) {
        prop_assert_eq!(int(only, only, seed), only);
    }

    #[test]
    fn a_double_is_within_its_half_open_range(a: f64, b: f64, seed: u64) {
        let Ok(range) = RealRange::<f64>::new(a.min(b), a.max(b)) else { return Ok(()) };
        let value = range.draw(&mut StdRng::seed_from_u64(seed));
        prop_assert!(range.min <= value && value < range.max, "{value} of {range:?}");
    }

    #[test]
    fn a_float_is_within_its_half_open_range(a: f32, b: f32, seed: u64) {
        let Ok(range) = RealRange::<f32>::new(a.min(b), a.max(b)) else { return Ok(()) };
        let value = range.draw(&mut StdRng::seed_from_u64(seed));
        prop_assert!(range.min <= value && value < range.max, "{value} of {range:?}");
    }

    #[test]
    fn neighbours_are_a_range_of_one_double(min: f64, seed: u64) {
        prop_assume!(min.is_finite() && min.next_up().is_finite());
        let range = RealRange::<f64>::new(min, min.next_up()).expect("a sound range");
        prop_assert_eq!(range.draw(&mut StdRng::seed_from_u64(seed)), min);
    }

    #[test]
    fn neighbours_are_a_range_of_one_float(min: f32, seed: u64) {
        prop_assume!(min.is_finite() && min.next_up().is_finite());
        let range = RealRange::<f32>::new(min, min.next_up()).expect("a sound range");
        prop_assert_eq!(range.draw(&mut StdRng::seed_from_u64(seed)), min);
    }

    #[test]
    fn rounding_never_reaches_max(a in any::<f64>(), b in any::<f64>(), c in any::<f32>(), d in any::<f32>()) {
        if let Ok(range) = RealRange::<f64>::new(a.min(b), a.max(b)) {
            let value = range.draw(&mut Constant(u64::MAX));
            prop_assert!(range.min <= value && value < range.max, "{value} of {range:?}");
        }
        if let Ok(range) = RealRange::<f32>::new(c.min(d), c.max(d)) {
            let value = range.draw(&mut Constant(u64::MAX));
            prop_assert!(range.min <= value && value < range.max, "{value} of {range:?}");
        }
    }

    #[test]
    fn a_float_is_written_in_its_shortest_form_and_reads_back(seed: u64) {
        let range = RealRange::<f32>::new(0.0, 1.0).expect("a sound range");
        let value = range.draw(&mut StdRng::seed_from_u64(seed));
        let json = serde_json::to_string(&Value::Float(value)).expect("a number");
        prop_assert_eq!(json.parse::<f32>().expect("a float"), value);
        prop_assert!((0.0..1.0).contains(&json.parse::<f64>().expect("a double")), "{json}");
        prop_assert!(json.len() <= 14, "{json}: as an f64 it would have up to 20 characters");
    }
}

#[test]
fn the_largest_unit_values_are_written_below_one() {
    let float = Draw::Float(RealRange::<f32>::new(0.0, 1.0).expect("sound")).draw(&mut Constant(u64::MAX));
    assert_eq!(serde_json::to_string(&float).expect("a number"), "0.99999994");
    let double = Draw::Double(RealRange::<f64>::new(0.0, 1.0).expect("sound")).draw(&mut Constant(u64::MAX));
    assert_eq!(serde_json::to_string(&double).expect("a number"), "0.9999999999999999");
}

#[test]
fn the_whole_range_of_ints_is_reached() {
    let whole = IntRange::new(i32::MIN, i32::MAX).expect("a sound range");
    assert_eq!(whole.draw(&mut Constant(0)), 0);
    assert_eq!(whole.draw(&mut Constant(u64::MAX)), -1);
    assert_eq!(whole.draw(&mut Constant(0x8000_0000 << 32)), i32::MIN);
    assert_eq!(whole.draw(&mut Constant(0x7fff_ffff << 32)), i32::MAX);
    let all_but_one = IntRange::new(i32::MIN, i32::MAX - 1).expect("a sound range");
    assert_eq!(all_but_one.draw(&mut Constant(u64::MAX)), i32::MAX - 1);
}

#[test]
fn unsound_ranges_are_refused() {
    assert_eq!(IntRange::new(1, 0), None);
    let cases = [
        (1.0, 1.0, RangeError::Empty),
        (0.0, -0.0, RangeError::Empty),
        (2.0, 1.0, RangeError::Empty),
        (f64::NAN, 1.0, RangeError::NotFinite),
        (0.0, f64::INFINITY, RangeError::NotFinite),
        (f64::MIN, f64::MAX, RangeError::TooWide),
    ];
    for (min, max, error) in cases {
        assert_eq!(RealRange::<f64>::new(min, max), Err(error), "{min} to {max}");
    }
    assert_eq!(RealRange::<f32>::new(f32::MIN, f32::MAX), Err(RangeError::TooWide));
}

/// Pearson's statistic against a uniform expectation.
fn chi_square(counts: &[u32]) -> f64 {
    let expected =
        f64::from(counts.iter().sum::<u32>()) / f64::from(u32::try_from(counts.len()).expect("few"));
    counts.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum()
}

/// Draws 20000 times and counts into 10 bins. With 9 degrees of freedom, 40 is exceeded once in 100000.
fn assert_uniform(what: &str, mut bin: impl FnMut(&mut StdRng) -> usize) {
    for seed in 0..16 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut counts = [0; 10];
        for _ in 0..20_000 {
            counts[bin(&mut rng)] += 1;
        }
        let statistic = chi_square(&counts);
        assert!(statistic < 40.0, "{what}, seed {seed}: {counts:?} gives {statistic}");
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn tenth(part: f64) -> usize {
    (part * 10.0) as usize
}

#[test]
fn ints_are_uniform_over_a_small_range() {
    let range = IntRange::new(-5, 4).expect("a sound range");
    assert_uniform("-5 to 4", |rng| usize::try_from(range.draw(rng) + 5).expect("within range"));
}

#[test]
fn ints_are_uniform_where_a_modulo_would_favour_low_values() {
    // 3 * 2^30 values: `next_u32() % count` would give the lowest third twice the weight.
    let range =
        IntRange::new(i32::MIN, i32::MIN.wrapping_add_unsigned((3 << 30) - 1)).expect("a sound range");
    assert_uniform("3 * 2^30 values", |rng| {
        let offset = i64::from(range.draw(rng)) - i64::from(i32::MIN);
        usize::try_from(offset * 10 / (3 << 30)).expect("within range")
    });
}

#[test]
fn ints_are_uniform_over_the_whole_range() {
    let range = IntRange::new(i32::MIN, i32::MAX).expect("a sound range");
    assert_uniform("all", |rng| {
        let offset = i64::from(range.draw(rng)) - i64::from(i32::MIN);
        usize::try_from(offset * 10 / (1 << 32)).expect("within range")
    });
}

#[test]
fn reals_are_uniform() {
    let unit = RealRange::<f64>::new(0.0, 1.0).expect("a sound range");
    assert_uniform("double", |rng| tenth(unit.draw(rng)));
    let shifted = RealRange::<f64>::new(-3.0, 7.0).expect("a sound range");
    assert_uniform("double from -3 to 7", |rng| tenth((shifted.draw(rng) + 3.0) / 10.0));
    let unit = RealRange::<f32>::new(0.0, 1.0).expect("a sound range");
    assert_uniform("float", |rng| tenth(f64::from(unit.draw(rng))));
}

#[test]
fn both_bools_are_equally_likely() {
    let mut rng = StdRng::seed_from_u64(7);
    let mut yes = 0;
    for _ in 0..20_000 {
        match Draw::Bool.draw(&mut rng) {
            Value::Bool(value) => yes += u32::from(value),
            other => panic!("{other:?}"),
        }
    }
    assert!((9_700..10_300).contains(&yes), "{yes} of 20000");
}

#[test]
fn a_draw_knows_its_kind() {
    let int = IntRange::new(0, 1).expect("a sound range");
    assert_eq!(Draw::Bool.kind(), Kind::Bool);
    assert_eq!(Draw::Int(int).kind(), Kind::Int);
    assert_eq!(Kind::Double.as_str(), "double");
}
