//! The choice of format, header by header.

use http::header::{ACCEPT, HeaderMap, HeaderValue};
use proptest::prelude::{prop_assert_eq, proptest};

use super::{Format, negotiate};

fn choose(values: &[&str]) -> Option<Format> {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(ACCEPT, HeaderValue::from_str(value).expect("a header value"));
    }
    negotiate(&headers)
}

#[test]
fn the_choice() {
    let json = Some(Format::Json);
    let text = Some(Format::Text);
    let cases = [
        ("", json),
        ("*/*", json),
        ("application/json", json),
        ("Application/JSON", json),
        ("application/*", json),
        ("text/plain", text),
        ("TEXT/Plain;charset=utf-8", text),
        ("text/*", text),
        ("text/plain, */*", text),
        ("text/plain, */*;q=0.1", text),
        ("text/plain;q=0.5, */*", json),
        ("text/plain;q=0.5, application/json;q=0.4", text),
        ("text/plain; q=0.5, application/json; Q=0.501", json),
        ("application/json, text/plain, */*", json),
        ("text/plain, application/json", json),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", json),
        ("text/html, text/*;q=0.3", text),
        ("application/json;q=0, */*", text),
        ("application/json;q=0.000, text/*;q=0.001", text),
        ("text/plain;q=0, text/*", None),
        ("*/*;q=0", None),
        ("application/json;q=0", None),
        ("text/html", None),
        ("image/png, application/xml", None),
        // What cannot be read is skipped.
        ("nonsense", json),
        ("text/plain;q=2", json),
        ("text/plain;q=0.1234", json),
        ("text/plain;q=1.001", json),
        ("*/plain", json),
        ("/, ;, text/plain", text),
        // Separators inside quotes are none.
        ("application/json;a=\",text/plain\";q=0.1, text/plain;q=0.2", text),
        ("text/plain;a=\"\\\";q=0\"", text),
    ];
    for (header, expected) in cases {
        assert_eq!(choose(&[header]), expected, "Accept: {header}");
    }
}

#[test]
fn several_headers_count_as_one() {
    assert_eq!(choose(&[]), Some(Format::Json));
    assert_eq!(choose(&["application/json;q=0.1", "text/plain"]), Some(Format::Text));
    assert_eq!(choose(&["text/html", "image/png"]), None);
}

proptest! {
    #[test]
    fn a_higher_q_wins(a in 1_u16..=999, b in 1_u16..=999) {
        let header = format!("text/plain;q=0.{a:03}, application/json;q=0.{b:03}");
        let expected = if a > b { Format::Text } else { Format::Json };
        prop_assert_eq!(choose(&[&header]), Some(expected));
    }

    #[test]
    fn no_header_panics(header in "[ -~]{0,60}") {
        choose(&[&header]);
    }
}
