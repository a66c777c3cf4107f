//! Options that make a plan, and those that are refused by name.

use clap::Parser;

use super::ProbeOptions;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    probe: ProbeOptions,
}

fn options(arguments: &[&str]) -> ProbeOptions {
    let all = ["bench"].iter().chain(arguments);
    Arguments::try_parse_from(all).expect("they parse").probe
}

#[test]
fn defaults() {
    let plan = options(&["--url", "http://10.77.11.2"]).plan().expect("a plan");
    assert_eq!((plan.targets[0].host.as_str(), plan.targets[0].port), ("10.77.11.2", 80));
    assert_eq!(plan.questions[0].path, "/int");
    assert_eq!((plan.schedule.rate, plan.schedule.requests, plan.schedule.duration), (100.0, None, None));
    assert_eq!(plan.timeout.as_secs(), 10);
    assert_eq!(plan.report_interval.as_secs(), 1);
}

#[test]
fn urls_are_hosts_with_ports() {
    for (url, host, port, shown) in [
        ("http://10.77.11.2:8080/", "10.77.11.2", 8080, "http://10.77.11.2:8080"),
        ("http://lb.example", "lb.example", 80, "http://lb.example"),
        ("http://[::1]:81", "::1", 81, "http://[::1]:81"),
    ] {
        let plan = options(&["--url", url]).plan().expect("a plan");
        let target = &plan.targets[0];
        assert_eq!((target.host.as_str(), target.port, target.url.as_str()), (host, port, shown));
    }
}

#[test]
fn each_target_gets_each_question() {
    let plan = options(&["--url", "http://a", "--url", "http://b", "--path", "/int", "--path", "/bool"]);
    let plan = plan.plan().expect("a plan");
    let assigned: Vec<_> = (0..6).map(|number| plan.assign(number)).collect();
    assert_eq!(assigned, [(0, 0), (1, 0), (0, 1), (1, 1), (0, 0), (1, 0)]);
}

#[test]
fn wrong_options_are_named() {
    let url = "http://a";
    for (arguments, words) in [
        (["--url", "https://a"], "--url https://a: must begin with http://"),
        (["--url", "a:80"], "--url a:80"),
        (["--url", "http://a/x"], "--url http://a/x: must be a host"),
        (["--url", "http://a/?b"], "--url http://a/?b: must be a host"),
        (["--url", "http://me@a"], "--url http://me@a: must not hold a user"),
        (["--path", "/heartbeat"], "--path /heartbeat: \"/heartbeat\": only"),
        (["--path", "/int?x=1"], "--path /int?x=1"),
        (["--rate", "0"], "--rate must be"),
        (["--rate", "NaN"], "--rate must be"),
        (["--duration", "0"], "--duration must be"),
        (["--duration", "inf"], "--duration must be"),
        (["--requests", "0"], "--requests must be"),
        (["--timeout-ms", "0"], "--timeout-ms must be"),
        (["--max-in-flight", "0"], "--max-in-flight must be"),
        (["--report-interval-ms", "1"], "--report-interval-ms must be"),
    ] {
        let error = options(&["--url", url, arguments[0], arguments[1]]).plan().expect_err(words);
        assert!(format!("{error:#}").starts_with(words), "{arguments:?}: {error:#}");
    }
    assert!(Arguments::try_parse_from(["bench"]).is_err(), "--url is required");
}
