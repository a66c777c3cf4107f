//! What a host does for the public address: routes, answers and second chances, changed at once and in a safe order.
//!
//! Who owns the address is not decided here, and nothing is announced: see [`super::announce`].

use std::net::Ipv4Addr;

use super::plan::vip::{self, VipDesired, VipRoute};
use super::{Change, Changes, Conflict, Desired, Error, Net, no_second_chance, plan};

impl Net {
    /// Makes this host's part in the public address what `wanted` says, at once. When it returns without an error, the
    /// kernel has it. It is remembered, and [`Net::ensure`] repairs it.
    ///
    /// The filter of a second chance that has ended is removed by the next [`Net::ensure`]: nobody is to wait for that.
    ///
    /// Without a way for connections that began elsewhere, it goes on: [`Conflict::NoSecondChance`] is in the result. `nft`
    /// is waited for at most 300 ms, and not asked again here for what it has refused; [`Net::ensure`] does that.
    ///
    /// Cancelling it leaves some of the steps undone; the next [`Net::ensure`] does them.
    ///
    /// # Errors
    /// [`Error::Vip`] changes nothing. After any other error as much as possible was done, but not what was wanted:
    /// [`Error::InTheWay`] names what of others answers or routes instead, [`Error::Interface`] says that there is no LAN
    /// to answer on, and the rest is the kernel's. To want [`VipDesired::released`] instead undoes it. Without
    /// [`VipDesired::answer`] only that the kernel answers still is an error; what else failed is a
    /// [`Conflict::Undone`].
    pub async fn set_vip(&self, wanted: VipDesired) -> Result<Changes, Error> {
        let mut desired = self.desired.lock().await;
        self.check_vip(&desired, &wanted)?;
        desired.vip = Some(wanted);
        let observed = self.observe(&desired).await?;
        let (steps, mut conflicts) = plan::plan_vip(&desired, &observed);
        let mut todo = Vec::with_capacity(steps.len());
        for step in steps {
            let refused = match &step {
                Change::InstallFilter(spec) => self.nft.refused(spec),
                _ => None,
            };
            match refused {
                Some(reason) => conflicts.push(no_second_chance(&desired, reason)),
                None => todo.push(step),
            }
        }
        let (applied, failed) = self.apply_all(&desired, todo, &mut conflicts).await;
        for (step, error) in failed {
            if wanted.answer || matches!(step, Change::StopAnswering(_)) {
                return Err(error);
            }
            conflicts.push(Conflict::Undone(error.to_string()));
        }
        let decides = |conflict: &&Conflict| match conflict {
            Conflict::InterfaceMissing(_) | Conflict::InterfaceDown(_) | Conflict::ForeignRoute { .. } => {
                wanted.answer
            }
            Conflict::ForeignProxy { .. } => !wanted.answer,
            conflict => conflict.is_about_vip(),
        };
        match conflicts.iter().find(decides).cloned() {
            Some(conflict @ (Conflict::InterfaceMissing(_) | Conflict::InterfaceDown(_))) => {
                Err(Error::Interface(conflict))
            }
            Some(conflict) => Err(Error::InTheWay(conflict)),
            None => Ok(Changes { applied, conflicts }),
        }
    }

    /// What the kernel has of the public address now, our own entries only; none if the cluster has no such address.
    ///
    /// # Errors
    /// When the kernel's state cannot be read.
    pub async fn vip_installed(&self) -> Result<Option<VipDesired>, Error> {
        let Some(addr) = self.settings.vip else { return Ok(None) };
        let observed = self.observe(&*self.desired.lock().await).await?;
        Ok(Some(vip::installed(addr, &observed)))
    }

    /// What may stay of this host's part in the public address, of an earlier life or with other peers.
    pub(super) fn adoptable(&self, desired: &Desired, installed: VipDesired) -> VipDesired {
        let checks = [
            installed,
            VipDesired { second_chance: None, ..installed },
            VipDesired { answer: false, ..installed },
        ];
        let fit = checks.into_iter().find(|vip| self.check_vip(desired, vip).is_ok());
        fit.unwrap_or(VipDesired::released(installed.addr))
    }

    fn check_vip(&self, desired: &Desired, wanted: &VipDesired) -> Result<(), Error> {
        let refuse = |message| Err(Error::Vip(message));
        let VipDesired { addr, answer, route, second_chance } = *wanted;
        if self.settings.vip != Some(addr) {
            return refuse(match self.settings.vip {
                Some(vip) => format!("it is {vip}, not {addr}"),
                None => "there is none".to_owned(),
            });
        }
        let is_peer = |lan: Ipv4Addr| desired.routes.values().any(|via| *via == lan);
        match route {
            VipRoute::Bridge(vm) if !self.is_vm_addr(vm) => {
                return Err(Error::NotInPool(vm, self.settings.pool));
            }
            VipRoute::Via(lan) if !is_peer(lan) => return refuse(format!("{lan} is no peer's LAN address")),
            VipRoute::None | VipRoute::Via(_) if answer => {
                return refuse("it can only be answered for with a route to an own VM".to_owned());
            }
            VipRoute::None | VipRoute::Via(_) | VipRoute::Bridge(_) => {}
        }
        match second_chance {
            Some(lan) if !is_peer(lan) => refuse(format!("{lan} is no peer's LAN address")),
            _ => Ok(()),
        }
    }
}
