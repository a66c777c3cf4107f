use super::*;

const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
const HOST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 5);
const ME: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 1]);
const OTHER: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 2]);
const LAN: Lan = Lan { index: 3, mac: ME, addr: Some(HOST), carrier: true };

const fn at(ms: u64) -> Time {
    Time::from_millis(ms)
}

fn core() -> Core {
    let mut core = Core::new("lan0".into(), VIP);
    assert_eq!(step(&mut core, 0, Input::Lan(Some(LAN))), []);
    core
}

fn step(core: &mut Core, ms: u64, input: Input) -> Vec<Output> {
    let mut out = Vec::new();
    core.step(at(ms), input, &mut out);
    out
}

fn announcements() -> [Output; 3] {
    [
        Output::Send(Frame::announcement(Operation::Request, MacAddr::BROADCAST, ME, VIP)),
        Output::Send(Frame::announcement(Operation::Reply, MacAddr::BROADCAST, ME, VIP)),
        Output::AnnounceToNeighbours(LAN),
    ]
}

fn question(to: MacAddr) -> Output {
    Output::Send(Frame::question(to, ME, HOST, VIP))
}

/// What a host that answers for the address sends to us.
fn answer() -> Frame {
    Frame {
        to: ME,
        from: OTHER,
        operation: Operation::Reply,
        sender_mac: OTHER,
        sender: VIP,
        target_mac: ME,
        target: HOST,
    }
}

fn seen(announcement: bool) -> Output {
    Output::Seen(ArpSeen { mac: OTHER, announcement })
}

#[test]
fn it_announces_in_both_forms_and_to_neighbours_until_stopped() {
    let mut core = core();
    assert_eq!(step(&mut core, 10, Input::Start), announcements());
    assert_eq!(core.next_deadline(), Some(at(210)));
    assert_eq!(step(&mut core, 209, Input::Tick), []);
    assert_eq!(step(&mut core, 210, Input::Tick), announcements());
    assert_eq!(step(&mut core, 220, Input::Start), announcements(), "a second start begins anew");
    assert_eq!(step(&mut core, 221, Input::Stop), []);
    assert_eq!((core.next_deadline(), step(&mut core, 9_000, Input::Tick)), (None, vec![]));
}

#[test]
fn a_probe_asks_three_times_and_then_knows_that_nobody_answers() {
    let mut core = core();
    for ms in [0, 50, 100] {
        let input = if ms == 0 { Input::Probe } else { Input::Tick };
        assert_eq!(step(&mut core, ms, input), [question(MacAddr::BROADCAST)], "{ms}");
        assert_eq!(core.next_deadline(), Some(at(ms + 50)));
        assert_eq!(step(&mut core, ms + 49, Input::Tick), []);
    }
    assert!(core.is_probing());
    assert_eq!(step(&mut core, 150, Input::Tick), [Output::Probed(Ok(None))]);
    assert!(!core.is_probing());
    assert_eq!(core.next_deadline(), None);
}

#[test]
fn a_pause_in_the_middle_of_a_probe_does_not_shorten_the_time_for_answers() {
    let mut core = core();
    step(&mut core, 0, Input::Probe);
    assert_eq!(step(&mut core, 9_000, Input::Tick), [question(MacAddr::BROADCAST)]);
    assert_eq!(step(&mut core, 9_050, Input::Tick), [question(MacAddr::BROADCAST)]);
    assert_eq!(step(&mut core, 9_099, Input::Tick), []);
    assert_eq!(step(&mut core, 9_100, Input::Tick), [Output::Probed(Ok(None))]);
}

#[test]
fn the_first_answer_ends_a_probe_and_the_next_one_asks_that_station_too() {
    let mut core = core();
    step(&mut core, 0, Input::Probe);
    let answered = [seen(false), Output::Probed(Ok(Some(OTHER)))];
    assert_eq!(step(&mut core, 3, Input::Frame(answer())), answered);
    assert_eq!(step(&mut core, 4, Input::Frame(answer())), [seen(false)], "late, but seen");
    assert_eq!(step(&mut core, 60, Input::Probe), [question(MacAddr::BROADCAST), question(OTHER)]);
    let announced = Frame::announcement(Operation::Request, MacAddr::BROADCAST, OTHER, VIP);
    let outputs = step(&mut core, 61, Input::Frame(announced));
    assert_eq!(outputs, [seen(true), Output::Probed(Ok(Some(OTHER)))], "who announces it, has it");
}

