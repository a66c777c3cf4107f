//! The calls to libvirt, blocking, on one connection that is opened again when it breaks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::{debug, info};
use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::{Error as VirtError, ErrorNumber};
use virt::sys;

use super::domain_xml::{self, DomainMeta};

/// A domain with our metadata, as libvirt lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) uuid: String,
    pub(super) meta: DomainMeta,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// There is no libvirtd, or it went away during the call.
    Unreachable(String),
    /// A domain has that name already.
    NameTaken,
    /// The domain of that name is not this node's.
    NotOurs,
    /// libvirt refused.
    Refused(String),
}

/// A connection to libvirt.
pub(super) struct Client {
    uri: String,
    connection: Mutex<Option<Arc<Connect>>>,
    /// Set when the connection is to be given up by the next call. The caller that notices cannot do it:
    /// closing a connection to a libvirtd that hangs blocks.
    suspect: AtomicBool,
}

impl Client {
    /// Does not connect yet.
    pub(super) fn new(uri: String) -> Self {
        // libvirt prints every error to stderr by itself. We return them.
        virt::error::clear_error_callback();
        Self { uri, connection: Mutex::new(None), suspect: AtomicBool::new(false) }
    }

    /// Tells that a call on the connection has not come back in time.
    pub(super) fn suspect(&self) {
        self.suspect.store(true, Ordering::Relaxed);
    }

    /// libvirt's version, to see whether it answers: `9.0.0`.
    pub(super) fn version(&self) -> Result<String, Failure> {
        let version = self.on_connection(Connect::lib_version)?;
        Ok(format!("{}.{}.{}", version / 1_000_000, version / 1000 % 1000, version % 1000))
    }

    /// The running and paused domains with our metadata and `node`. Others' are skipped without complaint.
    pub(super) fn list(&self, node: &str) -> Result<Vec<Listed>, Failure> {
        let flags = sys::VIR_CONNECT_LIST_DOMAINS_RUNNING | sys::VIR_CONNECT_LIST_DOMAINS_PAUSED;
        // All on one connection, or not at all: half a list would look as if the other half had died.
        self.on_connection(|connection| {
            let mut listed = Vec::new();
            for domain in connection.list_all_domains(flags)? {
                match describe(&domain) {
                    Ok(described) => listed.extend(described.filter(|d| d.meta.node == node)),
                    // It ended between the two calls.
                    Err(e) if is_gone(&e) => {}
                    Err(e) => return Err(e),
                }
            }
            Ok(listed)
        })
    }

    /// The names of all domains, whoever's, that are running or about to.
    pub(super) fn active_names(&self) -> Result<Vec<String>, Failure> {
        let domains = self
            .on_connection(|connection| connection.list_all_domains(sys::VIR_CONNECT_LIST_DOMAINS_ACTIVE))?;
        Ok(domains.iter().filter_map(|domain| domain.name().ok()).collect())
    }

    /// Starts a transient domain. The caller chooses its UUID, so that a connection that breaks during the call
    /// does not leave us in doubt: the second attempt finds the first one's domain.
    pub(super) fn create(&self, name: &str, uuid: &str, xml: &str) -> Result<(), Failure> {
        let created =
            self.on_connection(|connection| connection.create_domain_xml(xml, sys::VIR_DOMAIN_NONE));
        let Err(failure) = created else { return Ok(()) };
        if matches!(failure, Failure::Unreachable(_)) {
            return Err(failure);
        }
        match self.on_connection(|connection| connection.lookup_domain_by_name(name)) {
            Ok(domain) if domain.uuid_string().is_ok_and(|found| found.eq_ignore_ascii_case(uuid)) => Ok(()),
            Ok(_) => Err(Failure::NameTaken),
            Err(_) => Err(failure),
        }
    }

    /// The domain of that name, if there is one and it is ours.
    pub(super) fn find(&self, name: &str, node: &str) -> Result<Option<Listed>, Failure> {
        let Some(domain) = self.lookup(name)? else { return Ok(None) };
        match describe(&domain) {
            Ok(Some(listed)) if listed.meta.node == node => Ok(Some(listed)),
            Ok(_) => Err(Failure::NotOurs),
            Err(e) if is_gone(&e) => Ok(None),
            Err(e) => Err(Failure::Refused(e.message().to_owned())),
        }
    }

