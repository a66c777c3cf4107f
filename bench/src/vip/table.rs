//! The result as a table for people.

use std::fmt::Write as _;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use super::{CaseResult, Fault, Run, VipResult};
use crate::stats::Repeated;

/// The client counts as on time below this, in milliseconds.
const LATE_MS: f64 = 5.0;

pub(super) fn text(result: &VipResult) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header([
        "fault",
        "system",
        "runs",
        "failed",
        "longest gap ms",
        "slowest ms",
        "moved",
        "announced after ms",
        "two answered",
        "longest ms",
    ]);
    for fault in Fault::ALL {
        for case in result.cases.iter().filter(|case| case.fault == fault) {
            table.add_row(row(case));
        }
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let VipResult { rate, timeout_ms, ask_every_ms, .. } = result;
    let mut text = format!(
        "{rate} new connections/s to one address, client time-out {timeout_ms} ms. Medians; in brackets the worst.\n\
         \"failed\" is the sum over all runs. \"moved\" is in how many runs the address had another owner in the end, \
         \"two answered\" in how many\ntwo hosts answered ARP for it at once (asked every {ask_every_ms} ms).\n\n{table}"
    );
    let runs = || result.cases.iter().flat_map(|case| &case.runs);
    let late = runs().map(|run| run.sent_late_ms).fold(0.0, f64::max);
    if late > LATE_MS {
        let _ = write!(text, "\n\nThe client itself was up to {late:.1} ms late: this machine was busy.");
    }
    if let Some(doubt) = result.environment.doubt() {
        let _ = write!(text, "\n\n{doubt}");
    }
    text
}

fn row(case: &CaseResult) -> [String; 10] {
    let of = |value: fn(&Run) -> f64, digits| repeated(case.runs.iter().map(value), digits);
    let count = |is: fn(&Run) -> bool| case.runs.iter().filter(|run| is(run)).count();
    let failed: u64 = case.runs.iter().map(|run| run.clients.failed).sum();
    let unannounced = count(|run| run.announced_ms.is_none());
    let announced = repeated(case.runs.iter().filter_map(|run| run.announced_ms), 0);
    [
        case.fault.to_string(),
        case.system.clone(),
        case.runs.len().to_string(),
        failed.to_string(),
        of(|run| run.gap_ms, 1),
        of(|run| run.clients.slowest_ms, 1),
        count(|run| run.owner_before != run.owner_after).to_string(),
        if unannounced > 0 { format!("{announced}, {unannounced} never") } else { announced },
        count(|run| !run.arp.doubles.is_empty()).to_string(),
        repeated(case.runs.iter().filter_map(|run| run.arp.longest_double_ms()), 0),
    ]
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
