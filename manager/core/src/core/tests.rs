//! Histories: what the core does from a start to an end, and what must hold in any history.

mod lb_moves;
mod properties;
mod services;

use std::net::Ipv4Addr;
use std::time::Duration;

use wire::{PeerService, PeerServices, Role, Status, UpstreamState, VmState};

use super::{Action, Config, Core, CreateError, Event, Observed, RemoveError};
use crate::desired::{Desired, DesiredVm};
use crate::heartbeat;
use crate::peers::PeerConfig;
use crate::pool::Pool;
use crate::slot::DomainRef;
use crate::time::Time;

fn config(pool: &str) -> Config {
    Config {
        node: "host1".to_owned(),
        pool: Pool::new(pool.parse().unwrap()).unwrap(),
        peers: vec![PeerConfig { node: "host2".to_owned(), pool: "10.77.12.0/24".parse().unwrap() }],
        heartbeat: heartbeat::Config {
            boot_timeout: Duration::from_secs(20),
            timeout: Duration::from_secs(1),
            retries: 2,
            pause: Duration::from_millis(50),
        },
        service_port: 8080,
        lb_port: 80,
        drain: Duration::from_secs(1),
        stop: Duration::from_secs(10),
        max_boots: 64,
        max_vms: 64,
    }
}

/// A core, a clock, and a world that does what it is told.
struct World {
    core: Core,
    now: u64,
    out: Vec<Action>,
    pids: u32,
}

impl World {
    fn new(pool: &str) -> Self {
        Self { core: Core::new(Time::default(), config(pool)), now: 0, out: Vec::new(), pids: 100 }
    }

    /// A node that has its load balancer and nothing else.
    fn started() -> Self {
        let mut world = Self::new("10.77.11.0/24");
        world.event(Event::Inventory { running: vec![], desired: Desired::default() });
        world.all_created();
        world.beat("host1/lb-2", 1);
        world.settle();
        world.out.clear();
        world
    }

    fn event(&mut self, event: Event) {
        self.core.step(Time::from_millis(self.now), event, &mut self.out);
    }

    /// Lets time pass as the driver does: by the core's deadlines.
    fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        let mut at_once = 0;
        while self.core.next_deadline().as_millis() <= end {
            let next = self.core.next_deadline().as_millis().max(self.now);
            at_once = if next == self.now { at_once + 1 } else { 0 };
            assert!(at_once < 10, "a tick at {next} leaves a deadline that is due already");
            self.now = next;
            self.event(Event::Tick);
        }
        self.now = end;
    }

    /// The disk takes everything.
    fn settle(&mut self) {
        let revision = self.core.desired_revision();
        self.event(Event::Persisted { revision });
    }

    /// libvirt does everything it was asked for.
    fn all_created(&mut self) {
        for action in std::mem::take(&mut self.out) {
            if let Action::Create { id, incarnation, .. } = action {
                self.pids += 1;
                let domain = domain(&format!("{id}.{incarnation}"), self.pids);
                self.event(Event::Created { id, incarnation, domain });
            }
        }
    }

    fn beat(&mut self, id: &str, incarnation: u64) {
        self.event(Event::Beat { id: id.to_owned(), incarnation, status: Status::Ok });
    }

    /// A service VM that is up.
    fn service(&mut self) -> String {
        let accepted = self.core.create(None).unwrap();
        self.settle();
        self.all_created();
        self.beat(&accepted.vm.id, accepted.vm.incarnation);
        self.settle();
        self.out.clear();
        accepted.vm.id
    }

    fn kill(&mut self, id: &str, incarnation: u64) {
        self.event(Event::Exited { domain: format!("{id}.{incarnation}") });
    }

    fn state(&self, id: &str) -> Option<(VmState, u64)> {
        self.core.vms().into_iter().find(|vm| vm.id == id).map(|vm| (vm.state, vm.incarnation))
    }

    fn routes(&self) -> Vec<(String, u64, UpstreamState)> {
        self.core.upstreams().into_iter().map(|it| (it.id, it.incarnation, it.state)).collect()
    }

    /// What was asked for since the last look, without the log lines.
    fn asked(&mut self) -> Vec<String> {
        let words = |action| match action {
            Action::Create { id, incarnation, .. } => Some(format!("create {id}.{incarnation}")),
            Action::Destroy { domain, .. } => Some(format!("destroy {}", domain.name)),
            Action::Stop { domain, timeout } => Some(format!("stop {} {timeout:?}", domain.name)),
            Action::Watch { domain, fresh, .. } => Some(format!("watch {} fresh={fresh}", domain.name)),
            Action::Connect { id, incarnation, .. } => Some(format!("connect {id}.{incarnation}")),
            Action::Disconnect { id } => Some(format!("disconnect {id}")),
            Action::Log(_) => None,
        };
        std::mem::take(&mut self.out).into_iter().filter_map(words).collect()
    }
}