#[test]
fn own_echoes_and_what_says_nothing_about_the_address_are_ignored() {
    let mut core = core();
    step(&mut core, 0, Input::Probe);
    let announcement = Frame::announcement(Operation::Request, MacAddr::BROADCAST, ME, VIP);
    let table = [
        ("own echo", announcement),
        ("own echo through a bridge", Frame { from: OTHER, ..announcement }),
        ("our frame with another's claim", Frame { from: ME, ..answer() }),
        ("another address", Frame { sender: CLIENT, ..answer() }),
        ("a client that asks for it", Frame::question(MacAddr::BROADCAST, OTHER, CLIENT, VIP)),
        ("a group", Frame { sender_mac: MacAddr::BROADCAST, ..answer() }),
        ("nobody", Frame { sender_mac: MacAddr::new([0; 6]), ..answer() }),
    ];
    for (name, frame) in table {
        assert_eq!(step(&mut core, 1, Input::Frame(frame)), [], "{name}");
    }
    assert!(core.is_probing());
}

#[test]
fn silence_proves_nothing_where_nothing_can_be_asked() {
    let name = || "lan0".to_owned();
    let table = [
        (None, ProbeError::NoInterface(name())),
        (Some(Lan { carrier: false, ..LAN }), ProbeError::NoCarrier(name())),
        (Some(Lan { addr: None, ..LAN }), ProbeError::NoAddress(name())),
    ];
    for (lan, error) in table {
        let expected = [Output::Probed(Err(error))];
        let mut before = core();
        step(&mut before, 1, Input::Lan(lan));
        assert_eq!(step(&mut before, 2, Input::Probe), expected);
        let mut during = core();
        step(&mut during, 1, Input::Probe);
        assert_eq!(step(&mut during, 2, Input::Lan(lan)), expected);
        assert!(!during.is_probing());
    }
}

#[test]
fn the_schedule_starts_anew_a_while_after_the_link_came_back() {
    let gone = [None, Some(Lan { carrier: false, ..LAN })];
    for gone in gone {
        let mut core = core();
        step(&mut core, 0, Input::Start);
        assert_eq!(step(&mut core, 5_000, Input::Lan(gone)), []);
        assert_eq!(core.next_deadline(), None, "there is nobody to tell");
        assert_eq!(step(&mut core, 90_000, Input::Lan(Some(LAN))), []);
        assert_eq!(core.next_deadline(), Some(at(90_500)));
        assert_eq!(step(&mut core, 90_100, Input::Lan(Some(LAN))), [], "the same again changes nothing");
        assert_eq!(core.next_deadline(), Some(at(90_500)));
        assert_eq!(step(&mut core, 90_500, Input::Tick), announcements());
        assert_eq!(core.next_deadline(), Some(at(90_700)));
    }
}

#[test]
fn stopped_while_the_link_settles_it_stays_silent() {
    let mut core = core();
    step(&mut core, 0, Input::Start);
    step(&mut core, 1, Input::Lan(None));
    step(&mut core, 2_000, Input::Lan(Some(LAN)));
    step(&mut core, 2_100, Input::Stop);
    assert_eq!((core.next_deadline(), step(&mut core, 3_000, Input::Tick)), (None, vec![]));
}

#[test]
fn a_start_without_a_link_waits_for_it() {
    let mut core = Core::new("lan0".into(), VIP);
    assert_eq!(step(&mut core, 0, Input::Start), []);
    assert_eq!(step(&mut core, 700, Input::Lan(Some(LAN))), []);
    assert_eq!(step(&mut core, 1_200, Input::Tick), announcements());
}

#[test]
fn a_new_mac_is_announced_at_once() {
    let mut core = core();
    step(&mut core, 0, Input::Start);
    let lan = Lan { mac: OTHER, ..LAN };
    let outputs = step(&mut core, 50, Input::Lan(Some(lan)));
    assert_eq!(outputs.last(), Some(&Output::AnnounceToNeighbours(lan)));
    assert_eq!(outputs.len(), 3);
    // A new interface is another matter.
    assert_eq!(step(&mut core, 60, Input::Lan(Some(Lan { index: 9, ..lan }))), []);
    assert_eq!(core.next_deadline(), Some(at(560)));
}
