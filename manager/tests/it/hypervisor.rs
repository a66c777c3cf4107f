//! The hypervisor part against a real libvirtd and real QEMUs. The VMs run a kernel that does nothing.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use manager::hypervisor::guest::{self, GuestPort};
use manager::hypervisor::{
    AccelChoice, DomainMeta, DomainSpec, Error, Hypervisor, Machine, RunningDomain, Settings, exited,
};
use manager::net::vm_mac;
use wire::{FromGuest, Role};

use crate::libvirtd::{Libvirtd, PATIENCE, idle_kernel, send, skip, wait_for};

fn settings(libvirtd: &Libvirtd) -> Settings {
    let kernel = idle_kernel(libvirtd.dir());
    Settings {
        uri: libvirtd.uri(),
        accel: AccelChoice::Tcg,
        machine: Machine::Microvm,
        memory_mib: 64,
        vcpus: 1,
        initramfs: kernel.clone(),
        kernel,
        bridge: "phx0".into(),
        node: "host1".into(),
        runtime_dir: libvirtd.dir().join("vm"),
        call_timeout: PATIENCE,
    }
}

async fn open(settings: Settings) -> Hypervisor {
    Hypervisor::open(settings).await.expect("open")
}

fn spec(octet: u8, incarnation: u64) -> DomainSpec {
    let addr = Ipv4Addr::new(10, 77, 11, octet);
    let meta = DomainMeta {
        node: "host1".into(),
        id: format!("host1/svc-{octet}"),
        role: Role::Service,
        addr,
        incarnation,
    };
    DomainSpec { name: format!("host1-svc-{octet}-{incarnation}"), meta, mac: vm_mac(addr, incarnation) }
}

