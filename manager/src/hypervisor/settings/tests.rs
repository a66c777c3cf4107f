use super::*;

type Spoil = fn(&mut Settings);

fn settings(dir: &Path) -> Settings {
    let file = dir.join("file");
    std::fs::write(&file, "x").unwrap();
    Settings {
        uri: "qemu:///system".into(),
        accel: AccelChoice::Auto,
        machine: Machine::Microvm,
        memory_mib: 192,
        vcpus: 1,
        kernel: file.clone(),
        initramfs: file,
        bridge: "phx0".into(),
        node: "host1".into(),
        runtime_dir: "/run/phalanx".into(),
        call_timeout: Duration::from_secs(1),
    }
}

#[test]
fn settings_that_can_never_work_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    settings(dir.path()).check().unwrap();
    let table: [(&str, Spoil); 14] = [
        ("hypervisor.uri", |s| s.uri = String::new()),
        ("hypervisor.memory_mib", |s| s.memory_mib = 63),
        ("hypervisor.memory_mib", |s| s.memory_mib = 65537),
        ("hypervisor.vcpus", |s| s.vcpus = 0),
        ("hypervisor.vcpus", |s| s.vcpus = 17),
        ("hypervisor.call_timeout_ms", |s| s.call_timeout = Duration::ZERO),
        ("node", |s| s.node = "a\nb".into()),
        ("network.bridge", |s| s.bridge = String::new()),
        ("image.kernel", |s| s.kernel = "/nonexistent/vmlinuz".into()),
        ("image.kernel", |s| s.kernel = "vmlinuz".into()),
        ("image.initramfs", |s| s.initramfs = "/".into()),
        ("runtime_dir", |s| s.runtime_dir = "run".into()),
        ("runtime_dir", |s| s.runtime_dir = "/run/a\tb".into()),
        ("runtime_dir", |s| s.runtime_dir = format!("/{}", "x".repeat(60)).into()),
    ];
    for (field, spoil) in table {
        let mut settings = settings(dir.path());
        spoil(&mut settings);
        match settings.check() {
            Err(Error::Invalid { field: at, message }) => assert_eq!(at, field, "{message}"),
            other => panic!("{field}: {other:?}"),
        }
    }
}

#[test]
fn names_are_harmless_as_file_names() {
    for good in ["a", "host1-svc-11-3", "Host.1_x", &"x".repeat(MAX_NAME)] {
        check_name(good).unwrap();
    }
    for bad in ["", ".", "..", "-x", "a/b", "a b", "a\0", "ü", &"x".repeat(MAX_NAME + 1)] {
        check_name(bad).unwrap_err();
    }
}
