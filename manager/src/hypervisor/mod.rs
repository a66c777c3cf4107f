//! VMs: making them with libvirt, knowing them again, and ending them.
//!
//! * Domains are transient: libvirt writes nothing about them to disk, and after a host's restart there are none.
//!   What we need to know our own again is in their metadata, which libvirtd keeps while they run.
//! * The truth about a VM's life is its QEMU process, not libvirt: [`exited`] sees the end within
//!   milliseconds, and [`Hypervisor::destroy`] kills the process before it talks to libvirt, so both work while
//!   libvirtd is stopped or hangs.
//! * Domains that are not this node's are never listed, changed or destroyed.
//!
//! No decision about VMs is made here: which there should be, and when one counts as dead.

mod accel;
mod calls;
mod domain_xml;
mod files;
pub mod guest;
mod libvirt;
pub mod priority;
mod process;
mod raw;
mod settings;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::{debug, info, warn};

pub use accel::{Accel, AccelChoice};
use calls::{Calls, NoResult};
use domain_xml::Description;
pub use domain_xml::{DomainMeta, Machine};
use libvirt::{Client, Failure};
pub use process::{ProcessId, exited};
pub use settings::{MAX_NAME, Settings};

use crate::net::MacAddr;

/// Calls to libvirt at the same time, those that hang included.
const MAX_CALLS: usize = 16;

/// How long the kernel may take to end a killed process. It frees the VM's memory meanwhile.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// A VM to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainSpec {
    /// The domain's name, unique over all lives and all nodes: [`MAX_NAME`] letters, digits, `-`, `_`, `.`.
    pub name: String,
    /// What its metadata shall say.
    pub meta: DomainMeta,
    /// Its MAC.
    pub mac: MacAddr,
}

/// A VM that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningDomain {
    /// The domain's name.
    pub name: String,
    /// What its metadata says.
    pub meta: DomainMeta,
    /// Its QEMU.
    pub process: ProcessId,
}

