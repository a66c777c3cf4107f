//! The result as tables for people.

use std::fmt::Write as _;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use super::{ProxyResult, Series};

pub(super) fn text(result: &ProxyResult) -> String {
    let ProxyResult { seconds, connections, rate, .. } = result;
    let mut text = format!(
        "Small kept-alive requests: {connections} connections of wrk for {seconds} s a turn, and {rate} requests/s for p99.\n\
         Medians of alternating rounds; in brackets the least and the most.\n"
    );
    for series in &result.series {
        let plural = if series.threads == 1 { "" } else { "s" };
        let _ = write!(text, "\n{} thread{plural}:\n\n{}\n", series.threads, table(series));
        for ratio in &series.ratios {
            let (of, over, value) = (&ratio.of, &ratio.over, &ratio.ratio);
            let _ = write!(
                text,
                "\nrequests per processor second, {of} over {over}: {:.3} ({:.3} to {:.3})",
                value.median, value.least, value.most
            );
        }
        text.push('\n');
    }
    if let Some(doubt) = result.environment.doubt() {
        let _ = writeln!(text, "\n{doubt}");
    }
    if let Some(profile) = &result.profile {
        let _ = write!(text, "\nWhere lb spends its time, driven hard:\n\n{profile}");
    }
    text
}

fn table(series: &Series) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header([
        "proxy",
        "requests/CPU-s",
        "us/request",
        "CPU used",
        "us/request at rate",
        "p99 ms at rate",
    ]);
    for proxy in &series.proxies {
        let (p99, us) = (&proxy.p99_ms, &proxy.us_per_request);
        table.add_row([
            proxy.proxy.clone(),
            format!("{:.0}", proxy.per_processor_second.median),
            format!("{:.2} ({:.2} to {:.2})", us.median, us.least, us.most),
            format!("{:.0} %", proxy.utilisation.median * 100.0),
            format!("{:.1}", proxy.us_per_request_at_rate.median),
            format!("{:.2} ({:.2} to {:.2})", p99.median, p99.least, p99.most),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
