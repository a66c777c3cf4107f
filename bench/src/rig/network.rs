//! Hosts on one LAN: a namespace each, and a switch (a bridge in a namespace of its own) they are plugged into.
//!
//! Neighbour entries are permanent. A host whose cable is cut is therefore silent in the strictest sense: no reset,
//! no unreachable, and no address resolution that fails after some seconds and tells the sender so.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result};

use super::namespace::Namespace;

/// The LAN: 10.99.0.0/24, seen by nobody else.
const NET: [u8; 3] = [10, 99, 0];

/// The switch's name in its namespace.
const BRIDGE: &str = "lan";

/// A host: a namespace with one cable.
#[derive(Debug)]
pub struct Host {
    /// Where it runs things.
    pub namespace: Namespace,
    /// Its address on the LAN.
    pub addr: IpAddr,
    /// Its hardware address.
    pub mac: String,
    port: String,
}

/// The LAN and its hosts.
#[derive(Debug)]
pub struct Network {
    switch: Namespace,
    hosts: Vec<Host>,
}

impl Network {
    /// A LAN with these hosts (at most 200, names of at most 12 characters), in this order.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn new(names: &[&str]) -> Result<Self> {
        let switch = Namespace::new("lan")?;
        switch.ip(&["link", "add", BRIDGE, "type", "bridge"])?;
        switch.ip(&["link", "set", BRIDGE, "up"])?;
        let mut network = Self { switch, hosts: Vec::new() };
        for (name, last) in names.iter().zip(1_u8..=200) {
            let host = network.cable(name, last).with_context(|| format!("host {name}"))?;
            network.hosts.push(host);
        }
        network.introduce()?;
        Ok(network)
    }

    /// The host at this place in the list.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn host(&self, place: usize) -> &Host {
        &self.hosts[place]
    }

    /// A way to cut a host's cable that can be handed to another thread.
    pub fn cutter(&self, place: usize) -> Cutter {
        Cutter { switch: self.switch.name().to_owned(), port: self.hosts[place].port.clone() }
    }

    /// The switch's namespace, and the name of its bridge there: what is on the LAN passes by.
    pub fn switch(&self) -> (&str, &'static str) {
        (self.switch.name(), BRIDGE)
    }

    fn cable(&self, name: &str, last: u8) -> Result<Host> {
        let namespace = Namespace::new(name)?;
        let addr = Ipv4Addr::new(NET[0], NET[1], NET[2], last);
        let (switch, port) = (&self.switch, name);
        switch.ip(&[
            "link",
            "add",
            port,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            namespace.name(),
        ])?;
        switch.ip(&["link", "set", port, "master", BRIDGE, "up"])?;
        namespace.ip(&["addr", "add", &format!("{addr}/24"), "dev", "eth0"])?;
        namespace.ip(&["link", "set", "eth0", "up"])?;
        let shown = namespace.ip(&["-o", "link", "show", "dev", "eth0"])?;
        let mut words = shown.split_whitespace().skip_while(|word| *word != "link/ether").skip(1);
        let mac = words.next().context("eth0 has no hardware address")?.to_owned();
        Ok(Host { namespace, addr: addr.into(), mac, port: port.to_owned() })
    }

    /// Tells every host the hardware address of every other.
    fn introduce(&self) -> Result<()> {
        for host in &self.hosts {
            for other in self.hosts.iter().filter(|other| other.addr != host.addr) {
                let addr = other.addr.to_string();
                let entry =
                    ["neigh", "replace", &addr, "lladdr", &other.mac, "nud", "permanent", "dev", "eth0"];
                host.namespace.ip(&entry)?;
            }
        }
        Ok(())
    }
}

/// Takes one host's cable out of the switch, and puts it back.
#[derive(Debug, Clone)]
pub struct Cutter {
    switch: String,
    port: String,
}

impl Cutter {
    /// Takes the switch's port down: from then on every packet to and from the host vanishes. The ports of the
    /// others stay up.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn cut(&self) -> Result<()> {
        self.set("down")
    }

    /// Takes the switch's port up again.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn mend(&self) -> Result<()> {
        self.set("up")
    }

    fn set(&self, state: &str) -> Result<()> {
        super::ip::ip(&["-n", &self.switch, "link", "set", &self.port, state]).map(drop)
    }
}
