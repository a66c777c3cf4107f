//! Namespaces, cables and programs, for real. They need root.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bench::rig::namespace::Namespace;
use bench::rig::network::Network;
use bench::rig::process::{Invocation, Program};
use bench::rig::usage::{processor_time, resident_bytes};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        let is_required = std::env::var_os("PHALANX_REQUIRE_ROOT").is_some_and(|value| !value.is_empty());
        assert!(!is_required, "it needs root, and PHALANX_REQUIRE_ROOT forbids to skip the test");
        // Not eprintln: nobody sees what that prints in a test that passes.
        std::io::stderr().write_all(b"skipped: it needs root\n").expect("written");
    }
    is_root
}

fn exists(namespace: &str) -> bool {
    Path::new("/run/netns").join(namespace).exists()
}

/// Whether a process runs; one that has ended and waits for its parent does not.
fn runs(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

#[test]
fn a_cut_cable_is_silent() {
    if !is_root() {
        return;
    }
    let network = Network::new(&["one", "two"]).expect("a network");
    let (one, two) = (network.host(0), network.host(1));
    let (ready, addr) = std::sync::mpsc::channel::<SocketAddr>();
    std::thread::scope(|scope| {
        let server = scope.spawn(|| {
            one.namespace.block_on(async || {
                let listener = TcpListener::bind((one.addr, 0)).await?;
                ready.send(listener.local_addr()?)?;
                let (mut stream, _) = listener.accept().await?;
                stream.write_all(b"x").await?;
                // Until the cable is cut and the client is done.
                let (_stream, _peer) = listener.accept().await?;
                Ok(())
            })
        });
        let addr = addr.recv().expect("an address");
        let client = two.namespace.block_on(async || {
            let mut stream = TcpStream::connect(addr).await?;
            assert_eq!(stream.read_u8().await?, b'x');
            network.cutter(0).cut()?;
            // Neither an answer nor an error comes; there is no event to wait for.
            stream.write_all(b"y").await?;
            let read = timeout(Duration::from_millis(500), stream.read_u8()).await;
            assert!(read.is_err(), "{read:?}");
            let connected = timeout(Duration::from_millis(500), TcpStream::connect(addr)).await;
            assert!(connected.is_err(), "{connected:?}");
            Ok(())
        });
        // Its own host still reaches the server, which ends it.
        one.namespace.block_on(async || Ok(TcpStream::connect(addr).await?)).map(drop).expect("connected");
        server.join().expect("no panic").expect("served");
        client.expect("the client's checks");
    });
}

#[test]
fn a_namespace_takes_its_processes_with_it() {
    if !is_root() {
        return;
    }
    let namespace = Namespace::new("test").expect("a namespace");
    let name = namespace.name().to_owned();
    let stray = std::process::Command::new("ip")
        .args(["netns", "exec", &name, "sleep", "1000"])
        .spawn()
        .expect("started");
    let pid = i32::try_from(stray.id()).expect("a pid");
    let inside =
        || std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "sleep");
    while !inside() {
        std::thread::yield_now();
    }
    assert!(exists(&name));
    drop(namespace);
    assert!(!exists(&name));
    let mut stray = stray;
    let status = stray.wait().expect("waited");
    assert!(!status.success(), "{status}");
}

#[test]
fn a_program_ends_with_its_owner_and_its_words_are_kept() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let namespace = Namespace::new("test").expect("a namespace");
    let start = |name: &str, script: &str| {
        let invocation = Invocation::new("/bin/sh", ["-c", script]);
        Program::start(&namespace, dir.path(), name, Some("0"), &invocation).expect("started")
    };
    let program = start("busy", "while :; do :; done & wait");
    let pid = program.pid();
    while processor_time(pid).expect("a time") < Duration::from_millis(20) {
        std::thread::yield_now();
    }
    assert!(resident_bytes(pid).expect("bytes") > 0);
    drop(program);
    assert!(!runs(pid.as_raw_nonzero().get()));

    let mut failing = start("failing", "echo no such luck >&2; exit 7");
    let error = loop {
        if let Err(error) = failing.check() {
            break error.to_string();
        }
        std::thread::yield_now();
    };
    assert!(error.contains("exit status: 7") && error.contains("no such luck"), "{error}");
}
