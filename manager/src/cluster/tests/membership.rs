//! Joining, dying, coming back, being forgotten.

use super::*;

#[tokio::test]
async fn three_nodes_learn_of_each_other_and_of_every_change() {
    let (mut nodes, _peers) = cluster(3).await;
    for (at, others) in [(0, [2, 3]), (1, [1, 3]), (2, [1, 2])] {
        for host in others {
            let name = format!("host{host}");
            until(&nodes[at], &name, Liveness::Live, 1, Some(1)).await;
            let seen = nodes[at].gossip.view().borrow().nodes[&name].table.clone().unwrap();
            assert_eq!(*seen, table(host, 1, 1));
            let said = beat(&mut nodes[at], |beat| beat.node == name).await;
            assert_eq!((said.boot, said.payload), (1, Bytes::from(format!("host{host} boot 1"))));
        }
    }
    nodes[0].gossip.publish(table(1, 1, 2)).unwrap();
    nodes[0].beats.set(Bytes::from_static(b"news"), LONG).unwrap();
    until(&nodes[1], "host1", Liveness::Live, 1, Some(2)).await;
    beat(&mut nodes[2], |beat| beat.node == "host1" && beat.payload == "news").await;

    let mut none = table(1, 1, 3);
    none.account.services.clear();
    nodes[0].gossip.publish(none).unwrap();
    until(&nodes[2], "host1", Liveness::Live, 1, Some(3)).await;
    assert!(
        nodes[2].gossip.view().borrow().nodes["host1"].table.as_ref().unwrap().account.services.is_empty()
    );
}

/// As many services as a table may have, each unlike the others; whoever joins gets it at once, in one datagram.
#[tokio::test]
async fn the_largest_table_arrives() {
    let (nodes, _peers) = cluster(2).await;
    until(&nodes[1], "host1", Liveness::Live, 1, Some(1)).await;
    nodes[0].running.endpoint.faults.record();
    let mut full = table(1, 1, 2);
    full.account.services = (0..512_u16)
        .map(|number| PeerService {
            id: format!("host1/svc-{number}"),
            incarnation: u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            addr: SocketAddr::from(([10, 77, 1, 1], 1 + number)),
            state: UpstreamState::Up,
        })
        .collect();
    nodes[0].gossip.publish(full.clone()).unwrap();
    until(&nodes[1], "host1", Liveness::Live, 1, Some(2)).await;
    assert_eq!(nodes[1].gossip.view().borrow().nodes["host1"].table.as_deref(), Some(&full));
    let recorded = nodes[0].running.endpoint.faults.recorded();
    let longest = recorded.iter().map(|(datagram, _)| datagram.len()).max().unwrap();
    assert!(longest < 32_768, "a datagram of {longest} bytes");
}

#[tokio::test]
async fn a_node_dies_and_comes_back_with_a_higher_boot() {
    let (mut nodes, peers) = cluster(3).await;
    until(&nodes[0], "host3", Liveness::Live, 1, Some(1)).await;
    until(&nodes[1], "host3", Liveness::Live, 1, Some(1)).await;
    stop(nodes.pop().unwrap()).await;
    // Dead, and its table stays: its VMs may serve.
    until(&nodes[0], "host3", Liveness::Dead, 1, Some(1)).await;
    until(&nodes[1], "host3", Liveness::Dead, 1, Some(1)).await;

    let socket = UdpSocket::bind(peers[2].addr).await.unwrap();
    let mut back = join(socket, config(3, 2, peers[2].addr, &peers)).await;
    until(&nodes[0], "host3", Liveness::Live, 2, Some(1)).await;
    until(&back, "host1", Liveness::Live, 1, Some(1)).await;
    beat(&mut nodes[1], |beat| beat.payload == "host3 boot 2").await;
    beats_of(&mut back, &["host1", "host2"]).await;
    stop(back).await;

    // Its disk and its clock went back: it is heard, and it is said.
    let socket = UdpSocket::bind(peers[2].addr).await.unwrap();
    let _back = join(socket, config(3, 1, peers[2].addr, &peers)).await;
    let said = refusal(&mut nodes[0], |refusal| matches!(refusal, Refusal::BootWentBack { .. })).await;
    assert_eq!(said, "node host3 started with boot 1, after boot 2: its disk or its clock has gone back");
    beat(&mut nodes[0], |beat| beat.payload == "host3 boot 1").await;
}

