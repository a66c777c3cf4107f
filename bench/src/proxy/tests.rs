//! Options, the parting of processors, and ratios.

use clap::Parser;

use super::stand::{Processors, part};
use super::{ProxyOptions, ProxySeries, Round, ratios};
use crate::samples::Spread;
use crate::stats::Repeated;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: ProxyOptions,
}

fn options(line: &[&str]) -> ProxyOptions {
    Line::try_parse_from([["bench"].as_slice(), line].concat()).unwrap().options
}

#[test]
fn wrong_options_are_named() {
    for (line, word) in [
        (["--threads", "1,0"], "--threads"),
        (["--rounds", "0"], "--rounds"),
        (["--seconds", "0"], "--seconds"),
        (["--connections", "0"], "--connections"),
        (["--rate", "0"], "--rate"),
        (["--rate-seconds", "601"], "--rate-seconds"),
    ] {
        let error = options(&line).check().unwrap_err().to_string();
        assert!(error.starts_with(word), "{error}");
    }
    let options = options(&[]);
    options.check().unwrap();
    assert_eq!(options.threads, [1, 2]);
}

#[test]
fn processors_are_parted_only_if_something_is_left() {
    let range = |first, last| Processors { first, last };
    assert_eq!(part(2, 1), Some((range(0, 0), range(1, 1))));
    assert_eq!(part(8, 2), Some((range(0, 1), range(2, 7))));
    assert_eq!(part(2, 2), None);
    assert_eq!(part(1, 1), None);
}

fn proxy(name: &str, requests: &[u64]) -> ProxySeries {
    let nothing = Repeated { median: 0.0, least: 0.0, most: 0.0 };
    let round = |requests: &u64| Round {
        requests: *requests,
        seconds: 1.0,
        processor_seconds: 1.0,
        utilisation: 1.0,
        at_rate: Spread::default(),
        us_per_request_at_rate: 0.0,
        sent_late_ms: 0.0,
    };
    ProxySeries {
        proxy: name.to_owned(),
        per_processor_second: nothing,
        us_per_request: nothing,
        us_per_request_at_rate: nothing,
        utilisation: nothing,
        p99_ms: nothing,
        rounds: requests.iter().map(round).collect(),
    }
}

#[test]
fn ratios_are_those_of_neighbours() {
    // The machine is ten times as fast in the second round; the ratio is the same.
    let ratios = ratios(&[proxy("lb", &[90, 900]), proxy("bare", &[100, 1000])]);
    assert_eq!(ratios.len(), 1);
    assert_eq!((ratios[0].of.as_str(), ratios[0].over.as_str()), ("lb", "bare"));
    assert!((ratios[0].ratio.median - 0.9).abs() < 1e-9 && (ratios[0].ratio.most - 0.9).abs() < 1e-9);
}
