//! A program in a namespace, with its output in a file. It ends with its owner, and with the bench if that is killed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::namespace::Namespace;

/// How much of a program's output is quoted when it ends, in bytes.
const QUOTE_BYTES: usize = 2_000;

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The program's file.
    pub program: PathBuf,
    /// What follows its name.
    pub args: Vec<OsString>,
}

impl Invocation {
    /// `program ARGS`.
    pub fn new<A: Into<OsString>>(program: impl Into<PathBuf>, args: impl IntoIterator<Item = A>) -> Self {
        Self { program: program.into(), args: args.into_iter().map(Into::into).collect() }
    }
}

/// A running program and all processes that it starts. Dropping it kills them.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    pid: Pid,
    log: PathBuf,
}

impl Program {
    /// Starts `program` in a namespace, on these processors only (a list such as `0-1`) if given; what it prints
    /// goes to `NAME.log` in `dir`.
    ///
    /// # Errors
    /// When it cannot be started. That it then fails is seen by [`Self::check`].
    pub fn start(
        namespace: &Namespace,
        dir: &Path,
        name: &str,
        processors: Option<&str>,
        invocation: &Invocation,
    ) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        // Each of these replaces itself by the next, so the program has the id of the process started here.
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace.name()]);
        if let Some(processors) = processors {
            command.args(["taskset", "-c", processors]);
        }
        command
            .args(["setpriv", "--pdeathsig", "KILL", "--"])
            .arg(&invocation.program)
            .args(&invocation.args);
        command.env("RUST_LOG", "warn").stdin(Stdio::null());
        command.stdout(output.try_clone()?).stderr(output).process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let pid = Pid::from_child(&child);
        Ok(Self { name: name.to_owned(), child, pid, log })
    }

    /// The first process; its process group has the same number.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends a signal to the first process.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// That it still runs.
    ///
    /// # Errors
    /// When it has ended, with its last words.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let from = log.ceil_char_boundary(log.len().saturating_sub(QUOTE_BYTES));
            bail!("{} has ended ({status}): {}", self.name, log[from..].trim());
        }
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Until it is waited for, neither its id nor its group's can be another's.
        let _ = kill_process_group(self.pid, Signal::KILL);
        let _ = self.child.wait();
    }
}
