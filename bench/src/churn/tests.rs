//! Options.

use clap::Parser;

use super::ChurnOptions;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: ChurnOptions,
}

#[test]
fn wrong_options_are_named() {
    let options =
        |line: &[&str]| Line::try_parse_from([["bench"].as_slice(), line].concat()).unwrap().options;
    for (line, word) in [
        (["--upstreams", "1"], "--upstreams"),
        (["--processes", "0"], "--processes"),
        (["--changes", "1000"], "--changes"),
        (["--update-rate", "0"], "--update-rate"),
        (["--rate", "0"], "--rate"),
        (["--rounds", "0"], "--rounds"),
        (["--seconds", "0"], "--seconds"),
        (["--updates", "100000001"], "--updates"),
        (["--threads", "0"], "--threads"),
    ] {
        let error = options(&line).check().unwrap_err().to_string();
        assert!(error.starts_with(word), "{error}");
    }
    options(&[]).check().unwrap();
}
