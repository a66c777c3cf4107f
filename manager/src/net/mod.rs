//! The host's network: the bridge its VMs are plugged into, the routes to the peers' pools, a permanent
//! neighbour entry per VM, and this host's part in the public address ([`Net::set_vip`], [`announce`]).
//!
//! Nothing is bridged into the LAN and nothing is translated; the host routes. [`Net::ensure`] looks, compares
//! ([`plan`]) and repairs, as often as one likes, and it repairs only what is ours: other people's routes,
//! addresses and devices are reported as [`Conflict`]s and left alone. Packet filters are not looked at, except a table of our own
//! ([`FILTER_TABLE`]).
//!
//! Calls are made in the network namespace of the thread that called [`Net::open`].

pub mod announce;
pub mod arp;
mod filter;
pub mod mac;
mod netlink;
pub mod plan;
mod settings;
mod sysctl;
mod vip;

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use ipnet::Ipv4Net;
use nix::errno::Errno;
use tokio::sync::Mutex;
use tracing::{debug, info};

pub use filter::FILTER_TABLE;
use filter::Nft;
pub use mac::{MacAddr, bridge_mac, vm_mac};
pub use plan::vip::{VipDesired, VipRoute};
pub use plan::{Change, Conflict, ROUTE_PROTOCOL};
use plan::{Desired, Observed};
pub use settings::{PeerRoute, Settings};
pub use sysctl::Sysctl;

/// The kernel answers in microseconds; longer than this, an answer was lost.
const NETLINK_TIMEOUT: Duration = Duration::from_secs(5);

/// What [`Net::ensure`] found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// The steps that were needed, in the order they were made. Empty when all was well.
    pub applied: Vec<Change>,
    /// What of others is in the way, and was left alone. It is found again each time, so report it once.
    pub conflicts: Vec<Conflict>,
}

