//! Every way a query can be wrong, and what the right ones mean.

use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

use super::parse;
use crate::value::{Draw, IntRange, Kind, RealRange};

fn int(min: i32, max: i32) -> Draw {
    Draw::Int(IntRange::new(min, max).expect("a sound range"))
}

fn float(min: f32, max: f32) -> Draw {
    Draw::Float(RealRange::<f32>::new(min, max).expect("a sound range"))
}

fn double(min: f64, max: f64) -> Draw {
    Draw::Double(RealRange::<f64>::new(min, max).expect("a sound range"))
}

#[test]
fn right_queries() {
    let cases = [
        (Kind::Bool, "", Draw::Bool),
        (Kind::Bool, "&&", Draw::Bool),
        (Kind::Int, "", int(i32::MIN, i32::MAX)),
        (Kind::Int, "min=1&max=6", int(1, 6)),
        (Kind::Int, "max=6&min=1", int(1, 6)),
        (Kind::Int, "min=5&max=5", int(5, 5)),
        (Kind::Int, "min=+5", int(5, i32::MAX)),
        (Kind::Int, "max=-1", int(i32::MIN, -1)),
        (Kind::Int, "min=-2147483648&max=2147483647", int(i32::MIN, i32::MAX)),
        (Kind::Int, "m%69n=%31&", int(1, i32::MAX)),
        (Kind::Float, "", float(0.0, 1.0)),
        (Kind::Float, "min=-1.5", float(-1.5, 1.0)),
        (Kind::Float, "min=1e-3&max=1e+9", float(0.001, 1e9)),
        (Kind::Float, "max=3.4e38", float(0.0, 3.4e38)),
        (Kind::Double, "", double(0.0, 1.0)),
        (Kind::Double, "max=1e39", double(0.0, 1e39)),
        (Kind::Double, "min=.5&max=5.", double(0.5, 5.0)),
        (Kind::Double, "min=1e-400", double(0.0, 1.0)),
    ];
    for (kind, query, expected) in cases {
        assert_eq!(parse(kind, Some(query)), Ok(expected), "{kind:?}?{query}");
    }
    assert_eq!(parse(Kind::Int, None), Ok(int(i32::MIN, i32::MAX)));
}

#[test]
fn wrong_queries() {
    let cases = [
        (Kind::Bool, "min=1", "min", "unknown_parameter"),
        (Kind::Bool, "x", "x", "unknown_parameter"),
        (Kind::Int, "mni=1", "mni", "unknown_parameter"),
        (Kind::Int, "Min=1", "Min", "unknown_parameter"),
        (Kind::Int, "=1", "", "unknown_parameter"),
        (Kind::Int, "min=1&max=2&seed=3", "seed", "unknown_parameter"),
        (Kind::Int, "min=1&min=1", "min", "duplicate_parameter"),
        (Kind::Double, "max=1&m%61x=2", "max", "duplicate_parameter"),
        (Kind::Int, "min=%", "min", "bad_encoding"),
        (Kind::Int, "min=%1", "min", "bad_encoding"),
        (Kind::Int, "min=%zz", "min", "bad_encoding"),
        (Kind::Int, "min=%+1", "min", "bad_encoding"),
        (Kind::Int, "max=%ff", "max", "bad_encoding"),
        (Kind::Int, "m%fe=1", "m%fe", "bad_encoding"),
        (Kind::Int, "min", "min", "invalid_parameter"),
        (Kind::Int, "min=", "min", "invalid_parameter"),
        (Kind::Int, "max=1.5", "max", "invalid_parameter"),
        (Kind::Int, "max=1e3", "max", "invalid_parameter"),
        (Kind::Int, "min=%201", "min", "invalid_parameter"),
        (Kind::Int, "min=0x10", "min", "invalid_parameter"),
        (Kind::Int, "max=3000000000", "max", "out_of_range"),
        (Kind::Int, "min=-2147483649", "min", "out_of_range"),
        (Kind::Int, "min=2&max=1", "min", "empty_range"),
        (Kind::Float, "min=abc", "min", "invalid_parameter"),
        (Kind::Float, "min=NaN", "min", "invalid_parameter"),
        (Kind::Float, "max=inf", "max", "invalid_parameter"),
        (Kind::Float, "min=-Infinity", "min", "invalid_parameter"),
        (Kind::Float, "max=1e39", "max", "out_of_range"),
        (Kind::Float, "min=-3e38&max=3e38", "min", "out_of_range"),
        (Kind::Float, "min=0.1&max=0.10000000001", "min", "empty_range"),
        (Kind::Float, "min=1", "min", "empty_range"),
        (Kind::Float, "max=0", "max", "empty_range"),
        (Kind::Float, "max=-0.0", "max", "empty_range"),
        (Kind::Double, "min=1&max=1", "min", "empty_range"),
        (Kind::Double, "min=5", "min", "empty_range"),
        (Kind::Double, "max=1e309", "max", "out_of_range"),
        (Kind::Double, "min=-1.7e308&max=1.7e308", "min", "out_of_range"),
        (Kind::Double, "max=", "max", "invalid_parameter"),
    ];
    for (kind, query, parameter, code) in cases {
        let error = parse(kind, Some(query)).expect_err(query);
        assert_eq!((error.parameter.as_str(), error.code), (parameter, code), "{kind:?}?{query}: {error}");
        assert!(error.message.len() < 250, "{kind:?}?{query}: {error}");
    }
}

#[test]
fn long_input_is_not_repeated_in_full() {
    let error = parse(Kind::Int, Some(&format!("{}=1", "é".repeat(5000)))).expect_err("unknown");
    assert_eq!(error.parameter.chars().count(), 64);
    let error = parse(Kind::Int, Some(&format!("min={}", "9".repeat(5000)))).expect_err("too large");
    assert!(error.message.len() < 200, "{error}");
}

proptest! {
    #[test]
    fn no_query_panics(query in "[ -~é]{0,40}") {
        for kind in [Kind::Bool, Kind::Int, Kind::Float, Kind::Double] {
            if let Err(error) = parse(kind, Some(&query)) {
                prop_assert!(!error.message.is_empty());
            }
        }
    }

    #[test]
    fn any_two_ints_are_a_range_or_empty(a: i32, b: i32) {
        let parsed = parse(Kind::Int, Some(&format!("min={a}&max={b}")));
        prop_assert_eq!(parsed.ok(), IntRange::new(a, b).map(Draw::Int));
    }

    #[test]
    fn any_two_doubles_are_a_range_or_refused(a: f64, b: f64) {
        let parsed = parse(Kind::Double, Some(&format!("min={a}&max={b:e}")));
        prop_assert_eq!(parsed.ok(), RealRange::<f64>::new(a, b).ok().map(Draw::Double));
    }
}
