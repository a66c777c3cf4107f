//! The result as text for people.

use std::fmt::Write as _;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use super::{ChurnResult, Flood};

pub(super) fn text(result: &ChurnResult) -> String {
    let ChurnResult { upstreams, changes, rate, update_rate, .. } = result;
    let mut text = format!(
        "{upstreams} upstreams, {rate} requests/s, {update_rate} updates/s, each of which removes {changes} and adds {changes}.\n\n"
    );
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header([
        "round",
        "failed",
        "p99 ms quiet",
        "p99 ms with updates",
        "updates",
        "update ms (median, most)",
    ]);
    for (round, number) in result.rounds.iter().zip(1..) {
        table.add_row([
            number.to_string(),
            (round.quiet.failed + round.busy.failed).to_string(),
            format!("{:.2}", round.quiet.p99_ms),
            format!("{:.2}", round.busy.p99_ms),
            round.updates.to_string(),
            format!("{:.2}, {:.2}", round.update_ms.median, round.update_ms.most),
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let ratio = &result.p99_ratio;
    let _ = write!(
        text,
        "{table}\n\np99 with updates over p99 without: {:.2} ({:.2} to {:.2}). {} requests failed in all.",
        ratio.median, ratio.least, ratio.most, result.failed
    );
    if let Some(Flood { updates, seconds, clients }) = &result.flood {
        let _ = write!(
            text,
            "\n{updates} updates without a pause in {seconds:.1} s; clients meanwhile: {} of {} failed, p99 {:.2} ms.",
            clients.failed, clients.requests, clients.p99_ms
        );
    }
    if let (Some(first), Some(last)) = (result.memory.first(), result.memory.last()) {
        let most = result.memory.iter().map(|memory| memory.resident_bytes).max().unwrap_or_default();
        let _ = write!(
            text,
            "\nResident memory: {} MiB before, {} MiB after {} updates, {} MiB at most.",
            first.resident_bytes >> 20,
            last.resident_bytes >> 20,
            last.updates,
            most >> 20
        );
    }
    if let Some(doubt) = result.environment.doubt() {
        let _ = write!(text, "\n{doubt}");
    }
    text
}
