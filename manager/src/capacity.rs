//! How many service VMs a host's memory can bear.
//!
//! Every VM's memory is counted in full, whether it uses it or not: a host that runs out kills VMs. Refuses to look at
//! what is free at the moment, which is different at every look, and the answer must not be.

/// The most service VMs of one node: what its table holds, by which the others know of them.
pub const MOST: u32 = 512;

/// What the host keeps at least, in bytes.
const KEPT: u64 = 1 << 30;

/// How many service VMs of `memory_mib` each a host with `total` bytes of memory can bear beside its load balancer, if
/// a quarter of the memory, and at least 1 GiB, is kept for everything else. 0 to [`MOST`].
fn of_memory(total: u64, memory_mib: u32) -> u32 {
    let usable = total.saturating_sub(KEPT.max(total / 4));
    let vms = usable / (u64::from(memory_mib.max(1)) << 20);
    u32::try_from(vms.saturating_sub(1)).unwrap_or(MOST).min(MOST)
}

/// The same for this host: its memory is what the kernel calls `MemTotal` (proc_meminfo(5), sysinfo(2)).
pub fn of_this_host(memory_mib: u32) -> u32 {
    let info = rustix::system::sysinfo();
    of_memory(info.totalram.saturating_mul(u64::from(info.mem_unit)), memory_mib)
}

#[cfg(test)]
mod tests {
    use super::{MOST, of_memory, of_this_host};

    #[test]
    fn memory_is_left_to_the_host() {
        const GIB: u64 = 1 << 30;
        let cases = [
            (0, 192, 0),
            (GIB, 192, 0),
            // 1 GiB for five: one is the load balancer.
            (2 * GIB, 192, 4),
            (2 * GIB, 1_024, 0),
            // From 4 GiB on a quarter is more.
            (4 * GIB, 192, 15),
            (8 * GIB, 192, 31),
            (16 * GIB, 65_536, 0),
            (1_024 * GIB, 192, MOST),
            (u64::MAX, 96, MOST),
        ];
        for (total, memory_mib, expected) in cases {
            assert_eq!(of_memory(total, memory_mib), expected, "{total} of {memory_mib} MiB");
        }
    }

    #[test]
    fn this_host_has_memory() {
        assert!(of_this_host(1) > 0);
    }
}
