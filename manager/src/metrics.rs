//! What Prometheus may know of this manager. Labels are bounded: roles, states and kinds, never ids.

use prometheus::{
    Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use wire::{Role, VipState, Vm, VmState};

/// Seconds a VM may take to be created and to boot: from 50 ms (a spare under KVM) to a minute.
const BOOT_BUCKETS: [f64; 10] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 60.0];

/// All series, in one registry.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// VMs by role and state.
    vms: IntGaugeVec,
    /// Lives that began, by role.
    pub creations: IntCounterVec,
    /// Creations that failed, by role.
    pub creation_failures: IntCounterVec,
    /// Seconds from the decision to create to libvirt's answer.
    pub create_seconds: Histogram,
    /// Seconds from the decision to create to the first heartbeat.
    pub boot_seconds: Histogram,
    /// Pushes that failed, by listener (`lb`, `peer`).
    pub push_failures: IntCounterVec,
    /// State that could not be written to disk.
    pub persist_failures: IntCounterVec,
    /// The generation last accepted by the load balancer.
    pub lb_generation: IntGauge,
    /// What this node has to do with the public address: 1 for the present state.
    vip_state: IntGaugeVec,
    /// The greatest epoch this node knows.
    vip_epoch: IntGauge,
    /// Changes of that state, by the state they lead to.
    pub vip_transitions: IntCounterVec,
}

impl Metrics {
    /// All series, registered.
    ///
    /// # Errors
    /// If two series have one name, which is a mistake in this file.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            prometheus::Result::Ok(counter)
        };
        let histogram = |name: &str, help: &str| {
            let histogram =
                Histogram::with_opts(HistogramOpts::new(name, help).buckets(BOOT_BUCKETS.to_vec()))?;
            registry.register(Box::new(histogram.clone()))?;
            prometheus::Result::Ok(histogram)
        };
        let vms = IntGaugeVec::new(Opts::new("manager_vms", "VMs of this node"), &["role", "state"])?;
        registry.register(Box::new(vms.clone()))?;
        let lb_generation =
            IntGauge::new("manager_lb_generation", "Upstream generation the load balancer accepted")?;
        registry.register(Box::new(lb_generation.clone()))?;
        let vip_state = IntGaugeVec::new(
            Opts::new("manager_vip_state", "1 for the state of this node's part in the public address"),
            &["state"],
        )?;
        registry.register(Box::new(vip_state.clone()))?;
        let vip_epoch =
            IntGauge::new("manager_vip_epoch", "Greatest epoch of the public address known here")?;
        registry.register(Box::new(vip_epoch.clone()))?;
        Ok(Self {
            vms,
            creations: counter("manager_creations_total", "VMs whose creation was begun", &["role"])?,
            creation_failures: counter(
                "manager_creation_failures_total",
                "VMs that libvirt did not create",
                &["role"],
            )?,
            create_seconds: histogram("manager_create_seconds", "From the decision to libvirt's answer")?,
            boot_seconds: histogram("manager_boot_seconds", "From the decision to the first heartbeat")?,
            push_failures: counter("manager_push_failures_total", "Pushes that failed", &["listener"])?,
            persist_failures: counter(
                "manager_persist_failures_total",
                "State not written to disk",
                &["file"],
            )?,
            lb_generation,
            vip_state,
            vip_epoch,
            vip_transitions: counter(
                "manager_vip_transitions_total",
                "Changes of this node's part in the public address",
                &["to"],
            )?,
            registry,
        })
    }

    /// Counts the VMs anew.
    pub fn count_vms(&self, vms: &[Vm]) {
        const STATES: [VmState; 5] =
            [VmState::Starting, VmState::Up, VmState::Suspect, VmState::Draining, VmState::Down];
        for role in [Role::Lb, Role::Service] {
            for state in STATES {
                let count = vms.iter().filter(|vm| vm.role == role && vm.state == state).count();
                let gauge = self.vms.with_label_values(&[role.as_str(), state.as_str()]);
                gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
    }

    /// Notes what this node has to do with the public address.
    pub fn vip_is(&self, state: VipState, epoch: u64) {
        const STATES: [VipState; 5] = [
            VipState::Standby,
            VipState::Claiming,
            VipState::Active,
            VipState::Releasing,
            VipState::HoldDown,
        ];
        for other in STATES {
            self.vip_state.with_label_values(&[other.as_str()]).set(i64::from(other == state));
        }
        self.vip_epoch.set(i64::try_from(epoch).unwrap_or(i64::MAX));
    }

    /// Where other parts of the manager register their series.
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Everything in Prometheus' text format.
    ///
    /// # Errors
    /// If a series cannot be written, which is a mistake in its definition.
    pub fn text(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}
