//! A libvirtd of the test's own, in mount, network and process namespaces of its own.
//!
//! The namespaces' first process reads from a pipe of ours and ends when the pipe is closed, by whatever end the
//! test comes to; with it go libvirtd, every QEMU, every mount and the bridge. The directory is the test's.

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take here. Only a hang is as slow as that.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until `probe` returns something.
pub(crate) fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {} s", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether the test runs as root, as it must; otherwise it is skipped.
pub(crate) fn is_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        skip("PHALANX_REQUIRE_ROOT", "it needs root");
    }
    is_root
}

/// Says that a test is skipped; where `variable` is set, as in `./test`, that is a failure.
pub(crate) fn skip(variable: &str, why: &str) {
    let is_required = std::env::var_os(variable).is_some_and(|value| !value.is_empty());
    assert!(!is_required, "{why}, and {variable} forbids to skip the test");
    // Not println: nobody sees what that prints in a test that passes.
    std::io::stderr().write_all(format!("skipped: {why}\n").as_bytes()).unwrap();
}

/// The directories of libvirt that are replaced by ones of ours.
const PRIVATE: [(&str, &str); 5] = [
    ("run", "/run/libvirt"),
    ("lib", "/var/lib/libvirt"),
    ("etc", "/etc/libvirt"),
    ("log", "/var/log/libvirt"),
    ("cache", "/var/cache/libvirt"),
];

/// The settings that let libvirtd work without systemd, cgroups and a security module.
const QEMU_CONF: &str = r#"user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
"#;

/// The namespaces, and a libvirtd in them unless it is stopped.
pub(crate) struct Libvirtd {
    dir: tempfile::TempDir,
    /// Ends with its standard input, and everything else with it.
    namespaces: Child,
    /// The first process in the namespaces.
    init: u32,
    daemon: Option<Child>,
}

impl Libvirtd {
    /// Starts one, with a bridge `phx0`; none if the test does not run as root.
    pub(crate) fn start() -> Option<Self> {
        if !is_root() {
            return None;
        }
        let dir = tempfile::Builder::new().prefix("phx-").tempdir().unwrap();
        let errors = dir.path().join("namespaces.log");
        let mut script = format!("exec 2> {}\n", errors.display());
        for (name, place) in PRIVATE {
            let ours = dir.path().join(name);
            fs::create_dir(&ours).unwrap();
            script += &format!("mkdir -p {place} && mount --bind {} {place} || exit 1\n", ours.display());
        }
        // Not exec: the shell is the one that reaps, and cat the one that waits for the end.
        script += "ip link set lo up && ip link add phx0 type bridge && ip link set phx0 up || exit 1\n\
                   : > /run/libvirt/ready\ncat\n";
        fs::write(dir.path().join("etc/qemu.conf"), QEMU_CONF).unwrap();
        let conf = "auth_unix_rw = \"none\"\nunix_sock_dir = \"/run/libvirt\"\nlog_outputs = \"3:stderr\"\n";
        fs::write(dir.path().join("etc/libvirtd.conf"), conf).unwrap();
        let mut namespaces = Command::new("unshare")
            .args([
                "--mount",
                "--net",
                "--pid",
                "--fork",
                "--mount-proc",
                "--kill-child",
                "sh",
                "-c",
                &script,
            ])
            .stdin(Stdio::piped())
            // It complains about signal masks when its child is killed.
            .stderr(Stdio::null())
            .spawn()
            .expect("unshare (package util-linux)");
        wait_for("the namespaces", || {
            let ended = namespaces.try_wait().unwrap();
            assert!(ended.is_none(), "no namespaces: {}", fs::read_to_string(&errors).unwrap_or_default());
            dir.path().join("run/ready").exists().then_some(())
        });
        let init = children(namespaces.id())[0];
        let mut libvirtd = Self { dir, namespaces, init, daemon: None };
        libvirtd.start_daemon();
        Some(libvirtd)
    }

    /// Starts libvirtd and waits until it accepts connections.
    pub(crate) fn start_daemon(&mut self) {
        let log = fs::File::create(self.dir.path().join("libvirtd.log")).unwrap();
        let daemon = self
            .inside("libvirtd")
            .args(["-f", "/etc/libvirt/libvirtd.conf", "-p", "/run/libvirt/libvirtd.pid"])
            .stderr(log)
            .spawn();
        let mut daemon = daemon.expect("nsenter (package util-linux)");
        let socket = self.socket();
        wait_for("libvirtd (package libvirt-daemon-system)", || {
            let ended = daemon.try_wait().unwrap();
            let log = || fs::read_to_string(self.dir.path().join("libvirtd.log")).unwrap_or_default();
            assert!(ended.is_none(), "libvirtd ended: {}", log());
            UnixStream::connect(&socket).ok()
        });
        self.daemon = Some(daemon);
    }

    /// Kills libvirtd; the domains live on.
    pub(crate) fn stop_daemon(&mut self) {
        self.signal("KILL");
        self.daemon.take().expect("it runs").wait().unwrap();
    }

    /// Sends libvirtd a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let nsenter = self.daemon.as_ref().expect("it runs").id();
        send(signal, children(nsenter)[0]);
    }

    /// A command that runs in the namespaces.
    pub(crate) fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--all", "--target", &self.init.to_string(), program]);
        command
    }

    /// A directory that is removed at the end.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where this libvirtd is.
    pub(crate) fn uri(&self) -> String {
        format!("qemu+unix:///system?socket={}", self.socket().display())
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("run/libvirt-sock")
    }
}

impl Drop for Libvirtd {
    fn drop(&mut self) {
        // Its end is the end of all. Closing its input would do, but only after libvirtd had its say.
        send("KILL", self.init);
        for child in self.daemon.iter_mut().chain([&mut self.namespaces]) {
            // nsenter stops itself when libvirtd is stopped, and is not waked up with it.
            drop(child.kill().and_then(|()| child.wait()));
        }
    }
}

/// Sends a signal to a process.
pub(crate) fn send(signal: &str, pid: u32) {
    let signal: nix::sys::signal::Signal = format!("SIG{signal}").parse().unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    nix::sys::signal::kill(pid, signal).unwrap();
}

fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// The smallest kernel there is: it stops the processor. QEMU starts it, and it costs nothing.
pub(crate) fn idle_kernel(dir: &Path) -> PathBuf {
    let mut image = vec![0; 4096];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    // The header of Linux's boot protocol, version 2.6, with four sectors of real-mode code, loaded high.
    put(0x1f1, &[4]);
    put(0x1fe, &[0x55, 0xaa]);
    put(0x202, b"HdrS\x06\x02");
    put(0x211, &[1]);
    put(0x214, &0x0010_0000_u32.to_le_bytes());
    put(0x22c, &0x37ff_ffff_u32.to_le_bytes());
    // Its entry jumps over the header to: cli; hlt; jmp back to hlt.
    put(0x200, &[0xeb, 0x62]);
    put(0x264, &[0xfa, 0xf4, 0xeb, 0xfd]);
    let path = dir.join("idle-kernel");
    fs::write(&path, image).unwrap();
    path
}
