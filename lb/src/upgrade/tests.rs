//! With real processes: this test binary starts itself, with the name of one of the tests below that play the
//! successor.

use std::env;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{Error, Program, Successor, inherited, left, start_successor};

/// Far more than anything here takes; it only keeps a broken test from hanging.
const LONG: Duration = Duration::from_secs(60);

/// The configured address, of which the kernel made another one.
const CONFIGURED: &str = "127.0.0.1:0";

fn configured() -> SocketAddr {
    CONFIGURED.parse().unwrap()
}

fn succeed(role: &str, listener: &TcpListener, timeout: Duration) -> Result<Successor, Error> {
    let module = module_path!().split_once("::").unwrap().1;
    let args = ["--exact", "--ignored", "--nocapture", "--quiet", &format!("{module}::{role}")];
    let program = Program { path: env::current_exe().unwrap(), args: args.map(Into::into).into() };
    start_successor(&program, &[left("listen", configured(), listener)], b"the set", timeout)
}

fn listener() -> TcpListener {
    TcpListener::bind(CONFIGURED).unwrap()
}

#[test]
fn a_successor_gets_the_socket_with_what_waits_in_it() {
    let listener = listener();
    let addr = listener.local_addr().unwrap();
    let mut early = TcpStream::connect(addr).unwrap();
    succeed("successor_that_serves", &listener, LONG).unwrap();
    drop(listener);
    for client in [&mut early, &mut TcpStream::connect(addr).unwrap()] {
        client.set_read_timeout(Some(LONG)).unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "the set");
    }
}

#[test]
fn a_successor_that_ends_changes_nothing() {
    let listener = listener();
    for role in ["successor_that_ends", "no_such_test"] {
        let error = succeed(role, &listener, LONG).unwrap_err();
        assert!(matches!(error, Error::Ended(_)), "{role}: {error}");
    }
    TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    listener.accept().unwrap();
}

#[test]
fn a_successor_that_is_late_is_killed() {
    let listener = listener();
    let error = succeed("successor_that_waits", &listener, Duration::from_millis(50)).unwrap_err();
    assert!(matches!(error, Error::TooLate(_)), "{error}");
    let addr = listener.local_addr().unwrap();
    drop(listener);
    // Were it alive, it would still have the socket.
    assert!(TcpStream::connect(addr).is_err());
}

#[test]
fn a_program_that_is_not_there_is_an_error() {
    let program = Program { path: PathBuf::from("/no/such/program"), args: Vec::new() };
    let error = start_successor(&program, &[], b"", LONG).unwrap_err().to_string();
    assert!(error.contains("cannot start /no/such/program"), "{error}");
}

#[test]
fn without_a_predecessor_there_is_nothing() {
    let mut nothing = inherited().unwrap();
    assert!(nothing.take("listen", configured()).is_none());
    assert!(nothing.ready().is_none());
    assert!(nothing.set().unwrap().is_none());
}

#[test]
#[ignore = "a role, started by the tests above"]
fn successor_that_serves() {
    let mut inherited = inherited().unwrap();
    let Some(ready) = inherited.ready() else { return };
    assert!(inherited.take("admin.listen", configured()).is_none());
    assert!(inherited.take("listen", "127.0.0.1:1".parse().unwrap()).is_none());
    let listener = inherited.take("listen", configured()).unwrap();
    assert!(inherited.take("listen", configured()).is_none(), "it is given once");
    let set = inherited.set().unwrap().unwrap();
    ready.signal().unwrap();
    let begin = Instant::now();
    let mut served = 0;
    while served < 2 {
        match listener.accept() {
            Ok((mut client, _)) => {
                client.write_all(&set).unwrap();
                served += 1;
            }
            // The listener does not block.
            Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::WouldBlock),
        }
        assert!(begin.elapsed() < LONG);
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
#[ignore = "a role, started by the tests above"]
fn successor_that_ends() {
    if inherited().unwrap().ready().is_some() {
        std::process::exit(3);
    }
}

#[test]
#[ignore = "a role, started by the tests above"]
fn successor_that_waits() {
    let mut inherited = inherited().unwrap();
    if inherited.ready.is_some() {
        std::thread::sleep(LONG);
    }
    assert!(inherited.ready().is_none(), "it is killed before");
}

#[test]
fn only_what_was_inherited_is_adopted() {
    use std::os::fd::AsRawFd;
    // Opened here, so closed on exec; and one that is not open at all.
    let listener = listener();
    for fd in [listener.as_raw_fd(), 2, -1, 999_999] {
        assert!(super::adopt::adopt(fd).is_err(), "{fd}");
    }
    TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    listener.accept().unwrap();
}
