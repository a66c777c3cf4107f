use super::*;

fn state() -> State {
    State {
        plan: Plan::new("10.77.0.0/16".parse().expect("a network"), 2, 24).expect("a plan"),
        bin_dir: "/opt/bin".into(),
        image_dir: "/opt/image".into(),
        made_dirs: vec!["/etc/phalanx".into()],
        made_netns_dir: true,
        supervisor: Some(Process::current()),
    }
}

#[test]
fn a_saved_state_is_loaded_again() {
    let dir = tempfile::tempdir().expect("a directory");
    assert_eq!(State::load_from(dir.path()).expect("no state"), None);
    state().save_to(dir.path()).expect("saved");
    assert_eq!(State::load_from(dir.path()).expect("loaded"), Some(state()));
}

#[test]
fn a_broken_state_is_an_error_and_not_an_empty_one() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("state.json"), b"{\"plan\":").expect("written");
    assert!(State::load_from(dir.path()).is_err());
}

#[test]
fn a_process_that_reuses_the_pid_is_not_the_supervisor() {
    let mut state = state();
    assert!(state.live_supervisor().is_some());
    state.supervisor = Some(Process { start_ticks: 0, ..Process::current() });
    assert_eq!(state.live_supervisor(), None);
}

#[test]
fn the_lock_is_held_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("lab");
    let lock = Lock::take_at(&root).expect("free");
    let error = Lock::take_at(&root).expect_err("held");
    assert!(error.to_string().contains("another lab command"), "{error}");
    drop(lock);
    Lock::take_at(&root).expect("free again");
}

#[test]
fn a_lock_on_a_removed_directory_does_not_count() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("lab");
    let _old = Lock::take_at(&root).expect("free");
    fs::remove_dir(&root).expect("removed");
    Lock::take_at(&root).expect("a new directory has a new lock");
}
