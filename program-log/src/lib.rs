//! The log of a program, on its standard error: text for people or JSON for machines.
//!
//! A thread of its own writes it, and lines are dropped rather than waited for: a pipe that nobody reads must not stop a
//! program, and a full disk must not end it. So this refuses to be a record: what must not be lost goes elsewhere.

use std::fmt;
use std::io::IsTerminal as _;

use tracing::{Event, Subscriber};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{self, FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Lines that may wait to be written; more are dropped.
pub const QUEUE_LINES: usize = 8_192;

/// Writes what waits when it is dropped, as long as that takes no more than a second. Keep it until the end.
#[must_use]
#[derive(Debug)]
pub struct Guard(#[allow(dead_code, reason = "it is there to be dropped")] WorkerGuard);

/// Sets up the process's log. Each line begins with `label`, or carries it as `instance`, unless it is empty. What is
/// logged is for `RUST_LOG` to say, and without it for `default_filter`; both are as `EnvFilter` of tracing-subscriber
/// has them.
///
/// # Panics
/// If the process has a log already.
pub fn init(format: Format, label: &str, default_filter: &str) -> Guard {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default_filter));
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(QUEUE_LINES)
        .thread_name("log")
        .finish(std::io::stderr());
    subscriber(format, label, filter, std::io::stderr().is_terminal(), writer).init();
    Guard(guard)
}

fn subscriber<W>(
    format: Format,
    label: &str,
    filter: EnvFilter,
    ansi: bool,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // A failed write would otherwise be reported where it cannot be written, and that panics.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(ansi && format == Format::Text)
        .with_writer(writer)
        .log_internal_errors(false);
    let label = label.to_owned();
    match format {
        Format::Text => {
            let inner = format::Format::default().with_ansi(ansi);
            Box::new(builder.event_format(Labelled { inner, label, json: false }).finish())
        }
        Format::Json => {
            let inner = format::Format::default().json().flatten_event(true);
            let builder = builder.fmt_fields(format::JsonFields::new());
            Box::new(builder.event_format(Labelled { inner, label, json: true }).finish())
        }
    }
}

/// Another format, with a label at the beginning of each line.
struct Labelled<F> {
    inner: F,
    label: String,
    json: bool,
}

impl<S, N, F> FormatEvent<S, N> for Labelled<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if self.label.is_empty() {
            return self.inner.format_event(ctx, writer, event);
        }
        let mut line = String::new();
        self.inner.format_event(ctx, Writer::new(&mut line), event)?;
        match line.strip_prefix('{') {
            Some(rest) if self.json => write!(writer, "{{{:?}:{:?},{rest}", "instance", self.label),
            _ => write!(writer, "{} {line}", self.label),
        }
    }
}

#[cfg(test)]
mod tests;
