use manager_core::{Desired, DesiredVm};
use wire::Role;

use super::{Disk, Error, Lock, State};

fn state(boot: u64) -> State {
    let vm = DesiredVm {
        id: "host1/svc-3".to_owned(),
        role: Role::Service,
        addr: "10.77.11.3".parse().unwrap(),
        incarnation: 4,
        removing: false,
    };
    State { boot, desired: Desired { vms: vec![vm], retired: [("10.77.11.4".parse().unwrap(), 7)].into() } }
}

#[test]
fn what_is_stored_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new(&dir.path().join("made/on/demand"));
    assert_eq!(disk.load().unwrap(), State::default());
    for boot in [1, 2] {
        disk.store(&state(boot)).unwrap();
        assert_eq!(disk.load().unwrap(), state(boot));
    }
}

#[test]
fn a_file_that_cannot_be_understood_is_kept_aside() {
    for text in ["", "{", "{\"boot\": 1}", "{\"boot\": -1, \"desired\": {\"vms\": []}}"] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("manager.json"), text).unwrap();
        let disk = Disk::new(dir.path());
        assert_eq!(disk.load().unwrap(), State::default(), "{text}");
        let aside: Vec<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(
            aside[0].file_name().unwrap().to_str().unwrap().starts_with("manager.json.bad-"),
            "{aside:?}"
        );
        assert_eq!(std::fs::read_to_string(&aside[0]).unwrap(), text);
        disk.store(&state(1)).unwrap();
        assert_eq!(disk.load().unwrap(), state(1));
    }
}

#[test]
fn a_newer_programs_file_is_understood_as_far_as_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new(dir.path());
    disk.store(&state(1)).unwrap();
    let path = dir.path().join("manager.json");
    let newer = std::fs::read_to_string(&path).unwrap().replace("\"boot\": 1", "\"boot\": 1, \"new\": true");
    std::fs::write(&path, newer).unwrap();
    assert_eq!(disk.load().unwrap(), state(1));
}

#[test]
fn a_disk_that_cannot_be_read_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("manager.json")).unwrap();
    let error = Disk::new(dir.path()).load().unwrap_err();
    assert!(matches!(error, Error::Io { what: "read", .. }), "{error}");
}

#[test]
fn a_disk_that_refuses_keeps_the_old_state() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new(dir.path());
    disk.store(&state(1)).unwrap();
    // A folder in the temporary file's place stops even root.
    std::fs::create_dir(dir.path().join(".manager.json.new")).unwrap();
    let error = disk.store(&state(2)).unwrap_err();
    assert!(matches!(error, Error::Io { what: "write", .. }), "{error}");
    assert_eq!(disk.load().unwrap(), state(1));
}

#[test]
fn who_is_forgotten_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new(dir.path());
    assert!(disk.load_marks().unwrap().is_empty());
    let marks = crate::cluster::Marks::from([("host3".to_owned(), u64::MAX), ("host2".to_owned(), 0)]);
    disk.store_marks(&marks).unwrap();
    assert_eq!(Disk::new(dir.path()).load_marks().unwrap(), marks);
}

#[test]
fn the_second_manager_is_told_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = dir.path().join("run");
    let first = Lock::acquire(&runtime).unwrap();
    let error = Lock::acquire(&runtime).unwrap_err();
    assert!(error.to_string().contains(&format!("(pid {})", std::process::id())), "{error}");
    drop(first);
    Lock::acquire(&runtime).unwrap();
}

#[test]
fn a_record_with_an_epoch_that_nothing_could_follow_is_kept_aside() {
    use manager_core::vip::{MAX_EPOCH, Record};
    use wire::Ballot;
    for (epoch, believed) in [(MAX_EPOCH, true), (MAX_EPOCH + 1, false)] {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new(dir.path());
        let record = Record { ballot: Some(Ballot { epoch, node: "host1".to_owned() }), owned: true };
        disk.store_vip(&record).unwrap();
        assert_eq!(disk.load_vip().unwrap(), if believed { record } else { Record::default() });
        let aside = std::fs::read_dir(dir.path())
            .unwrap()
            .any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with("vip.json.bad-"));
        assert_eq!(aside, !believed, "epoch {epoch}");
    }
}