fn domain(name: &str, pid: u32) -> DomainRef {
    DomainRef { name: name.to_owned(), pid, start_time: u64::from(pid) * 10 }
}

fn observed(id: &str, role: Role, last: u8, incarnation: u64, pid: u32) -> Observed {
    let addr = Ipv4Addr::new(10, 77, 11, last);
    Observed {
        domain: domain(&format!("{id}.{incarnation}"), pid),
        id: id.to_owned(),
        role,
        addr,
        incarnation,
        age: Duration::from_secs(3_600),
    }
}

fn desired(id: &str, role: Role, last: u8, incarnation: u64) -> DesiredVm {
    let addr = Ipv4Addr::new(10, 77, 11, last);
    DesiredVm { id: id.to_owned(), role, addr, incarnation, removing: false }
}

#[test]
fn an_empty_node_makes_its_load_balancer() {
    let mut world = World::new("10.77.11.0/24");
    assert_eq!(world.core.create(None), Err(CreateError::NotReady));
    world.event(Event::Inventory { running: vec![], desired: Desired::default() });
    assert_eq!(world.asked(), ["create host1/lb-2.1"]);
}

#[test]
fn a_killed_vm_is_replaced_at_its_address() {
    let mut world = World::started();
    let id = world.service();
    let up = UpstreamState::Up;
    assert_eq!(world.routes(), [(id.clone(), 1, up)]);
    world.kill(&id, 1);
    assert_eq!(world.routes(), [], "the load balancer is told before the successor is there");
    assert_eq!(
        world.asked(),
        [format!("disconnect {id}"), format!("destroy {id}.1"), format!("create {id}.2")]
    );
    assert_eq!(world.state(&id), Some((VmState::Starting, 2)));
    let addr = world.core.vms()[1].addr;
    world.event(Event::Created { id: id.clone(), incarnation: 2, domain: domain("new", 9) });
    assert_eq!(world.asked(), ["watch new fresh=true"]);
    world.event(Event::GuestStarted { id: id.clone(), incarnation: 2 });
    assert_eq!(world.asked(), [format!("connect {id}.2")]);
    assert_eq!(world.routes(), [], "no requests before the first heartbeat");
    world.beat(&id, 2);
    assert_eq!(world.routes(), [(id.clone(), 2, up)]);
    assert_eq!(world.core.vms()[1].addr, addr);
}

#[test]
fn a_silent_vm_is_suspected_and_then_replaced() {
    let mut world = World::started();
    let id = world.service();
    let start = world.now;
    while world.state(&id) == Some((VmState::Up, 1)) {
        world.beat("host1/lb-2", 1);
        world.pass(100);
    }
    assert_eq!(world.now - start, 1_000);
    assert_eq!(world.state(&id), Some((VmState::Suspect, 1)));
    assert_eq!(world.routes().len(), 1, "suspicion alone takes no capacity away");
    while world.state(&id) == Some((VmState::Suspect, 1)) {
        world.beat("host1/lb-2", 1);
        world.pass(100);
    }
    assert_eq!(world.now - start, 3_000);
    assert_eq!(world.state(&id).map(|(_, incarnation)| incarnation), Some(2));
    assert_eq!(world.state("host1/lb-2"), Some((VmState::Up, 1)));
}

