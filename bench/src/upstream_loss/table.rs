//! The result as a table for people.

use std::fmt::Write as _;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use super::{CaseResult, Loss, LossResult, Push};
use crate::stats::Repeated;

/// The client counts as on time below this, in milliseconds.
const LATE_MS: f64 = 5.0;

pub(super) fn text(result: &LossResult) -> String {
    let mut table = Table::new();
    let slow = format!("> {} ms", result.slow_ms);
    table.load_style(ASCII_MARKDOWN);
    table.set_header([
        "fault",
        "load balancer",
        "failed",
        "slowest ms",
        "p99 ms",
        "p99.9 ms",
        &slow,
        "last slow after ms",
    ]);
    for case in &result.cases {
        table.add_row(row(case));
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let runs = result.cases.first().map_or(0, |case| case.runs.len());
    let mut text = format!(
        "One of three upstreams lost in second {} of {}, {} requests/s, client time-out {} ms, {}.\n",
        result.fault_at_s,
        result.duration_s,
        result.rate,
        result.timeout_ms,
        if result.new_connections { "new connections" } else { "kept connections" },
    );
    if runs > 1 {
        let _ = writeln!(text, "Medians of {runs} runs; in brackets the worst.");
    }
    let _ = write!(text, "\n{table}");
    let late =
        result.cases.iter().flat_map(|case| &case.runs).map(|run| run.sent_late_ms).fold(0.0, f64::max);
    if late > LATE_MS {
        let _ = write!(text, "\n\nThe client itself was up to {late:.1} ms late: this machine was busy.");
    }
    if let Some(doubt) = result.environment.doubt() {
        let _ = write!(text, "\n\n{doubt}");
    }
    text
}

fn row(case: &CaseResult) -> [String; 8] {
    let pushed = if case.push == Push::Removal { " + removal pushed" } else { "" };
    let of = |value: fn(&Loss) -> f64, digits| repeated(case.runs.iter().map(value), digits);
    [
        case.fault.to_string(),
        format!("{}{pushed}", case.balancer),
        of(|run| whole(run.all.failed), 0),
        of(|run| run.all.slowest_ms, 1),
        of(|run| run.all.p99_ms, 1),
        of(|run| run.all.p99_9_ms, 1),
        of(|run| whole(run.all.slow), 0),
        of(|run| run.all.last_slow_ms.unwrap_or(0.0), 0),
    ]
}

#[allow(clippy::cast_precision_loss)] // far below 2^53
fn whole(count: u64) -> f64 {
    count as f64
}

fn repeated(values: impl Iterator<Item = f64>, digits: usize) -> String {
    match Repeated::of(values) {
        None => "-".to_owned(),
        Some(Repeated { median, least, most }) if least.to_bits() == most.to_bits() => {
            format!("{median:.digits$}")
        }
        Some(Repeated { median, most, .. }) => format!("{median:.digits$} ({most:.digits$})"),
    }
}
