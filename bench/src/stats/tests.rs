//! Medians and ratios of pairs.

use proptest::prelude::*;

use super::{Repeated, paired_ratio};

#[test]
fn medians() {
    assert_eq!(Repeated::of([]), None);
    assert_eq!(Repeated::of([1.0, f64::NAN]), None);
    assert_eq!(Repeated::of([3.0]), Some(Repeated { median: 3.0, least: 3.0, most: 3.0 }));
    assert_eq!(Repeated::of([9.0, 1.0, 2.0]), Some(Repeated { median: 2.0, least: 1.0, most: 9.0 }));
    assert_eq!(Repeated::of([4.0, 1.0, 2.0, 9.0]), Some(Repeated { median: 3.0, least: 1.0, most: 9.0 }));
}

#[test]
fn ratios_need_pairs_and_divisors() {
    assert_eq!(paired_ratio(&[1.0], &[1.0, 2.0]), None);
    assert_eq!(paired_ratio(&[1.0], &[0.0]), None);
    assert_eq!(paired_ratio(&[], &[]), None);
    let ratio = paired_ratio(&[1.0, 20.0, 300.0], &[2.0, 10.0, 300.0]);
    assert_eq!(ratio, Some(Repeated { median: 1.0, least: 0.5, most: 2.0 }));
}

proptest! {
    #[test]
    fn half_are_on_either_side(values in prop::collection::vec(-1e6_f64..1e6, 1..50)) {
        let repeated = Repeated::of(values.clone()).unwrap();
        let below = values.iter().filter(|value| **value < repeated.median).count();
        let above = values.iter().filter(|value| **value > repeated.median).count();
        prop_assert!(below <= values.len() / 2 && above <= values.len() / 2);
        prop_assert!(repeated.least <= repeated.median && repeated.median <= repeated.most);
    }

    #[test]
    fn drift_common_to_both_cancels(drifts in prop::collection::vec(0.1_f64..10.0, 1..20), ratio in 0.1_f64..10.0) {
        let numerators: Vec<f64> = drifts.iter().map(|drift| drift * ratio).collect();
        let found = paired_ratio(&numerators, &drifts).unwrap();
        prop_assert!((found.median - ratio).abs() < 1e-9 && (found.most - found.least).abs() < 1e-9);
    }
}
