use proptest::prelude::*;

use super::*;

const A: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 0xb]);
const HOST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);
const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);

/// As `tcpdump -xx` shows what `arping` sends.
#[test]
fn a_question_on_the_wire() {
    let bytes = Frame::question(MacAddr::BROADCAST, A, HOST, VIP).encode();
    #[rustfmt::skip]
    let wanted = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 0xa, 8, 6,
        0, 1, 8, 0, 6, 4, 0, 1,
        2, 0, 0, 0, 0, 0xa, 10, 77, 0, 11,
        0, 0, 0, 0, 0, 0, 10, 77, 0, 100,
    ];
    assert_eq!(bytes, wanted);
}

#[test]
fn announcements_say_the_same_in_both_forms() {
    let request = Frame::announcement(Operation::Request, MacAddr::BROADCAST, A, VIP);
    let reply = Frame::announcement(Operation::Reply, B, A, VIP);
    for frame in [request, reply] {
        assert!(frame.is_announcement());
        assert_eq!((frame.sender_mac, frame.sender, frame.target), (A, VIP, VIP));
    }
    assert_eq!((reply.to, reply.target_mac), (B, A));
    assert_eq!(&reply.encode()[20..22], [0, 2]);
    assert!(!Frame::question(B, A, HOST, VIP).is_announcement());
}

#[test]
fn what_is_no_such_frame_is_refused_with_the_reason() {
    let good = Frame::question(MacAddr::BROADCAST, A, HOST, VIP).encode();
    for len in 0..FRAME_LEN {
        assert_eq!(Frame::decode(&good[..len]), Err(Error::Truncated(len)));
    }
    let table = [
        (13, 0x00, Error::NotArp(0x0800)),
        (12, 0x81, Error::NotArp(0x8106)),
        (15, 6, Error::OtherAddresses),
        (16, 0x86, Error::OtherAddresses),
        (18, 8, Error::OtherAddresses),
        (19, 16, Error::OtherAddresses),
        (21, 0, Error::Operation(0)),
        (21, 3, Error::Operation(3)),
        (20, 1, Error::Operation(257)),
    ];
    for (at, byte, error) in table {
        let mut bytes = good;
        bytes[at] = byte;
        assert_eq!(Frame::decode(&bytes), Err(error), "byte {at}");
    }
}

fn any_mac() -> impl Strategy<Value = MacAddr> {
    any::<[u8; 6]>().prop_map(MacAddr::new)
}

prop_compose! {
    fn any_frame()(
        to in any_mac(), from in any_mac(), request: bool, sender_mac in any_mac(), sender: Ipv4Addr,
        target_mac in any_mac(), target: Ipv4Addr,
    ) -> Frame {
        let operation = if request { Operation::Request } else { Operation::Reply };
        Frame { to, from, operation, sender_mac, sender, target_mac, target }
    }
}

proptest! {
    #[test]
    fn bytes_and_back(frame in any_frame(), padding in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut bytes = frame.encode().to_vec();
        bytes.extend(padding);
        prop_assert_eq!(Frame::decode(&bytes), Ok(frame));
    }

    #[test]
    fn whatever_is_decoded_encodes_to_the_same_bytes(
        start in prop::collection::vec(any::<u8>(), 0..80), spoilt in any_frame(), at in 0..FRAME_LEN, byte: u8
    ) {
        let mut near = spoilt.encode();
        near[at] = byte;
        for bytes in [start.as_slice(), near.as_slice()] {
            if let Ok(frame) = Frame::decode(bytes) {
                let encoded = frame.encode();
                prop_assert_eq!(encoded.as_slice(), &bytes[..FRAME_LEN]);
            }
        }
    }
}
