//! Options.

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: VipOptions,
}

fn options(line: &[&str]) -> VipOptions {
    Line::try_parse_from([["bench"].as_slice(), line].concat()).unwrap().options
}

#[test]
fn all_faults_by_default_and_each_sequel_once() {
    let chosen = options(&[]).chosen(&Fault::ALL);
    assert_eq!(chosen.len(), Fault::ALL.len() - 1);
    assert!(chosen.contains(&Fault::HostCut) && !chosen.contains(&Fault::HostBack));
}

#[test]
fn a_sequel_brings_what_it_follows() {
    assert_eq!(options(&["--fault", "host-back"]).chosen(&Fault::ALL), [Fault::HostCut]);
    assert_eq!(
        options(&["--fault", "lb-killed,handover"]).chosen(&Fault::ALL),
        [Fault::Handover, Fault::LbKilled]
    );
    assert_eq!(options(&["--fault", "lb-vm-killed"]).chosen(&[Fault::HostCut]), []);
}

#[test]
fn contenders_can_be_chosen() {
    assert_eq!(options(&[]).contenders(), Contender::ALL);
    let line = ["--only", "keepalived-100ms,phalanx"];
    assert_eq!(options(&line).contenders(), [Contender::Phalanx, Contender::KeepalivedTenth]);
}

#[test]
fn wrong_options_are_named() {
    for (line, word) in [
        (["--repeat", "0"], "--repeat"),
        (["--rate", "1001"], "--rate"),
        (["--timeout-ms", "0"], "--timeout-ms"),
        (["--slow-ms", "60001"], "--slow-ms"),
        (["--settle-within", "0"], "--settle-within"),
    ] {
        let error = options(&line).check().unwrap_err().to_string();
        assert!(error.starts_with(word), "{error}");
    }
    options(&[]).check().unwrap();
}
