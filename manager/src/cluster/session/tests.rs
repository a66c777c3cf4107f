use std::collections::BTreeSet;
use std::num::NonZeroU64;

use proptest::prelude::*;

use super::{FRAME_BYTES, Frame, Kind, Life, Session, Verdict, WINDOW, Window};

fn n(number: u64) -> NonZeroU64 {
    NonZeroU64::new(number).unwrap()
}

const A: Life = Life { session: 0xa, boot: 1 };
const B: Life = Life { session: 0xb, boot: 1 };

/// A and B, each with a proven session with the other.
fn introduced() -> (Session, Session) {
    let (mut a, mut b) = (Session::new(n(1)), Session::new(n(2)));
    let beat = a.frame(A, Kind::Beat);
    assert_eq!(b.receive(&beat, n(20)), Verdict::Unproven);
    let hello = b.hello(B, &beat);
    assert_eq!(a.receive(&hello, n(10)), Verdict::Adopted { before: None });
    let hello = a.hello(A, &hello);
    assert_eq!(b.receive(&hello, n(21)), Verdict::Adopted { before: None });
    (a, b)
}

#[test]
fn two_fresh_processes_talk_after_one_round_trip() {
    let (mut a, mut b) = introduced();
    assert_eq!((a.peer(), b.peer()), (Some(B), Some(A)));
    assert_eq!(b.receive(&a.frame(A, Kind::Beat), n(30)), Verdict::Taken);
    assert_eq!(a.receive(&b.frame(B, Kind::Gossip), n(31)), Verdict::Taken);
}

/// What becomes of a datagram, by what it is of a peer that is known.
#[test]
fn verdicts() {
    let known = Frame { kind: Kind::Gossip, life: A, sequence: 5, challenge: n(1), echo: Some(n(2)) };
    let beat = Frame { kind: Kind::Beat, ..known };
    let other = Life { session: 0xc, boot: 2 };
    let seen = |frames: &[Frame]| {
        let (_, mut b) = introduced();
        for frame in frames {
            assert_eq!(b.receive(frame, n(99)), Verdict::Taken);
        }
        b
    };
    for (what, mut b, frame, verdict) in [
        ("new", seen(&[]), known, Verdict::Taken),
        ("the same again", seen(&[known]), known, Verdict::Replayed),
        ("later, out of order", seen(&[Frame { sequence: 9, ..known }]), known, Verdict::Taken),
        ("out of the window", seen(&[Frame { sequence: 5 + WINDOW, ..known }]), known, Verdict::Replayed),
        ("the edge of the window", seen(&[Frame { sequence: 4 + WINDOW, ..known }]), known, Verdict::Taken),
        ("a beat after a newer one", seen(&[Frame { sequence: 9, ..beat }]), beat, Verdict::Overtaken),
        ("a beat after newer gossip", seen(&[Frame { sequence: 9, ..known }]), beat, Verdict::Taken),
        ("no echo", seen(&[]), Frame { echo: None, ..known }, Verdict::Unproven),
        ("a wrong echo", seen(&[]), Frame { echo: Some(n(77)), ..known }, Verdict::Unproven),
        (
            "known, echoing the open challenge",
            seen(&[]),
            Frame { echo: Some(n(21)), ..known },
            Verdict::Unproven,
        ),
        ("a new life, echoing the old", seen(&[]), Frame { life: other, ..known }, Verdict::Unproven),
        (
            "a new life that proves itself",
            seen(&[]),
            Frame { life: other, echo: Some(n(21)), ..known },
            Verdict::Adopted { before: Some(A) },
        ),
    ] {
        assert_eq!(b.receive(&frame, n(98)), verdict, "{what}");
    }
}

#[test]
fn a_replay_does_not_disturb_a_session() {
    let (mut a, mut b) = introduced();
    let earlier = Life { session: 0xdead, boot: 0 };
    let old = Frame { life: earlier, challenge: n(777), ..a.frame(A, Kind::Beat) };
    for round in 0..10 {
        assert_eq!(b.receive(&old, n(50)), Verdict::Unproven);
        // The hello goes to the address of the real A, which does not know what to make of it, and asks back.
        let hello = b.hello(B, &old);
        if a.receive(&hello, n(60)) == Verdict::Unproven {
            let asked = a.hello(A, &hello);
            assert_eq!(b.receive(&asked, n(51)), Verdict::Unproven);
            assert_eq!(a.receive(&b.hello(B, &asked), n(61)), Verdict::Taken, "round {round}");
        }
        assert_eq!(b.receive(&a.frame(A, Kind::Beat), n(52)), Verdict::Taken);
        assert_eq!(a.receive(&b.frame(B, Kind::Beat), n(62)), Verdict::Taken);
    }
}

