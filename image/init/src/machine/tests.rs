use std::time::Duration;

use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use wire::{FromGuest, Identity, Stages, ToGuest};

use super::{Action, Event, KILL_TIMEOUT, Machine};
use crate::identity::{self, tests::sound};

/// A machine and a clock.
struct Vm {
    machine: Machine,
    now: Duration,
}

impl Vm {
    fn booted() -> Self {
        let machine = Machine::new(Duration::from_millis(700), Duration::from_millis(750));
        Self { machine, now: Duration::from_millis(800) }
    }

    fn running(pid: u32) -> Self {
        let mut vm = Self::booted();
        vm.say(&assign(sound()));
        vm.step(Event::Applied);
        vm.step(Event::Spawned { pid });
        vm
    }

    /// What the event leads to, without the log lines.
    fn step(&mut self, event: Event<'_>) -> Vec<Action> {
        let mut out = Vec::new();
        self.machine.step(self.now, event, &mut out);
        out.retain(|action| !matches!(action, Action::Log(_)));
        out
    }

    fn say(&mut self, message: &ToGuest) -> Vec<Action> {
        self.step(Event::Line(&serde_json::to_vec(message).unwrap()))
    }

    fn pass(&mut self, millis: u64) -> Vec<Action> {
        self.now += Duration::from_millis(millis);
        self.step(Event::Tick)
    }

    fn exit(&mut self, pid: u32) -> Vec<Action> {
        self.step(Event::Exited { pid, status: "signal 9".to_owned() })
    }
}

fn assign(identity: Identity) -> ToGuest {
    ToGuest::Assign(Box::new(identity))
}

fn assigned() -> Action {
    Action::Send(FromGuest::Assigned { id: "host1/svc-11".to_owned(), incarnation: 3 })
}

fn started(pid: u32, restarts: u64) -> Action {
    let stages = Stages { init_ms: 700, ready_ms: 750, assigned_ms: 800, started_ms: 800 };
    Action::Send(FromGuest::Started { pid, restarts, stages })
}

fn exited(backoff_ms: u64) -> Action {
    Action::Send(FromGuest::Exited { status: "signal 9".to_owned(), backoff_ms })
}

fn rejection(actions: &[Action]) -> &str {
    match actions {
        [Action::Send(FromGuest::Rejected { message })] => message,
        other => panic!("not one refusal: {other:?}"),
    }
}

const DRAINING: Action = Action::Send(FromGuest::Draining);

#[test]
fn waits_takes_its_identity_and_starts() {
    let mut vm = Vm::booted();
    let stages = Stages { init_ms: 700, ready_ms: 750, ..Stages::default() };
    assert_eq!(vm.step(Event::HostConnected), [Action::Send(FromGuest::Waiting(stages))]);
    let plan = identity::check(&sound()).unwrap();
    assert_eq!(vm.say(&assign(sound())), [Action::Apply(Box::new(plan))]);
    assert_eq!(vm.step(Event::Applied), [assigned(), Action::Start]);
    assert_eq!(vm.step(Event::Spawned { pid: 77 }), [started(77, 0)]);
}

#[test]
fn a_manager_that_connects_again_learns_the_state() {
    let mut vm = Vm::running(77);
    assert_eq!(vm.step(Event::HostConnected), [assigned(), started(77, 0)]);
    assert_eq!(vm.step(Event::Line(b"")), [assigned(), started(77, 0)]);
    vm.exit(77);
    assert_eq!(vm.step(Event::HostConnected), [assigned(), exited(100)]);
    vm.pass(100);
    assert_eq!(vm.step(Event::HostConnected), [assigned()]);
    vm.step(Event::Spawned { pid: 78 });
    assert_eq!(vm.step(Event::HostConnected), [assigned(), started(78, 1)]);
    vm.say(&ToGuest::Drain { timeout_ms: 100 });
    assert_eq!(vm.step(Event::HostConnected), [assigned(), DRAINING]);
}

#[test]
fn an_identity_is_taken_once() {
    let mut vm = Vm::running(77);
    let again = Identity { unix_ms: sound().unix_ms + 5, seed: "11".repeat(32), ..sound() };
    assert_eq!(vm.say(&assign(again)), [assigned(), started(77, 0)]);
    let other = Identity { incarnation: 4, ..sound() };
    let refused = vm.say(&assign(other));
    assert_eq!(rejection(&refused), "assign.id: the VM is host1/svc-11 incarnation 3 already");
    assert_eq!(vm.step(Event::HostConnected), [assigned(), started(77, 0)]);
}

