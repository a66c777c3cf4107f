//! The real program: its lines, its exit codes, its signals.

use std::net::SocketAddr;
use std::process::{Output, Stdio};

use bench::report::{Line, Summary};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::server::{Deed, http};

fn program(server: SocketAddr, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.args(["probe", "--url", &format!("http://{server}"), "--rate", "200"]).args(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn output(server: SocketAddr, arguments: &[&str]) -> Output {
    program(server, arguments).output().await.expect("it runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

fn lines(stdout: &[u8]) -> Vec<Line> {
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    text(stdout).lines().map(parse).collect()
}

fn summary(lines: &[Line]) -> &Summary {
    let Some((Line::Summary(summary), intervals)) = lines.split_last() else {
        panic!("no summary: {lines:?}")
    };
    assert!(intervals.iter().all(|line| matches!(line, Line::Interval(_))));
    summary
}

#[tokio::test]
async fn json_lines_end_with_the_summary() {
    let server = http(|_, _| Deed::Right).await;
    let output = output(server, &["--json", "--requests", "60", "--report-interval-ms", "100"]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines = lines(&output.stdout);
    assert!(lines.len() >= 3, "{lines:?}");
    assert_eq!((summary(&lines).ok, summary(&lines).failed), (60, 0));
    assert_eq!(summary(&lines).instances["i"], 60);
}

#[tokio::test]
async fn text_is_a_line_per_interval_and_a_summary() {
    let server = http(|number, _| if number == 3 { Deed::Answer(502, "x") } else { Deed::Right }).await;
    let output = output(server, &["--requests", "10"]).await;
    assert_eq!(output.status.code(), Some(0), "failures alone are no error of the prober");
    let out = text(&output.stdout);
    assert!(out.lines().next().is_some_and(|line| line.contains("ok    9  failed   1  slowest")), "{out}");
    assert!(out.contains("10 requests in ") && out.contains("9 ok, 1 failed"), "{out}");
    assert!(out.contains("1 status_5xx, first after"), "{out}");
}

#[tokio::test]
async fn fail_on_error_turns_failures_into_the_exit_code() {
    let server = http(|_, _| Deed::Answer(503, "")).await;
    let failing = output(server, &["--requests", "2", "--fail-on-error"]).await;
    assert_eq!(failing.status.code(), Some(1));
    let server = http(|_, _| Deed::Right).await;
    let fine = output(server, &["--requests", "2", "--fail-on-error"]).await;
    assert_eq!(fine.status.code(), Some(0));
}

#[tokio::test]
async fn wrong_options_exit_with_2_and_are_named() {
    let output = output(SocketAddr::from(([127, 0, 0, 1], 1)), &["--path", "/healthz"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).starts_with("bench: --path /healthz: "), "{output:?}");
    assert_eq!(text(&output.stdout), "");
}

#[tokio::test]
async fn signals_end_it_with_a_summary() {
    for signal in [Signal::INT, Signal::TERM] {
        let server = http(|_, _| Deed::Right).await;
        let mut child = program(server, &["--json", "--report-interval-ms", "20"]).spawn().expect("started");
        let mut out = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut seen = vec![out.next_line().await.expect("read").expect("a line")];
        kill_process(
            Pid::from_raw(i32::try_from(child.id().expect("running")).expect("a pid")).expect("a pid"),
            signal,
        )
        .expect("signalled");
        while let Some(line) = out.next_line().await.expect("read") {
            seen.push(line);
        }
        assert_eq!(child.wait().await.expect("waited").code(), Some(0));
        let lines = lines(seen.join("\n").as_bytes());
        assert!(summary(&lines).ok > 0 && summary(&lines).failed == 0, "{lines:?}");
    }
}

#[tokio::test]
async fn a_reader_that_leaves_ends_it_quietly() {
    let server = http(|_, _| Deed::Right).await;
    let mut child = program(server, &["--report-interval-ms", "10"]).spawn().expect("started");
    drop(child.stdout.take());
    let output = child.wait_with_output().await.expect("waited");
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}

async fn plain(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bench")).args(arguments).output().await.expect("it runs")
}

#[tokio::test]
async fn configurations_are_shown_without_running_anything() {
    let output = plain(&["upstream-loss", "--show-configs"]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let out = text(&output.stdout);
    for head in [
        "# lb\n",
        "# nginx, defaults\n",
        "# nginx, tuned\n",
        "# HAProxy, defaults\n",
        "# HAProxy, tuned\n",
        "# HAProxy, tuned, sessions kept\n",
    ] {
        assert_eq!(out.matches(head).count(), 1, "{head}: {out}");
    }
    let output = plain(&["proxy", "--show-configs"]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output.stdout).contains("# the upstream (nginx)\n"));
}

#[tokio::test]
async fn wrong_options_of_comparisons_are_named() {
    for (arguments, word) in [
        (["upstream-loss", "--repeat", "0"], "--repeat"),
        (["proxy", "--rounds", "0"], "--rounds"),
        (["churn", "--changes", "1000"], "--changes"),
    ] {
        let output = plain(&arguments).await;
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(text(&output.stderr).starts_with(&format!("bench: {word} must be")), "{output:?}");
    }
}
