use super::*;

fn running(kind: Kind, now: Instant) -> Unit {
    let mut unit = Unit::new(kind);
    unit.want(now);
    assert!(unit.is_due(now));
    unit.started(7);
    unit
}

#[test]
fn nothing_runs_unasked() {
    let unit = Unit::new(Kind::Manager);
    assert!(!unit.is_due(Instant::now()));
    assert_eq!(unit.next_start(), None);
}

#[test]
fn a_manager_that_ends_is_due_after_the_pause_and_not_before() {
    let now = Instant::now();
    let mut unit = running(Kind::Manager, now);
    unit.ended(now, "signal 9".to_owned());
    assert!(!unit.is_due(now + RESTART_AFTER - Duration::from_millis(1)));
    assert!(unit.is_due(now + RESTART_AFTER));
    assert_eq!(unit.next_start(), Some(now + RESTART_AFTER));
    unit.started(8);
    assert_eq!(unit.view("host1").starts, 2);
    assert_eq!(unit.view("host1").last_exit.as_deref(), Some("signal 9"));
}

#[test]
fn libvirtd_stays_ended_until_it_is_wanted_again() {
    let now = Instant::now();
    let mut unit = running(Kind::Libvirtd, now);
    unit.ended(now, "exit status 1".to_owned());
    assert!(!unit.is_due(now + Duration::from_secs(3600)));
    unit.want(now);
    assert!(unit.is_due(now));
}

#[test]
fn a_manager_that_was_stopped_on_purpose_stays_stopped() {
    let now = Instant::now();
    let mut unit = running(Kind::Manager, now);
    assert_eq!(unit.unwant(), Some(7));
    unit.ended(now, "exit status 0".to_owned());
    assert!(!unit.is_due(now + Duration::from_secs(3600)));
    assert_eq!(unit.unwant(), None);
}

#[test]
fn wanting_what_runs_changes_nothing() {
    let now = Instant::now();
    let mut unit = running(Kind::Manager, now);
    unit.want(now);
    assert!(!unit.is_due(now));
    assert_eq!(unit.pid(), Some(7));
}
