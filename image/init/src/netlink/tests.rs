use proptest::prelude::{any, proptest};

use super::{NotAnAck, add_address, add_default_route, add_link_route, add_neighbour, link_up, parse_ack};

#[test]
fn a_request_is_laid_out_as_the_kernel_reads_it() {
    let bytes = add_neighbour(3, [10, 0, 0, 1].into(), [2, 0, 0, 0, 0, 9]);
    assert_eq!(bytes[..4], 48_u32.to_ne_bytes());
    assert_eq!(bytes[4..6], 28_u16.to_ne_bytes());
    assert_eq!(bytes[16..28], [2, 0, 0, 0, 3, 0, 0, 0, 0x80, 0, 0, 0]);
    assert_eq!(bytes[28..36], [8, 0, 1, 0, 10, 0, 0, 1]);
    // Six bytes of MAC are padded to the next attribute, and the padding is not in the attribute's length.
    assert_eq!(bytes[36..48], [10, 0, 2, 0, 2, 0, 0, 0, 0, 9, 0, 0]);
}

#[test]
fn every_request_knows_its_length() {
    let addr = [10, 0, 0, 2].into();
    for bytes in [
        link_up(1),
        add_address(2, addr),
        add_neighbour(2, addr, [2; 6]),
        add_link_route(2, addr, addr),
        add_default_route(2, addr, addr),
    ] {
        assert_eq!(usize::try_from(u32::from_ne_bytes(bytes[..4].try_into().unwrap())).unwrap(), bytes.len());
        assert_eq!(bytes.len() % 4, 0);
    }
}

#[test]
fn an_acknowledgement_carries_an_errno() {
    let answer = |kind: u16, error: i32| {
        let mut bytes = vec![36, 0, 0, 0];
        bytes.extend(kind.to_ne_bytes());
        bytes.resize(16, 0);
        bytes.extend(error.to_ne_bytes());
        bytes
    };
    assert_eq!(parse_ack(&answer(2, 0)), Ok(0));
    assert_eq!(parse_ack(&answer(2, -17)), Ok(17));
    assert_eq!(parse_ack(&answer(3, 0)), Err(NotAnAck));
    assert_eq!(parse_ack(&answer(2, 0)[..19]), Err(NotAnAck));
}

proptest! {
    #[test]
    fn no_answer_makes_the_parser_fail_otherwise(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = parse_ack(&bytes);
    }
}
