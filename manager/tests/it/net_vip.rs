//! The public address against real kernels: answers, routes, moves, second chances and ARP, each test on a LAN of
//! its own.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use manager::net::announce::{ArpSeen, ProbeError};
use manager::net::{Change, Conflict, Error, FILTER_TABLE, Net, PeerRoute, VipDesired, VipRoute};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::libvirtd::{PATIENCE, is_root, wait_for};
use crate::net_lan::{Client, Host, Lan, Namespace, VIP, announcer};

/// Long enough for the kernel's three ARP questions, a second apart.
const UNANSWERED: Duration = Duration::from_secs(4);

fn lan() -> Option<(Lan, Client, Host, Host)> {
    is_root().then(|| {
        let lan = Lan::new();
        let (client, a, b) = (lan.client(), lan.host(11), lan.host(12));
        (lan, client, a, b)
    })
}

fn ensure(host: &Host) -> Vec<Change> {
    let changes = host.with(|net| async move { net.ensure().await }).expect("ensure");
    assert_eq!(changes.conflicts, []);
    changes.applied
}

fn redirects(namespace: &Namespace) -> u64 {
    let snmp = namespace.run(|| async {
        std::fs::read_to_string("/proc/thread-self/net/snmp").expect("the kernel's counters")
    });
    let mut icmp = snmp.lines().filter(|line| line.starts_with("Icmp:")).map(str::split_whitespace);
    let (names, values) = (icmp.next().unwrap(), icmp.next().unwrap());
    let found = names.zip(values).find(|(name, _)| *name == "OutRedirects").expect("OutRedirects");
    found.1.parse().unwrap()
}

#[test]
fn the_address_moves_from_host_to_host_and_nobody_answers_after_release() {
    let Some((_lan, client, a, b)) = lan() else { return };
    assert_eq!(client.ask(UNANSWERED), None, "nobody has it");

    a.set_vip(a.owner());
    assert_eq!(client.ask(PATIENCE), Some(11));
    assert_eq!(client.believes(), Some(a.namespace.mac("lan0")));

    a.set_vip(VipDesired::released(VIP));
    b.set_vip(b.owner());
    client.forget();
    assert_eq!(client.ask(PATIENCE), Some(12));
    assert_eq!(client.believes(), Some(b.namespace.mac("lan0")));

    b.set_vip(VipDesired::released(VIP));
    client.forget();
    assert_eq!(client.ask(UNANSWERED), None, "nobody answers after release");
}

#[test]
fn a_client_that_has_not_heard_of_the_move_is_served_by_either_road() {
    let Some((_lan, client, a, b)) = lan() else { return };
    a.set_vip(a.owner());
    client.wait_for(11);
    b.set_vip(b.owner());
    let a_mac = a.namespace.mac("lan0");
    client.namespace.ip(&format!("neigh replace {VIP} lladdr {a_mac} nud permanent dev lan0"));

    a.set_vip(VipDesired { answer: false, ..a.owner() });
    assert_eq!(client.ask(PATIENCE), Some(11), "the old load balancer serves on");
    a.set_vip(VipDesired { answer: false, route: VipRoute::Via(b.lan_addr()), ..a.owner() });
    for _ in 0..20 {
        assert_eq!(client.ask(PATIENCE), Some(12), "sent on to the new owner");
    }
    assert_eq!((redirects(&a.namespace), redirects(&b.namespace)), (0, 0));
    // That the counter would have shown them:
    a.namespace.write("/proc/sys/net/ipv4/conf/all/send_redirects", "1");
    wait_for("a redirect", || {
        client.ask(PATIENCE);
        (redirects(&a.namespace) > 0).then_some(())
    });
}

