use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tracing_subscriber::EnvFilter;

use super::{Format, subscriber};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What `says` leaves in the log.
fn logged(format: Format, label: &str, ansi: bool, says: impl FnOnce()) -> Vec<String> {
    let lines = Lines::default();
    let writer = lines.clone();
    let log = subscriber(format, label, EnvFilter::new("info,quiet=off"), ansi, move || writer.clone());
    tracing::subscriber::with_default(log, says);
    let bytes = lines.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap().lines().map(ToOwned::to_owned).collect()
}

fn one() {
    tracing::info!(port = 80, "listening");
}

#[test]
fn a_line_of_json_is_flat_and_names_its_instance() {
    let lines = logged(Format::Json, "host1/\"lb\"", true, one);
    let event: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(lines.len(), 1);
    assert_eq!((&event["instance"], &event["message"]), (&json!("host1/\"lb\""), &json!("listening")));
    assert_eq!((&event["level"], &event["port"]), (&json!("INFO"), &json!(80)));
    let plain: Value = serde_json::from_str(&logged(Format::Json, "", false, one)[0]).unwrap();
    assert!(plain.get("instance").is_none() && plain["message"] == json!("listening"));
}

#[test]
fn a_line_of_text_begins_with_its_instance() {
    let line = |label, ansi| logged(Format::Text, label, ansi, one).concat();
    assert!(line("host1/lb-2", false).starts_with("host1/lb-2 2"), "the date follows");
    assert!(line("", false).starts_with('2'));
    for text in [line("", false), line("a", false)] {
        assert!(text.ends_with("INFO program_log::tests: listening port=80"), "{text}");
        assert!(!text.contains('\u{1b}'), "no colours where nobody sees them");
    }
    assert!(line("", true).contains('\u{1b}'));
}

#[test]
fn the_filter_holds() {
    let lines = logged(Format::Text, "", false, || {
        tracing::debug!("too much");
        tracing::error!(target: "quiet", "of no interest");
        tracing::warn!("this");
    });
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains("this"), "{lines:?}");
}
