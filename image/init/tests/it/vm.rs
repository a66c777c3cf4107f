//! A QEMU process with the image, and the manager's end of its port.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use tempfile::TempDir;
use wire::{FromGuest, GUEST_PORT_NAME, Identity, Role, Stages, ToGuest};

use crate::overlay;
use crate::qmp::Qmp;
use crate::tsc;

/// Every wait ends after this time, also on a machine busy with other things.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// The machine types the manager uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Machine {
    Microvm,
    Q35,
}

/// What differs from the usual VM.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    /// Unpacked over the image's initramfs.
    pub(crate) overlay: Vec<u8>,
    /// Appended to the kernel's command line.
    pub(crate) cmdline: &'static str,
    /// No port to the manager.
    pub(crate) no_port: bool,
    /// No network interface.
    pub(crate) no_network: bool,
}

pub(crate) struct Vm {
    child: Child,
    dir: TempDir,
    pub(crate) began: Instant,
}

impl Vm {
    pub(crate) fn boot(machine: Machine, extra: &Extra) -> Self {
        let image = PathBuf::from(env::var_os("PHALANX_IMAGE").expect(
            "PHALANX_IMAGE must name the directory with vmlinuz and initramfs (image/test-boot sets it)",
        ));
        let dir = TempDir::with_prefix("phalanx-boot-").unwrap();
        let initramfs = dir.path().join("initramfs");
        let mut bytes = fs::read(image.join("initramfs")).expect("PHALANX_IMAGE has no initramfs");
        if !extra.overlay.is_empty() {
            overlay::append(&mut bytes, &extra.overlay);
        }
        fs::write(&initramfs, bytes).unwrap();

        let file = |name: &str| dir.path().join(name).display().to_string();
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        command.args(["-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "192"]);
        command.arg("-kernel").arg(image.join("vmlinuz")).arg("-initrd").arg(&initramfs);
        command.args(["-chardev", &format!("file,id=console,path={}", file("console"))]);
        command.args(["-serial", "chardev:console"]);
        command.args(["-qmp", &format!("unix:{},server=on,wait=off", file("qmp"))]);
        let mut cmdline = format!("console=ttyS0 quiet panic=-1 reboot=t {}", extra.cmdline);
        let bus = match machine {
            Machine::Microvm => {
                cmdline += &format!(" tsc_early_khz={}", tsc::khz());
                command.args(["-machine", "microvm"]);
                "device"
            }
            Machine::Q35 => {
                command.args(["-machine", "q35"]);
                "pci"
            }
        };
        command.args(["-append", &cmdline]);
        if !extra.no_port {
            command.args(["-chardev", &format!("socket,id=guest,path={},server=on,wait=off", file("guest"))]);
            command.args(["-device", &format!("virtio-serial-{bus}")]);
            command.args(["-device", &format!("virtserialport,chardev=guest,name={GUEST_PORT_NAME}")]);
        }
        if !extra.no_network {
            let id = identity();
            let net = "user,id=net,restrict=on,ipv6=off,net=10.77.11.0/24";
            let forward = format!("host={},hostfwd=tcp:127.0.0.1:0-{}:8080", id.gateway, id.addr);
            command.args(["-netdev", &format!("{net},{forward}")]);
            command.args(["-device", &format!("virtio-net-{bus},netdev=net")]);
        }
        let began = Instant::now();
        let child =
            command.stdin(Stdio::null()).spawn().expect("qemu-system-x86_64 (apt install qemu-system-x86)");
        Self { child, dir, began }
    }

    /// Connects to the port as its manager.
    pub(crate) fn manager(&self) -> Manager {
        Manager { reader: BufReader::new(timed(connect(&self.dir.path().join("guest")))) }
    }

    pub(crate) fn qmp(&self) -> Qmp {
        Qmp::connect(&self.dir.path().join("qmp"))
    }

    /// All that the VM has said on its console.
    pub(crate) fn console(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.dir.path().join("console")).unwrap_or_default())
            .replace('\r', "")
    }

    /// Sends a break and an `i` on the serial line. After that it leads nowhere.
    pub(crate) fn kill_all_through_the_console(&self) {
        let path = self.dir.path().join("serial");
        let mut qmp = self.qmp();
        let address = json!({"type": "unix", "data": {"path": path}});
        let backend = json!({"type": "socket", "data": {"addr": address, "server": true, "wait": false}});
        qmp.run("chardev-change", &json!({"id": "console", "backend": backend}));
        let mut serial = timed(connect(&path));
        qmp.run("chardev-send-break", &json!({"id": "console"}));
        serial.write_all(b"i").unwrap();
        let mut said = String::new();
        while !said.contains("Kill All Tasks") {
            let mut buffer = [0; 256];
            let count = serial.read(&mut buffer).expect("the kernel's word on it");
            assert!(count > 0, "the console was closed: {said}");
            said.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    }

    /// Waits until the console says `text`.
    pub(crate) fn wait_for(&self, text: &str) {
        wait_until(
            || self.console().contains(text),
            || format!("{text:?} on the console:\n{}", self.console()),
        );
    }

    /// Waits until QEMU has ended by itself.
    pub(crate) fn wait_for_end(&mut self) {
        let child = &mut self.child;
        wait_until(|| child.try_wait().unwrap().is_some(), || "the end of QEMU".to_owned());
        let status = child.wait().unwrap();
        assert!(status.success(), "QEMU: {status}");
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- console\n{}", self.console());
        }
    }
}