#[test]
fn a_bad_identity_changes_nothing() {
    let mut vm = Vm::booted();
    let refused = vm.say(&assign(Identity { hostname: "a b".to_owned(), ..sound() }));
    assert!(rejection(&refused).starts_with("assign.hostname:"));
    assert!(matches!(vm.step(Event::HostConnected)[..], [Action::Send(FromGuest::Waiting(_))]));
    assert!(matches!(vm.say(&assign(sound()))[..], [Action::Apply(_)]));
}

#[test]
fn garbage_is_refused_and_forgotten() {
    let mut vm = Vm::booted();
    let unknown = br#"{"assign":{"id":"a/b","colour":1}}"#;
    for line in [&b"hello"[..], b"{}", b"\xff\xfe", b"{\"drain\":{\"timeout_ms\":-1}}", b"null", unknown] {
        let refused = vm.step(Event::Line(line));
        assert!(rejection(&refused).starts_with("not a message: "), "{refused:?}");
    }
    assert!(rejection(&vm.step(Event::Line(unknown))).contains("colour"));
    assert!(rejection(&vm.step(Event::LineTooLong)).contains("262144"));
    let quoted = format!("{{\"{}\":1}}", "ä".repeat(4000));
    assert!(rejection(&vm.step(Event::Line(quoted.as_bytes()))).len() <= 512);
    assert!(matches!(vm.say(&assign(sound()))[..], [Action::Apply(_)]));
}

#[test]
fn a_program_that_ends_is_started_again_later_and_later() {
    let mut vm = Vm::running(77);
    assert_eq!(vm.exit(12), [], "an orphan");
    assert_eq!(vm.exit(77), [Action::Kill(77), exited(100)]);
    assert_eq!(vm.pass(99), []);
    assert_eq!(vm.pass(1), [Action::Start]);
    assert_eq!(vm.step(Event::Spawned { pid: 78 }), [started(78, 1)]);
    assert_eq!(vm.exit(78), [Action::Kill(78), exited(200)]);
    assert_eq!(vm.pass(200), [Action::Start]);
    let failed = vm.step(Event::SpawnFailed { error: "no such file".to_owned() });
    let status = "cannot start: no such file".to_owned();
    assert_eq!(failed, [Action::Send(FromGuest::Exited { status, backoff_ms: 400 })]);
    assert_eq!(vm.pass(400), [Action::Start]);
    vm.step(Event::Spawned { pid: 79 });
    vm.pass(10_000);
    assert_eq!(vm.exit(79), [Action::Kill(79), exited(100)]);
}

#[test]
fn drains_and_powers_off() {
    let mut vm = Vm::running(77);
    assert_eq!(vm.say(&ToGuest::Drain { timeout_ms: 1000 }), [DRAINING, Action::Terminate(77)]);
    assert_eq!(vm.exit(77), [Action::Kill(77), Action::PowerOff]);
    assert_eq!(vm.machine.next_deadline(), None);
    assert_eq!(vm.say(&ToGuest::Drain { timeout_ms: 1000 }), []);
}

#[test]
fn kills_what_does_not_end() {
    let mut vm = Vm::running(77);
    vm.say(&ToGuest::Drain { timeout_ms: 1000 });
    assert_eq!(vm.pass(999), []);
    assert_eq!(vm.pass(1), [Action::Kill(77)]);
    assert_eq!(vm.machine.next_deadline(), Some(vm.now + KILL_TIMEOUT));
    assert_eq!(vm.pass(1000), [Action::PowerOff]);
}

#[test]
fn a_second_drain_can_only_shorten_the_first() {
    let mut vm = Vm::running(77);
    vm.say(&ToGuest::Drain { timeout_ms: 5000 });
    assert_eq!(vm.say(&ToGuest::Drain { timeout_ms: 100 }), []);
    assert_eq!(vm.say(&ToGuest::Drain { timeout_ms: 9000 }), []);
    assert_eq!(vm.pass(100), [Action::Kill(77)]);
}