#[tokio::test]
async fn a_dead_node_is_forgotten_by_all_and_may_return() {
    let (mut nodes, peers) = cluster(3).await;
    until(&nodes[0], "host3", Liveness::Live, 1, Some(1)).await;
    until(&nodes[1], "host3", Liveness::Live, 1, Some(1)).await;
    assert_eq!(nodes[0].gossip.forget("host3").await, Err(ForgetError::Live("host3".to_owned())));
    assert_eq!(nodes[0].gossip.forget("host9").await, Err(ForgetError::Unknown("host9".to_owned())));
    stop(nodes.pop().unwrap()).await;
    until(&nodes[0], "host3", Liveness::Dead, 1, Some(1)).await;
    assert_eq!(nodes[0].gossip.forget("host3").await, Ok(()));
    until(&nodes[0], "host3", Liveness::Forgotten, 1, None).await;
    until(&nodes[1], "host3", Liveness::Forgotten, 1, None).await;

    let socket = UdpSocket::bind(peers[2].addr).await.unwrap();
    let _back = join(socket, config(3, 2, peers[2].addr, &peers)).await;
    until(&nodes[0], "host3", Liveness::Live, 2, Some(1)).await;
    until(&nodes[1], "host3", Liveness::Live, 2, Some(1)).await;
}

/// Stops the first node, which was told to forget host3, and starts it again, with or without what it has on disk.
async fn restart_the_teller(nodes: &mut Vec<Cluster>, peers: &[PeerAddr], forgotten: Marks) {
    let addr = peers[0].addr;
    stop(nodes.remove(0)).await;
    let socket = UdpSocket::bind(addr).await.unwrap();
    let config = Config { forgotten, ..config(1, 2, addr, peers) };
    nodes.insert(0, join(socket, config).await);
}

#[tokio::test]
async fn who_is_forgotten_stays_so_when_the_manager_that_was_told_restarts_without_a_disk() {
    let (mut nodes, peers) = cluster(3).await;
    for at in [0, 1] {
        until(&nodes[at], "host3", Liveness::Live, 1, Some(1)).await;
    }
    stop(nodes.pop().unwrap()).await;
    until(&nodes[0], "host3", Liveness::Dead, 1, Some(1)).await;
    nodes[0].gossip.forget("host3").await.unwrap();
    until(&nodes[1], "host3", Liveness::Forgotten, 1, None).await;

    let mut seen = nodes[1].gossip.view();
    restart_the_teller(&mut nodes, &peers, Marks::new()).await;
    until(&nodes[1], "host1", Liveness::Live, 2, Some(1)).await;
    until(&nodes[0], "host2", Liveness::Live, 1, Some(1)).await;
    // host2 has told it, though host2 holds the dead life's values still.
    until(&nodes[0], "host3", Liveness::Forgotten, 1, None).await;
    assert_eq!(seen.borrow_and_update().nodes["host3"].liveness, Liveness::Forgotten);
    assert_eq!(*nodes[0].gossip.marks().borrow(), *nodes[1].gossip.marks().borrow());

    // And who comes back is back everywhere, and marked nowhere.
    let socket = UdpSocket::bind(peers[2].addr).await.unwrap();
    let back = join(socket, config(3, 2, peers[2].addr, &peers)).await;
    for at in [0, 1] {
        until(&nodes[at], "host3", Liveness::Live, 2, Some(1)).await;
        let mut marks = nodes[at].gossip.marks();
        let none = marks.wait_for(Marks::is_empty);
        tokio::time::timeout(NEVER, none).await.expect("the mark is kept").unwrap();
    }
    stop(back).await;
    // A death after that is a death, and not an old mark.
    for at in [0, 1] {
        until(&nodes[at], "host3", Liveness::Dead, 2, Some(1)).await;
    }
}

