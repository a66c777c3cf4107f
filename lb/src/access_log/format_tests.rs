use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, UNIX_EPOCH};

use http::Version;
use proptest::prelude::*;
use serde_json::Value;

use super::super::record::{Attempt, MAX_ATTEMPTS, Outcome, Record, Stored};
use super::{Moment, line};
use crate::config::LogFormat;

fn attempt(last: u8, outcome: Outcome, micros: u64) -> Attempt {
    let upstream = (Ipv4Addr::new(10, 0, 0, last), 8080).into();
    Attempt { upstream, outcome, duration: Duration::from_micros(micros) }
}

fn record(attempts: &[Attempt]) -> Record<'_> {
    Record {
        time: UNIX_EPOCH + Duration::from_millis(1_709_164_799_042),
        client: Ipv4Addr::new(192, 0, 2, 7).into(),
        method: b"GET",
        target: b"/a?b=c",
        version: Version::HTTP_11,
        host: Some(b"example.com"),
        referer: None,
        user_agent: Some(b"curl/8"),
        status: 200,
        bytes: 17,
        duration: Duration::from_micros(253_999),
        attempts,
        request_id: b"0af7",
        tls: Some("TLSv1.3"),
        end: "complete",
    }
}

fn write(format: LogFormat, record: &Record<'_>) -> String {
    let mut out = Vec::new();
    line(format, &Stored::new(record), &mut out);
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.matches('\n').count(), 1);
    text.strip_suffix('\n').unwrap().to_owned()
}

fn json(record: &Record<'_>) -> Value {
    serde_json::from_str(&write(LogFormat::Json, record)).unwrap()
}

#[test]
fn a_line_of_text() {
    let attempts =
        [attempt(1, Outcome::Failed("connect_error"), 250_000), attempt(2, Outcome::Status(200), 3_100)];
    let expected = "192.0.2.7 - - [28/Feb/2024:23:59:59 +0000] \"GET /a?b=c HTTP/1.1\" 200 17 \"-\" \"curl/8\" \
                    rt=0.253 ua=\"10.0.0.1:8080, 10.0.0.2:8080\" us=\"connect_error, 200\" urt=\"0.250, 0.003\" \
                    host=\"example.com\" id=\"0af7\" tls=TLSv1.3 end=complete";
    assert_eq!(write(LogFormat::Text, &record(&attempts)), expected);

    let least = Record {
        client: Ipv6Addr::LOCALHOST.into(),
        host: None,
        user_agent: Some(b""),
        status: 0,
        request_id: b"",
        tls: None,
        end: "client_gone",
        version: Version::HTTP_2,
        ..record(&[])
    };
    let expected = "::1 - - [28/Feb/2024:23:59:59 +0000] \"GET /a?b=c HTTP/2.0\" 000 17 \"-\" \"-\" rt=0.253 ua=\"-\" \
                    us=\"-\" urt=\"-\" host=\"-\" id=\"-\" tls=- end=client_gone";
    assert_eq!(write(LogFormat::Text, &least), expected);
}

#[test]
fn a_line_of_json() {
    let attempts =
        [attempt(1, Outcome::Failed("connect_error"), 250_000), attempt(2, Outcome::Status(200), 3_100)];
    let expected = r#"{"time":"2024-02-28T23:59:59.042Z","client":"192.0.2.7","method":"GET","target":"/a?b=c","host":"example.com","version":"HTTP/1.1","status":200,"bytes":17,"duration_ms":253.999,"user_agent":"curl/8","request_id":"0af7","tls":"TLSv1.3","end":"complete","attempts":[{"upstream":"10.0.0.1:8080","failed":"connect_error","duration_ms":250.000},{"upstream":"10.0.0.2:8080","status":200,"duration_ms":3.100}]}"#;
    assert_eq!(write(LogFormat::Json, &record(&attempts)), expected);
}

