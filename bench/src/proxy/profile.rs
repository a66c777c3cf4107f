//! Where lb spends its time: perf's symbols with the largest shares.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, bail};

use super::ProxyOptions;
use super::stand::Stand;
use super::wrk;
use crate::balancer::Balancer;
use crate::rig::tools::PERF;

/// How many symbols are shown.
const SYMBOLS: usize = 20;

/// Drives lb and records it meanwhile. The program must not be stripped, or perf knows no names.
pub(super) fn take(stand: &Stand, options: &ProxyOptions) -> Result<String> {
    let Some(perf) = PERF.find() else { bail!("perf is not installed (Debian package {})", PERF.package) };
    let own = stand.contenders.iter().find(|contender| contender.balancer == Balancer::Lb);
    let own = own.context("lb is not among the proxies")?;
    let file = stand.dir.path().join("perf.data");
    let pid = own.program.pid().as_raw_nonzero().to_string();
    let seconds = options.seconds.to_string();
    let mut recording = Command::new(&perf);
    recording
        .args(["record", "--quiet", "-F", "997", "-p", &pid, "-o"])
        .arg(&file)
        .args(["--", "sleep", &seconds]);
    let (recorded, driven) = std::thread::scope(|scope| {
        let recorder = scope.spawn(|| recording.output().context("cannot run perf"));
        // A little longer than the record, so that it has no quiet end.
        let driven = wrk::drive(stand, own.site.listen, options.connections, options.seconds + 1);
        (recorder.join(), driven)
    });
    driven?;
    succeeded(recorded.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?)?;
    report(&perf, &file)
}

fn report(perf: &Path, file: &Path) -> Result<String> {
    let mut command = Command::new(perf);
    command.args(["report", "--stdio", "--no-children", "--sort", "dso,symbol", "-i"]).arg(file);
    let text = succeeded(command.output().context("cannot run perf")?)?;
    Ok(largest(&text))
}

/// The first lines of perf's report that are not about the report itself.
fn largest(report: &str) -> String {
    let lines = report.lines().map(|line| line.trim_end_matches([' ', '-'])).filter(|line| !line.is_empty());
    let lines: Vec<_> = lines.filter(|line| !line.starts_with('#')).take(SYMBOLS).collect();
    let mut text = lines.join("\n");
    // An address where a function's name belongs.
    if lines.iter().any(|line| line.contains("[.] 0x")) {
        text.push_str("\n\nlb has no names of functions: build it with CARGO_PROFILE_RELEASE_STRIP=none.");
    }
    text
}

fn succeeded(output: Output) -> Result<String> {
    let Output { status, stdout, stderr } = output;
    if !status.success() {
        bail!("perf: {status}: {}", String::from_utf8_lossy(&stderr).trim());
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::{SYMBOLS, largest};

    #[test]
    fn comments_are_left_out_and_lines_are_counted() {
        let report = format!("# Overhead\n#\n\n{}", "  1.00%  lb  [.] poll   -      -\n".repeat(SYMBOLS + 5));
        let text = largest(&report);
        assert_eq!(text.lines().count(), SYMBOLS);
        assert!(text.lines().all(|line| line == "  1.00%  lb  [.] poll"), "{text}");
    }

    #[test]
    fn a_stripped_program_is_told_from_one_with_names() {
        assert!(largest("  2.02%  lb  [.] 0x00000000009196dc\n").contains("STRIP=none"));
        assert!(!largest("  2.02%  [kernel]  [k] 0x00000000009196dc\n").contains("STRIP=none"));
    }
}