/// The other node never heard it, because the two did not reach each other.
#[tokio::test]
async fn who_is_forgotten_by_one_alone_stays_so_when_that_one_restarts() {
    let (mut nodes, peers) = cluster(3).await;
    for at in [0, 1] {
        until(&nodes[at], "host3", Liveness::Live, 1, Some(1)).await;
    }
    until(&nodes[1], "host1", Liveness::Live, 1, Some(1)).await;
    stop(nodes.pop().unwrap()).await;
    nodes[0].running.endpoint.faults.cut(peers[1].addr.into());
    for at in [0, 1] {
        until(&nodes[at], "host3", Liveness::Dead, 1, Some(1)).await;
    }
    until(&nodes[1], "host1", Liveness::Dead, 1, Some(1)).await;
    nodes[0].gossip.forget("host3").await.unwrap();
    until(&nodes[0], "host3", Liveness::Forgotten, 1, None).await;
    let on_disk = nodes[0].gossip.marks().borrow().clone();
    assert_eq!(on_disk, Marks::from([("host3".to_owned(), 1 << 8)]));
    assert_eq!(nodes[1].gossip.view().borrow().nodes["host3"].liveness, Liveness::Dead);

    restart_the_teller(&mut nodes, &peers, on_disk).await;
    until(&nodes[1], "host3", Liveness::Forgotten, 1, None).await;
    until(&nodes[0], "host3", Liveness::Forgotten, 1, None).await;
}

#[tokio::test]
async fn nodes_join_and_leave_while_the_others_run() {
    let (mut nodes, mut peers) = cluster(2).await;
    until(&nodes[0], "host2", Liveness::Live, 1, Some(1)).await;
    let (socket, addr) = socket().await;
    peers.push(peer(3, addr));
    let mut third = join(socket, config(3, 1, addr, &peers)).await;
    // Nobody is learned from the network.
    let said = refusal(&mut nodes[0], |refusal| matches!(refusal, Refusal::Unknown { .. })).await;
    assert_eq!(
        said,
        format!("node host3 at {addr} takes part in the cluster, but is not among the peers of host1")
    );
    for (node, host) in nodes.iter_mut().zip(1_u8..) {
        let others = peers.iter().filter(|peer| peer.node != format!("host{host}")).cloned().collect();
        node.running.set_peers(others).await.unwrap();
        until(node, "host3", Liveness::Live, 1, Some(1)).await;
        beats_of(node, &["host3"]).await;
    }
    beats_of(&mut third, &["host1", "host2"]).await;

    nodes[0].running.set_peers(vec![peers[1].clone()]).await.unwrap();
    let mut view = nodes[0].gossip.view();
    let gone = view.wait_for(|view| !view.nodes.contains_key("host3"));
    tokio::time::timeout(NEVER, gone).await.expect("host3 is shown for ever").unwrap();
    beats_of(&mut nodes[0], &["host2"]).await;
}

#[tokio::test]
async fn gossip_that_ends_is_started_anew() {
    let (nodes, _peers) = cluster(2).await;
    until(&nodes[1], "host1", Liveness::Live, 1, Some(1)).await;
    // Whoever reads the gossip now, the one before is told that he is replaced.
    drop(nodes[0].running.endpoint.read_gossip());
    nodes[0].gossip.publish(table(1, 1, 2)).unwrap();
    until(&nodes[1], "host1", Liveness::Live, 1, Some(2)).await;
    assert!(nodes[0].running.endpoint.gossip_restarts() >= 1);
    until(&nodes[0], "host2", Liveness::Live, 1, Some(1)).await;
}

#[tokio::test]
async fn what_is_lost_one_way_arrives_through_a_third() {
    let (mut nodes, peers) = cluster(3).await;
    for (at, other) in [(0, "host2"), (1, "host1"), (2, "host1"), (2, "host2")] {
        until(&nodes[at], other, Liveness::Live, 1, Some(1)).await;
    }
    nodes[0].running.endpoint.faults.cut(peers[1].addr.into());
    nodes[0].gossip.publish(table(1, 1, 2)).unwrap();
    until(&nodes[1], "host1", Liveness::Live, 1, Some(2)).await;
    // Beats are direct or not at all: that is what they are for.
    beats_of(&mut nodes[0], &["host2", "host3"]).await;
    nodes[0].beats.set(Bytes::from_static(b"unheard"), LONG).unwrap();
    beat(&mut nodes[2], |beat| beat.payload == "unheard").await;
    beats_of(&mut nodes[1], &["host3"]).await;
    nodes[0].running.endpoint.faults.heal();
    beat(&mut nodes[1], |beat| beat.payload == "unheard").await;
}

