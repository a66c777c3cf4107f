//! Answers that keep the contract, and every way to break it.

use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderValue};

use super::{Expectation, PathError};

fn check(path: &str, body: &str) -> Result<String, String> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Expectation::of(path).expect(path).check(&headers, body.as_bytes())
}

fn answer(kind: &str, value: &str) -> String {
    format!(r#"{{"kind":"{kind}","value":{value},"instance":"host1/svc-11"}}"#)
}

#[test]
fn right_answers() {
    for (path, kind, value) in [
        ("/bool", "bool", "true"),
        ("/int", "int", "-2147483648"),
        ("/int", "int", "2147483647"),
        ("/int?min=1&max=6", "int", "6"),
        ("/int?max=-1", "int", "-1"),
        ("/float", "float", "0.0"),
        ("/float", "float", "0.99999994"),
        ("/float", "float", "1e-10"),
        ("/float?min=-2&max=-1.5", "float", "-2.0"),
        ("/double", "double", "0.9999999999999999"),
        ("/double?min=1e300&max=2e300", "double", "1.5e300"),
    ] {
        assert_eq!(check(path, &answer(kind, value)), Ok("host1/svc-11".to_owned()), "{path} {value}");
    }
}

#[test]
fn wrong_answers() {
    for (path, body, words) in [
        ("/int", answer("bool", "true"), "kind is \"bool\" where \"int\""),
        ("/int", answer("int", "2147483648"), "value 2147483648"),
        ("/int", answer("int", "1.0"), "value 1.0"),
        ("/int", answer("int", "\"1\""), "value \"1\""),
        ("/int", answer("int", "null"), "value null"),
        ("/int?min=1&max=6", answer("int", "7"), "value 7"),
        ("/int?min=1&max=6", answer("int", "0"), "value 0"),
        ("/bool", answer("bool", "1"), "value 1"),
        ("/float", answer("float", "1.0"), "value 1.0"),
        ("/float", answer("float", "-0.1"), "value -0.1"),
        // A double is not the shortest form of any float.
        ("/float", answer("float", "0.12345678901234"), "value 0.12345678901234"),
        ("/float", answer("float", "0.9999999999999999"), "value 0.9999999999999999"),
        ("/double", answer("double", "1.0"), "value 1.0"),
        ("/double?min=2&max=3", answer("double", "3.0"), "value 3.0"),
        ("/int", r#"{"kind":"int","value":1,"instance":""}"#.to_owned(), "instance has 0 bytes"),
        (
            "/int",
            format!(r#"{{"kind":"int","value":1,"instance":"{}"}}"#, "x".repeat(129)),
            "instance has 129",
        ),
        ("/int", r#"{"kind":"int","value":1}"#.to_owned(), "missing field `instance`"),
        ("/int", r#"{"kind":"int","instance":"x"}"#.to_owned(), "missing field `value`"),
        ("/int", r#"{"kind":"int","value":1,"value":1,"instance":"x"}"#.to_owned(), "duplicate field"),
        ("/int", r#"{"kind":"int","value":1,"instance":"x","y":1}"#.to_owned(), "unknown field `y`"),
        ("/int", r#"{"kind":"int","value":1,"instance":"x"}x"#.to_owned(), "trailing characters"),
        ("/int", "7".to_owned(), "invalid type"),
        ("/int", String::new(), "EOF"),
    ] {
        let error = check(path, &body).expect_err(&body);
        assert!(error.contains(words), "{path} {body}: {error}");
    }
}

#[test]
fn the_value_is_read_as_it_is_written() {
    let body = |value| format!(r#"{{ "instance":"value", "value" : {value} , "kind":"double" }}"#);
    assert_eq!(check("/double", &body("0.9999999999999999")), Ok("value".to_owned()));
    assert!(check("/double", &body("1.0000000000000000")).is_err());
    assert!(check("/double", &body("[0.5]")).is_err());
    assert!(check("/double", &body("\"0.5\"")).is_err());
    assert!(check("/double", &body("{\"value\":0.5}")).is_err());
}

#[test]
fn the_content_type_is_part_of_the_contract() {
    let expectation = Expectation::of("/bool").expect("a path");
    let body = answer("bool", "true");
    let mut headers = HeaderMap::new();
    assert!(expectation.check(&headers, body.as_bytes()).expect_err("none").contains("content-type"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    assert!(expectation.check(&headers, body.as_bytes()).expect_err("text").contains("text/plain"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    assert!(expectation.check(&headers, body.as_bytes()).is_ok());
}

#[test]
fn paths_that_cannot_be_checked() {
    for path in ["", "/", "/healthz", "int", "/int/"] {
        assert_eq!(Expectation::of(path), Err(PathError::Unknown(path.to_owned())));
    }
    for (path, pair) in [
        ("/int?seed=1", "seed=1"),
        ("/int?min=1&x", "x"),
        ("/int?min=one", "min=one"),
        ("/double?max=", "max="),
        ("/bool?min=1", "min=1"),
    ] {
        let expected = PathError::Query { path: path.to_owned(), pair: pair.to_owned() };
        assert_eq!(Expectation::of(path), Err(expected));
    }
}
