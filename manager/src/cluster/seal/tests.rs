use proptest::prelude::*;

use super::{DATAGRAM_MAX_BYTES, Envelope, Key, OVERHEAD_MAX_BYTES, OpenError, Sealer};

fn sealer(key: u8, cluster: &str, node: &str) -> Sealer {
    Sealer::new(&Key::new([key; 32]), cluster, node).unwrap()
}

fn open(by: &Sealer, datagram: &[u8]) -> Result<Vec<u8>, OpenError> {
    by.open(&Envelope::parse(datagram)?)
}

#[test]
fn what_one_member_seals_another_opens() {
    let sealed = sealer(1, "lab", "host1").seal([7; 24], b"beat").unwrap();
    let envelope = Envelope::parse(&sealed).unwrap();
    assert_eq!((envelope.cluster, envelope.sender), ("lab", "host1"));
    assert_eq!(sealer(1, "lab", "host2").open(&envelope).unwrap(), b"beat");
}

#[test]
fn another_secret_does_not_open_it() {
    let sealed = sealer(1, "lab", "host1").seal([7; 24], b"beat").unwrap();
    assert_eq!(open(&sealer(2, "lab", "host1"), &sealed), Err(OpenError::Key));
}

#[test]
fn what_is_not_a_datagram_of_this_protocol_says_why() {
    let sealed = sealer(1, "lab", "host1").seal([7; 24], b"").unwrap();
    let mut newer = sealed.clone();
    newer[3] = 2;
    let mut unnamed = sealed.clone();
    unnamed[5] = b'/';
    for (datagram, error) in [
        (&b""[..], OpenError::Foreign),
        (b"PH", OpenError::Foreign),
        (b"GET / HTTP/1.1\r\n", OpenError::Foreign),
        (b"PHX", OpenError::Malformed),
        (&newer, OpenError::Version(2)),
        (&unnamed, OpenError::Malformed),
        (b"PHX\x01\x00", OpenError::Malformed),
        (b"PHX\x01\xffx", OpenError::Malformed),
    ] {
        assert_eq!(Envelope::parse(datagram).unwrap_err(), error, "{datagram:?}");
    }
}

#[test]
fn names_that_do_not_fit_the_header_are_refused() {
    for (cluster, node) in
        [("", "a"), ("lab", ""), ("Lab", "a"), (&"c".repeat(33), "a"), ("lab", &"n".repeat(21))]
    {
        assert!(Sealer::new(&Key::new([0; 32]), cluster, node).is_none(), "{cluster:?} {node:?}");
    }
    let longest = sealer(0, &"c".repeat(32), &"n".repeat(20));
    assert_eq!(longest.overhead(), OVERHEAD_MAX_BYTES);
}

#[test]
fn what_does_not_fit_into_a_datagram_is_not_sealed() {
    let sealer = sealer(1, "lab", "host1");
    let fits = DATAGRAM_MAX_BYTES - sealer.overhead();
    assert_eq!(sealer.seal([0; 24], &vec![0; fits]).unwrap().len(), DATAGRAM_MAX_BYTES);
    assert!(sealer.seal([0; 24], &vec![0; fits + 1]).is_none());
}

#[test]
fn a_key_does_not_show_itself() {
    assert_eq!(format!("{:?}", Key::new([7; 32])), "Key(..)");
}

proptest! {
    #[test]
    fn any_plain_text_comes_back(plain in prop::collection::vec(any::<u8>(), 0..2_000), nonce: [u8; 24]) {
        let sealer = sealer(1, "lab", "host1");
        let sealed = sealer.seal(nonce, &plain).unwrap();
        prop_assert_eq!(sealed.len(), plain.len() + sealer.overhead());
        prop_assert_eq!(open(&sealer, &sealed), Ok(plain));
    }

    /// Header and text alike: not one bit can be changed unseen.
    #[test]
    fn no_bit_can_be_changed(plain in prop::collection::vec(any::<u8>(), 0..100), at: prop::sample::Index, bit in 0_u8..8) {
        let sealer = sealer(1, "lab", "host1");
        let mut sealed = sealer.seal([3; 24], &plain).unwrap();
        let at = at.index(sealed.len());
        sealed[at] ^= 1 << bit;
        prop_assert!(open(&sealer, &sealed).is_err());
    }

    #[test]
    fn no_prefix_and_no_garbage_opens(cut: prop::sample::Index, garbage in prop::collection::vec(any::<u8>(), 0..200)) {
        let sealer = sealer(1, "lab", "host1");
        let sealed = sealer.seal([3; 24], b"some text").unwrap();
        prop_assert!(open(&sealer, &sealed[..cut.index(sealed.len())]).is_err());
        prop_assert!(open(&sealer, &garbage).is_err());
        prop_assert!(open(&sealer, &[b"PHX\x01", &garbage[..]].concat()).is_err());
    }
}