#[tokio::test]
async fn what_the_configuration_alone_shows_is_an_error_at_start() {
    let (_, addr) = socket().await;
    let (_, other) = socket().await;
    let good = config(1, 1, addr, &[peer(2, other)]);
    assert!(good.check().is_ok());
    let with = |change: fn(&mut Config)| {
        let mut config = good.clone();
        change(&mut config);
        config
            .check()
            .unwrap_err()
            .to_string()
            .replace(&addr.to_string(), "ADDR")
            .replace(&other.to_string(), "OTHER")
    };
    let told = [
        with(|config| config.cluster = "My cluster".to_owned()),
        with(|config| config.node = String::new()),
        with(|config| config.boot = u64::MAX),
        with(|config| config.listen = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 1)),
        with(|config| config.peers[0].node = "host1".to_owned()),
        with(|config| config.peers.push(config.peers[0].clone())),
        with(|config| config.peers[0].addr = config.listen),
        with(|config| config.peers[0].pool = "10.77.0.0/16".parse().unwrap()),
        with(|config| config.peers = vec![config.peers[0].clone(); 32]),
    ];
    let expected = [
        "cluster.name: \"My cluster\" must be 1 to 32 of a-z, 0-9 and '-'",
        "node: \"\" must be 1 to 20 of a-z, 0-9 and '-'",
        "boot: 18446744073709551615 is more than 72057594037927935",
        "api.listen: must be the address peers know this node by",
        "peers[0].node: host1 is this node's own name",
        "peers[1].node: host2 is given twice",
        "peers[0].api: ADDR of host2 is the address of host1 too",
        "peers[0].pool: 10.77.0.0/16 of host2 overlaps 10.77.1.0/24 of host1",
        "peers: there are 32; 31 are permitted",
    ];
    assert_eq!(told, expected);
    let taken = UdpSocket::bind(addr).await.unwrap();
    let error = super::super::start(good, &Registry::new()).await.unwrap_err();
    assert!(matches!(error, Error::Bind { .. }) && error.to_string().contains(&addr.to_string()), "{error}");
    drop(taken);
}

/// Who reports nothing any more is not said to be as before, though its process lives and gossips.
#[tokio::test]
async fn beats_end_with_who_makes_the_report_and_begin_again_with_it() {
    let (mut nodes, _peers) = cluster(2).await;
    nodes[1].beats.set(Bytes::from_static(b"brief"), Duration::from_millis(300)).unwrap();
    beat(&mut nodes[0], |beat| beat.payload == "brief").await;
    let silence = async {
        while tokio::time::timeout(Duration::from_secs(1), nodes[0].incoming.recv()).await.is_ok() {}
    };
    tokio::time::timeout(NEVER, silence).await.expect("it is repeated for ever");
    nodes[1].beats.renew(LONG);
    beat(&mut nodes[0], |beat| beat.payload == "brief").await;
    beats_of(&mut nodes[0], &["host2"]).await;
}

#[tokio::test]
async fn a_task_that_is_over_is_noticed() {
    let (mut nodes, _peers) = cluster(2).await;
    let ended = nodes[0].running.ended();
    beats_of(&mut nodes[0], &["host2"]).await;
    nodes[0].running.spawn("a test", async { panic!("as the test wants it") });
    assert_eq!(tokio::time::timeout(NEVER, ended).await.expect("nobody notices"), "a test");
    // Who asks later hears of the same, and who drops all of it is told too.
    assert_eq!(nodes[0].running.ended().await, "a test");
    let (other, tasks) = (nodes[1].running.ended(), nodes[1].running.tasks.len());
    assert_eq!(tasks, 3, "receiving, beats, gossip");
    nodes[1].running.tasks.abort_all();
    let task = tokio::time::timeout(NEVER, other).await.expect("nobody notices");
    assert!(["receiving datagrams", "sending beats", "gossip"].contains(&task), "{task}");
}
