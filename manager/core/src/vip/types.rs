//! What goes in, what comes out, and the limits.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, de};
use wire::{Ballot, VipReport, VipState};

/// The highest epoch that is believed or used: 2^53 - 1, the greatest integer that every JSON reader can hold.
pub const MAX_EPOCH: u64 = (1 << 53) - 1;

/// What the machine is told once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// This node.
    pub node: String,
    /// The other nodes, without this one.
    pub peers: Vec<String>,
    /// The public address; for messages only.
    pub addr: Ipv4Addr,
    /// The limits of patience.
    pub timing: Timing,
}

/// The limits of patience.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// Between two beats of the same content; the machine itself does not use it.
    pub beat: Duration,
    /// A node that was not heard for this long is silent.
    pub silence: Duration,
    /// Between the starts of two rounds of probes.
    pub reprobe: Duration,
    /// Each rank waits this much longer than the one before it.
    pub stagger: Duration,
    /// How long a nominee may take to answer; one that is heard claiming may take [`Timing::effect`] longer.
    pub nominate: Duration,
    /// How long to listen after a start before claiming.
    pub startup: Duration,
    /// How long an owner that restarted or paused listens before it announces again.
    pub confirm: Duration,
    /// The first hold-down; it doubles with each failure ...
    pub hold_down: Duration,
    /// ... up to this ...
    pub hold_down_most: Duration,
    /// ... and starts anew when the last failure is this long ago.
    pub hold_down_memory: Duration,
    /// How long stale clients are served after a release.
    pub release: Duration,
    /// A longer time without a step means that this process itself did not run.
    pub gap: Duration,
    /// How long a probe may stay unanswered before it is sent anew.
    pub probe: Duration,
    /// How long the disk, and then the kernel, may take for a claim or a release.
    pub effect: Duration,
    /// Between two announcements that are not due to a claim; between two tries to hand over; between two tries to
    /// write the record.
    pub pace: Duration,
    /// How long a lower owner that goes on answering is contradicted before it is taken for deaf and given way.
    pub give_way: Duration,
    /// How long an owner's load balancer is broken before a peer that is held down gets the address too.
    pub last_resort: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            beat: Duration::from_millis(100),
            silence: Duration::from_millis(300),
            reprobe: Duration::from_millis(300),
            stagger: Duration::from_millis(150),
            nominate: Duration::from_millis(150),
            startup: Duration::from_millis(2_000),
            confirm: Duration::from_millis(500),
            hold_down: Duration::from_secs(5),
            hold_down_most: Duration::from_secs(60),
            hold_down_memory: Duration::from_secs(300),
            release: Duration::from_secs(30),
            gap: Duration::from_secs(1),
            probe: Duration::from_secs(1),
            effect: Duration::from_secs(1),
            pace: Duration::from_secs(1),
            give_way: Duration::from_millis(1_500),
            last_resort: Duration::from_secs(3),
        }
    }
}

/// What is on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The greatest ballot ever seen or used. One above [`MAX_EPOCH`] is an error: nothing could follow it.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "believable")]
    pub ballot: Option<Ballot>,
    /// This node holds the address with exactly that ballot.
    pub owned: bool,
}

impl Record {
    /// Its epoch; 0 if there is none.
    pub fn epoch(&self) -> u64 {
        self.ballot.as_ref().map_or(0, |ballot| ballot.epoch)
    }
}

fn believable<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Ballot>, D::Error> {
    let ballot = Option::<Ballot>::deserialize(from)?;
    match ballot.as_ref().map(|ballot| ballot.epoch).filter(|epoch| *epoch > MAX_EPOCH) {
        Some(epoch) => Err(de::Error::custom(format_args!("ballot.epoch: {epoch} is above {MAX_EPOCH}"))),
        None => Ok(ballot),
    }
}

/// What the kernel still has of an earlier life of this manager.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Adopted {
    /// It answers for the address.
    pub answer: bool,
    /// Where packets for the address go. Without answers they are those of clients that have not heard of a move.
    pub route: Route,
    /// Where packets go of connections that did not begin here.
    pub second_chance: Option<String>,
}

/// A link-layer address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Who was seen in ARP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Station {
    /// Its link-layer address; never this host's own.
    pub mac: Mac,
    /// Whose that is, if the driver can tell.
    pub node: Option<String>,
}

impl fmt::Display for Station {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            Some(node) => write!(f, "{} ({node})", self.mac),
            None => write!(f, "{}", self.mac),
        }
    }
}

