//! Options and cases.

use clap::Parser;

use super::{Fault, LossOptions, Push};
use crate::balancer::{Balancer, Manner};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: LossOptions,
}

fn options(line: &[&str]) -> LossOptions {
    Line::try_parse_from([["bench"].as_slice(), line].concat()).unwrap().options
}

#[test]
fn all_cases_by_default_and_only_the_own_one_is_helped() {
    let cases = options(&[]).cases();
    assert_eq!(cases.len(), 3 * (2 + 5));
    let helped: Vec<_> = cases.iter().filter(|(_, _, push)| *push == Push::Removal).collect();
    assert_eq!(helped.len(), 3);
    assert!(helped.iter().all(|(balancer, ..)| *balancer == Balancer::Lb));
}

#[test]
fn cases_can_be_chosen() {
    let cases = options(&["--only", "nginx-tuned", "--fault", "frozen,killed"]).cases();
    let nginx = Balancer::Nginx(Manner::Tuned);
    assert_eq!(cases, [(nginx, Fault::Frozen, Push::None), (nginx, Fault::Killed, Push::None)]);
}

#[test]
fn wrong_options_are_named() {
    for (line, word) in [
        (["--repeat", "0"], "--repeat"),
        (["--rate", "0"], "--rate"),
        (["--duration", "1"], "--duration"),
        (["--fault-at", "12"], "--fault-at"),
        (["--fault-at", "0"], "--fault-at"),
        (["--timeout-ms", "0"], "--timeout-ms"),
        (["--slow-ms", "0"], "--slow-ms"),
        (["--push-after-ms", "60001"], "--push-after-ms"),
    ] {
        let error = options(&line).check().unwrap_err().to_string();
        assert!(error.starts_with(word), "{error}");
    }
    options(&[]).check().unwrap();
}
