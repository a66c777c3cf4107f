//! The listener on a real segment: two hosts that have the address, in namespaces. They need root.

use std::collections::BTreeMap;
use std::io::Write as _;

use super::*;
use crate::rig::network::Network;
use crate::vip::claims::{Claims, Manner};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 100);
/// How long a state may take to be seen.
const SEEN_WITHIN: Duration = Duration::from_secs(20);

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        let is_required = std::env::var_os("PHALANX_REQUIRE_ROOT").is_some_and(|value| !value.is_empty());
        assert!(!is_required, "it needs root, and PHALANX_REQUIRE_ROOT forbids to skip the test");
        // Not eprintln: nobody sees what that prints in a test that passes.
        std::io::stderr().write_all(b"skipped: it needs root\n").expect("written");
    }
    is_root
}

/// Two hosts on a LAN, and the place to listen at.
struct Segment {
    network: Network,
    lan: Lan,
}

impl Segment {
    fn new() -> Self {
        let network = Network::new(&["one", "two"]).expect("a network");
        let (namespace, bridge) = network.switch();
        let lan = Lan {
            namespace: namespace.to_owned(),
            bridge: bridge.to_owned(),
            vip: VIP,
            asker: [10, 99, 0, 199].into(),
        };
        Self { network, lan }
    }

    fn vip(&self, place: usize, verb: &str) {
        let addr = format!("{VIP}/32");
        self.network.host(place).namespace.ip(&["addr", verb, &addr, "dev", "eth0"]).expect("an address");
    }

    fn names(&self) -> BTreeMap<Mac, String> {
        let mac = |place: usize| self.network.host(place).mac.parse().expect("a hardware address");
        BTreeMap::from([(mac(0), "one".to_owned()), (mac(1), "two".to_owned())])
    }

    /// Listens until what it has seen in all is as wanted; the listener begins anew for each look.
    fn until(&self, what: &str, is_so: impl Fn(&Claims) -> bool) -> Claims {
        let deadline = Instant::now() + SEEN_WITHIN;
        loop {
            let seen = self.look(Duration::from_millis(300));
            let claims = Claims::of(&seen.claims, seen.asked, Duration::ZERO, &self.names());
            if is_so(&claims) {
                return claims;
            }
            assert!(Instant::now() < deadline, "{what}: {claims:?}");
        }
    }

    fn look(&self, length: Duration) -> Seen {
        let mut watch = Watch::start(Instant::now(), &self.lan).expect("a listener");
        std::thread::sleep(length);
        watch.end().expect("what was seen")
    }
}

fn holders(claims: &Claims) -> Vec<&str> {
    let mut holders: Vec<&str> = claims.held.iter().map(|held| held.who.as_str()).collect();
    holders.sort_unstable();
    holders.dedup();
    holders
}

#[test]
fn it_sees_who_answers_and_when_two_do() {
    if !is_root() {
        return;
    }
    let segment = Segment::new();
    let nobody = segment.until("nobody answers", |claims| claims.asked > 0);
    assert_eq!(holders(&nobody), [] as [&str; 0]);
    segment.vip(0, "add");
    let one = segment.until("the first answers", |claims| holders(claims) == ["one"]);
    assert_eq!(one.doubles, []);
    segment.vip(1, "add");
    let both = segment.until("two answer at once", |claims| claims.longest_double_ms() > Some(0.0));
    assert_eq!(both.doubles[0].who.concat().len(), "onetwo".len());
    segment.vip(0, "del");
    let two = segment.until("the second answers alone", |claims| holders(claims) == ["two"]);
    assert_eq!(two.doubles, []);
}

#[test]
fn a_host_that_is_cut_off_is_not_heard_and_its_announcement_afterwards_is() {
    if !is_root() {
        return;
    }
    let segment = Segment::new();
    segment.vip(0, "add");
    segment.until("it answers", |claims| holders(claims) == ["one"]);
    segment.network.cutter(0).cut().expect("cut");
    segment.until("it is silent", |claims| claims.asked > 0 && holders(claims).is_empty());
    segment.network.cutter(0).mend().expect("mended");
    segment.until("it answers again", |claims| holders(claims) == ["one"]);
    let mut watch = Watch::start(Instant::now(), &segment.lan).expect("a listener");
    let host = segment.network.host(0);
    let mac = host.mac.parse().expect("a hardware address");
    host.namespace
        .enter(
            || Ok(PacketSocket::open("eth0", Protocol::Arp, PATIENCE)?.send(&arp::request(mac, VIP, VIP))?),
        )
        .expect("an announcement");
    // What the switch passes on it has seen before: another look takes longer than that.
    segment.look(Duration::from_millis(100));
    let seen = watch.end().expect("what was seen");
    let announced: Vec<_> = seen.claims.iter().filter(|claim| claim.manner == Manner::Announcement).collect();
    assert_eq!(announced.len(), 1, "{:?}", seen.claims);
    assert_eq!(announced[0].mac, mac);
}

#[test]
fn the_switch_is_left_as_it_was() {
    if !is_root() {
        return;
    }
    let segment = Segment::new();
    let flags = || {
        let (namespace, bridge) = segment.network.switch();
        ip(&["-n", namespace, "-o", "link", "show", "dev", bridge]).expect("a bridge")
    };
    let watch = Watch::start(Instant::now(), &segment.lan).expect("a listener");
    assert!(flags().contains("PROMISC"), "{}", flags());
    drop(watch);
    assert!(!flags().contains("PROMISC"), "{}", flags());
}

#[test]
fn a_missing_switch_is_named() {
    if !is_root() {
        return;
    }
    let segment = Segment::new();
    let lan = Lan { bridge: "nowhere".to_owned(), ..segment.lan.clone() };
    let error = format!("{:#}", Watch::start(Instant::now(), &lan).expect_err("no such bridge"));
    assert!(error.contains("nowhere"), "{error}");
}