/// The manager's end of the port.
pub(crate) struct Manager {
    reader: BufReader<UnixStream>,
}

impl Manager {
    pub(crate) fn say(&mut self, message: &ToGuest) {
        self.say_raw(&serde_json::to_vec(message).unwrap());
    }

    pub(crate) fn say_raw(&mut self, line: &[u8]) {
        self.reader.get_mut().write_all(&[line, b"\n"].concat()).unwrap();
    }

    /// The beginning of a line that never ends.
    pub(crate) fn say_torn(&mut self, beginning: &[u8]) {
        self.reader.get_mut().write_all(beginning).unwrap();
    }

    pub(crate) fn hear(&mut self) -> FromGuest {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("a line of the VM in time");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    pub(crate) fn assign(&mut self, identity: Identity) {
        self.say(&ToGuest::Assign(Box::new(identity)));
    }

    pub(crate) fn hear_waiting(&mut self) -> Stages {
        match self.hear() {
            FromGuest::Waiting(stages) => stages,
            other => panic!("not waiting: {other:?}"),
        }
    }

    pub(crate) fn hear_assigned(&mut self) {
        let wanted = FromGuest::Assigned { id: identity().id, incarnation: identity().incarnation };
        assert_eq!(self.hear(), wanted);
    }

    /// The program's process id, how often it was started again, and the boot's stages.
    pub(crate) fn hear_started(&mut self) -> (u32, u64, Stages) {
        match self.hear() {
            FromGuest::Started { pid, restarts, stages } => (pid, restarts, stages),
            other => panic!("not started: {other:?}"),
        }
    }

    pub(crate) fn hear_exited(&mut self) -> (String, u64) {
        match self.hear() {
            FromGuest::Exited { status, backoff_ms } => (status, backoff_ms),
            other => panic!("not exited: {other:?}"),
        }
    }

    pub(crate) fn hear_rejected(&mut self) -> String {
        match self.hear() {
            FromGuest::Rejected { message } => message,
            other => panic!("not rejected: {other:?}"),
        }
    }
}

/// Who the VM of a test is.
pub(crate) fn identity() -> Identity {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Identity {
        id: "host1/svc-11".to_owned(),
        role: Role::Service,
        incarnation: 3,
        hostname: "svc-11".to_owned(),
        addr: Ipv4Addr::new(10, 77, 11, 11),
        gateway: Ipv4Addr::new(10, 77, 11, 1),
        // The one QEMU's user network makes of the address.
        gateway_mac: Some("52:55:0a:4d:0b:01".to_owned()),
        vip: None,
        config: "# the defaults will do\n".to_owned(),
        env: [("GREETING".to_owned(), "good day".to_owned())].into(),
        unix_ms: now.as_millis().try_into().unwrap(),
        seed: "5a".repeat(32),
    }
}

/// The first `events` server-sent events of `GET path` at the loopback `port`. QEMU accepts before the guest listens, so a
/// connection without an answer is made again.
pub(crate) fn get_events(port: u16, path: &str, events: usize) -> String {
    let began = Instant::now();
    let mut got = String::new();
    wait_until(
        || {
            got.clear();
            let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
            stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
            if stream.write_all(request.as_bytes()).is_err() {
                return false;
            }
            let mut buffer = [0; 1024];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                got.push_str(&String::from_utf8_lossy(&buffer[..count]));
                if got.matches("\n\n").count() >= events {
                    return true;
                }
                assert!(began.elapsed() < LIMIT, "waited {LIMIT:?} for {events} events of {path}, got {got}");
            }
            false
        },
        || format!("{events} events of {path}"),
    );
    got
}

/// Connects as soon as QEMU listens.
pub(crate) fn connect(path: &Path) -> UnixStream {
    let mut stream = None;
    wait_until(
        || {
            stream = UnixStream::connect(path).ok();
            stream.is_some()
        },
        || format!("a connection to {}", path.display()),
    );
    stream.unwrap()
}

pub(crate) fn timed(stream: UnixStream) -> UnixStream {
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    stream
}

fn wait_until(mut done: impl FnMut() -> bool, what: impl FnOnce() -> String) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < LIMIT, "waited {LIMIT:?} for {}", what());
        sleep(Duration::from_millis(10));
    }
}