#[test]
fn a_connection_keeps_its_load_balancer_when_the_address_moves() {
    let Some((lan, client, a, b)) = lan() else { return };
    a.set_vip(a.owner());
    let (stream, number) = client.connect();
    assert_eq!(number, 11);
    let stream = client.echo(stream, 1000).expect("before the move");
    let (idle, _) = client.connect();
    let (ends, _) = client.connect();
    let (lost, _) = client.connect();
    let (announcer, _seen) = b.announcer();

    a.set_vip(VipDesired { answer: false, ..a.owner() });
    b.set_vip(VipDesired { second_chance: Some(a.lan_addr()), ..b.owner() });
    announcer.start();
    let b_mac = b.namespace.mac("lan0");
    wait_for("the client's ARP entry", || (client.believes() == Some(b_mac)).then_some(()));

    let stream = client.echo(stream, 1 << 20).expect("through the new owner, byte for byte");
    let idle = client.echo(idle, 10).expect("one that was idle");
    assert_eq!(client.end(ends).expect("one whose first packet here is its last"), 0);
    for _ in 0..20 {
        assert_eq!(client.ask(PATIENCE), Some(12), "new connections begin at the new owner");
    }
    let (new, number) = client.connect();
    assert_eq!(number, 12);
    let new = client.echo(new, 1 << 20).expect("a new connection stays at the new owner");

    // The marks are on the connections: the table may go and come. What comes meanwhile is lost on the new load balancer,
    // so the client is unplugged: its kernel may still have an acknowledgement to send.
    lan.switch.ip("link set client nomaster");
    b.namespace.command("nft", &format!("delete table ip {FILTER_TABLE}"));
    assert!(matches!(ensure(&b)[..], [Change::InstallFilter(_)]));
    lan.switch.ip("link set client master sw0");
    drop(client.echo(stream, 1000).expect("after the repair"));
    let new = client.echo(new, 1000).expect("also after the repair");

    b.set_vip(b.owner());
    assert!(client.echo(lost, 10).is_err(), "without a second chance the new load balancer refuses it");
    drop(idle);
    drop(client.echo(new, 1000).expect("what began here needs no second chance"));
    assert_eq!(ensure(&b), [Change::RemoveFilter]);
    assert_eq!(ensure(&b), [], "nothing is left to do");
    assert_eq!((redirects(&a.namespace), redirects(&b.namespace)), (0, 0));
}

#[test]
fn what_somebody_removes_of_it_comes_back() {
    let Some((_lan, client, a, b)) = lan() else { return };
    a.set_vip(VipDesired { second_chance: Some(b.lan_addr()), ..a.owner() });
    ensure(&a);
    for (program, damage) in [
        ("ip", format!("neigh delete proxy {VIP} dev lan0")),
        ("ip", format!("route delete {VIP}/32")),
        ("ip", "route flush table 80".to_owned()),
        ("ip", "rule delete priority 80".to_owned()),
        ("nft", format!("delete table ip {FILTER_TABLE}")),
        ("nft", format!("flush table ip {FILTER_TABLE}")),
        ("nft", format!("add rule ip {FILTER_TABLE} second_chance drop")),
        ("ip", "link set lan0 down".to_owned()),
        ("ip", "link delete phx0".to_owned()),
    ] {
        a.namespace.command(program, &damage);
        if damage.contains("down") {
            a.namespace.ip("link set lan0 up");
        }
        if damage.contains("phx0") {
            // The load balancer's cable is no tap device, which would be plugged in again.
            ensure(&a);
            a.namespace.ip("link set lb0 master phx0");
        } else {
            assert_ne!(ensure(&a), [], "{program} {damage} was noticed");
        }
        assert_eq!(ensure(&a), [], "{program} {damage} was repaired");
        client.forget();
        assert_eq!(client.ask(PATIENCE), Some(11), "{program} {damage}");
    }
    // The kernel gives new interfaces a delay; with it, answers would come up to 0.8 s late.
    a.namespace.write("/proc/sys/net/ipv4/neigh/lan0/proxy_delay", "80");
    assert_ne!(ensure(&a), []);
}

