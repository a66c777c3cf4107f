//! What is on the machine that a lab could have left there.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;

use anyhow::{Result, bail};

use crate::ip::ip;
use crate::procs::{NETNS_DIR, NamespaceId, Process, all_pids, comm, is_marked, lab_namespaces};

/// Whole trees that a lab could leave something in.
const TREES: [&str; 10] = [
    "/run/phalanx-lab",
    "/run/phalanx",
    "/run/libvirt",
    "/run/netns",
    "/etc/libvirt",
    "/etc/phalanx",
    "/var/lib/libvirt",
    "/var/lib/phalanx",
    "/var/log/libvirt",
    "/var/cache/libvirt",
];
/// Directories of which only the entries themselves count.
const DIRS: [&str; 2] = ["/run", "/dev/shm"];
/// The lab's network namespaces, held open: as long as they are, no other namespace can be taken for one of them, so
/// a process that is still in one is the lab's, and other people's VMs are not.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    held: Vec<File>,
}

impl Witness {
    /// Opens all there are now.
    pub(crate) fn hold() -> Self {
        let open = |name: &String| File::open(Path::new(NETNS_DIR).join(name)).ok();
        Self { held: lab_namespaces().iter().filter_map(open).collect() }
    }

    fn ids(&self) -> Vec<NamespaceId> {
        self.held.iter().filter_map(NamespaceId::of_file).collect()
    }
}

/// Everything of a kind, by a name a person can use.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    processes: BTreeSet<String>,
    mounts: BTreeSet<String>,
    links: BTreeSet<String>,
    routes: BTreeSet<String>,
    files: BTreeSet<String>,
}

impl Snapshot {
    /// Looks at the machine. Processes are those in the namespaces held, those that run a program of ours, and those
    /// that bear the lab's mark.
    pub(crate) fn take(witness: &Witness) -> Result<Self> {
        let mut files = BTreeSet::new();
        for tree in TREES {
            walk(Path::new(tree), &mut files);
        }
        for dir in DIRS {
            files.extend(entries(Path::new(dir)).iter().map(|path| path.display().to_string()));
        }
        let lines = |text: String| text.lines().map(|line| line.trim().to_owned()).collect();
        Ok(Self {
            processes: processes(&witness.ids()),
            mounts: mount_points(&fs::read_to_string("/proc/self/mountinfo")?),
            links: entries(Path::new("/sys/class/net"))
                .iter()
                .map(|path| path.display().to_string())
                .collect(),
            routes: lines(ip(&["-4", "route", "show", "table", "all"])?),
            files,
        })
    }

    /// An error that names every difference: what is there now and was not, or is missing. Processes that ended
    /// meanwhile are nobody's fault.
    pub(crate) fn expect_same(&self, now: &Self) -> Result<()> {
        let mut differences = Vec::new();
        for (kind, before, now, may_vanish) in [
            ("process", &self.processes, &now.processes, true),
            ("mount", &self.mounts, &now.mounts, false),
            ("link", &self.links, &now.links, false),
            ("route", &self.routes, &now.routes, false),
            ("file", &self.files, &now.files, false),
        ] {
            differences.extend(now.difference(before).map(|name| format!("{kind} left: {name}")));
            if !may_vanish {
                differences.extend(before.difference(now).map(|name| format!("{kind} lost: {name}")));
            }
        }
        if !differences.is_empty() {
            bail!("{}", differences.join("; "));
        }
        Ok(())
    }
}

fn processes(namespaces: &[NamespaceId]) -> BTreeSet<String> {
    let bin_dir = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.to_owned()));
    let runs_ours = |pid: i32| {
        let program = fs::read_link(format!("/proc/{pid}/exe")).ok();
        program.is_some_and(|program| program.parent().map(Path::to_owned) == bin_dir)
    };
    let is_inside = |pid| NamespaceId::of_process(pid).is_some_and(|id| namespaces.contains(&id));
    all_pids()
        .filter(|pid| *pid != Process::current().pid)
        .filter(|pid| is_inside(*pid) || runs_ours(*pid) || is_marked(*pid))
        .map(|pid| {
            let started = Process::of(pid).map(|process| process.start_ticks).unwrap_or_default();
            format!("{} (pid {pid}, started at tick {started})", comm(pid))
        })
        .collect()
}

/// The fifth field of each line of `mountinfo`.
fn mount_points(mountinfo: &str) -> BTreeSet<String> {
    mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(str::to_owned).collect()
}

fn entries(dir: &Path) -> Vec<std::path::PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn walk(path: &Path, found: &mut BTreeSet<String>) {
    let Ok(meta) = fs::symlink_metadata(path) else { return };
    found.insert(path.display().to_string());
    if meta.is_dir() {
        for entry in entries(path) {
            walk(&entry, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_is_new_and_what_is_lost_is_named() {
        let before = Snapshot { links: set(&["lo", "eth0"]), files: set(&["/run/a"]), ..Snapshot::default() };
        assert!(before.expect_same(&before.clone()).is_ok());
        let now = Snapshot {
            links: set(&["lo", "eth0", "phx-lan0"]),
            processes: set(&["libvirtd (pid 7)"]),
            ..Snapshot::default()
        };
        let error = before.expect_same(&now).expect_err("differences").to_string();
        assert_eq!(error, "process left: libvirtd (pid 7); link left: phx-lan0; file lost: /run/a");
    }

    #[test]
    fn a_process_that_has_ended_is_no_difference() {
        let before = Snapshot { processes: set(&["bench (pid 7)"]), ..Snapshot::default() };
        assert!(before.expect_same(&Snapshot::default()).is_ok());
    }

    #[test]
    fn mount_points_are_found_in_mountinfo() {
        let text = "22 27 0:20 / /proc rw,relatime - proc proc rw\n23 27 0:21 / /sys rw - sysfs sysfs rw\n";
        assert_eq!(mount_points(text), set(&["/proc", "/sys"]));
    }

    #[test]
    fn a_new_file_is_seen_in_a_tree() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("a")).expect("made");
        fs::write(dir.path().join("a/b"), b"").expect("written");
        let mut found = BTreeSet::new();
        walk(dir.path(), &mut found);
        assert!(found.contains(&dir.path().join("a/b").display().to_string()));
        assert_eq!(found.len(), 3);
    }
}