#[test]
fn what_an_earlier_life_says_is_void() {
    let mut world = World::started();
    let id = world.service();
    world.kill(&id, 1);
    world.all_created();
    world.asked();
    let (core, routes) = (world.core.vms(), world.routes());
    world.beat(&id, 1);
    world.kill(&id, 1);
    world.event(Event::StreamLost { id: id.clone(), incarnation: 1 });
    world.event(Event::GuestStarted { id: id.clone(), incarnation: 1 });
    world.event(Event::GuestRefused { id: id.clone(), incarnation: 1, error: String::new() });
    world.event(Event::CreateFailed { id, incarnation: 1, error: String::new() });
    assert_eq!((world.core.vms(), world.routes()), (core, routes));
    assert_eq!(world.asked(), [""; 0]);
}

#[test]
fn a_creation_that_fails_is_tried_again_ever_more_slowly() {
    let mut world = World::started();
    let id = world.core.create(None).unwrap().vm.id;
    world.settle();
    let mut pauses = vec![];
    for incarnation in 1..=7 {
        assert_eq!(world.asked(), [format!("create {id}.{incarnation}")]);
        world.event(Event::CreateFailed { id: id.clone(), incarnation, error: "no memory".to_owned() });
        let vm = world.core.vms().into_iter().find(|vm| vm.id == id).unwrap();
        assert_eq!((vm.state, vm.last_error.as_deref()), (VmState::Down, Some("no memory")));
        let start = world.now;
        while world.state(&id).map(|(state, _)| state) == Some(VmState::Down) {
            world.beat("host1/lb-2", 1);
            world.pass(50);
        }
        pauses.push(world.now - start);
    }
    assert_eq!(pauses, [250, 500, 1_000, 2_000, 4_000, 5_000, 5_000]);
}

#[test]
fn a_vm_that_keeps_dying_is_not_replaced_in_a_busy_loop() {
    let mut world = World::started();
    let id = world.service();
    world.pass(900);
    world.kill(&id, 1);
    world.all_created();
    world.kill(&id, 2);
    assert_eq!(world.state(&id), Some((VmState::Down, 2)));
    world.beat("host1/lb-2", 1);
    world.pass(500);
    assert_eq!(world.state(&id), Some((VmState::Starting, 3)));
}

#[test]
fn a_request_begins_when_it_is_on_disk_and_is_undone_when_it_is_not() {
    let mut world = World::started();
    let accepted = world.core.create(None).unwrap();
    assert_eq!(accepted.vm.id, "host1/svc-3");
    assert_eq!(world.asked(), [""; 0], "nothing is created before it is written down");
    world.event(Event::PersistFailed { revision: accepted.revision });
    assert_eq!(world.state("host1/svc-3"), None);
    assert!(world.core.desired_revision() > accepted.revision, "the undoing is written down too");
    let again = world.core.create(None).unwrap();
    assert_eq!(again.vm.id, "host1/svc-3");
    world.event(Event::Persisted { revision: accepted.revision });
    assert_eq!(world.asked(), [""; 0], "an older revision on disk says nothing of this one");
    world.event(Event::Persisted { revision: again.revision });
    assert_eq!(world.asked(), ["create host1/svc-3.1"]);

    world.all_created();
    world.event(Event::Created {
        id: "host1/svc-3".to_owned(),
        incarnation: 1,
        domain: domain("host1/svc-3.1", 7),
    });
    world.beat("host1/svc-3", 1);
    world.asked();
    let routes = world.routes();
    let removal = world.core.remove("host1/svc-3").unwrap();
    assert_eq!(removal.vm.state, VmState::Draining);
    assert_eq!(world.routes(), routes, "a removal that is not on disk has no effect");
    world.event(Event::PersistFailed { revision: removal.revision });
    assert_eq!(world.state("host1/svc-3"), Some((VmState::Up, 1)));
    assert_eq!(world.asked(), [""; 0]);
}

#[test]
fn a_removed_vm_drains_and_its_address_counts_on() {
    let mut world = World::started();
    let id = world.service();
    world.core.remove(&id).unwrap();
    assert_eq!(world.core.remove(&id), Err(RemoveError::Removing(id.clone())));
    world.settle();
    assert_eq!(world.routes(), [(id.clone(), 1, UpstreamState::Draining)]);
    assert!(world.core.desired().1.vms[1].removing);
    world.pass(900);
    assert_eq!(world.routes().len(), 1);
    world.beat("host1/lb-2", 1);
    world.beat(&id, 1);
    world.pass(100);
    assert_eq!(world.asked(), [format!("stop {id}.1 10s")], "its program may end by itself");
    assert_eq!(world.state(&id), Some((VmState::Draining, 1)));
    world.kill(&id, 1);
    assert_eq!(world.routes(), []);
    assert_eq!(world.asked(), [format!("disconnect {id}"), format!("destroy {id}.1")]);
    assert_eq!(world.core.lives().len(), 1);
    assert_eq!(world.core.create(None).unwrap().vm.incarnation, 2, "no life is lived twice");
}

