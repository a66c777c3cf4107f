//! Who must not be heard: other secrets, other clusters, recordings, reflections, namesakes, noise.

use super::*;

/// Nothing of `unheard` arrived at `at`, and its other peers are heard still.
async fn unmoved(at: &mut Cluster, unheard: &str, heard: &str) {
    beats_of(at, &[heard]).await;
    assert_eq!(at.gossip.view().borrow().nodes[unheard].liveness, Liveness::Unheard);
}

#[tokio::test]
async fn another_secret_is_not_heard_and_both_are_told() {
    let (mut nodes, mut peers) = cluster(2).await;
    let (socket, addr) = socket().await;
    peers.push(peer(3, addr));
    nodes[0].running.set_peers(vec![peers[1].clone(), peers[2].clone()]).await.unwrap();
    let other = Config { key: Key::new([8; 32]), ..config(3, 1, addr, &peers) };
    let mut other = join(socket, other).await;
    let here = peers[0].addr;
    assert_eq!(
        refusal(&mut nodes[0], |refusal| matches!(refusal, Refusal::Secret { .. })).await,
        format!(
            "what comes from {addr} as node host3 does not open with the secret of host1: the two may have different \
             secrets, or somebody else sends in that name"
        ),
    );
    assert_eq!(
        refusal(&mut other, |refusal| matches!(refusal, Refusal::Secret { node, .. } if node == "host1"))
            .await,
        format!(
            "what comes from {here} as node host1 does not open with the secret of host3: the two may have different \
             secrets, or somebody else sends in that name"
        ),
    );
    dropped(&nodes[0], Dropped::WrongKey, 3).await;
    unmoved(&mut nodes[0], "host3", "host2").await;
}

#[tokio::test]
async fn another_cluster_is_not_heard_and_named() {
    let (mut nodes, mut peers) = cluster(2).await;
    let (socket, addr) = socket().await;
    peers.push(peer(3, addr));
    nodes[0].running.set_peers(vec![peers[1].clone(), peers[2].clone()]).await.unwrap();
    let other = Config { cluster: "office".to_owned(), ..config(3, 1, addr, &peers) };
    let _other = join(socket, other).await;
    assert_eq!(
        refusal(&mut nodes[0], |refusal| matches!(refusal, Refusal::Cluster { .. })).await,
        format!("{addr} says that it is node host3 of cluster office; this node, host1, is of cluster lab"),
    );
    dropped(&nodes[0], Dropped::OtherCluster, 3).await;
    unmoved(&mut nodes[0], "host3", "host2").await;
}

/// A copied configuration: the copy takes the name of host 1 and speaks to all others, and to host 1.
#[tokio::test]
async fn a_name_used_twice_is_refused_on_both_sides() {
    let (mut nodes, peers) = cluster(2).await;
    until(&nodes[1], "host1", Liveness::Live, 1, Some(1)).await;
    let (socket, addr) = socket().await;
    let original =
        PeerAddr { node: "host4".to_owned(), pool: "10.77.4.0/24".parse().unwrap(), ..peers[0].clone() };
    let mut copy = join(socket, config(1, 7, addr, &[original, peers[1].clone()])).await;
    let here = peers[0].addr;
    assert_eq!(
        refusal(&mut nodes[0], |refusal| matches!(refusal, Refusal::SameName { .. })).await,
        format!(
            "node name host1 is used twice: by this manager at {here} (boot 1) and by another at {addr} (boot 7); give \
             one of them another name"
        ),
    );
    assert_eq!(
        refusal(&mut copy, |refusal| matches!(refusal, Refusal::SameName { .. })).await,
        format!(
            "node name host1 is used twice: by this manager at {addr} (boot 7) and by another at {here} (boot 1); give \
             one of them another name"
        ),
    );
    assert_eq!(
        refusal(&mut nodes[1], |refusal| matches!(refusal, Refusal::Address { .. })).await,
        format!(
            "node host1 speaks from {addr}, but is configured here at {here}: either the address is wrong, or two nodes \
             have that name"
        ),
    );
    // The one that was configured is heard, the other is not.
    let next = beat(&mut nodes[1], |beat| beat.node == "host1").await;
    assert_eq!((next.boot, next.payload), (1, Bytes::from_static(b"host1 boot 1")));
    assert!(nodes[1].running.endpoint.strangers() >= 1);
}

