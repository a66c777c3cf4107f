//! Logs: text for people or JSON for machines, each line with the instance that wrote it.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{self, Format, FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// What is logged unless `RUST_LOG` says otherwise. pingora logs each failed request on its own; those are
/// logged here, once, and counted.
const DEFAULT_FILTER: &str = "info,pingora_proxy=off,pingora_core=error";

/// Lines that may wait to be written; more are dropped.
const QUEUE_LINES: usize = 8192;

/// Writes what waits when it is dropped, as long as that takes no more than a second.
#[must_use]
#[derive(Debug)]
pub struct Log(#[allow(dead_code, reason = "it is there to be dropped")] WorkerGuard);

/// Sets up the process's log, to the standard error.
///
/// A thread of its own writes it, and lines are dropped rather than waited for: a pipe that nobody reads must not stop
/// traffic, and a full disk must not end it.
pub fn init(format: LogFormat, instance: &str) -> Log {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(QUEUE_LINES)
        .thread_name("lb-log")
        .finish(std::io::stderr());
    // A failed write would otherwise be reported where it cannot be written, and that panics.
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).log_internal_errors(false);
    let instance = instance.to_owned();
    match format {
        LogFormat::Text => {
            let inner = Format::default().with_ansi(false);
            builder.event_format(Labelled { inner, instance, json: false }).init();
        }
        LogFormat::Json => {
            let inner = Format::default().json().flatten_event(true);
            builder
                .fmt_fields(format::JsonFields::new())
                .event_format(Labelled { inner, instance, json: true })
                .init();
        }
    }
    Log(guard)
}

/// Another format, with the instance at the beginning of each line.
struct Labelled<F> {
    inner: F,
    instance: String,
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
        if self.instance.is_empty() {
            return self.inner.format_event(ctx, writer, event);
        }
        let mut line = String::new();
        self.inner.format_event(ctx, Writer::new(&mut line), event)?;
        match line.strip_prefix('{') {
            Some(rest) if self.json => write!(writer, "{{{:?}:{:?},{rest}", "instance", self.instance),
            _ => write!(writer, "{} {line}", self.instance),
        }
    }
}
