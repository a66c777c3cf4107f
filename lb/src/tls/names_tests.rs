use std::sync::Arc;

use proptest::prelude::*;

use super::Names;

/// Certificates by number, in this order, for these names.
fn names(certificates: &[&[&str]]) -> Names<usize> {
    let mut names = Names::default();
    for (i, of) in certificates.iter().enumerate() {
        names.add(&of.iter().map(|&name| name.to_owned()).collect::<Vec<_>>(), &Arc::new(i));
    }
    names
}

#[test]
fn the_nearest_name_wins() {
    let names = names(&[
        &["a.example"],
        &["*.b.example", "b.example"],
        &["Www.B.example"],
        &["*.c.b.example"],
        &["a.example"],
    ]);
    for (asked, number) in [
        ("a.example", 0),
        ("A.EXAMPLE", 0),
        ("a.example.", 0),
        ("b.example", 1),
        ("x.b.example", 1),
        ("X.b.example", 1),
        ("www.b.example", 2),
        ("x.c.b.example", 3),
        ("c.b.example", 1),
        ("x.y.b.example", 0),
        (".b.example", 0),
        ("unknown.example", 0),
        ("*", 0),
        ("", 0),
    ] {
        assert_eq!(names.choose(Some(asked), |_| true).as_deref(), Some(&number), "{asked}");
    }
    assert_eq!(names.choose(None, |_| true).as_deref(), Some(&0));
}

#[test]
fn the_kind_of_key_decides_among_those_of_a_name() {
    let names = names(&[&["a"], &["b"], &["b"], &["c"]]);
    assert_eq!(names.choose(Some("b"), |&key| key == 2).as_deref(), Some(&2));
    assert_eq!(names.choose(Some("b"), |_| false).as_deref(), Some(&1), "the handshake fails then");
    assert_eq!(names.choose(None, |&key| key == 3).as_deref(), Some(&3));
    assert!(self::names(&[]).choose(Some("a"), |_| true).is_none());
}

proptest! {
    #[test]
    fn a_wildcard_is_for_exactly_one_label(labels in prop::collection::vec("[a-z]{1,4}", 0..4)) {
        let names = names(&[&["default"], &["*.example.org"]]);
        let asked = labels.iter().map(|label| format!("{label}.")).collect::<String>() + "example.org";
        let expected = usize::from(labels.len() == 1);
        let chosen = names.choose(Some(&asked), |_| true);
        prop_assert_eq!(chosen.as_deref(), Some(&expected));
    }
}