#[test]
fn hostile_texts_forge_nothing() {
    let target = b"/\" 200 1\n127.0.0.1 - -\r\x1b[2J\\\x7f\xc3\xa4\xff\0";
    let hostile = Record { target, user_agent: Some(target), ..record(&[]) };
    let escaped = r"/\x22 200 1\x0A127.0.0.1 - -\x0D\x1B[2J\x5C\x7F\xC3\xA4\xFF\x00";
    let text = write(LogFormat::Text, &hostile);
    assert!(text.contains(&format!("\"GET {escaped} HTTP/1.1\" 200 17 \"-\" \"{escaped}\" rt=")), "{text}");
    let line = write(LogFormat::Json, &hostile);
    let escaped = r#""target":"/\" 200 1\u000a127.0.0.1 - -\u000d\u001b[2J\\\u007fä�\u0000""#;
    assert!(line.contains(escaped), "{line}");
    let separators = Record { target: "\u{2028}\u{85}".as_bytes(), ..record(&[]) };
    assert!(write(LogFormat::Json, &separators).contains(r#""target":"\u2028\u0085""#));
}

#[test]
fn long_texts_are_cut_and_so_are_many_attempts() {
    let attempts = [attempt(1, Outcome::Status(503), 1000); MAX_ATTEMPTS + 3];
    let long = vec![b'a'; 40_000];
    let long = Record {
        method: &long,
        target: &long,
        host: Some(&long),
        referer: Some(&long),
        user_agent: Some(&long),
        request_id: &long,
        ..record(&attempts)
    };
    let value = json(&long);
    for (name, len) in [
        ("method", 32),
        ("target", 4096),
        ("host", 256),
        ("referer", 2048),
        ("user_agent", 1024),
        ("request_id", 128),
    ] {
        assert_eq!(value[name], "a".repeat(len) + "...", "{name}");
    }
    assert_eq!(value["attempts"].as_array().unwrap().len(), MAX_ATTEMPTS);
    assert_eq!(value["more_attempts"], 3);
    let text = write(LogFormat::Text, &long);
    assert!(text.contains("a... HTTP/1.1\"") && text.contains("503, 503, 3 more\" urt="), "{text}");
}

#[test]
fn days_of_the_calendar() {
    for (seconds, (year, month, day)) in [
        (0, (1970, 1, 1)),
        (951_782_400, (2000, 2, 29)),
        (951_868_800, (2000, 3, 1)),
        (1_735_603_200, (2024, 12, 31)),
        (4_107_456_000, (2100, 2, 28)),
        (4_107_542_400, (2100, 3, 1)),
    ] {
        let moment = Moment::of(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!((moment.year, moment.month, moment.day), (year, month, day));
    }
    assert_eq!(Moment::of(UNIX_EPOCH - Duration::from_secs(9)), Moment::of(UNIX_EPOCH));
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![prop::collection::vec(any::<u8>(), 0..60), any::<String>().prop_map(String::into_bytes)]
}

proptest! {
    #[test]
    fn a_day_follows_the_one_before(day in 0_u64..100_000) {
        let moment = |day| Moment::of(UNIX_EPOCH + Duration::from_secs(day * 86_400));
        let (Moment { year, month, day, .. }, next) = (moment(day), moment(day + 1));
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let length = match month { 2 => 28 + u64::from(leap), 4 | 6 | 9 | 11 => 30, _ => 31 };
        let expected = if day < length { (year, month, day + 1) }
            else if month < 12 { (year, month + 1, 1) }
            else { (year + 1, 1, 1) };
        prop_assert_eq!((next.year, next.month, next.day), expected);
    }

    #[test]
    fn text_is_visible_ascii_in_which_quotes_pair(target in bytes(), agent in bytes(), host in bytes()) {
        let hostile = Record { target: &target, user_agent: Some(&agent), host: Some(&host), ..record(&[]) };
        let text = write(LogFormat::Text, &hostile);
        prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        prop_assert_eq!(text.matches('"').count(), 16);
    }

    #[test]
    fn json_gives_back_what_was_utf8(target in bytes(), agent in bytes()) {
        let value = json(&Record { target: &target, user_agent: Some(&agent), ..record(&[]) });
        prop_assert_eq!(value["target"].as_str().unwrap(), String::from_utf8_lossy(&target));
        prop_assert_eq!(value["user_agent"].as_str().unwrap(), String::from_utf8_lossy(&agent));
    }
}