#[test]
fn a_vm_without_a_program_powers_off_at_once() {
    assert_eq!(Vm::booted().step(Event::PowerButton), [DRAINING, Action::PowerOff]);
    let mut vm = Vm::running(77);
    vm.exit(77);
    assert_eq!(vm.say(&ToGuest::Drain { timeout_ms: 1000 }), [DRAINING, Action::PowerOff]);
}

#[test]
fn the_power_button_drains() {
    let mut vm = Vm::running(77);
    assert_eq!(vm.step(Event::PowerButton), [DRAINING, Action::Terminate(77)]);
    let refused = vm.say(&assign(sound()));
    assert_eq!(rejection(&refused), "assign: the VM is draining");
    assert_eq!(vm.pass(5000), [Action::Kill(77)]);
}

#[test]
fn a_program_that_starts_while_draining_is_ended() {
    let mut vm = Vm::booted();
    vm.say(&assign(sound()));
    vm.step(Event::Applied);
    assert_eq!(vm.say(&ToGuest::Drain { timeout_ms: 100 }), [DRAINING]);
    assert_eq!(vm.step(Event::Spawned { pid: 77 }), [Action::Terminate(77)]);
    assert_eq!(vm.exit(77), [Action::Kill(77), Action::PowerOff]);
}

#[test]
fn an_endless_drain_is_refused() {
    let mut vm = Vm::running(77);
    let refused = vm.say(&ToGuest::Drain { timeout_ms: u64::MAX });
    assert!(rejection(&refused).starts_with("drain.timeout_ms:"));
}

#[derive(Debug, Clone)]
enum Step {
    Connect,
    Line(Vec<u8>),
    Long,
    End,
    Fail,
    Button,
    Pass(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let sound_line = serde_json::to_vec(&assign(sound())).unwrap();
    let torn = sound_line.clone();
    let step = prop_oneof![
        Just(Step::Connect),
        proptest::collection::vec(any::<u8>(), 0..64).prop_map(Step::Line),
        (0..torn.len(), any::<u8>()).prop_map(move |(at, byte)| {
            let mut line = torn.clone();
            line[at] = byte;
            Step::Line(line)
        }),
        Just(Step::Line(sound_line)),
        any::<u64>()
            .prop_map(|ms| Step::Line(format!("{{\"drain\":{{\"timeout_ms\":{}}}}}", ms >> 40).into())),
        Just(Step::Long),
        Just(Step::End),
        Just(Step::Fail),
        Just(Step::Button),
        any::<u16>().prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 0..60)
}

proptest! {
    /// Whatever comes: one identity at most, one program at most, never two programs, nothing after power-off.
    #[test]
    fn holds_its_promises_under_any_input(steps in steps()) {
        let mut vm = Vm::booted();
        let (mut applied, mut program, mut fail, mut off, mut next_pid) = (0, None, false, false, 100);
        for step in steps {
            let mut todo = match step {
                Step::Connect => vm.step(Event::HostConnected),
                Step::Line(line) => vm.step(Event::Line(&line)),
                Step::Long => vm.step(Event::LineTooLong),
                Step::End => program.take().map_or_else(Vec::new, |pid| vm.exit(pid)),
                Step::Fail => { fail = true; Vec::new() }
                Step::Button => vm.step(Event::PowerButton),
                Step::Pass(millis) => vm.pass(millis.into()),
            };
            while !todo.is_empty() {
                match todo.remove(0) {
                    Action::Apply(_) => {
                        applied += 1;
                        todo.extend(vm.step(Event::Applied));
                    }
                    Action::Start => {
                        assert!(program.is_none() && !off);
                        if std::mem::take(&mut fail) {
                            todo.extend(vm.step(Event::SpawnFailed { error: "x".to_owned() }));
                        } else {
                            next_pid += 1;
                            program = Some(next_pid);
                            todo.extend(vm.step(Event::Spawned { pid: next_pid }));
                        }
                    }
                    Action::PowerOff => {
                        assert!(!off);
                        off = true;
                    }
                    Action::Send(_) | Action::Terminate(_) | Action::Kill(_) | Action::Log(_) => {}
                }
            }
            assert!(applied <= 1);
        }
        // A VM asked to end does end, whether its program listens or not.
        if !off {
            vm.step(Event::PowerButton);
            let mut actions = vm.pass(600_000);
            actions.extend(vm.pass(600_000));
            assert!(vm.machine.next_deadline().is_none());
        }
    }
}