#[test]
fn requests_that_cannot_be_granted_change_nothing() {
    let mut world = World::started();
    let id = world.service();
    let before = (world.core.vms(), world.core.desired());
    let addr = |last| Ipv4Addr::new(10, 77, 11, last);
    assert_eq!(world.core.create(Some(addr(3))), Err(CreateError::InUse { addr: addr(3), id }));
    assert!(matches!(world.core.create(Some(addr(2))), Err(CreateError::InUse { .. })));
    for foreign in [addr(0), addr(1), addr(255), Ipv4Addr::new(10, 77, 12, 3)] {
        assert_eq!(world.core.create(Some(foreign)), Err(CreateError::NotInPool(foreign)));
    }
    let lb = "host1/lb-2".to_owned();
    assert_eq!(world.core.remove(&lb), Err(RemoveError::LoadBalancer(lb)));
    assert_eq!(world.core.remove("host2/svc-3"), Err(RemoveError::Unknown("host2/svc-3".to_owned())));
    assert_eq!((world.core.vms(), world.core.desired()), before);
}

#[test]
fn an_exhausted_pool_says_so_and_recovers() {
    let mut world = World::new("10.77.11.0/29");
    world.event(Event::Inventory { running: vec![], desired: Desired::default() });
    for _ in 0..3 {
        world.core.create(None).unwrap();
    }
    // One is the load balancer's, one is kept for its next life.
    assert_eq!(world.core.create(None), Err(CreateError::NoRoom { services: 3, max: 3 }));
    world.settle();
    world.core.remove("host1/svc-4").unwrap();
    world.settle();
    assert_eq!(world.core.create(None).unwrap().vm.id, "host1/svc-4");
}

#[test]
fn a_restarted_manager_adopts_what_runs_and_restarts_nothing() {
    let mut world = World::new("10.77.11.0/24");
    let running = vec![
        observed("host1/lb-2", Role::Lb, 2, 1, 11),
        observed("host1/svc-3", Role::Service, 3, 4, 12),
        observed("host1/svc-4", Role::Service, 4, 1, 13),
    ];
    let vms = vec![desired("host1/lb-2", Role::Lb, 2, 1), desired("host1/svc-3", Role::Service, 3, 4)];
    world.event(Event::Inventory { running, desired: Desired { vms, ..Desired::default() } });
    assert_eq!(
        world.asked(),
        [
            "watch host1/lb-2.1 fresh=false",
            "watch host1/svc-3.4 fresh=false",
            "watch host1/svc-4.1 fresh=false"
        ],
        "svc-4 is missing on disk only: the disk may have been full, or lost"
    );
    assert_eq!(world.routes().len(), 2, "they are in the set before their first heartbeat");
    assert_eq!(world.core.desired().1.vms.len(), 3);
}

#[test]
fn a_restarted_manager_finishes_what_was_begun() {
    let mut world = World::new("10.77.11.0/24");
    let running = vec![
        observed("host1/lb-2", Role::Lb, 2, 1, 11),
        observed("host1/svc-3", Role::Service, 3, 2, 12),
        observed("host1/svc-3", Role::Service, 3, 1, 13),
        observed("host1/svc-5", Role::Service, 5, 1, 14),
        observed("host1/svc-7", Role::Service, 7, 2, 15),
        observed("host1/svc-9", Role::Service, 9, 4, 16),
    ];
    let vms = vec![
        desired("host1/lb-2", Role::Lb, 2, 1),
        desired("host1/svc-3", Role::Service, 3, 1),
        desired("host1/svc-4", Role::Service, 4, 6),
        DesiredVm { removing: true, ..desired("host1/svc-5", Role::Service, 5, 1) },
        DesiredVm { removing: true, ..desired("host1/svc-6", Role::Service, 6, 3) },
        desired("host1/svc-7", Role::Service, 7, 3),
    ];
    let retired = [(Ipv4Addr::new(10, 77, 11, 9), 4)].into();
    world.event(Event::Inventory { running, desired: Desired { vms, retired } });
    let asked = world.asked();
    for expected in [
        "destroy host1/svc-3.1",
        "create host1/svc-4.7",
        "destroy host1/svc-5.1",
        "destroy host1/svc-7.2",
        "create host1/svc-7.4",
        "destroy host1/svc-9.4",
    ] {
        assert!(asked.contains(&expected.to_owned()), "{expected}: {asked:?}");
    }
    assert_eq!(world.state("host1/svc-3"), Some((VmState::Suspect, 2)), "the later life counts");
    for gone in ["host1/svc-5", "host1/svc-6", "host1/svc-9"] {
        assert_eq!(world.state(gone), None);
    }
}

