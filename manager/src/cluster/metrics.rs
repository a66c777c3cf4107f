//! What Prometheus may know of the cluster's datagrams. Labels are bounded: kinds, reasons and words, never
//! names or addresses.

use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::session::Kind;

/// Why a datagram was not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dropped {
    /// Cut short, or nonsense behind a good header.
    Malformed,
    /// Not of this protocol.
    Foreign,
    /// Another version of this protocol.
    Version,
    /// Of another cluster, by its header.
    OtherCluster,
    /// Sealed with another secret, or changed on the way.
    WrongKey,
    /// From a node that is no peer.
    UnknownSender,
    /// From a peer, but not from its address.
    WrongAddress,
    /// Written by this process itself.
    Reflected,
    /// From another process with this node's name.
    OwnName,
    /// It does not echo what this process asked for.
    Unproven,
    /// It was taken before.
    Replayed,
    /// A beat that a newer one has overtaken.
    Overtaken,
    /// Gossip came faster than it could be read.
    Overrun,
}

impl Dropped {
    /// All reasons.
    pub(super) const ALL: [Self; 13] = [
        Self::Malformed,
        Self::Foreign,
        Self::Version,
        Self::OtherCluster,
        Self::WrongKey,
        Self::UnknownSender,
        Self::WrongAddress,
        Self::Reflected,
        Self::OwnName,
        Self::Unproven,
        Self::Replayed,
        Self::Overtaken,
        Self::Overrun,
    ];

    /// The word used in metrics.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Foreign => "foreign",
            Self::Version => "version",
            Self::OtherCluster => "other_cluster",
            Self::WrongKey => "wrong_key",
            Self::UnknownSender => "unknown_sender",
            Self::WrongAddress => "wrong_address",
            Self::Reflected => "reflected",
            Self::OwnName => "own_name",
            Self::Unproven => "unproven",
            Self::Replayed => "replayed",
            Self::Overtaken => "overtaken",
            Self::Overrun => "overrun",
        }
    }

    /// Whether the network alone explains it: then it is counted, and nobody is told.
    pub(super) const fn is_ordinary(self) -> bool {
        matches!(self, Self::Unproven | Self::Replayed | Self::Overtaken)
    }
}

/// The series of this module.
#[derive(Debug)]
pub(super) struct Metrics {
    sent: IntCounterVec,
    send_failures: IntCounterVec,
    received: IntCounterVec,
    dropped: IntCounterVec,
    /// Peers by what the gossip thinks of them.
    pub(super) peers: IntGaugeVec,
    /// Times the gossip had to be started anew.
    pub(super) gossip_restarts: IntCounter,
}

impl Metrics {
    /// The series, registered with `registry`, all at zero.
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str, label: &str, values: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), &[label])?;
            for value in values {
                counter.with_label_values(&[value]);
            }
            registry.register(Box::new(counter.clone()))?;
            prometheus::Result::Ok(counter)
        };
        let kinds = Kind::ALL.map(Kind::as_str);
        let reasons = Dropped::ALL.map(Dropped::as_str);
        let peers = IntGaugeVec::new(
            Opts::new("manager_cluster_peers", "Peers by what the gossip thinks of them"),
            &["liveness"],
        )?;
        registry.register(Box::new(peers.clone()))?;
        let gossip_restarts = IntCounter::new(
            "manager_cluster_gossip_restarts_total",
            "Times the gossip ended and was started anew",
        )?;
        registry.register(Box::new(gossip_restarts.clone()))?;
        Ok(Self {
            sent: counter("manager_cluster_datagrams_sent_total", "Datagrams sent", "kind", &kinds)?,
            send_failures: counter(
                "manager_cluster_send_failures_total",
                "Datagrams the host did not take",
                "kind",
                &kinds,
            )?,
            received: counter("manager_cluster_datagrams_received_total", "Datagrams used", "kind", &kinds)?,
            dropped: counter(
                "manager_cluster_datagrams_dropped_total",
                "Datagrams received and not used",
                "reason",
                &reasons,
            )?,
            peers,
            gossip_restarts,
        })
    }

    pub(super) fn sent(&self, kind: Kind, ok: bool) {
        let counter = if ok { &self.sent } else { &self.send_failures };
        counter.with_label_values(&[kind.as_str()]).inc();
    }

    pub(super) fn received(&self, kind: Kind) {
        self.received.with_label_values(&[kind.as_str()]).inc();
    }

    pub(super) fn dropped(&self, reason: Dropped) {
        self.dropped.with_label_values(&[reason.as_str()]).inc();
    }

    #[cfg(test)]
    pub(super) fn count(&self, reason: Dropped) -> u64 {
        self.dropped.with_label_values(&[reason.as_str()]).get()
    }
}
