//! Logs: text for people or JSON for machines, each line with the instance that wrote it.

use std::fmt;

use tracing::{Event, Subscriber};
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

/// Sets up the process's log, to the standard error.
pub fn init(format: LogFormat, instance: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
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