/// What became of a nomination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The nominee answers for the address.
    Accepted,
    /// It does not.
    Refused {
        /// Why.
        reason: String,
        /// The highest epoch it knows.
        highest: u64,
    },
    /// It could not be asked, or its answer did not arrive: it may or may not have claimed.
    Failed {
        /// Why.
        reason: String,
    },
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A peer's beat. Older ones may arrive after newer ones, if seldom.
    Report {
        /// Whose.
        node: String,
        /// What it says.
        report: VipReport,
    },
    /// What is known of the own load balancer. Until the first of these it is taken for neither healthy nor broken.
    Lb {
        /// Whether it serves.
        healthy: bool,
        /// How that is known.
        reason: String,
    },
    /// A peer asks this node to take the address. Answered exactly once by [`Action::AnswerNomination`].
    Nominated {
        /// The driver's name for this question.
        id: u64,
        /// Who asks.
        from: String,
        /// The epoch to claim with.
        epoch: u64,
        /// That node goes on serving the connections it has.
        drain: bool,
    },
    /// Answer to [`Action::Nominate`].
    NominationAnswered {
        /// Who was asked.
        node: String,
        /// With which epoch.
        epoch: u64,
        /// What it said.
        outcome: Outcome,
    },
    /// Answer to [`Action::ProbePeer`]. If the peer's answer carries its report, feed that first.
    PeerProbed {
        /// Of the action.
        round: u64,
        /// Whether its manager answered.
        reachable: bool,
    },
    /// Answer to [`Action::ProbeAddress`].
    AddressProbed {
        /// Of the action.
        round: u64,
        /// Who answers for the address.
        answer: Option<Station>,
    },
    /// Somebody else answered for the address or announced it.
    ArpSeen {
        /// Who.
        station: Station,
        /// It was an announcement.
        announcement: bool,
    },
    /// [`Action::Persist`] is done: the record would survive a loss of power.
    Persisted {
        /// The record's.
        epoch: u64,
    },
    /// [`Action::Persist`] failed.
    PersistFailed {
        /// The record's.
        epoch: u64,
        /// Why.
        error: String,
    },
    /// The kernel has what [`Vip::desired`](super::Vip::desired) said, whether that was to answer or not.
    Installed {
        /// Of [`VipNet::revision`].
        revision: u64,
    },
    /// The kernel refused it.
    InstallFailed {
        /// Of [`VipNet::revision`].
        revision: u64,
        /// Why.
        error: String,
    },
    /// An admin wants the address elsewhere. Answered exactly once by [`Action::AnswerHandover`].
    Handover {
        /// The driver's name for this question.
        id: u64,
        /// Where; none leaves the choice.
        to: Option<String>,
    },
    /// The other nodes are these from now on. What is known of those that stay is kept, and nothing of what was seen or
    /// written goes back: a node that is no peer any more may have used the greatest epoch.
    Peers(Vec<String>),
    /// This manager is about to leave for good. Answered exactly once by [`Action::AnswerHandover`], and with success
    /// only when the kernel does not answer for the address any more.
    Leave {
        /// The driver's name for this question.
        id: u64,
    },
    /// Time has passed.
    Tick,
}

/// What shall be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Write the record to disk, durably. Answered by [`Event::Persisted`] or [`Event::PersistFailed`]; until then
    /// there is no other.
    Persist(Record),
    /// Ask a silent peer's manager directly whether it lives. The answer must come well before [`Timing::probe`].
    ProbePeer {
        /// To be returned.
        round: u64,
        /// Whom.
        node: String,
    },
    /// Ask by ARP who answers for the address. The answer must come well before [`Timing::probe`].
    ProbeAddress {
        /// To be returned.
        round: u64,
    },
    /// Ask a peer to take the address. An answer after [`Timing::nominate`] may come too late to count.
    Nominate {
        /// Whom.
        node: String,
        /// The epoch to claim with.
        epoch: u64,
        /// This node goes on serving the connections it has.
        drain: bool,
    },
    /// Answer a nomination.
    AnswerNomination {
        /// Of the event.
        id: u64,
        /// [`Outcome::Failed`] is never among them.
        outcome: Outcome,
    },
    /// Answer an admin.
    AnswerHandover {
        /// Of the event.
        id: u64,
        /// What came of it.
        result: Result<Handed, HandoverError>,
    },
    /// Announce the address, from the beginning of the repeat schedule.
    Announce,
    /// Announce it no more.
    StopAnnouncing,
    /// Send the own report now, even though it has not changed.
    Beat,
    /// Write a line: the state has changed.
    Log {
        /// From this.
        from: VipState,
        /// To this.
        to: VipState,
        /// Why.
        reason: String,
    },
    /// Write a line: a decision that changed no state.
    Note(String),
}

/// What came of a handover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handed {
    /// This node owns it.
    To(String),
    /// There was nothing to hand over.
    Nothing,
}

/// Why a handover did not come about. The address is still served as well as before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandoverError {
    /// It is not this node's to give.
    #[error("{node} does not own the address{}", owner.as_ref().map_or_else(String::new, |it| format!(", {it} does")))]
    NotOwner {
        /// This node.
        node: String,
        /// Who does, as far as known.
        owner: Option<String>,
    },
    /// The address is on the move already.
    #[error("the address is being moved already: {0}")]
    Busy(String),
    /// `to` is this node itself.
    #[error("to: {0} owns the address already")]
    Same(String),
    /// `to` is not a configured peer.
    #[error("to: {0} is not a configured peer")]
    Unknown(String),
    /// `to` cannot take it.
    #[error("to: {node} cannot take the address: {reason}")]
    NotEligible {
        /// It.
        node: String,
        /// Why.
        reason: String,
    },
    /// Nobody can take it.
    #[error("no peer can take the address: {0}")]
    NoPeer(String),
    /// It was tried, and this node has it again or watches who takes it.
    #[error("the handover failed: {0}")]
    Failed(String),
}

/// What the kernel shall do for the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VipNet {
    /// Grows with every change of the rest.
    pub revision: u64,
    /// Answer ARP for it.
    pub answer: bool,
    /// Where packets for it go.
    pub route: Route,
    /// Where packets go of connections that did not begin here.
    pub second_chance: Option<String>,
}

/// Where packets for the address go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Route {
    /// Nowhere.
    #[default]
    None,
    /// To the own load balancer.
    OwnLb,
    /// To this node.
    Via(String),
}