fn virsh(libvirtd: &Libvirtd, args: &[&str]) -> String {
    let output = Command::new("virsh").args(["-c", &libvirtd.uri()]).args(args).output();
    let output = output.expect("virsh (package libvirt-clients)");
    assert!(output.status.success(), "virsh {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Lists until libvirtd answers again.
async fn list_again(hypervisor: &Hypervisor) -> Vec<RunningDomain> {
    let healed = async {
        loop {
            match hypervisor.list().await {
                Ok(domains) => break domains,
                Err(Error::Unreachable { .. } | Error::Timeout { .. } | Error::Busy { .. }) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(e) => panic!("{e}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, healed).await.expect("it heals")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vms_life() {
    let Some(libvirtd) = Libvirtd::start() else { return };
    let hypervisor = open(settings(&libvirtd)).await;
    assert_eq!(hypervisor.list().await.unwrap(), []);

    let first = hypervisor.create(spec(11, 1)).await.unwrap();
    let second = hypervisor.create(spec(12, 7)).await.unwrap();
    assert_eq!((&first.name, &first.meta), (&spec(11, 1).name, &spec(11, 1).meta));
    let cmdline = std::fs::read_to_string(format!("/proc/{}/cmdline", first.process.pid)).unwrap();
    assert!(cmdline.contains("guest=host1-svc-11-1,") && cmdline.contains("microvm"), "{cmdline}");
    assert!(cmdline.contains("tsc_early_khz=") && cmdline.contains("02:01:0a:4d:0b:0b"), "{cmdline}");
    assert!(virsh(&libvirtd, &["list", "--transient"]).contains("host1-svc-11-1"));
    assert!(hypervisor.console_log(&first.name).exists());
    guest::connect(&hypervisor.guest_socket(&first.name)).await.expect("QEMU listens");

    assert!(
        matches!(hypervisor.create(spec(11, 1)).await, Err(Error::NameTaken(name)) if name == first.name)
    );
    let mut listed = hypervisor.list().await.unwrap();
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(listed, [first.clone(), second.clone()], "the first one is unharmed");

    // A restarted manager knows them again; another node's sees none of them.
    let restarted = open(settings(&libvirtd)).await;
    let mut adopted = restarted.list().await.unwrap();
    adopted.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(adopted, [first.clone(), second.clone()]);
    let other = open(Settings { node: "host2".into(), ..settings(&libvirtd) }).await;
    assert_eq!(other.list().await.unwrap(), []);
    assert!(matches!(other.destroy(&first.name, None).await, Err(Error::NotOurs(_))));

    let death = tokio::spawn(exited(first.process));
    assert!(!death.is_finished());
    restarted.destroy(&first.name, None).await.unwrap();
    death.await.unwrap().unwrap();
    assert!(!hypervisor.guest_socket(&first.name).exists());
    assert!(hypervisor.console_log(&first.name).exists(), "the log of its death stays");
    assert_eq!(hypervisor.list().await.unwrap(), std::slice::from_ref(&second));
    hypervisor.destroy(&first.name, Some(first.process)).await.expect("gone is fine");
    hypervisor.destroy("host1-never-was", None).await.expect("never been is fine, too");

    // Somebody kills QEMU: seen at once, and the name can be used again when libvirt has noticed.
    send("KILL", second.process.pid);
    exited(second.process).await.unwrap();
    hypervisor.destroy(&second.name, Some(second.process)).await.unwrap();
    let again = hypervisor.create(spec(12, 7)).await.unwrap();
    assert_ne!(again.process, second.process);
    hypervisor.destroy(&again.name, Some(again.process)).await.unwrap();
    assert_eq!(hypervisor.list().await.unwrap(), []);
    hypervisor.sweep().await.unwrap();
    assert_eq!(virsh(&libvirtd, &["list", "--all", "--name"]).trim(), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn domains_of_others_are_left_alone() {
    let Some(libvirtd) = Libvirtd::start() else { return };
    let hypervisor = open(settings(&libvirtd)).await;
    let kernel = idle_kernel(libvirtd.dir());
    let path = libvirtd.dir().join("theirs.xml");
    let xml = format!(
        "<domain type='qemu'><name>theirs</name><memory unit='MiB'>64</memory>\
         <metadata><x:app xmlns:x='urn:x'><x:vm node='host1'/></x:app></metadata>\
         <os><type machine='microvm'>hvm</type><kernel>{}</kernel></os>\
         <devices><controller type='usb' model='none'/><memballoon model='none'/></devices></domain>",
        kernel.display()
    );
    std::fs::write(&path, xml).unwrap();
    virsh(&libvirtd, &["create", path.to_str().unwrap()]);

    assert_eq!(hypervisor.list().await.unwrap(), []);
    assert!(
        matches!(hypervisor.destroy("theirs", None).await, Err(Error::NotOurs(name)) if name == "theirs")
    );
    let same_name = DomainSpec { name: "theirs".into(), ..spec(11, 1) };
    assert!(matches!(hypervisor.create(same_name).await, Err(Error::NameTaken(_))));
    hypervisor.sweep().await.unwrap();
    assert!(virsh(&libvirtd, &["list"]).contains("theirs"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_arguments_and_libvirts_refusals_are_told() {
    let Some(libvirtd) = Libvirtd::start() else { return };
    let hypervisor = open(settings(&libvirtd)).await;
    for name in ["", "../x", "a b"] {
        let bad = DomainSpec { name: name.into(), ..spec(11, 1) };
        assert!(
            matches!(hypervisor.create(bad).await, Err(Error::Invalid { field: "name", .. })),
            "{name:?}"
        );
    }
    let mut foreign = spec(11, 1);
    foreign.meta.node = "host2".into();
    assert!(matches!(hypervisor.create(foreign).await, Err(Error::Invalid { field: "meta.node", .. })));

    let no_bridge = open(Settings { bridge: "nope0".into(), ..settings(&libvirtd) }).await;
    let error = no_bridge.create(spec(11, 1)).await.unwrap_err();
    assert!(matches!(&error, Error::Refused { .. }) && error.to_string().contains("nope0"), "{error}");

    let no_kernel = settings(&libvirtd);
    std::fs::write(&no_kernel.kernel, "this is no kernel").unwrap();
    let error = hypervisor.create(spec(11, 1)).await.unwrap_err();
    assert!(matches!(&error, Error::Refused { .. } | Error::Vanished(_)), "{error}");
    assert_eq!(hypervisor.list().await.unwrap(), [], "nothing is left of it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vms_outlive_libvirtd_and_can_be_ended_without_it() {
    let Some(mut libvirtd) = Libvirtd::start() else { return };
    let hypervisor = open(settings(&libvirtd)).await;
    let doomed = hypervisor.create(spec(11, 1)).await.unwrap();
    let known = hypervisor.create(spec(12, 1)).await.unwrap();
    let survivor = hypervisor.create(spec(13, 1)).await.unwrap();

    libvirtd.stop_daemon();
    assert!(matches!(hypervisor.list().await, Err(Error::Unreachable { .. })));
    assert!(matches!(hypervisor.create(spec(14, 1)).await, Err(Error::Unreachable { .. })));
    hypervisor.destroy(&doomed.name, Some(doomed.process)).await.expect("killed all the same");
    exited(doomed.process).await.unwrap();
    hypervisor.destroy(&known.name, None).await.expect("its process is remembered");
    exited(known.process).await.unwrap();
    let stranger = open(settings(&libvirtd)).await;
    assert!(matches!(stranger.destroy(&survivor.name, None).await, Err(Error::Unreachable { .. })));

    libvirtd.start_daemon();
    assert_eq!(
        list_again(&hypervisor).await,
        std::slice::from_ref(&survivor),
        "the same process, and the dead are gone"
    );
    assert_eq!(list_again(&stranger).await, std::slice::from_ref(&survivor));
    let next = hypervisor.create(spec(11, 2)).await.unwrap();
    for domain in [next, survivor] {
        hypervisor.destroy(&domain.name, Some(domain.process)).await.unwrap();
    }
    assert_eq!(hypervisor.list().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_libvirtd_holds_nobody_up() {
    let Some(libvirtd) = Libvirtd::start() else { return };
    let hypervisor = open(settings(&libvirtd)).await;
    let doomed = hypervisor.create(spec(11, 1)).await.unwrap();
    let impatient = open(Settings { call_timeout: Duration::from_millis(300), ..settings(&libvirtd) }).await;
    list_again(&impatient).await;

    libvirtd.signal("STOP");
    // More callers than there are threads for calls: none of them waits for long, and all get an answer.
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let impatient = impatient.clone();
        callers.spawn(async move { impatient.list().await });
    }
    let mut late = 0;
    while let Some(result) = callers.join_next().await {
        match result.unwrap() {
            Err(Error::Timeout { .. }) => late += 1,
            Err(Error::Busy { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(late > 0 && late < 40, "some were tried, and not all: {late}");
    impatient.destroy(&doomed.name, Some(doomed.process)).await.expect("killed all the same");
    exited(doomed.process).await.unwrap();

    libvirtd.signal("CONT");
    assert_eq!(list_again(&impatient).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_that_starts_too_late_is_ended_again() {
    let Some(libvirtd) = Libvirtd::start() else { return };
    let hypervisor = open(settings(&libvirtd)).await;
    let impatient = open(Settings { call_timeout: Duration::from_millis(300), ..settings(&libvirtd) }).await;
    list_again(&impatient).await;
    libvirtd.signal("STOP");
    assert!(matches!(impatient.create(spec(11, 1)).await, Err(Error::Timeout { .. })));
    libvirtd.signal("CONT");
    let log = libvirtd.dir().join("log/qemu/host1-svc-11-1.log");
    wait_for("the domain's start and end", || {
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        (log.contains("starting up") && log.contains("shutting down")).then_some(())
    });
    assert_eq!(hypervisor.list().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_qemu_is_destroyed() {
    let Some(libvirtd) = Libvirtd::start() else { return };
    let hypervisor = open(settings(&libvirtd)).await;
    for (octet, hint) in [(11, true), (12, false)] {
        let domain = hypervisor.create(spec(octet, 1)).await.unwrap();
        send("STOP", domain.process.pid);
        let destroyer = if hint { hypervisor.clone() } else { open(settings(&libvirtd)).await };
        destroyer.destroy(&domain.name, hint.then_some(domain.process)).await.unwrap();
        exited(domain.process).await.unwrap();
    }
    assert_eq!(hypervisor.list().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_survived_or_named_and_heals_with_it() {
    let Some(libvirtd) = Libvirtd::start() else { return };
    let hypervisor = open(settings(&libvirtd)).await;
    let before = hypervisor.create(spec(11, 1)).await.unwrap();
    let shell = |script: String| {
        let status = libvirtd.inside("sh").args(["-c", &script]).status().unwrap();
        assert!(status.success(), "{script}");
    };
    let fill = |place: &str| {
        shell(format!(
            "mount -t tmpfs -o size=64k none {place} && mkdir -p {place}/qemu && \
             {{ dd if=/dev/zero of={place}/fill bs=4k 2>/dev/null; test -s {place}/fill; }}"
        ));
    };
    for place in ["/etc/libvirt", "/var/log/libvirt", "/var/cache/libvirt"] {
        fill(place);
        let domain = hypervisor.create(spec(12, 1)).await.unwrap_or_else(|e| panic!("full {place}: {e}"));
        hypervisor.destroy(&domain.name, Some(domain.process)).await.unwrap();
    }

    // libvirt writes a key per domain here, so this one has to have room.
    fill("/var/lib/libvirt/qemu");
    let error = hypervisor.create(spec(12, 2)).await.unwrap_err();
    assert!(matches!(&error, Error::Refused { .. }) && error.to_string().contains("write"), "{error}");
    assert_eq!(hypervisor.list().await.unwrap(), std::slice::from_ref(&before), "what runs goes on running");
    shell("rm /var/lib/libvirt/qemu/fill".to_owned());
    let after = hypervisor.create(spec(12, 2)).await.expect("there is room again");
    for domain in [before, after] {
        hypervisor.destroy(&domain.name, Some(domain.process)).await.unwrap();
    }
}

/// Reads until the VM says that it waits for its identity.
async fn waiting(port: &mut GuestPort) -> FromGuest {
    let message = tokio::time::timeout(PATIENCE, port.recv()).await.expect("it boots");
    message.expect("it speaks our language").expect("QEMU runs")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_image_boots_and_waits_for_its_identity() {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/image");
    let image = std::env::var_os("PHALANX_IMAGE").map_or_else(built, PathBuf::from);
    if !["vmlinuz", "initramfs"].iter().all(|name| image.join(name).exists()) {
        let why = format!("there is no image in {} (image/build makes it)", image.display());
        skip("PHALANX_REQUIRE_IMAGE", &why);
        return;
    }
    let Some(libvirtd) = Libvirtd::start() else { return };
    let image = image.canonicalize().unwrap();
    for machine in [Machine::Microvm, Machine::Q35] {
        let hypervisor = open(Settings {
            accel: AccelChoice::Auto,
            machine,
            memory_mib: 192,
            kernel: image.join("vmlinuz"),
            initramfs: image.join("initramfs"),
            ..settings(&libvirtd)
        })
        .await;
        let domain = hypervisor.create(spec(11, 1)).await.unwrap();
        let mut port = guest::connect(&hypervisor.guest_socket(&domain.name)).await.unwrap();
        let message = waiting(&mut port).await;
        assert!(matches!(message, FromGuest::Waiting(_)), "{machine:?}: {message:?}");
        // A manager that restarts connects again and is told again.
        drop(port);
        let mut port = guest::connect(&hypervisor.guest_socket(&domain.name)).await.unwrap();
        assert!(matches!(waiting(&mut port).await, FromGuest::Waiting(_)), "{machine:?}");
        hypervisor.destroy(&domain.name, Some(domain.process)).await.unwrap();
        let end = async { while port.recv().await.unwrap().is_some() {} };
        tokio::time::timeout(PATIENCE, end).await.expect("QEMU's end is the port's");
    }
}
