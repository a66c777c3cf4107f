use super::*;

#[test]
fn events_are_read_and_other_lines_of_the_stream_are_not() {
    let text = ":\n\nid: 4\ndata: {\"number\":4,\"unix_ms\":7,\"node\":\"host1\",\"subject\":\"vip\",\"text\":\"why\"}\n\n";
    let events = parse_events(text).expect("events");
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].number, events[0].text.as_str()), (4, "why"));
    parse_events("data: {}\n").expect_err("no event");
}

#[test]
fn a_series_is_found_by_its_whole_name() {
    let text = "# TYPE a counter\na{reason=\"x\"} 12\na{reason=\"xy\"} 3\nab 4\n";
    assert!((value_of(text, "a{reason=\"x\"}").expect("a number") - 12.0).abs() < f64::EPSILON);
    assert!((value_of(text, "ab").expect("a number") - 4.0).abs() < f64::EPSILON);
    assert!(value_of(text, "a").expect("none").abs() < f64::EPSILON);
    value_of("a b\n", "a").expect_err("no number");
}