#[tokio::test]
async fn a_recording_is_good_for_nothing() {
    let (mut nodes, peers) = cluster(2).await;
    let (one, two) = (peers[0].addr, peers[1].addr);
    nodes[1].running.endpoint.faults.record();
    nodes[1].beats.set(Bytes::from_static(b"recorded"), LONG).unwrap();
    beat(&mut nodes[0], |beat| beat.payload == "recorded").await;
    until(&nodes[0], "host2", Liveness::Live, 1, Some(1)).await;
    let recorded = nodes[1].running.endpoint.faults.recorded();
    let to_one: Vec<_> =
        recorded.into_iter().filter(|(_, to)| *to == one.into()).map(|(bytes, _)| bytes).collect();
    assert!(to_one.len() >= 2, "{} datagrams", to_one.len());

    // Again, at once; from its own address, to the same life.
    let before = nodes[0].running.endpoint.dropped(Dropped::Replayed);
    nodes[1].beats.set(Bytes::from_static(b"present"), LONG).unwrap();
    beat(&mut nodes[0], |beat| beat.payload == "present").await;
    for datagram in &to_one {
        nodes[0].running.endpoint.receive(Instant::now(), two.into(), datagram);
    }
    assert!(nodes[0].running.endpoint.dropped(Dropped::Replayed) > before);
    beats_of(&mut nodes[0], &["host2"]).await;

    // To a later life of the receiver, while the sender is away.
    stop(nodes.pop().unwrap()).await;
    stop(nodes.pop().unwrap()).await;
    let socket_one = UdpSocket::bind(one).await.unwrap();
    let mut one_again = join(socket_one, config(1, 2, one, &peers)).await;
    let attacker = UdpSocket::bind(two).await.unwrap();
    for datagram in &to_one {
        attacker.send_to(datagram, one).await.unwrap();
    }
    dropped(&one_again, Dropped::Unproven, u64::try_from(to_one.len()).unwrap()).await;
    drop(attacker);
    assert_eq!(one_again.gossip.view().borrow().nodes["host2"].liveness, Liveness::Unheard);

    // And when the sender is back, its present life is heard, and never the one before.
    let socket_two = UdpSocket::bind(two).await.unwrap();
    let _two_again = join(socket_two, config(2, 2, two, &peers)).await;
    let first = beat(&mut one_again, |_| true).await;
    assert_eq!(first.payload, "host2 boot 2");
    for datagram in &to_one {
        one_again.running.endpoint.receive(Instant::now(), two.into(), datagram);
    }
    let now = Instant::now();
    let next = beat(&mut one_again, |beat| beat.at > now).await;
    assert_eq!(next.payload, "host2 boot 2");
}

#[tokio::test]
async fn a_reflection_is_recognized() {
    let (nodes, peers) = cluster(2).await;
    nodes[0].running.endpoint.faults.record();
    until(&nodes[1], "host1", Liveness::Live, 1, Some(1)).await;
    let recorded = nodes[0].running.endpoint.faults.recorded();
    for (datagram, _) in &recorded {
        nodes[0].running.endpoint.receive(Instant::now(), peers[1].addr.into(), datagram);
    }
    let count = u64::try_from(recorded.len()).unwrap();
    assert_eq!((nodes[0].running.endpoint.dropped(Dropped::Reflected), count > 0), (count, true));
}

#[tokio::test]
async fn a_flood_of_noise_stops_nobody_and_leaves_nothing() {
    let (mut nodes, peers) = cluster(2).await;
    beats_of(&mut nodes[0], &["host2"]).await;
    nodes[1].running.endpoint.faults.record();
    beats_of(&mut nodes[0], &["host2"]).await;
    let (good, _) = nodes[1].running.endpoint.faults.recorded().pop().unwrap();
    let attacker = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 9), 0)).await.unwrap();
    for round in 0..10_000_usize {
        let mut datagram = good.clone();
        match round % 5 {
            0 => datagram.truncate(round % good.len()),
            1 => datagram[round % good.len()] ^= 1,
            2 => datagram = vec![b'x'; round % 1_500],
            3 => datagram[3] = 2,
            _ => {}
        }
        let noise = attacker.send_to(&datagram, peers[0].addr).await;
        noise.expect("loopback takes what is sent");
        if round % 1_000 == 0 {
            beats_of(&mut nodes[0], &["host2"]).await;
        }
    }
    beats_of(&mut nodes[0], &["host2"]).await;
    beats_of(&mut nodes[1], &["host1"]).await;
    let endpoint = &nodes[0].running.endpoint;
    for reason in
        [Dropped::Malformed, Dropped::Foreign, Dropped::Version, Dropped::WrongKey, Dropped::WrongAddress]
    {
        assert!(endpoint.dropped(reason) > 0, "{reason:?}");
    }
    assert_eq!(endpoint.strangers(), 1);
}

/// As many strangers as there are addresses: a handful is remembered, and no answer is longer than what it answers.
#[tokio::test]
async fn strangers_do_not_add_up_and_are_not_fed() {
    let (nodes, peers) = cluster(2).await;
    nodes[1].running.endpoint.faults.record();
    until(&nodes[0], "host2", Liveness::Live, 1, Some(1)).await;
    let recorded = nodes[1].running.endpoint.faults.recorded();
    let (shortest, _) = recorded.iter().min_by_key(|(bytes, _)| bytes.len()).unwrap();
    assert_eq!(shortest.len(), DATAGRAM_MIN_BYTES);
    nodes[0].running.endpoint.faults.record();
    for port in 1..2_000 {
        let from = SocketAddr::from(([127, 0, 0, 9], port));
        nodes[0].running.endpoint.receive(Instant::now(), from, shortest);
    }
    assert_eq!(nodes[0].running.endpoint.strangers(), 8);
    let strangers = |to: &SocketAddr| *to != SocketAddr::V4(peers[1].addr);
    let answers = nodes[0].running.endpoint.faults.recorded();
    let answers: Vec<_> = answers.iter().filter(|(_, to)| strangers(to)).collect();
    assert!(!answers.is_empty() && answers.iter().all(|(bytes, _)| bytes.len() <= shortest.len()));
}