#[test]
fn a_restart_of_either_side_is_found_out_by_the_next_datagram() {
    let (mut a, _) = introduced();
    let mut b = Session::new(n(40));
    let reborn = Life { session: 0xbb, boot: 2 };
    let beat = a.frame(A, Kind::Beat);
    assert_eq!(b.receive(&beat, n(41)), Verdict::Unproven);
    let hello = b.hello(reborn, &beat);
    // A knows the old B only, which the hello does not come from and does not prove to be over.
    assert_eq!(a.receive(&hello, n(42)), Verdict::Unproven);
    let asked = a.hello(A, &hello);
    assert_eq!(b.receive(&asked, n(43)), Verdict::Adopted { before: None });
    let answer = b.frame(reborn, Kind::Hello);
    assert_eq!(a.receive(&answer, n(44)), Verdict::Adopted { before: Some(B) });
    assert_eq!(b.receive(&a.frame(A, Kind::Beat), n(45)), Verdict::Taken);
}

#[test]
fn what_arrives_late_changes_nothing() {
    let (_, mut b) = introduced();
    let known = Frame { kind: Kind::Gossip, life: A, sequence: 9, challenge: n(100), echo: Some(n(2)) };
    assert_eq!(b.receive(&known, n(98)), Verdict::Taken);
    assert_eq!(b.receive(&Frame { sequence: 5, challenge: n(1), ..known }, n(98)), Verdict::Taken);
    assert_eq!(b.frame(B, Kind::Hello).echo, Some(n(100)));

    let life = Life { session: 0xc, boot: 2 };
    let beat = Frame { kind: Kind::Beat, life, echo: Some(n(21)), ..known };
    assert_eq!(b.receive(&beat, n(98)), Verdict::Adopted { before: Some(A) });
    assert_eq!(b.receive(&Frame { sequence: 8, ..beat }, n(97)), Verdict::Overtaken);
}

#[test]
fn frames_survive_their_encoding() {
    let frame = Frame { kind: Kind::Beat, life: A, sequence: 7, challenge: n(9), echo: None };
    for (payload, min) in [(&b""[..], 0), (b"x", 0), (b"x", 100)] {
        let bytes = frame.encode(payload, min).unwrap();
        assert_eq!(bytes.len(), (FRAME_BYTES + payload.len()).max(min));
        assert_eq!(Frame::decode(&bytes), Some((frame, payload)));
    }
    assert_eq!(frame.encode(&vec![0; 65_536], 0), None);
    let bytes = frame.encode(b"abc", 0).unwrap();
    for cut in 0..bytes.len() {
        assert_eq!(Frame::decode(&bytes[..cut]), None, "{cut} bytes");
    }
    let mut unknown = bytes;
    unknown[0] = 9;
    assert_eq!(Frame::decode(&unknown), None);
}

/// What happens to two peers and an attacker who records everything.
#[derive(Debug, Clone)]
enum Step {
    /// One of the two sends; it arrives unless it is lost.
    Send { a: bool, kind: u8, arrives: bool },
    /// One of the recorded datagrams is delivered to where it was meant for, or to its sender.
    Replay { which: prop::sample::Index, back: bool },
    /// One of the two starts anew.
    Restart { a: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (any::<bool>(), 0_u8..3, prop::bool::weighted(0.8)).prop_map(|(a, kind, arrives)| Step::Send { a, kind, arrives }),
        4 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(which, back)| Step::Replay { which, back }),
        1 => any::<bool>().prop_map(|a| Step::Restart { a }),
    ]
}

struct Side {
    life: Life,
    session: Session,
    /// What this life has taken.
    taken: BTreeSet<(u64, u64)>,
    last_beat: (u64, u64),
}

struct World {
    random: u64,
    lives: u64,
    sides: [Side; 2],
    /// Each with the index of its receiver, and that one's life when it was sent.
    recorded: Vec<(Frame, usize, Life)>,
}

impl World {
    fn new() -> Self {
        let side = |random| Side {
            life: Life { session: random, boot: random },
            session: Session::new(n(random + 1_000)),
            taken: BTreeSet::new(),
            last_beat: (0, 0),
        };
        Self { random: 1_000_000, lives: 10, sides: [side(1), side(2)], recorded: Vec::new() }
    }

