//! The types that cross a socket between Phalanx's programs, and nothing else.
//!
//! Every type here is plain data with `serde` derives: what a field means and which values it may have is
//! said on the field, and the golden JSON tests in `tests/` hold the spelling still. There is no logic here
//! on purpose. Checks that need more than one field live with the program that receives the value, because
//! only it knows what to answer.
//!
//! Unknown fields are refused in everything a client or an administrator writes (requests), and tolerated
//! in everything a newer program may announce to an older one (events, listings).

mod error;
mod event;
mod guest;
mod heartbeat;
mod peer;
mod scale;
mod upstream;
mod vip;
mod vm;

pub use error::{ErrorBody, ErrorDetail};
pub use event::ClusterEvent;
pub use guest::{FromGuest, Identity, Stages, ToGuest};
pub use heartbeat::{Heartbeat, Latency, Load, Status};
pub use peer::{NodeForgotten, PeerAck, PeerService, PeerServices};
pub use scale::{Capacity, NodeScaled, PeerScale, PeerScaled, PutScale, Scaled};
pub use upstream::{Generation, PutUpstreams, Upstream, UpstreamState, UpstreamStatus, UpstreamsView};
pub use vip::{
    Ballot, VipHandedOver, VipHandover, VipNomination, VipNominationAnswer, VipPeer, VipReport, VipState,
    VipStatus,
};
pub use vm::{ClusterView, CreateVm, PeerServiceView, PeerView, Role, Vm, VmList, VmState};

/// The port name on which a VM and its manager talk (virtio-serial, `/dev/virtio-ports/…` in the guest).
pub const GUEST_PORT_NAME: &str = "org.phalanx.guest.0";