#[test]
fn vms_of_another_configuration_are_named_and_left_alone() {
    let world = World::new("10.77.11.0/24");
    let good = [observed("host1/lb-2", Role::Lb, 2, 1, 11), observed("host1/svc-3", Role::Service, 3, 1, 12)];
    assert_eq!(world.core.config.check_inventory(&good, &Desired::default()), Ok(()));
    let outside = Observed { addr: Ipv4Addr::new(10, 99, 0, 3), ..good[1].clone() };
    let renamed = observed("other/svc-3", Role::Service, 3, 1, 12);
    let moved = observed("host1/svc-9", Role::Service, 3, 1, 12);
    for foreign in [outside, renamed, moved] {
        let error = world
            .core
            .config
            .check_inventory(std::slice::from_ref(&foreign), &Desired::default())
            .unwrap_err();
        assert_eq!((error.id, error.addr), (foreign.id, foreign.addr));
    }
    let vms = vec![desired("host1/svc-1", Role::Service, 3, 1)];
    assert!(world.core.config.check_inventory(&[], &Desired { vms, ..Desired::default() }).is_err());
}

#[test]
fn a_vm_that_was_just_created_when_the_manager_restarted_may_go_on_booting() {
    let mut world = World::new("10.77.11.0/24");
    let young = Observed { age: Duration::from_secs(1), ..observed("host1/svc-3", Role::Service, 3, 1, 12) };
    let running = vec![observed("host1/lb-2", Role::Lb, 2, 1, 11), young];
    world.event(Event::Inventory { running, desired: Desired::default() });
    assert_eq!(world.state("host1/svc-3"), Some((VmState::Starting, 1)));
    assert_eq!(world.routes(), [], "nothing is sent to it before it is heard");
    for _ in 0..18 {
        world.beat("host1/lb-2", 1);
        world.pass(950);
    }
    world.beat("host1/svc-3", 1);
    assert_eq!(world.state("host1/svc-3"), Some((VmState::Up, 1)));
}

#[test]
fn only_so_many_vms_boot_at_once_and_the_load_balancer_is_the_first() {
    let mut world = World::new("10.77.11.0/24");
    world.core.config.max_boots = 2;
    let vms = (3..8).map(|last| desired(&format!("host1/svc-{last}"), Role::Service, last, 1)).collect();
    world.event(Event::Inventory { running: vec![], desired: Desired { vms, ..Desired::default() } });
    assert_eq!(world.asked(), ["create host1/lb-2.1", "create host1/svc-3.2"]);
    world.event(Event::Created {
        id: "host1/lb-2".to_owned(),
        incarnation: 1,
        domain: domain("host1/lb-2.1", 50),
    });
    world.pass(200);
    assert!(!world.asked().iter().any(|asked| asked.starts_with("create")), "it boots still");
    world.beat("host1/lb-2", 1);
    world.pass(100);
    assert_eq!(world.asked(), ["create host1/svc-4.2"]);
}

#[test]
fn a_vm_whose_removal_waits_for_the_disk_is_healed_like_any_other() {
    let mut world = World::started();
    let id = world.service();
    world.core.remove(&id).unwrap();
    world.kill(&id, 1);
    assert!(world.asked().contains(&format!("create {id}.2")));
    world.settle();
    assert_eq!(world.state(&id), None, "and removed when the disk has taken the request");
    world.asked();
    world.event(Event::Created { id, incarnation: 2, domain: domain("late", 9) });
    assert_eq!(world.asked(), ["destroy late"]);
}

