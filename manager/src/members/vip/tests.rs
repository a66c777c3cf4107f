use super::{VipSettings, difference, encode};

fn settings(text: &str) -> VipSettings {
    VipSettings::of(&toml::from_str(text).unwrap())
}

#[test]
fn a_difference_names_both_sides_and_every_key() {
    let ours = settings("addr = \"10.77.0.100\"");
    let cases = [
        ("addr = \"10.77.0.100\"", ""),
        ("addr = \"10.77.0.100\"\ncheck_interval_ms = 20\ncheck_timeout_ms = 20\ncheck_failures = 20", ""),
        ("addr = \"10.77.0.101\"", "vip.addr is 10.77.0.100 on a and 10.77.0.101 on b; "),
        ("addr = \"10.77.0.100\"\nsilence_ms = 400", "vip.silence_ms is 300 on a and 400 on b; "),
        ("addr = \"10.77.0.100\"\nhold_down_ms = 0", "vip.hold_down_ms is 5000 on a and 0 on b; "),
        (
            "addr = \"10.77.0.100\"\nrelease_ms = 7\nsilence_ms = 400",
            "vip.silence_ms is 300 on a and 400 on b, vip.release_ms is 30000 on a and 7 on b; ",
        ),
    ];
    for (theirs, words) in cases {
        let word = encode(Some(&settings(theirs))).unwrap();
        let expected = (!words.is_empty()).then(|| format!("{words}it must be the same on all nodes"));
        assert_eq!(difference(("a", Some(&ours)), ("b", &word)), expected, "{theirs}");
    }
}

#[test]
fn a_node_without_a_public_address_differs_from_one_with_it() {
    let ours = settings("addr = \"10.77.0.100\"");
    let (none, some) = (encode(None).unwrap(), encode(Some(&ours)).unwrap());
    let text = |with: &str, without: &str| {
        format!(
            "{with} has the public address 10.77.0.100 and {without} has none: [vip] must be the same on all nodes"
        )
    };
    assert_eq!(difference(("a", None), ("b", &none)), None);
    assert_eq!(difference(("a", Some(&ours)), ("b", &none)), Some(text("a", "b")));
    assert_eq!(difference(("a", None), ("b", &some)), Some(text("b", "a")));
}

#[test]
fn a_word_that_is_none_is_said_and_silence_is_nothing() {
    let text = difference(("a", None), ("b", "{\"addr\":1}")).unwrap();
    assert!(text.starts_with("what b says of its [vip] cannot be understood: "), "{text}");
    assert_eq!(difference(("a", None), ("b", "")), None);
    // A later program may say more.
    let more = encode(Some(&settings("addr = \"10.77.0.100\""))).unwrap().replace('{', "{\"new\":1,");
    assert_eq!(difference(("a", Some(&settings("addr = \"10.77.0.100\""))), ("b", &more)), None);
}
