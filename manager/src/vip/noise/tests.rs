use manager_core::vip::{Mac, Station};

use super::kind;

fn station(last: u8, node: Option<&str>) -> Station {
    Station { mac: Mac([0x02, 0, 0, 0xab, 0, last]), node: node.map(str::to_owned) }
}

#[test]
fn other_macs_are_the_same_kind_and_other_words_are_not() {
    let texts = |station: &Station| {
        [
            format!("host1 did not claim: 10.77.0.100 answers ARP from {station}"),
            format!("{station} announces 10.77.0.100 too"),
            format!("{station} answers for 10.77.0.100 too"),
            format!("seen at {station}, once"),
        ]
    };
    let (one, other) = (texts(&station(1, None)), texts(&station(0xfe, None)));
    for (one, other) in one.iter().zip(&other) {
        assert_ne!(one, other);
        assert_eq!(kind(one), kind(other));
        assert!(kind(one).contains("MAC"), "{}", kind(one));
    }
    let kinds: std::collections::BTreeSet<_> = one.iter().map(|text| kind(text)).collect();
    assert_eq!(kinds.len(), one.len());
    // Peers are named, and there are few of them.
    assert_ne!(kind(&texts(&station(1, Some("host2")))[0]), kind(&one[0]));
    for text in
        ["", "goes on as the owner with epoch 5: nobody holds a greater claim", "02:00:00:00:00", "a:b"]
    {
        assert_eq!(kind(text), text);
    }
}
