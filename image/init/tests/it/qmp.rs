//! QEMU's control socket, as far as the tests need it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::{Value, json};

use crate::vm::{connect, timed};

pub(crate) struct Qmp {
    reader: BufReader<UnixStream>,
}

impl Qmp {
    pub(crate) fn connect(path: &Path) -> Self {
        let mut qmp = Self { reader: BufReader::new(timed(connect(path))) };
        assert!(qmp.read().get("QMP").is_some());
        qmp.run("qmp_capabilities", &json!({}));
        qmp
    }

    /// Runs a command and returns its result; events in between are dropped.
    pub(crate) fn run(&mut self, command: &str, arguments: &Value) -> Value {
        let line = json!({"execute": command, "arguments": arguments});
        writeln!(self.reader.get_mut(), "{line}").unwrap();
        loop {
            let answer = self.read();
            if let Some(result) = answer.get("return") {
                return result.clone();
            }
            assert!(answer.get("event").is_some(), "{command}: {answer}");
        }
    }

    /// The loopback port that leads to the guest's only forwarded port.
    pub(crate) fn forwarded_port(&mut self) -> u16 {
        let text = self.run("human-monitor-command", &json!({"command-line": "info usernet"}));
        let table = text.as_str().unwrap();
        let row = table.lines().find(|row| row.contains("HOST_FORWARD")).expect(table);
        row.split_whitespace().nth(3).and_then(|port| port.parse().ok()).expect(row)
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("QEMU's control socket");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }
}
