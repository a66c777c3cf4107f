use super::*;

fn datagram(payload: &[u8]) -> Datagram {
    Datagram {
        macs: (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2])),
        from: SocketAddrV4::new([10, 77, 0, 11].into(), 7701),
        to: SocketAddrV4::new([10, 77, 0, 12].into(), 7701),
        payload: payload.to_vec(),
    }
}

#[test]
fn what_is_written_is_read_again() {
    for payload in [b"".as_slice(), b"x", &[7; 1400]] {
        let datagram = datagram(payload);
        let mut frame = datagram.frame().expect("a frame");
        assert_eq!(Datagram::parse(&frame), Some(datagram.clone()));
        frame.extend_from_slice(&[0; 18]);
        assert_eq!(Datagram::parse(&frame), Some(datagram), "padding does not count");
    }
    assert_eq!(datagram(&vec![0; 65_536]).frame(), None);
}

#[test]
fn the_check_sum_is_that_of_a_known_header() {
    // The example of RFC 1071's arithmetic in many textbooks: 192.168.0.1 to 192.168.0.199, sum 0xb861.
    let header = [
        0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8,
        0x00, 0xc7,
    ];
    assert_eq!(checksum(&header), 0xb861);
}

#[test]
fn other_frames_and_pieces_are_none() {
    let frame = datagram(b"payload").frame().expect("a frame");
    for length in 0..frame.len() {
        assert_eq!(Datagram::parse(&frame[..length]), None, "{length} bytes");
    }
    for (at, value) in [(12, 0x86), (14, 0x65), (14, 0x44), (20, 0x20), (23, 6), (39, 7)] {
        let mut other = frame.clone();
        other[at] = value;
        assert_eq!(Datagram::parse(&other), None, "byte {at} is {value:#x}");
    }
}
