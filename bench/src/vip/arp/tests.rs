use proptest::prelude::{any, prop_assert_eq, proptest};

use super::*;

#[test]
fn a_question_is_read_as_it_was_written() {
    let from = Mac([2, 0, 0, 0, 0, 9]);
    let frame = request(from, [10, 0, 0, 9].into(), [10, 0, 0, 100].into());
    let expected = Arp {
        source: from,
        destination: Mac::BROADCAST,
        operation: Operation::Request,
        sender_mac: from,
        sender: [10, 0, 0, 9].into(),
        target: [10, 0, 0, 100].into(),
    };
    assert_eq!(parse(&frame), Some(expected));
}

/// A reply as tcpdump shows it: `10.77.0.100 is-at 52:54:00:12:34:56`, padded to the least length of a frame.
#[test]
fn a_captured_reply() {
    let mut frame = vec![
        0x02, 0, 0, 0, 0, 9, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2, 0x52, 0x54, 0,
        0x12, 0x34, 0x56, 10, 77, 0, 100, 2, 0, 0, 0, 0, 9, 10, 77, 0, 200,
    ];
    frame.resize(60, 0);
    let arp = parse(&frame).unwrap();
    assert_eq!(arp.operation, Operation::Reply);
    assert_eq!(arp.sender_mac.to_string(), "52:54:00:12:34:56");
    assert_eq!((arp.sender, arp.target), ([10, 77, 0, 100].into(), [10, 77, 0, 200].into()));
}

#[test]
fn what_is_not_arp_for_ipv4_is_nothing() {
    let sound = request(Mac([2; 6]), [10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    // Ethernet type, hardware type, protocol type, both lengths, operation.
    for at in [12, 13, 14, 15, 16, 17, 18, 19, 20, 21] {
        let mut frame = sound;
        frame[at] ^= 0x10;
        assert_eq!(parse(&frame), None, "byte {at}");
    }
    assert_eq!(parse(&sound[..FRAME_BYTES - 1]), None);
}

#[test]
fn hardware_addresses_as_text() {
    assert_eq!("02:00:00:00:00:0f".parse(), Ok(Mac([2, 0, 0, 0, 0, 15])));
    for text in [
        "",
        "02:00:00:00:00",
        "02:00:00:00:00:0f:00",
        "2:0:0:0:0:f",
        "0g:00:00:00:00:00",
        "02-00-00-00-00-00",
    ] {
        assert!(text.parse::<Mac>().is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_fail(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn text_and_back(octets in any::<[u8; 6]>()) {
        prop_assert_eq!(Mac(octets).to_string().parse(), Ok(Mac(octets)));
    }
}