#[test]
fn strays_are_destroyed_and_nothing_else() {
    let mut world = World::started();
    let id = world.service();
    world.core.create(None).unwrap();
    world.settle();
    world.asked();
    world.event(Event::Seen(vec![
        observed("host1/lb-2", Role::Lb, 2, 1, 11),
        observed(&id, Role::Service, 3, 1, 12),
        observed("host1/svc-4", Role::Service, 4, 1, 13),
        observed("host1/svc-8", Role::Service, 8, 1, 14),
    ]));
    assert_eq!(world.asked(), ["destroy host1/svc-8.1"], "svc-4 is being created at this moment");
}

#[test]
fn a_destruction_that_fails_is_tried_again_until_it_is_done() {
    let mut world = World::started();
    let id = world.service();
    world.kill(&id, 1);
    world.asked();
    for _ in 0..2 {
        world.event(Event::DestroyFailed { domain: format!("{id}.1") });
        world.beat("host1/lb-2", 1);
        world.pass(950);
        assert_eq!(world.asked(), [""; 0]);
        world.beat("host1/lb-2", 1);
        world.pass(950);
        world.beat("host1/lb-2", 1);
        world.pass(200);
        assert_eq!(world.asked(), [format!("destroy {id}.1")]);
    }
    world.event(Event::Destroyed { domain: format!("{id}.1") });
    world.beat("host1/lb-2", 1);
    world.pass(950);
    assert_eq!(world.asked(), [""; 0]);
}

#[test]
fn a_manager_that_was_stopped_blames_nobody() {
    let mut world = World::started();
    let id = world.service();
    world.now += 60_000;
    world.event(Event::Tick);
    assert_eq!(world.state(&id), Some((VmState::Suspect, 1)));
    assert_eq!(world.asked(), ["connect host1/lb-2.1".to_owned(), format!("connect {id}.1")]);
    world.pass(900);
    world.beat(&id, 1);
    assert_eq!(world.state(&id), Some((VmState::Up, 1)));
}

#[test]
fn peers_services_are_routed_to_and_kept_when_the_peer_is_silent() {
    let mut world = World::started();
    let service = PeerService {
        id: "host2/svc-3".to_owned(),
        incarnation: 5,
        addr: "10.77.12.3:8080".parse().unwrap(),
        state: UpstreamState::Up,
    };
    world.event(Event::LbRoutes(vec![service.clone()]));
    assert_eq!(world.routes().len(), 1, "what the load balancer had is kept until the peer speaks");
    let account = PeerServices { boot: 1, revision: 1, lb: None, services: vec![service] };
    world.core.account_of(Time::from_millis(world.now), "host2", account).unwrap();
    for _ in 0..600 {
        world.beat("host1/lb-2", 1);
        world.pass(500);
    }
    assert_eq!(world.routes(), [("host2/svc-3".to_owned(), 5, UpstreamState::Up)]);
}

#[test]
fn a_vm_that_says_it_drains_gets_nothing_new() {
    let mut world = World::started();
    let id = world.service();
    world.event(Event::Beat { id: id.clone(), incarnation: 1, status: Status::Draining });
    assert_eq!(world.routes(), [(id.clone(), 1, UpstreamState::Draining)]);
    assert_eq!(world.core.account().services[0].state, UpstreamState::Draining);
    world.beat(&id, 1);
    assert_eq!(world.routes(), [(id, 1, UpstreamState::Up)]);
}

#[test]
fn a_vm_that_refuses_its_identity_is_replaced() {
    let mut world = World::started();
    let id = world.core.create(None).unwrap().vm.id;
    world.settle();
    world.all_created();
    world.asked();
    world.event(Event::GuestRefused { id: id.clone(), incarnation: 1, error: "hostname".to_owned() });
    assert_eq!(world.asked()[..2], [format!("disconnect {id}"), format!("destroy {id}.1")]);
    assert_eq!(world.state(&id), Some((VmState::Starting, 2)));

    let id = world.service();
    world.event(Event::GuestRefused { id: id.clone(), incarnation: 1, error: "garbage".to_owned() });
    assert_eq!(world.state(&id), Some((VmState::Up, 1)), "one that serves may refuse what it likes");
}
