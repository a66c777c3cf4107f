use std::time::Duration;

use proptest::prelude::{any, proptest};

use super::{Backoff, FIRST, LAST, STEADY};

fn ms(pauses: impl IntoIterator<Item = Duration>) -> Vec<u128> {
    pauses.into_iter().map(|pause| pause.as_millis()).collect()
}

#[test]
fn doubles_up_to_the_last() {
    let mut backoff = Backoff::new();
    let pauses = (0..8).map(|_| backoff.ended(Duration::ZERO));
    assert_eq!(ms(pauses), [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
}

#[test]
fn starts_over_after_a_steady_run() {
    let mut backoff = Backoff::new();
    let runs = [Duration::ZERO, Duration::ZERO, STEADY, STEADY - Duration::from_millis(1)];
    assert_eq!(ms(runs.map(|ran| backoff.ended(ran))), [100, 200, 100, 200]);
}

proptest! {
    #[test]
    fn every_pause_is_within_the_limits(runs in proptest::collection::vec(any::<u32>(), 0..50)) {
        let mut backoff = Backoff::new();
        for ran in runs {
            let pause = backoff.ended(Duration::from_millis(ran.into()));
            assert!((FIRST..=LAST).contains(&pause));
        }
    }
}