    /// Ends the domain with this UUID, whatever it is called; one that is gone is no failure.
    pub(super) fn destroy(&self, uuid: &str) -> Result<(), Failure> {
        self.on_connection(|connection| {
            match connection.lookup_domain_by_uuid_string(uuid).and_then(|domain| domain.destroy()) {
                Err(e) if is_gone(&e) => Ok(()),
                done => done,
            }
        })
    }

    fn lookup(&self, name: &str) -> Result<Option<Domain>, Failure> {
        self.on_connection(|connection| match connection.lookup_domain_by_name(name) {
            Ok(domain) => Ok(Some(domain)),
            Err(e) if is_gone(&e) => Ok(None),
            Err(e) => Err(e),
        })
    }

    /// Runs `call`, a second time on a new connection if the first one turns out to be broken.
    fn on_connection<T>(&self, call: impl Fn(&Connect) -> Result<T, VirtError>) -> Result<T, Failure> {
        let mut broken = None;
        for _ in 0..2 {
            let connection = self.connect()?;
            match call(&connection) {
                Ok(result) => return Ok(result),
                Err(e) if connection.is_alive().unwrap_or(false) => {
                    return Err(Failure::Refused(e.message().to_owned()));
                }
                Err(e) => {
                    debug!(error = %e, "the connection to libvirt broke");
                    self.forget(&connection);
                    broken = Some(e);
                }
            }
        }
        let message = broken.map_or_else(String::new, |e| e.message().to_owned());
        Err(Failure::Unreachable(message))
    }

    fn connect(&self) -> Result<Arc<Connect>, Failure> {
        let current = {
            let mut slot = self.slot();
            if self.suspect.swap(false, Ordering::Relaxed) {
                (slot.take(), None)
            } else {
                (None, slot.clone())
            }
        };
        let (given_up, current) = current;
        drop(given_up);
        if let Some(connection) = current {
            return Ok(connection);
        }
        // Without the lock: this may hang, and others may be luckier.
        let opened =
            Connect::open(Some(&self.uri)).map_err(|e| Failure::Unreachable(e.message().to_owned()))?;
        info!(uri = self.uri, "connected to libvirt");
        let opened = Arc::new(opened);
        let former = self.slot().replace(Arc::clone(&opened));
        drop(former);
        Ok(opened)
    }

    fn forget(&self, broken: &Arc<Connect>) {
        let mut slot = self.slot();
        let former = if slot.as_ref().is_some_and(|current| Arc::ptr_eq(current, broken)) {
            slot.take()
        } else {
            None
        };
        drop(slot);
        drop(former);
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Arc<Connect>>> {
        // Nothing is done under the lock that could panic half-way.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Client {
    /// Closes the connection on a thread: it says goodbye to libvirtd and waits for the answer.
    fn drop(&mut self) {
        if let Some(connection) = self.slot().take() {
            let closing = std::thread::Builder::new().name("libvirt-close".to_owned());
            if let Err(e) = closing.spawn(move || drop(connection)) {
                debug!(error = %e, "the connection to libvirt is left to the end of the process");
            }
        }
    }
}

/// What the description of a domain says, if it is ours.
fn describe(domain: &Domain) -> Result<Option<Listed>, VirtError> {
    let (name, uuid) = (domain.name()?, domain.uuid_string()?);
    match domain_xml::parse_meta(&domain.xml_desc(0)?) {
        Ok(meta) => Ok(meta.map(|meta| Listed { name, uuid: uuid.to_ascii_lowercase(), meta })),
        Err(message) => {
            debug!(domain = name, message, "not understood, so not ours");
            Ok(None)
        }
    }
}

/// A transient domain that has stopped does not exist; one that is stopping "is not running".
fn is_gone(error: &VirtError) -> bool {
    matches!(error.code().known(), Some(ErrorNumber::NoDomain | ErrorNumber::OperationInvalid))
}
