//! The loop of PID 1: wait for a signal, the manager or a deadline; ask the machine; do what it says.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};
use wire::{FromGuest, GUEST_PORT_NAME};

use crate::boot::{self, BootError, uptime};
use crate::identity::Plan;
use crate::lines::Line;
use crate::machine::{Action, Event, Machine};
use crate::network::{self, NetworkError};
use crate::port::{Port, PortError};
use crate::program::{self, Program};

/// How often the port is asked for a manager while none is connected.
const ASK: Duration = Duration::from_millis(20);
/// The longest the loop sleeps.
const IDLE: Duration = Duration::from_secs(60);
/// How long after the boot the power button is connected: whoever waits for the service waits less.
const BUTTON_DELAY: Duration = Duration::from_secs(2);
/// How long the last lines may take to the manager before power-off.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Why the VM is useless.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fatal {
    /// It did not boot.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// It has no port to its manager.
    #[error(transparent)]
    Port(#[from] PortError),
    /// Its network cannot be configured.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Something else that must work did not.
    #[error("cannot {what}: {source}")]
    Io {
        /// What.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

fn io_error<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> Fatal {
    move |error| Fatal::Io { what, source: error.into() }
}

/// Boots and runs the VM until it is powered off.
///
/// # Errors
/// What makes the VM useless. PID 1 must end then.
pub(crate) fn run() -> Result<Infallible, Fatal> {
    let began = uptime();
    boot::boot()?;
    if fs::read_to_string("/proc/cmdline")
        .is_ok_and(|line| line.split_whitespace().any(|w| w == "init.fault=panic"))
    {
        panic!("asked for by init.fault=panic on the kernel command line");
    }
    let signals = listen_to_signals()?;
    let port = Port::open(GUEST_PORT_NAME)?;
    let ready = uptime();
    println!("init: ready after {} ms (kernel {} ms)", ready.as_millis(), began.as_millis());
    let machine = Machine::new(began, ready);
    Driver { machine, signals, port, program: None, button_due: Some(ready + BUTTON_DELAY) }.run()
}

fn listen_to_signals() -> Result<SignalFd, Fatal> {
    let set = SigSet::from_iter([Signal::SIGCHLD, Signal::SIGTERM]);
    set.thread_block().map_err(io_error("block signals"))?;
    SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .map_err(io_error("open a signalfd"))
}

struct Driver {
    machine: Machine,
    signals: SignalFd,
    port: Port,
    program: Option<Program>,
    button_due: Option<Duration>,
}

impl Driver {
    fn run(mut self) -> Result<Infallible, Fatal> {
        loop {
            if self.port.newly_connected().map_err(io_error("ask the port"))? {
                self.step(Event::HostConnected)?;
            }
            self.wait()?;
            self.take_signals()?;
            self.take_lines()?;
            self.step(Event::Tick)?;
            self.connect_button();
            self.port.flush().map_err(io_error("write to the port"))?;
        }
    }

    fn wait(&self) -> Result<(), Fatal> {
        let now = uptime();
        let due = [self.machine.next_deadline(), self.button_due].into_iter().flatten().min();
        let mut pause = due.map_or(IDLE, |due| due.saturating_sub(now)).min(IDLE);
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        if self.port.connected() {
            fds.push(PollFd::new(self.port.as_fd(), self.port.interest()));
        } else {
            pause = pause.min(ASK);
        }
        // Rounded up: waking a little early would spin until the deadline.
        let pause = PollTimeout::try_from(pause + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, pause) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(errno) => Err(io_error("poll")(errno)),
        }
    }

    fn take_signals(&mut self) -> Result<(), Fatal> {
        while let Some(info) = self.signals.read_signal().map_err(io_error("read a signal"))? {
            // SIGTERM comes from the power button's module, or from whoever is root in here.
            if info.ssi_signo == Signal::SIGTERM as u32 {
                self.step(Event::PowerButton)?;
            }
        }
        // Several ends may share one signal.
        while let Some((pid, status)) = program::reap() {
            self.step(Event::Exited { pid, status })?;
        }
        Ok(())
    }

    fn take_lines(&mut self) -> Result<(), Fatal> {
        if !self.port.connected() {
            return Ok(());
        }
        let mut lines = Vec::new();
        self.port.read(&mut lines).map_err(io_error("read from the port"))?;
        for line in lines {
            match line {
                Line::Whole(line) => self.step(Event::Line(&line))?,
                Line::TooLong => self.step(Event::LineTooLong)?,
            }
        }
        Ok(())
    }

    fn connect_button(&mut self) {
        if self.button_due.is_some_and(|due| uptime() >= due) {
            self.button_due = None;
            match boot::load_power_button() {
                Ok(()) => println!("init: power button connected"),
                Err(error) => eprintln!("init: no power button: {error}"),
            }
        }
    }

    /// Brings one event to the machine and does all that follows from it.
    fn step(&mut self, event: Event<'_>) -> Result<(), Fatal> {
        let mut actions = Vec::new();
        self.machine.step(uptime(), event, &mut actions);
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            let outcome = match action {
                Action::Send(message) => {
                    self.send(&message)?;
                    continue;
                }
                Action::Log(text) => {
                    println!("init: {text}");
                    continue;
                }
                Action::Terminate(pid) => {
                    program::signal_group(pid, Signal::SIGTERM);
                    continue;
                }
                Action::Kill(pid) => {
                    program::signal_group(pid, Signal::SIGKILL);
                    continue;
                }
                Action::PowerOff => self.power_off()?,
                Action::Apply(plan) => {
                    apply(&plan)?;
                    self.program = Some(Program::new(plan.role, plan.env));
                    Event::Applied
                }
                Action::Start => match self.program.as_ref().map(Program::start) {
                    Some(Ok(pid)) => Event::Spawned { pid },
                    Some(Err(error)) => Event::SpawnFailed { error: error.to_string() },
                    None => Event::SpawnFailed { error: "no identity".to_owned() },
                },
            };
            let mut more = Vec::new();
            self.machine.step(uptime(), outcome, &mut more);
            actions.extend(more);
        }
        Ok(())
    }

    fn send(&mut self, message: &FromGuest) -> Result<(), Fatal> {
        let line = serde_json::to_vec(message).map_err(io_error("write JSON"))?;
        self.port.queue(&line);
        self.port.flush().map_err(io_error("write to the port"))
    }

    fn power_off<T>(&mut self) -> Result<T, Fatal> {
        let until = uptime() + LAST_WORDS;
        while self.port.connected() && self.port.interest().contains(PollFlags::POLLOUT) {
            // The port alone: signals that wait would end each pause at once.
            let mut fds = [PollFd::new(self.port.as_fd(), PollFlags::POLLOUT)];
            let left = until.saturating_sub(uptime());
            let pause = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
            match poll(&mut fds, pause) {
                Ok(1..) if fds[0].revents() == Some(PollFlags::POLLOUT) => {}
                // Nobody reads, or nobody is there.
                _ => break,
            }
            self.port.flush().map_err(io_error("write to the port"))?;
        }
        println!("init: power off");
        nix::unistd::sync();
        match reboot(RebootMode::RB_POWER_OFF) {
            Ok(never) => match never {},
            Err(errno) => Err(io_error("power off")(errno)),
        }
    }
}

/// Puts an identity in force, except for its program.
fn apply(plan: &Plan) -> Result<(), Fatal> {
    let clock = TimeSpec::from_duration(Duration::from_millis(plan.unix_ms));
    clock_settime(ClockId::CLOCK_REALTIME, clock).map_err(io_error("set the clock"))?;
    crate::sys::credit_entropy(&plan.seed).map_err(io_error("credit entropy"))?;
    nix::unistd::sethostname(&plan.hostname).map_err(io_error("set the host name"))?;
    network::configure(plan)?;
    let hosts = format!("127.0.0.1 localhost\n{} {}\n", plan.addr, plan.hostname);
    write(&program::config_path(plan.role), &plan.config, 0o600)
        .map_err(io_error("write the configuration"))?;
    write("/etc/hostname", &format!("{}\n", plan.hostname), 0o644)
        .map_err(io_error("write /etc/hostname"))?;
    write("/etc/hosts", &hosts, 0o644).map_err(io_error("write /etc/hosts"))
}

fn write(path: &str, text: &str, mode: u32) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    io::Write::write_all(&mut file, text.as_bytes())
}