/// Why the host's network is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting that can never work.
    #[error("{field}: {message}")]
    Invalid {
        /// The setting, as the configuration file calls it.
        field: String,
        /// What is wrong with it.
        message: String,
    },
    /// The LAN interface is missing or down. Everything that does not need it was done.
    #[error("{0}")]
    Interface(Conflict),
    /// The netlink socket cannot be opened.
    #[error("cannot open a netlink socket: {0}")]
    Open(#[source] io::Error),
    /// The kernel's state cannot be read.
    #[error("cannot read the network's state: {0}")]
    Observe(#[source] io::Error),
    /// The kernel refused a step. Those that do not depend on it were made.
    #[error("cannot {step}: {source}")]
    Apply {
        /// The step.
        step: Box<Change>,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The bridge does not exist; [`Net::ensure`] makes it.
    #[error("there is no bridge {0:?} (yet)")]
    NoBridge(String),
    /// The address is not one for VMs.
    #[error("{0} is not an address for VMs: it has to be of the pool {1}, and not the host's")]
    NotInPool(Ipv4Addr, Ipv4Net),
    /// What is wanted of the public address contradicts the settings, or itself.
    #[error("the public address: {0}")]
    Vip(String),
    /// Something of others decides what becomes of the public address.
    #[error("{0}")]
    InTheWay(Conflict),
    /// The kernel did not answer in time.
    #[error("the kernel did not answer within {} s", NETLINK_TIMEOUT.as_secs())]
    Timeout,
}

/// The host's network. One per process: its calls take turns.
pub struct Net {
    /// As they were at the start; the peers of now are the routes in `desired`.
    settings: Settings,
    handle: rtnetlink::Handle,
    connection: tokio::task::JoinHandle<()>,
    nft: Nft,
    desired: Mutex<Desired>,
}

impl Net {
    /// Checks the settings and takes over the neighbour entries that an earlier process installed, and its part in
    /// the public address ([`Net::vip_installed`] says which).
    ///
    /// # Errors
    /// [`Error::Invalid`] for settings that can never work, and errors of the netlink socket. A missing interface is no
    /// error here, nor is an `nft` that is missing or fails.
    pub async fn open(settings: Settings) -> Result<Self, Error> {
        Self::open_with(settings, Path::new("nft")).await
    }

    /// As [`Net::open`], with `nft` for the program of that name.
    ///
    /// # Errors
    /// As [`Net::open`].
    pub async fn open_with(settings: Settings, nft: &Path) -> Result<Self, Error> {
        settings.check()?;
        let (connection, handle, _) = rtnetlink::new_connection().map_err(Error::Open)?;
        let connection = tokio::spawn(connection);
        let desired = Desired {
            interface: settings.interface.clone(),
            bridge: settings.bridge.clone(),
            bridge_mac: bridge_mac(settings.host_addr),
            addr: Ipv4Net::new_assert(settings.host_addr, settings.pool.prefix_len()),
            routes: routes(&settings.peers),
            vms: BTreeMap::new(),
            vip: settings.vip.map(VipDesired::released),
        };
        let nft = Nft::open(nft.to_owned(), settings.vip.is_some()).await;
        let net = Self { settings, handle, connection, nft, desired: Mutex::new(desired) };
        let vms = match net.installed().await {
            Ok(vms) => vms,
            Err(Error::NoBridge(_)) => BTreeMap::new(),
            Err(e) => return Err(e),
        };
        let vip = net.vip_installed().await?;
        let mut desired = net.desired.lock().await;
        let vip = vip.map(|vip| net.adoptable(&desired, vip));
        desired.vms = vms.into_iter().filter(|(addr, _)| net.is_vm_addr(*addr)).collect();
        desired.vip = vip;
        drop(desired);
        Ok(net)
    }

    /// Makes the network what it should be; does nothing if it is already. To be called at the start and then
    /// every few seconds: interfaces come and go, and administrators make mistakes.
    ///
    /// # Errors
    /// [`Error::Interface`] and [`Error::Apply`] after having done all that could be done, the others at once.
    pub async fn ensure(&self) -> Result<Changes, Error> {
        // Whoever takes or releases the address does not wait for a process.
        let looked = self.nft.look().await;
        let desired = self.desired.lock().await;
        let observed = self.observe(&desired).await?;
        let (steps, mut conflicts) = plan::plan(&desired, &observed);
        let (filter, steps): (Vec<_>, Vec<_>) = steps.into_iter().partition(Change::is_filter);
        // Decided with the rest; made without the lock, and not at all if something else is decided meanwhile.
        let orders: Vec<_> =
            filter.into_iter().filter_map(|step| self.nft.order(&step).map(|order| (order, step))).collect();
        let (mut applied, failed) = self.apply_all(&desired, steps, &mut conflicts).await;
        let of = desired.clone();
        drop(desired);
        match looked {
            Err(error) if orders.is_empty() => conflicts.push(no_second_chance(&of, error.to_string())),
            Ok(()) | Err(_) => {}
        }
        for (order, step) in orders {
            match self.nft.carry_out(order, filter::PATIENCE).await {
                Ok(true) => {
                    info!(%step, "network changed");
                    applied.push(step);
                }
                Ok(false) => {}
                Err(error) => conflicts.push(no_second_chance(&of, format!("cannot {step}: {error}"))),
            }
        }
        if let Some((_, error)) = failed.into_iter().next() {
            return Err(error);
        }
        let lan = |c: &&Conflict| matches!(c, Conflict::InterfaceMissing(_) | Conflict::InterfaceDown(_));
        match conflicts.iter().find(lan) {
            Some(conflict) => Err(Error::Interface(conflict.clone())),
            None => Ok(Changes { applied, conflicts }),
        }
    }

    /// Whether [`Net::set_peers`] would take `peers`.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the setting.
    pub fn check_peers(&self, peers: &[PeerRoute]) -> Result<(), Error> {
        Settings { peers: peers.to_vec(), ..self.settings.clone() }.check()
    }

    /// Takes `peers` for the other nodes from now on: the next [`Net::ensure`] makes the routes to their pools, and removes
    /// those to others. Of the public address, what leads to a node that is no peer any more is given up.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the setting; nothing is changed then.
    pub async fn set_peers(&self, peers: &[PeerRoute]) -> Result<(), Error> {
        self.check_peers(peers)?;
        let mut desired = self.desired.lock().await;
        desired.routes = routes(peers);
        desired.vip = desired.vip.map(|vip| self.adoptable(&desired, vip));
        Ok(())
    }

    /// The addresses on the LAN that the kernel has found at `mac`, by its neighbour table. It has an entry for whoever it
    /// has spoken to lately.
    ///
    /// # Errors
    /// When the kernel's state cannot be read, or there is no LAN interface.
    pub async fn stations(&self, mac: MacAddr) -> Result<Vec<Ipv4Addr>, Error> {
        let read = timed(async {
            let index = netlink::index_of(&self.handle, &self.settings.interface).await?;
            netlink::stations(&self.handle, index, mac).await
        });
        read.await?.map_err(Error::Observe)
    }

    /// Directs the packets for `addr` to `mac` from now on, without any ARP.
    ///
    /// # Errors
    /// [`Error::NotInPool`] changes nothing. After any other error the entry is remembered and the next
    /// [`Net::ensure`] installs it.
    pub async fn set_vm(&self, addr: Ipv4Addr, mac: MacAddr) -> Result<(), Error> {
        if !self.is_vm_addr(addr) {
            return Err(Error::NotInPool(addr, self.settings.pool));
        }
        let mut desired = self.desired.lock().await;
        desired.vms.insert(addr, mac);
        self.apply(&desired, Change::SetNeighbour(addr, mac)).await
    }

    /// Forgets where `addr` is. An address that has no entry is no error.
    ///
    /// # Errors
    /// When the kernel refuses; the next [`Net::ensure`] tries again.
    pub async fn remove_vm(&self, addr: Ipv4Addr) -> Result<(), Error> {
        let mut desired = self.desired.lock().await;
        desired.vms.remove(&addr);
        let installed = match self.installed().await {
            Err(Error::NoBridge(_)) => return Ok(()),
            installed => installed?,
        };
        if !installed.contains_key(&addr) {
            return Ok(());
        }
        self.apply(&desired, Change::RemoveNeighbour(addr)).await
    }

    /// The entries of ours that the kernel has, by address.
    ///
    /// # Errors
    /// When the kernel's state cannot be read. Without a bridge there are none.
    pub async fn vms(&self) -> Result<Vec<(Ipv4Addr, MacAddr)>, Error> {
        match self.installed().await {
            Ok(vms) => Ok(vms.into_iter().collect()),
            Err(Error::NoBridge(_)) => Ok(Vec::new()),
            Err(e) => Err(e),
        }
    }

    /// Removes the bridge with all that is on it, our routes, and all of the public address. Switches in `/proc/sys` stay as they are.
    ///
    /// # Errors
    /// The first step that failed, after all were tried.
    pub async fn teardown(&self) -> Result<(), Error> {
        let mut desired = self.desired.lock().await;
        desired.vms.clear();
        desired.vip = self.settings.vip.map(VipDesired::released);
        let observed = self.observe(&desired).await?;
        let steps = plan::plan_teardown(&desired, &observed);
        let mut conflicts = Vec::new();
        let (_, failed) = self.apply_all(&desired, steps, &mut conflicts).await;
        if let Some((_, error)) = failed.into_iter().next() {
            return Err(error);
        }
        conflicts.into_iter().next().map_or(Ok(()), |conflict| Err(Error::InTheWay(conflict)))
    }

    fn is_vm_addr(&self, addr: Ipv4Addr) -> bool {
        let pool = self.settings.pool;
        let reserved = [self.settings.host_addr, pool.network(), pool.broadcast()];
        pool.contains(&addr) && !reserved.contains(&addr)
    }

    async fn observe(&self, desired: &Desired) -> Result<Observed, Error> {
        let mut observed = timed(netlink::observe(&self.handle, desired)).await?.map_err(Error::Observe)?;
        observed.vip.filter = self.nft.remembered();
        Ok(observed)
    }

    async fn installed(&self) -> Result<BTreeMap<Ipv4Addr, MacAddr>, Error> {
        let bridge = &self.settings.bridge;
        let read = timed(async {
            let index = netlink::index_of(&self.handle, bridge).await?;
            netlink::neighbours(&self.handle, index).await
        });
        match read.await? {
            Ok(entries) => {
                Ok(entries.into_iter().filter(|(_, e)| e.ours).map(|(addr, e)| (addr, e.mac)).collect())
            }
            Err(e) if is_missing(&e) => Err(Error::NoBridge(bridge.clone())),
            Err(e) => Err(Error::Observe(e)),
        }
    }

    /// Does the steps, and the later ones if one fails: what was done, and what was not. The public address is not
    /// answered for unless every step for it succeeded, except those for second chances: they become conflicts, for new
    /// connections need none.
    async fn apply_all(
        &self,
        desired: &Desired,
        steps: Vec<Change>,
        conflicts: &mut Vec<Conflict>,
    ) -> (Vec<Change>, Vec<(Change, Error)>) {
        let mut failed = Vec::new();
        let mut applied = Vec::with_capacity(steps.len());
        for step in steps {
            if !failed.is_empty() && matches!(step, Change::Answer(_)) {
                continue;
            }
            match self.apply(desired, step.clone()).await {
                Ok(()) => {
                    info!(%step, bridge = desired.bridge, "network changed");
                    applied.push(step);
                }
                Err(error) if step.is_second_chance() => {
                    conflicts.push(no_second_chance(desired, error.to_string()));
                }
                Err(e) => {
                    debug!(%step, error = %e, "network not changed");
                    failed.push((step, e));
                }
            }
        }
        (applied, failed)
    }

    async fn apply(&self, desired: &Desired, step: Change) -> Result<(), Error> {
        let done = match self.nft.order(&step) {
            Some(order) => {
                let hurry = matches!(step, Change::InstallFilter(_));
                let limit = if hurry { filter::HASTE } else { filter::PATIENCE };
                self.nft.carry_out(order, limit).await.map(drop)
            }
            None => timed(netlink::apply(&self.handle, desired, &step)).await?,
        };
        match done {
            Ok(()) => Ok(()),
            Err(e)
                if is_missing(&e)
                    && matches!(step, Change::SetNeighbour(..) | Change::SetBridgeRoute(..)) =>
            {
                Err(Error::NoBridge(desired.bridge.clone()))
            }
            // Somebody else was faster in removing it: that is what was wanted.
            Err(e)
                if matches!(errno(&e), Some(Errno::ENOENT | Errno::ESRCH))
                    && matches!(
                        step,
                        Change::RemoveNeighbour(_)
                            | Change::RemoveRoute(_)
                            | Change::StopAnswering(_)
                            | Change::RemoveMarkedRoute(_)
                            | Change::RemoveMarkRule(_)
                    ) =>
            {
                Ok(())
            }
            Err(source) => Err(Error::Apply { step: Box::new(step), source }),
        }
    }
}

/// The way to the former owner is not there, or is still there.
fn no_second_chance(desired: &Desired, reason: String) -> Conflict {
    match desired.vip.and_then(|vip| vip.second_chance) {
        Some(via) => Conflict::NoSecondChance { via, reason },
        None => Conflict::Undone(reason),
    }
}

fn routes(peers: &[PeerRoute]) -> BTreeMap<Ipv4Net, Ipv4Addr> {
    peers.iter().map(|peer| (peer.pool.trunc(), peer.via)).collect()
}

impl Drop for Net {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

async fn timed<T>(work: impl Future<Output = T>) -> Result<T, Error> {
    tokio::time::timeout(NETLINK_TIMEOUT, work).await.map_err(|_| Error::Timeout)
}

fn is_missing(error: &io::Error) -> bool {
    errno(error) == Some(Errno::ENODEV)
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw)
}
