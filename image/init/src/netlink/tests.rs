use proptest::prelude::{any, proptest};

use super::check;

fn answer(kind: u16, sequence: u32, code: i32) -> Vec<u8> {
    let mut bytes =
        [36_u32.to_ne_bytes(), [0; 4], sequence.to_ne_bytes(), [0; 4], code.to_ne_bytes()].concat();
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    bytes.resize(36, 0);
    bytes
}

#[test]
fn an_acknowledgement_carries_an_errno() {
    check(&answer(2, 7, 0), 7).unwrap();
    assert_eq!(check(&answer(2, 7, -17), 7).unwrap_err().raw_os_error(), Some(17));
}

#[test]
fn only_an_acknowledgement_of_the_request_will_do() {
    for (answer, reason) in [
        (answer(2, 6, 0), "another request's"),
        (answer(3, 7, 0), "another kind"),
        (answer(2, 7, 0)[..19].to_vec(), "cut short"),
        (Vec::new(), "empty"),
    ] {
        assert_eq!(check(&answer, 7).expect_err(reason).raw_os_error(), None, "{reason}");
    }
}

proptest! {
    #[test]
    fn no_answer_makes_the_check_fail_otherwise(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = check(&bytes, 7);
    }
}
