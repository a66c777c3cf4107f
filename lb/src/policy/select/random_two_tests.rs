use proptest::prelude::*;

use super::super::mix;
use super::super::tests::{members, weights};
use super::{RandomTwo, coprime, gcd};

/// How many of `picks` each member gets, with these loads.
fn counts(weights: &[u32], loads: &[u32], picks: u32) -> Vec<u32> {
    let two = RandomTwo::new(&members(weights));
    let mut counts = vec![0; weights.len()];
    for n in 0..picks {
        let picked = two.pick(mix(n.into()), |member| loads[usize::from(member)], |_| true);
        counts[usize::from(picked.unwrap())] += 1;
    }
    counts
}

#[test]
fn idle_members_get_their_weights() {
    let weights = [1, 2, 3, 10];
    for (got, weight) in counts(&weights, &[0; 4], 160_000).into_iter().zip(weights) {
        assert!(got.abs_diff(weight * 10_000) < 500, "{got} at weight {weight}");
    }
}

#[test]
fn of_two_the_less_loaded_always() {
    assert_eq!(counts(&[1, 1], &[3, 2], 1000), [0, 1000]);
    assert_eq!(counts(&[10, 1], &[9, 1], 1000), [1000, 0], "by weight");
    assert_eq!(counts(&[1000, 1], &[1000, 0], 1000), [0, 1000], "both are drawn, however light one is");
}

#[test]
fn the_most_loaded_of_many_gets_nothing_and_the_least_loaded_two_draws_worth() {
    let loads = [4, 1, 9, 3, 2, 5, 6, 7, 8, 10];
    let counts = counts(&[1; 10], &loads, 90_000);
    for (got, load) in counts.iter().zip(loads) {
        // Of the 90 pairs in order, those with this member and a more loaded one: 2 * (10 - load).
        let expected = 2 * (10 - load) * 1000;
        assert!(got.abs_diff(expected) < 600, "{got}, not {expected}, at load {load}");
    }
    assert_eq!(counts[9], 0);
}

#[test]
fn nobody_runs_away_with_the_load() {
    // Balls into bins: with two choices the fullest has about ln ln n / ln 2 more than the mean.
    let two = RandomTwo::new(&members(&[1; 1000]));
    let mut loads = vec![0u32; 1000];
    for n in 0..10_000u64 {
        let picked = two.pick(mix(n), |member| loads[usize::from(member)], |_| true).unwrap();
        loads[usize::from(picked)] += 1;
    }
    assert!(loads.iter().max() <= Some(&14), "{:?}", loads.iter().max());
}

#[test]
fn heavy_losses_do_not_fall_on_one_neighbour() {
    // All but four of a hundred are out, three of the four beside each other.
    let two = RandomTwo::new(&members(&[1; 100]));
    let mut counts = [0u32; 100];
    for n in 0..40_000 {
        let picked = two.pick(mix(n), |_| 0, |member| [50, 51, 52, 99].contains(&member)).unwrap();
        counts[usize::from(picked)] += 1;
    }
    for member in [50, 51, 52, 99] {
        assert!(counts[member].abs_diff(10_000) < 1500, "{}: {}", member, counts[member]);
    }
}

proptest! {
    #[test]
    fn the_second_is_another_and_never_better_than_the_pick(
        weights in weights(2..30),
        loads in prop::collection::vec(0u32..5, 30),
        random: u64,
    ) {
        let two = RandomTwo::new(&members(&weights));
        let mut offered = Vec::new();
        two.pick(random, |member| loads[usize::from(member)], |member| {
            offered.push(usize::from(member));
            offered.len() == 2
        });
        let (first, second) = (offered[0], offered[1]);
        prop_assert_ne!(first, second);
        let load = |one: usize, by: usize| u64::from(loads[one]) * u64::from(weights[by]);
        prop_assert!(load(first, second) <= load(second, first));
    }

    #[test]
    fn a_step_reaches_all(n in 1usize..2000, from in 0usize..2000) {
        let step = coprime(n, from % n);
        prop_assert!(step >= 1 && gcd(step, n) == 1);
    }
}