#[test]
fn a_restart_finds_it_and_changes_nothing() {
    let Some((_lan, client, mut a, b)) = lan() else { return };
    let wanted = VipDesired { second_chance: Some(b.lan_addr()), ..a.owner() };
    a.set_vip(wanted);
    client.wait_for(11);
    a.restart();
    assert_eq!(a.installed(), wanted);
    let changes = ensure(&a);
    // Who made the table, and whether it is still the same, is not to be known.
    assert!(matches!(changes[..], [Change::InstallFilter(_)]), "{changes:?}");
    assert_eq!(a.installed(), wanted);
    assert_eq!(client.ask(PATIENCE), Some(11));

    a.set_vip(VipDesired { answer: false, route: VipRoute::Via(b.lan_addr()), ..a.owner() });
    assert_eq!(ensure(&a), [Change::RemoveFilter]);
    a.restart();
    assert_eq!(a.installed().route, VipRoute::Via(b.lan_addr()));
    assert_eq!(ensure(&a), [], "what is not there is not looked for again");
}

/// A program in `nft`'s place that does what it is told.
struct FakeNft(tempfile::TempDir);

impl FakeNft {
    fn new() -> Self {
        let fake = Self(tempfile::tempdir().unwrap());
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake-nft");
        std::os::unix::fs::symlink(program, fake.path("nft")).unwrap();
        fake
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn behave(&self, behaviour: &str) {
        std::fs::write(self.path("new"), behaviour).unwrap();
        std::fs::rename(self.path("new"), self.path("behaviour")).unwrap();
    }
}

#[test]
fn an_nft_that_fails_keeps_nothing_else_from_being_done() {
    let Some((_lan, client, mut a, b)) = lan() else { return };
    let nft = FakeNft::new();
    nft.behave("echo 'Error: no' >&2; exit 1");
    a.restart_with(&nft.path("nft"));
    let wanted = VipDesired { second_chance: Some(b.lan_addr()), ..a.owner() };
    let refused = |conflicts: &[Conflict]| {
        let said = |conflict: &Conflict| matches!(conflict, Conflict::NoSecondChance { reason, .. } if reason.contains("nft: Error: no"));
        assert!(conflicts.len() == 1 && said(&conflicts[0]), "{conflicts:?}");
    };
    let set =
        |wanted| a.with(move |net: Arc<Net>| async move { net.set_vip(wanted).await }).expect("set_vip");
    let ensure = || a.with(|net| async move { net.ensure().await }).expect("ensure");
    refused(&set(VipDesired { answer: false, ..wanted }).conflicts);
    refused(&set(wanted).conflicts);
    assert_eq!(client.ask(PATIENCE), Some(11));
    a.namespace.ip(&format!("route delete {VIP}/32"));
    let changes = ensure();
    assert!(matches!(changes.applied[..], [Change::SetBridgeRoute(..)]), "{changes:?}");
    refused(&changes.conflicts);
    assert_eq!(client.ask(PATIENCE), Some(11));
    set(a.owner());
    assert!(matches!(&ensure().conflicts[..], [Conflict::Undone(_)]));

    nft.behave(r#"exec nft "$@""#);
    assert_eq!(ensure().conflicts, []);
    assert_eq!(set(wanted).conflicts, []);
    assert_eq!(ensure().applied, []);
}

#[test]
fn nobody_waits_for_a_look_at_the_filter_or_for_its_repair() {
    let Some((_lan, client, mut a, b)) = lan() else { return };
    let nft = FakeNft::new();
    nft.behave(r#"exec nft "$@""#);
    a.restart_with(&nft.path("nft"));
    let wanted = VipDesired { second_chance: Some(b.lan_addr()), ..a.owner() };
    a.set_vip(wanted);
    ensure(&a);
    for hanging in ["list", "-f"] {
        a.set_vip(wanted);
        a.namespace.command("nft", &format!("delete table ip {FILTER_TABLE}"));
        let (hangs, go) = (nft.path("hangs"), nft.path("go"));
        nft.behave(&format!(
            r#"case "$*" in *{hanging}*) touch "$here/hangs"; until [ -e "$here/go" ]; do sleep 0.01; done;; esac
            exec nft "$@""#
        ));
        let (tell, told) = std::sync::mpsc::channel();
        a.with(|net| async move {
            tokio::spawn(async move { tell.send(net.ensure().await) });
        });
        wait_for("nft to hang", || hangs.exists().then_some(()));
        a.set_vip(VipDesired { answer: false, ..a.owner() });
        a.set_vip(a.owner());
        assert_eq!(client.ask(PATIENCE), Some(11));
        assert!(told.try_recv().is_err(), "{hanging}: the repair does not hang");
        std::fs::write(&go, "").unwrap();
        told.recv_timeout(PATIENCE).expect("an end").expect("ensure");
        nft.behave(r#"exec nft "$@""#);
        for file in [hangs, go] {
            std::fs::remove_file(file).unwrap();
        }
        ensure(&a);
        assert_eq!(ensure(&a), [], "{hanging}: no filter is wanted, none is there");
        let tables = a.namespace.command("nft", "list tables");
        assert!(!tables.contains(FILTER_TABLE), "{hanging}: {tables}");
    }
}

#[test]
fn teardown_leaves_nothing_of_it() {
    let Some((_lan, _client, a, b)) = lan() else { return };
    let show = |host: &Host| {
        let ip = ["neigh show proxy", "rule show", "route show table all proto 0x50"]
            .map(|of| host.namespace.ip(of));
        (ip, host.namespace.command("nft", "list tables"))
    };
    let fresh = Namespace::new();
    let rules = fresh.ip("rule show");
    a.set_vip(VipDesired { second_chance: Some(b.lan_addr()), ..a.owner() });
    assert!(show(&a).1.contains(FILTER_TABLE));
    a.with(|net| async move { net.teardown().await }).unwrap();
    assert_eq!(show(&a), ([String::new(), rules, String::new()], String::new()));
    a.with(|net| async move { net.teardown().await }).unwrap();
}

#[test]
fn others_who_answer_or_route_are_named() {
    let Some((_lan, _client, a, b)) = lan() else { return };
    let set = |wanted| a.with(move |net: Arc<Net>| async move { net.set_vip(wanted).await });
    a.namespace.ip(&format!("neigh add proxy {VIP} dev lan0"));
    let refused = set(VipDesired::released(VIP));
    assert!(matches!(refused, Err(Error::InTheWay(Conflict::ForeignProxy { .. }))), "{refused:?}");
    a.namespace.ip(&format!("neigh delete proxy {VIP} dev lan0"));

    a.namespace.ip(&format!("addr add {VIP}/32 dev lo"));
    let refused = set(a.owner());
    assert!(matches!(refused, Err(Error::InTheWay(Conflict::VipIsLocal(VIP)))), "{refused:?}");
    assert!(!a.installed().answer);
    a.namespace.ip(&format!("addr delete {VIP}/32 dev lo"));
    set(VipDesired::released(VIP)).expect("nothing is in the way any more");

    a.namespace.ip(&format!("route add {VIP}/32 via 10.77.0.12"));
    let refused = set(a.owner());
    assert!(matches!(refused, Err(Error::InTheWay(Conflict::ForeignRoute { .. }))), "{refused:?}");
    assert!(!a.installed().answer && a.namespace.ip(&format!("route show {VIP}")).contains("via 10.77.0.12"));
    a.namespace.ip(&format!("route delete {VIP}/32"));

    // To be silent needs no route.
    a.set_vip(a.owner());
    a.namespace.ip(&format!("route replace {VIP}/32 via 10.77.0.12"));
    set(VipDesired { answer: false, ..a.owner() }).expect("it is withdrawn");
    assert!(!a.installed().answer);
    a.namespace.ip(&format!("route delete {VIP}/32"));
    a.set_vip(a.owner());
    a.namespace.ip("addr flush dev lan0");
    let changes = set(VipDesired { answer: false, route: VipRoute::Via(b.lan_addr()), ..a.owner() });
    let changes = changes.expect("it is withdrawn");
    assert!(matches!(&changes.conflicts[..], [Conflict::Undone(_)]), "{changes:?}");
    assert!(!a.installed().answer);
    a.namespace.ip("addr add 10.77.0.11/24 dev lan0");
    set(VipDesired::released(VIP)).expect("nothing is in the way any more");

    a.namespace.ip("link set lan0 down");
    let refused = set(a.owner());
    assert!(matches!(refused, Err(Error::Interface(Conflict::InterfaceDown(_)))), "{refused:?}");
    set(VipDesired::released(VIP)).expect("a dead interface answers nobody");

    let stranger: Ipv4Addr = "10.77.0.99".parse().unwrap();
    for impossible in [
        VipDesired { addr: stranger, ..a.owner() },
        VipDesired { route: VipRoute::None, ..a.owner() },
        VipDesired { route: VipRoute::Via(b.lan_addr()), ..a.owner() },
        VipDesired { route: VipRoute::Bridge(b.balancer_addr()), ..a.owner() },
        VipDesired { answer: false, route: VipRoute::Via(stranger), ..a.owner() },
        VipDesired { second_chance: Some(stranger), ..a.owner() },
    ] {
        let refused = set(impossible);
        assert!(matches!(refused, Err(Error::Vip(_) | Error::NotInPool(..))), "{impossible:?}: {refused:?}");
    }
    assert_eq!(a.installed(), VipDesired::released(VIP), "they changed nothing");
}

#[test]
fn a_probe_finds_the_owner_even_if_all_its_processes_stand_still() {
    let Some((_lan, client, a, b)) = lan() else { return };
    let (prober, mut seen) = b.announcer();
    let prober = Arc::new(prober);
    let probe = || {
        let prober = Arc::clone(&prober);
        b.namespace.run(move || async move { prober.probe().await })
    };
    assert_eq!(probe(), Ok(None), "nobody has it");
    a.set_vip(a.owner());
    let mac = a.namespace.mac("lan0");
    assert_eq!(probe(), Ok(Some(mac)));
    assert_eq!(seen.try_recv(), Ok(ArpSeen { mac, announcement: false }));

    // Only a stopped process is left in the owner's namespace.
    let child = a.namespace.run(|| async { std::process::Command::new("sleep").arg("600").spawn().unwrap() });
    let child = Reaped(child);
    let pid = Pid::from_raw(i32::try_from(child.0.id()).unwrap());
    kill(pid, Signal::SIGSTOP).unwrap();
    let Host { net, namespace, balancer, .. } = a;
    drop(net);
    drop(namespace);
    assert_eq!(probe(), Ok(Some(mac)));
    assert_eq!(client.ask(PATIENCE), Some(11), "it serves, too");
    drop(balancer);

    b.namespace.ip("link set lan0 down");
    wait_for("the news", || (probe() == Err(ProbeError::NoCarrier("lan0".into()))).then_some(()));
}

/// A child that is killed and waited for, whatever becomes of the test.
struct Reaped(std::process::Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn announcements_are_heard_by_others_and_own_echoes_are_not() {
    let Some((lan, client, a, _b)) = lan() else { return };
    lan.switch.ip("link set host11 type bridge_slave hairpin on");
    let (heard_by, mut heard) = announcer(&client.namespace);
    let (announcer, mut own) = a.announcer();
    let mac = a.namespace.mac("lan0");
    a.set_vip(a.owner());
    announcer.start();
    for _ in 0..4 {
        let (seen, receiver) = client.namespace.run(move || async move { (heard.recv().await, heard) });
        heard = receiver;
        assert_eq!(seen, Some(ArpSeen { mac, announcement: true }));
    }
    let received = a.namespace.ip("-s link show lan0");
    assert!(own.try_recv().is_err(), "echoes are ignored: {received}");

    // The interface is made anew, with another MAC, while announcements go on.
    lan.switch.ip("link delete host11");
    lan.plug(&a.namespace, "host11", "10.77.0.11");
    let mac = a.namespace.mac("lan0");
    wait_for("the new interface's announcement", || match heard.try_recv() {
        Ok(seen) => (seen == ArpSeen { mac, announcement: true }).then_some(()),
        Err(_) => None,
    });

    announcer.stop();
    drop(announcer);
    drop(heard_by);
}

/// How long a move takes, from the order to the first connection a client could open. Printed, not judged.
#[test]
fn how_long_a_move_takes() {
    let Some((_lan, client, a, b)) = lan() else { return };
    let (announce_a, _seen_a) = a.announcer();
    let (announce_b, _seen_b) = b.announcer();
    a.set_vip(a.owner());
    announce_a.start();
    client.wait_for(11);
    let (mut here, mut there) = ((&a, &announce_a), (&b, &announce_b));
    for planned in [true, true, true, true, false, false, false, false] {
        let second_chance = planned.then(|| here.0.lan_addr());
        let release = VipDesired { answer: false, ..here.0.owner() };
        let release = if planned { release } else { VipDesired::released(VIP) };
        let begin = Instant::now();
        here.1.stop();
        here.0.with(move |net| async move { net.set_vip(release).await }).unwrap();
        let withdrawn = begin.elapsed();
        let take = VipDesired { second_chance, ..there.0.owner() };
        there.0.with(move |net| async move { net.set_vip(take).await }).unwrap();
        let installed = begin.elapsed() - withdrawn;
        there.1.start();
        client.wait_for(there.0.number);
        let served = begin.elapsed() - withdrawn;
        println!(
            "second chance {planned}: withdrawn {withdrawn:?}; then installed {installed:?}, served {served:?}"
        );
        std::mem::swap(&mut here, &mut there);
    }
}

#[test]
fn what_leads_to_a_node_that_is_no_peer_any_more_is_given_up() {
    let Some((_lan, _client, a, b)) = lan() else { return };
    let rest = [PeerRoute { pool: "10.77.13.0/24".parse().unwrap(), via: Ipv4Addr::new(10, 77, 0, 13) }];
    let without_b = |host: &Host| {
        host.with(move |net| async move {
            net.set_peers(&rest).await?;
            net.ensure().await
        })
        .unwrap();
        host.installed()
    };
    a.set_vip(VipDesired { second_chance: Some(b.lan_addr()), ..a.owner() });
    assert_eq!(without_b(&a), a.owner(), "it answers on, and serves its own");
    let refused = VipDesired { answer: false, route: VipRoute::Via(b.lan_addr()), ..a.owner() };
    let error = a.with(move |net| async move { net.set_vip(refused).await }).unwrap_err();
    assert!(matches!(error, Error::Vip(_)), "{error}");

    let (b, a) = (a, b);
    a.set_vip(VipDesired { answer: false, route: VipRoute::Via(b.lan_addr()), ..a.owner() });
    assert_eq!(without_b(&a), VipDesired::released(VIP));
}

#[test]
fn a_station_is_found_by_its_mac() {
    let Some((_lan, client, a, b)) = lan() else { return };
    let (a_mac, b_mac) = (a.namespace.mac("lan0"), b.namespace.mac("lan0"));
    let at = |mac| a.with(move |net| async move { net.stations(mac).await }).unwrap();
    a.namespace.ip("neigh flush all");
    assert_eq!(at(b_mac), Vec::<Ipv4Addr>::new(), "they have not spoken");
    client.namespace.ip("neigh flush all");
    let refused = a.namespace.run({
        let b = b.lan_addr();
        move || async move { tokio::net::TcpStream::connect((b, 9)).await.unwrap_err().kind() }
    });
    assert_eq!(refused, std::io::ErrorKind::ConnectionRefused);
    assert_eq!(at(b_mac), [b.lan_addr()]);
    assert_eq!(at(a_mac), Vec::<Ipv4Addr>::new(), "its own is no neighbour's");
}
