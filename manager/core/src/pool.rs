//! A node's own addresses: the first is the host's, the rest are for its VMs.
//!
//! Pools of different nodes are disjoint (the configuration sees to that), so a node never asks another
//! before it hands out an address. Which addresses are in use is the caller's to know.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Why a network cannot be a pool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// Too small for a host and a VM, or larger than is sensible.
    #[error("pool {0} must have a prefix length between 16 and 29")]
    Size(Ipv4Net),
    /// Bits are set behind the prefix.
    #[error("pool {given} is not a network address; did you mean {meant}?")]
    NotANetwork {
        /// As configured.
        given: Ipv4Net,
        /// With the host bits cleared.
        meant: Ipv4Net,
    },
}

/// The addresses of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    net: Ipv4Net,
}

impl Pool {
    /// A pool of all addresses in `net` but the network's and the broadcast address.
    ///
    /// # Errors
    /// If `net` is not a network address, or not of /16 to /29.
    pub fn new(net: Ipv4Net) -> Result<Self, PoolError> {
        if net.trunc() != net {
            return Err(PoolError::NotANetwork { given: net, meant: net.trunc() });
        }
        if !(16..=29).contains(&net.prefix_len()) {
            return Err(PoolError::Size(net));
        }
        Ok(Self { net })
    }

    /// The network.
    pub const fn net(&self) -> Ipv4Net {
        self.net
    }

    /// The host's own address: the first.
    pub fn host(&self) -> Ipv4Addr {
        self.at(1)
    }

    /// How many VMs can have an address.
    pub fn capacity(&self) -> u32 {
        self.size() - 3
    }

    /// Whether a VM may have `addr`.
    pub fn is_vm_addr(&self, addr: Ipv4Addr) -> bool {
        self.net.contains(&addr) && (2..self.size() - 1).contains(&self.offset(addr))
    }

    /// The position of `addr` in the pool; meaningful for addresses of the pool only.
    pub fn offset(&self, addr: Ipv4Addr) -> u32 {
        u32::from(addr).wrapping_sub(u32::from(self.net.network()))
    }

    /// The lowest VM address that `used` does not claim; none when the pool is exhausted.
    pub fn lowest_free(&self, used: impl Fn(Ipv4Addr) -> bool) -> Option<Ipv4Addr> {
        (2..self.size() - 1).map(|offset| self.at(offset)).find(|addr| !used(*addr))
    }

    const fn size(&self) -> u32 {
        1 << (32 - self.net.prefix_len())
    }

    fn at(&self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.net.network()) + offset)
    }
}

#[cfg(test)]
mod tests {
    use super::{Pool, PoolError};
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    #[test]
    fn the_first_address_is_the_hosts_and_the_rest_is_for_vms() {
        let pool = Pool::new("10.77.11.0/29".parse().unwrap()).unwrap();
        assert_eq!(pool.host(), Ipv4Addr::new(10, 77, 11, 1));
        assert_eq!(pool.capacity(), 5);
        for (last, vm) in [(0, false), (1, false), (2, true), (6, true), (7, false), (8, false)] {
            assert_eq!(pool.is_vm_addr(Ipv4Addr::new(10, 77, 11, last)), vm, ".{last}");
        }
    }

    #[test]
    fn a_network_that_cannot_be_a_pool_says_why() {
        for size in ["10.0.0.0/8", "10.0.0.0/30"] {
            assert!(matches!(Pool::new(size.parse().unwrap()), Err(PoolError::Size(_))), "{size}");
        }
        let error = Pool::new("10.77.11.5/24".parse().unwrap()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "pool 10.77.11.5/24 is not a network address; did you mean 10.77.11.0/24?"
        );
    }

    proptest! {
        #[test]
        fn every_address_is_handed_out_once_until_exhausted(prefix in 22_u8..=29) {
            let pool = Pool::new(ipnet::Ipv4Net::new(Ipv4Addr::new(10, 77, 0, 0), prefix).unwrap()).unwrap();
            let mut used = BTreeSet::new();
            while let Some(addr) = pool.lowest_free(|addr| used.contains(&addr)) {
                prop_assert!(pool.is_vm_addr(addr) && addr != pool.host());
                prop_assert!(used.insert(addr));
            }
            prop_assert_eq!(u32::try_from(used.len()).unwrap(), pool.capacity());
        }
    }
}