    fn random(&mut self) -> NonZeroU64 {
        self.random += 1;
        n(self.random)
    }

    fn restart(&mut self, side: usize) {
        self.lives += 1;
        let challenge = self.random();
        let life = Life { session: self.lives, boot: self.lives };
        self.sides[side] =
            Side { life, session: Session::new(challenge), taken: BTreeSet::new(), last_beat: (0, 0) };
    }

    fn record(&mut self, frame: Frame, to: usize) {
        let life = self.sides[to].life;
        self.recorded.push((frame, to, life));
    }

    /// Delivers, and lets hellos go back and forth until there is silence.
    fn deliver(&mut self, frame: Frame, to: usize, meant_for: Life) -> Result<(), TestCaseError> {
        let mut next = Some((frame, to, meant_for));
        for _ in 0..8 {
            let Some((frame, to, meant_for)) = next.take() else { return Ok(()) };
            let fresh = self.random();
            let side = &mut self.sides[to];
            // The seal and the name inside it make sure of this much.
            if frame.life.session == side.life.session {
                return Ok(());
            }
            let verdict = side.session.receive(&frame, fresh);
            let answer = match verdict {
                Verdict::Taken | Verdict::Adopted { .. } => {
                    prop_assert_eq!(side.life, meant_for, "taken by a later life than it was meant for");
                    let key = (frame.life.session, frame.sequence);
                    prop_assert!(side.taken.insert(key), "taken twice: {:?}", frame);
                    // Sessions number the lives in order here: an earlier one never returns.
                    let newest = side.taken.last().map_or(0, |last| last.0);
                    prop_assert_eq!(frame.life.session, newest, "taken from an earlier life");
                    if frame.kind == Kind::Beat {
                        prop_assert!(key > side.last_beat, "a beat went back");
                        side.last_beat = key;
                    }
                    matches!(verdict, Verdict::Adopted { .. })
                }
                Verdict::Unproven => true,
                Verdict::Replayed | Verdict::Overtaken => false,
            };
            if answer {
                let hello = side.session.hello(side.life, &frame);
                self.record(hello, 1 - to);
                next = Some((hello, 1 - to, self.sides[1 - to].life));
            }
        }
        prop_assert!(next.is_none(), "hellos without end");
        Ok(())
    }

    fn apply(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Send { a, kind, arrives } => {
                let from = usize::from(!a);
                let side = &mut self.sides[from];
                let frame = side.session.frame(side.life, Kind::ALL[usize::from(*kind)]);
                self.record(frame, 1 - from);
                let meant_for = self.sides[1 - from].life;
                if *arrives { self.deliver(frame, 1 - from, meant_for) } else { Ok(()) }
            }
            Step::Replay { which, back } if !self.recorded.is_empty() => {
                let (frame, to, meant_for) = self.recorded[which.index(self.recorded.len())];
                self.deliver(frame, if *back { 1 - to } else { to }, meant_for)
            }
            Step::Replay { .. } => Ok(()),
            Step::Restart { a } => {
                self.restart(usize::from(!a));
                Ok(())
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever is recorded, lost, repeated and held back, and whoever restarts when.
    #[test]
    fn nothing_is_taken_twice_or_across_a_restart(steps in prop::collection::vec(step(), 0..120)) {
        let mut world = World::new();
        for step in &steps {
            world.apply(step)?;
        }
        // And it is no use to be safe and deaf: without losses both understand each other at once.
        for a in [true, false, true, false] {
            world.apply(&Step::Send { a, kind: 2, arrives: true })?;
        }
        for from in [0, 1] {
            let side = &mut world.sides[from];
            let frame = side.session.frame(side.life, Kind::Gossip);
            let fresh = world.random();
            prop_assert_eq!(world.sides[1 - from].session.receive(&frame, fresh), Verdict::Taken);
        }
    }

    /// The window, against a set that forgets nothing.
    #[test]
    fn the_window_admits_what_is_new_and_not_too_old(sequences in prop::collection::vec(1_u64..400, 1..200)) {
        let mut window = Window::from(sequences[0]);
        let mut seen = BTreeSet::from([sequences[0]]);
        let mut highest = sequences[0];
        for &sequence in &sequences[1..] {
            let expected = sequence + WINDOW > highest && !seen.contains(&sequence);
            prop_assert_eq!(window.admit(sequence), expected, "{} after {}", sequence, highest);
            seen.insert(sequence);
            highest = highest.max(sequence);
        }
    }
}
