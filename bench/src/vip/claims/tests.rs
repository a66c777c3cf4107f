use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use super::*;

const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);
const A: Mac = Mac([2, 0, 0, 0, 0, 1]);
const B: Mac = Mac([2, 0, 0, 0, 0, 2]);

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn answers(mac: Mac, times: impl IntoIterator<Item = u64>) -> Vec<Claim> {
    times.into_iter().map(|ms| Claim { at: millis(ms), mac, manner: Manner::Answer }).collect()
}

fn read(claims: &[Claim]) -> Claims {
    let names = BTreeMap::from([(A, "host1".to_owned())]);
    Claims::of(claims, 0, millis(1000), &names)
}

#[test]
fn what_a_packet_says() {
    let packet = |operation, sender, target: [u8; 4]| Arp {
        source: A,
        destination: B,
        operation,
        sender_mac: A,
        sender,
        target: target.into(),
    };
    let other = [10, 0, 0, 7];
    for (arp, manner) in [
        (packet(Operation::Reply, VIP, other), Some(Manner::Answer)),
        (packet(Operation::Reply, VIP, VIP.octets()), Some(Manner::Announcement)),
        (packet(Operation::Request, VIP, VIP.octets()), Some(Manner::Announcement)),
        (packet(Operation::Request, VIP, other), Some(Manner::Mention)),
        (packet(Operation::Request, other.into(), VIP.octets()), None),
        (packet(Operation::Reply, other.into(), VIP.octets()), None),
    ] {
        assert_eq!(claim(&arp, VIP, millis(5)).map(|claim| claim.manner), manner, "{arp:?}");
    }
}

#[test]
fn a_clean_move_has_no_double() {
    let seen = read(&[answers(A, (0..1000).step_by(20)), answers(B, (1030..2000).step_by(20))].concat());
    assert_eq!(seen.doubles, []);
    assert_eq!(
        seen.held,
        [
            Held { who: "host1".to_owned(), from_ms: -1000.0, to_ms: -20.0, claims: 50 },
            Held { who: B.to_string(), from_ms: 30.0, to_ms: 990.0, claims: 49 },
        ]
    );
    assert_eq!(seen.longest_double_ms(), None);
}

#[test]
fn two_at_once_are_a_double_for_as_long_as_both_go_on() {
    let seen = read(&[answers(A, (0..=1500).step_by(20)), answers(B, (1110..2000).step_by(20))].concat());
    let double = Double { who: ["host1".to_owned(), B.to_string()], from_ms: 110.0, length_ms: 390.0 };
    assert_eq!(seen.doubles, [double]);
    assert_eq!(seen.longest_double_ms(), Some(390.0));
}

#[test]
fn a_single_claim_amid_those_of_another_is_a_double_of_no_length() {
    let mut claims = answers(A, (0..2000).step_by(20));
    claims.push(Claim { at: millis(1205), mac: B, manner: Manner::Announcement });
    let seen = read(&claims);
    assert_eq!(seen.longest_double_ms(), Some(0.0));
    assert_eq!(seen.announcements, [Announcement { who: B.to_string(), at_ms: 205.0 }]);
}

#[test]
fn there_and_back_is_two_stretches_and_no_double() {
    let there = [answers(A, (0..500).step_by(20)), answers(B, (530..1500).step_by(20))].concat();
    let back = answers(A, (1530..2000).step_by(20));
    let seen = read(&[there, back].concat());
    assert_eq!(seen.doubles, []);
    assert_eq!(
        seen.held.iter().map(|held| held.who.as_str()).collect::<Vec<_>>(),
        ["host1", &B.to_string(), "host1"]
    );
}

#[test]
fn only_the_owners_announcement_from_then_on_counts() {
    let said = |mac, ms| Claim { at: millis(ms), mac, manner: Manner::Announcement };
    let seen = read(&[said(A, 900), said(B, 1100), said(A, 1300), said(A, 1400)]);
    assert_eq!(seen.announced_ms("host1", 0.0), Some(300.0));
    assert_eq!(seen.announced_ms("host1", 300.0), Some(300.0));
    assert_eq!(seen.announced_ms("host1", 401.0), None);
}

proptest! {
    /// Against a slow look at every pair of claims: two stations overlap if and only if one of them claims within a
    /// stretch of the other.
    #[test]
    fn a_double_is_found_if_and_only_if_there_is_one(
        times in proptest::collection::vec((any::<bool>(), 0_u64..3000), 0..60)
    ) {
        let claims: Vec<Claim> = times
            .iter()
            .map(|(first, ms)| Claim { at: millis(*ms), mac: if *first { A } else { B }, manner: Manner::Answer })
            .collect();
        let of = |mac: Mac| {
            let mut times: Vec<Duration> =
                claims.iter().filter(|claim| claim.mac == mac).map(|claim| claim.at).collect();
            times.sort_unstable();
            times
        };
        let inside = |at: Duration, times: &[Duration]| {
            times.contains(&at) || times.windows(2).any(|pair| pair[0] <= at && at <= pair[1] && pair[1] - pair[0] <= HOLD)
        };
        let (a, b) = (of(A), of(B));
        let expected = a.iter().any(|at| inside(*at, &b)) || b.iter().any(|at| inside(*at, &a));
        let seen = read(&claims);
        prop_assert_eq!(!seen.doubles.is_empty(), expected);
        prop_assert!(seen.doubles.iter().all(|double| double.length_ms >= 0.0));
        prop_assert_eq!(seen.held.iter().map(|held| held.claims).sum::<u64>(), claims.len() as u64);
    }
}
