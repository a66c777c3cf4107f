//! What a choice and a new selector cost. Run it in a release build:
//! `cargo test --release policy::select::timing -- --ignored --nocapture`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::tests::{addr, members};
use super::{Balance, Hint, Member, Selector, mix};

const PICKS: usize = 1_000_000;

/// Nanoseconds per pick, and per report of a changed load where one is wanted.
fn ns_per_pick(balance: Balance, members: Vec<Member>, accept: impl Fn(u16) -> bool) -> u128 {
    let mut loads = vec![0u32; members.len()];
    let selector = Selector::new(balance, members, None);
    let keys: Vec<String> = (0..1024).map(|n| format!("/path/of/a/request/{n}")).collect();
    let began = Instant::now();
    for turn in 0..PICKS {
        let hint = Hint { turn, random: mix(turn as u64), key: keys[turn % keys.len()].as_bytes() };
        let picked = selector.pick(&hint, |member| loads[usize::from(member)], &accept);
        let member = picked.expect("some member accepts");
        let load = &mut loads[usize::from(member)];
        // About eight requests in flight to each.
        *load = (*load + 1) % 16;
        selector.changed(member, *load);
        black_box(member);
    }
    began.elapsed().as_nanos() / PICKS as u128
}

/// The time that each of some updates takes: one member leaves, then it, or with `renewed` another one, joins.
fn per_update(balance: Balance, members: &[Member], renewed: bool) -> Duration {
    const ROUNDS: u16 = 100;
    let mut selector = Selector::new(balance, members.to_vec(), None);
    let began = Instant::now();
    for round in 0..ROUNDS {
        let mut rest = members.to_vec();
        let mut joins = rest.remove(usize::from(round) % members.len());
        if renewed {
            joins.addr = addr(10_000 + round);
        }
        selector = Selector::new(balance, rest.clone(), Some(&selector));
        rest.push(joins);
        selector = Selector::new(balance, rest, Some(&selector));
    }
    black_box(&selector);
    began.elapsed() / u32::from(2 * ROUNDS)
}

fn from_scratch(balance: Balance, members: &[Member]) -> Duration {
    const ROUNDS: u32 = 20;
    let began = Instant::now();
    for _ in 0..ROUNDS {
        black_box(Selector::new(balance, members.to_vec(), None));
    }
    began.elapsed() / ROUNDS
}

#[test]
#[ignore = "it measures, and asserts nothing"]
fn costs() {
    let equal = members(&[1; 1000]);
    let mixed = members(&(0..1000).map(|n| 1 + n * 7 % 13).collect::<Vec<_>>());
    let wild = members(&(0..1000).map(|n| 1 + n * 7 % 1000).collect::<Vec<_>>());
    for balance in Balance::ALL {
        let at_3 = ns_per_pick(balance, members(&[1; 3]), |_| true);
        let at_1000 = ns_per_pick(balance, equal.clone(), |_| true);
        let one_out = ns_per_pick(balance, members(&[1; 3]), |member| member != 1);
        let tenth_out = ns_per_pick(balance, equal.clone(), |member| member % 10 != 1);
        println!(
            "{balance}: {at_3} ns at 3, {at_1000} ns at 1000; {one_out} with 1 of 3 out, {tenth_out} with 100 of 1000 out"
        );
        for (name, members) in [("equal", &equal), ("1 to 13", &mixed), ("1 to 1000", &wild)] {
            println!(
                "{balance}, 1000 members, weights {name}: made in {:?}, {:?} an update, {:?} with new members",
                from_scratch(balance, members),
                per_update(balance, members, false),
                per_update(balance, members, true),
            );
        }
    }
}