/// Why something about VMs cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting or argument that can never work.
    #[error("{field}: {message}")]
    Invalid {
        /// The setting or argument.
        field: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// KVM is demanded and does not work here.
    #[error("hypervisor.accel: \"kvm\" is demanded, but {0}")]
    NoKvm(String),
    /// There is no libvirtd at the URI.
    #[error("libvirt at {uri} cannot be reached: {message}")]
    Unreachable {
        /// The URI.
        uri: String,
        /// libvirt's words.
        message: String,
    },
    /// libvirtd has not answered in time.
    #[error("libvirt has not answered to \"{call}\" within {} ms", after.as_millis())]
    Timeout {
        /// The call.
        call: &'static str,
        /// How long it was waited for.
        after: Duration,
    },
    /// Too many calls have not been answered yet.
    #[error("libvirt has not answered {MAX_CALLS} earlier calls; \"{call}\" was not tried")]
    Busy {
        /// The call.
        call: &'static str,
    },
    /// There is a domain of that name.
    #[error("there already is a domain {0:?}")]
    NameTaken(String),
    /// The domain of that name is not this node's.
    #[error("the domain {0:?} was not made by this node; it is left alone")]
    NotOurs(String),
    /// libvirt refused.
    #[error("libvirt refuses to {call}: {message}")]
    Refused {
        /// The call.
        call: &'static str,
        /// libvirt's words.
        message: String,
    },
    /// The domain was started, and its QEMU is gone already.
    #[error("the domain {0:?} ended as soon as it was started; see libvirt's log of it")]
    Vanished(String),
    /// The process cannot be ended.
    #[error("QEMU (process {pid}) cannot be killed: {source}")]
    Kill {
        /// Its id.
        pid: u32,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A file or directory is in the way.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
}

/// The host's hypervisor. Clones share one connection.
#[derive(Clone)]
pub struct Hypervisor {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    accel: Accel,
    tsc_khz: Option<u64>,
    client: Arc<Client>,
    calls: Calls,
    /// The processes of the domains we know, for the time when libvirt cannot be asked.
    known: Mutex<BTreeMap<String, ProcessId>>,
}

impl Hypervisor {
    /// Checks the settings, chooses how VMs run (and logs why), and makes the runtime directory.
    ///
    /// A libvirtd that cannot be reached is only logged: each call tries again.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::NoKvm`] and [`Error::Io`]: nothing that would heal by itself.
    pub async fn open(settings: Settings) -> Result<Self, Error> {
        settings.check()?;
        std::fs::create_dir_all(&settings.runtime_dir).map_err(|e| at(&settings.runtime_dir, e))?;
        let (accel, reason) = accel::choose(settings.accel, &accel::probe()).map_err(Error::NoKvm)?;
        let calls = Calls::new(MAX_CALLS, settings.call_timeout);
        let tsc_khz = match accel {
            Accel::Tcg => calls.run(accel::measure_tsc_khz, drop).await.unwrap_or(None),
            Accel::Kvm => None,
        };
        info!(accel = accel.as_str(), reason, tsc_khz, "acceleration chosen");
        let client = Arc::new(Client::new(settings.uri.clone()));
        let hypervisor = Self {
            inner: Arc::new(Inner { settings, accel, tsc_khz, client, calls, known: Mutex::default() }),
        };
        match hypervisor.call("connect", Client::version, drop).await {
            Ok(version) => info!(uri = hypervisor.inner.settings.uri, version, "libvirt answers"),
            Err(e) => warn!(error = %e, "libvirt does not answer (yet)"),
        }
        Ok(hypervisor)
    }

    /// How VMs run here.
    pub fn accel(&self) -> Accel {
        self.inner.accel
    }

    /// The running (or paused) VMs of this node.
    ///
    /// # Errors
    /// When libvirt or `/proc` cannot be read.
    pub async fn list(&self) -> Result<Vec<RunningDomain>, Error> {
        let node = self.inner.settings.node.clone();
        let listed = self.call("list domains", move |client| client.list(&node), drop).await?;
        let processes = self.processes().await?;
        let running: Vec<_> = listed
            .into_iter()
            // Without a process it ends just now, and libvirtd has not noticed yet.
            .filter_map(|d| {
                processes.get(&d.uuid).map(|&process| RunningDomain { name: d.name, meta: d.meta, process })
            })
            .collect();
        *self.known() = running.iter().map(|domain| (domain.name.clone(), domain.process)).collect();
        Ok(running)
    }

    /// Starts a VM. When this returns, QEMU runs; the VM has yet to boot.
    ///
    /// After [`Error::Timeout`] a VM that starts late is destroyed again by itself. If the future is dropped, or
    /// this process ends meanwhile, a VM may remain; [`Hypervisor::list`] shows it.
    ///
    /// # Errors
    /// [`Error::NameTaken`] among others.
    pub async fn create(&self, spec: DomainSpec) -> Result<RunningDomain, Error> {
        settings::check_name(&spec.name)?;
        let uuid = files::random_uuid()?;
        let xml = self.describe(&spec, &uuid)?;
        let (name, id, client) = (spec.name.clone(), uuid.clone(), Arc::clone(&self.inner.client));
        let create = move |client: &Client| -> Result<String, Failure> {
            client.create(&name, &id, &xml)?;
            Ok(id)
        };
        let undo = move |late: Result<String, Failure>| {
            if let Ok(uuid) = late {
                warn!(uuid, "a domain started too late; destroying it");
                if let Err(failure) = client.destroy(&uuid) {
                    warn!(uuid, ?failure, "it could not be destroyed");
                }
            }
        };
        self.call_named("start a domain", &spec.name, create, undo).await?;
        let processes = self.processes().await?;
        let Some(&process) = processes.get(&uuid) else {
            return Err(Error::Vanished(spec.name));
        };
        self.known().insert(spec.name.clone(), process);
        Ok(RunningDomain { name: spec.name, meta: spec.meta, process })
    }

    /// Ends a VM: kills its QEMU, waits until it is gone, and has libvirt tidy up. A VM that is gone is fine.
    ///
    /// `process` is its QEMU if the caller knows it; then the VM ends even when libvirtd is stopped or hangs.
    /// It takes some 200 ms, most of it libvirt's: nothing should wait for it.
    ///
    /// # Errors
    /// [`Error::NotOurs`], [`Error::Kill`], or, if the process was not known, that libvirt cannot be asked.
    pub async fn destroy(&self, name: &str, process: Option<ProcessId>) -> Result<(), Error> {
        settings::check_name(name)?;
        let process = process.or_else(|| self.known().get(name).copied());
        if let Some(process) = process {
            kill(process).await?;
        }
        match self.destroy_domain(name).await {
            Ok(()) => {}
            // The VM is dead. libvirtd will see for itself that its process is gone.
            Err(e @ (Error::Unreachable { .. } | Error::Timeout { .. } | Error::Busy { .. }))
                if process.is_some() =>
            {
                warn!(domain = name, error = %e, "killed, but libvirt could not be told");
            }
            Err(e) => return Err(e),
        }
        self.known().remove(name);
        files::remove(&self.guest_socket(name))
    }

    /// Where the VM's virtio-serial port is; [`guest::connect`] opens it.
    pub fn guest_socket(&self, name: &str) -> PathBuf {
        self.inner.settings.runtime_dir.join(format!("{name}{}", files::SOCKET))
    }

    /// Where the VM's serial console is written to.
    pub fn console_log(&self, name: &str) -> PathBuf {
        self.inner.settings.runtime_dir.join(format!("{name}{}", files::CONSOLE))
    }

    /// Removes the sockets of VMs that are gone and all but their newest console logs, and cuts the logs of
    /// running VMs that have become too long.
    ///
    /// # Errors
    /// When libvirt cannot be asked which domains there are, or a file cannot be removed.
    pub async fn sweep(&self) -> Result<(), Error> {
        // The directory first: a domain that is being started has its name before it has its socket.
        let found = files::scan(&self.inner.settings.runtime_dir)?;
        let active = self.call("list domains", Client::active_names, drop).await?;
        for step in files::plan_sweep(found, &active) {
            debug!(?step, "sweeping");
            step.run()?;
        }
        Ok(())
    }

    async fn destroy_domain(&self, name: &str) -> Result<(), Error> {
        let (wanted, node) = (name.to_owned(), self.inner.settings.node.clone());
        let find = move |client: &Client| client.find(&wanted, &node);
        let Some(listed) = self.call_named("find a domain", name, find, drop).await? else { return Ok(()) };
        let processes = self.processes().await?;
        if let Some(&process) = processes.get(&listed.uuid) {
            kill(process).await?;
        }
        self.call_named("destroy a domain", name, move |client| client.destroy(&listed.uuid), drop).await
    }

    /// The QEMUs of this host. Read on a thread: the kernel blocks a reader of a process's command line for as long
    /// as that process holds its memory map, and a sick QEMU may do that for long.
    async fn processes(&self) -> Result<BTreeMap<String, ProcessId>, Error> {
        const CALL: &str = "find QEMU's process";
        match self.inner.calls.run(process::qemu_processes, drop).await {
            Ok(found) => found.map_err(|e| at(Path::new("/proc"), e)),
            Err(NoResult::Busy) => Err(Error::Busy { call: CALL }),
            Err(NoResult::Late | NoResult::Lost) => {
                Err(Error::Timeout { call: CALL, after: self.inner.settings.call_timeout })
            }
        }
    }

    fn describe(&self, spec: &DomainSpec, uuid: &str) -> Result<String, Error> {
        let settings = &self.inner.settings;
        for (field, text) in [("meta.node", &spec.meta.node), ("meta.id", &spec.meta.id)] {
            if text.is_empty() || text.chars().any(char::is_control) {
                return Err(Error::Invalid { field, message: format!("{text:?} is no name") });
            }
        }
        if spec.meta.node != settings.node {
            let message = format!("{:?} is not this node, {:?}", spec.meta.node, settings.node);
            return Err(Error::Invalid { field: "meta.node", message });
        }
        let description = Description {
            accel: self.inner.accel,
            machine: settings.machine,
            name: &spec.name,
            uuid,
            meta: &spec.meta,
            mac: spec.mac,
            memory_mib: settings.memory_mib,
            vcpus: settings.vcpus,
            kernel: &settings.kernel,
            initramfs: &settings.initramfs,
            tsc_khz: self.inner.tsc_khz,
            bridge: &settings.bridge,
            socket: &self.guest_socket(&spec.name),
            console: &self.console_log(&spec.name),
        };
        let xml = description.to_xml();
        xml.map_err(|e| Error::Invalid { field: "domain", message: e.to_string() })
    }

    async fn call<T: Send + 'static>(
        &self,
        what: &'static str,
        call: impl FnOnce(&Client) -> Result<T, Failure> + Send + 'static,
        undo: impl FnOnce(Result<T, Failure>) + Send + 'static,
    ) -> Result<T, Error> {
        self.call_named(what, "", call, undo).await
    }

    async fn call_named<T: Send + 'static>(
        &self,
        what: &'static str,
        name: &str,
        call: impl FnOnce(&Client) -> Result<T, Failure> + Send + 'static,
        undo: impl FnOnce(Result<T, Failure>) + Send + 'static,
    ) -> Result<T, Error> {
        let Inner { client, calls, settings, .. } = &*self.inner;
        let on_thread = Arc::clone(client);
        let result = calls.run(move || call(&on_thread), undo).await;
        let failure = match result {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(failure)) => failure,
            Err(NoResult::Busy) => return Err(Error::Busy { call: what }),
            Err(NoResult::Late) => {
                client.suspect();
                return Err(Error::Timeout { call: what, after: settings.call_timeout });
            }
            Err(NoResult::Lost) => Failure::Refused("its thread ended".to_owned()),
        };
        Err(match failure {
            Failure::Unreachable(message) => Error::Unreachable { uri: settings.uri.clone(), message },
            Failure::NameTaken => Error::NameTaken(name.to_owned()),
            Failure::NotOurs => Error::NotOurs(name.to_owned()),
            Failure::Refused(message) => Error::Refused { call: what, message },
        })
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, ProcessId>> {
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn kill(process: ProcessId) -> Result<(), Error> {
    let killed = process::kill(process, KILL_TIMEOUT).await;
    killed.map_err(|source| Error::Kill { pid: process.pid, source })
}

fn at(path: &Path, source: io::Error) -> Error {
    Error::Io { path: path.to_owned(), source }
}
