use manager_core::core::LbTarget;

use super::super::check::Verdict;
use super::super::{Fitness, LbStatus};
use super::Health;

fn target(incarnation: u64) -> LbTarget {
    LbTarget { id: "a/lb-2".to_owned(), incarnation, addr: "10.0.0.2".parse().unwrap() }
}

fn status(incarnation: u64, fitness: Fitness) -> LbStatus {
    LbStatus { target: Some(target(incarnation)), fitness, suspect: false }
}

fn fit() -> Option<(bool, String)> {
    Some((true, "it answers".to_owned()))
}

#[test]
fn both_opinions_are_needed_to_be_fit_and_one_to_be_not() {
    let mut health = Health::default();
    assert_eq!(health.changed(), None, "nobody has spoken");
    health.manager_says(&status(1, Fitness::Fit));
    assert_eq!(health.changed(), None, "not checked yet");
    assert!(health.checked(&target(1), Verdict::Fit));
    assert_eq!(health.changed(), fit());
    assert_eq!(health.changed(), None, "nothing new");
    assert!(health.checked(&target(1), Verdict::Broken("silent".to_owned())));
    assert_eq!(health.changed(), Some((false, "silent".to_owned())));
    assert!(!health.checked(&target(1), Verdict::Broken("reset".to_owned())), "in another way");
    assert!(health.checked(&target(1), Verdict::Fit));
    assert_eq!(health.changed(), fit());
    health.manager_says(&status(1, Fitness::Unfit("its process has ended".to_owned())));
    assert_eq!(health.changed(), Some((false, "its process has ended".to_owned())));
}

#[test]
fn what_was_found_of_one_life_says_nothing_of_the_next() {
    let mut health = Health::default();
    health.manager_says(&status(1, Fitness::Fit));
    health.checked(&target(1), Verdict::Broken("silent".to_owned()));
    assert_eq!(health.changed(), Some((false, "silent".to_owned())));
    health.manager_says(&status(2, Fitness::Fit));
    assert_eq!(health.changed(), None, "the new one was not checked yet");
    assert!(!health.checked(&target(1), Verdict::Fit), "a late answer of the old one");
    assert!(health.checked(&target(2), Verdict::Fit));
    assert_eq!(health.changed(), fit());
}

#[test]
fn what_is_not_known_changes_nothing() {
    let mut health = Health::default();
    health.manager_says(&status(1, Fitness::Unknown));
    health.checked(&target(1), Verdict::Fit);
    assert_eq!(health.changed(), None, "found running, and not asked for its upstreams yet");
    health.manager_says(&status(1, Fitness::Fit));
    assert_eq!(health.changed(), fit());
    health.manager_says(&status(1, Fitness::Unfit("starting".to_owned())));
    assert_eq!(health.changed(), Some((false, "starting".to_owned())));
    health.manager_says(&status(2, Fitness::Unknown));
    health.checked(&target(2), Verdict::Fit);
    assert_eq!(health.changed(), None, "still the same as far as anybody knows");
}
