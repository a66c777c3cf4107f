use proptest::prelude::*;

use super::{FIRST_SHARE, FULL_SHARE, admits, share};

#[test]
fn a_straight_line() {
    let row = |age_ms| share(age_ms, 10_000);
    assert_eq!([0, 1000, 5000, 9999, 10_000, u64::MAX].map(row), [100, 190, 550, 999, 1000, 1000]);
    assert_eq!(share(0, 0), 1000, "without slow start all is due at once");
    assert_eq!(share(u64::MAX - 1, u64::MAX), 999);
}

#[test]
fn the_share_is_admitted() {
    for share in [0, 1, FIRST_SHARE, 550, 999, FULL_SHARE] {
        let admitted = (0..100_000u32).filter(|n| admits(share, n.wrapping_mul(0x9e37_79b9))).count();
        let expected = share as usize * 100;
        assert!(admitted.abs_diff(expected) <= 5, "{admitted} of 100000 at {share}");
    }
    assert!(admits(FULL_SHARE, u32::MAX) && admits(1, 0) && !admits(0, 0));
}

proptest! {
    #[test]
    fn it_only_grows(slow_start_ms: u64, age_ms: u64, more: u64) {
        let (young, old) = (share(age_ms, slow_start_ms), share(age_ms.saturating_add(more), slow_start_ms));
        prop_assert!((FIRST_SHARE..=FULL_SHARE).contains(&young));
        prop_assert!(young <= old && old <= FULL_SHARE);
    }
}
