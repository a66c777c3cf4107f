use super::*;

fn probe_of(api_version: Result<i32, &str>, processor: bool) -> Probe {
    Probe { api_version: api_version.map_err(str::to_owned), processor }
}

#[test]
fn kvm_is_taken_only_when_it_truly_works() {
    let works = probe_of(Ok(12), true);
    let cases = [
        (probe_of(Err("/dev/kvm cannot be opened: x"), true), "cannot be opened"),
        (probe_of(Ok(11), true), "API version 11"),
        (probe_of(Ok(12), false), "neither vmx nor svm"),
    ];
    assert_eq!(choose(AccelChoice::Auto, &works).unwrap().0, Accel::Kvm);
    assert_eq!(choose(AccelChoice::Kvm, &works).unwrap().0, Accel::Kvm);
    assert_eq!(choose(AccelChoice::Tcg, &works).unwrap().0, Accel::Tcg);
    for (probe, reason) in cases {
        let (accel, why) = choose(AccelChoice::Auto, &probe).unwrap();
        assert_eq!(accel, Accel::Tcg, "{reason}");
        assert!(why.contains(reason), "{why}");
        assert!(choose(AccelChoice::Kvm, &probe).unwrap_err().contains(reason));
        assert_eq!(choose(AccelChoice::Tcg, &probe).unwrap().0, Accel::Tcg);
    }
}

#[test]
fn processor_flags_are_words() {
    assert!(has_virtualization("processor : 0\nflags\t\t: fpu vme svm lm\n"));
    assert!(has_virtualization("flags\t\t: fpu vmx\n"));
    assert!(!has_virtualization("flags\t\t: fpu svm_lock lm\nvmx flags : vnmi\n"));
    assert!(!has_virtualization(""));
}

#[test]
fn the_choice_is_spelled_in_lowercase() {
    for (text, choice) in
        [(r#""auto""#, AccelChoice::Auto), (r#""kvm""#, AccelChoice::Kvm), (r#""tcg""#, AccelChoice::Tcg)]
    {
        assert_eq!(serde_json::from_str::<AccelChoice>(text).unwrap(), choice);
    }
    assert!(serde_json::from_str::<AccelChoice>(r#""qemu""#).is_err());
}

#[test]
fn a_rate_is_computed_and_nonsense_is_not() {
    let at = |ticks, nanos| Sample { ticks, nanos };
    assert_eq!(tsc_khz(at(1000, 0), at(50_001_000, 25_000_000)), Some(2_000_000));
    assert_eq!(tsc_khz(at(1000, 0), at(500, 25_000_000)), None, "backwards");
    assert_eq!(tsc_khz(at(0, 5), at(500, 5)), None, "no time passed");
    assert_eq!(tsc_khz(at(0, 0), at(25, 25_000_000)), None, "1 kHz is no processor");
    assert_eq!(tsc_khz(at(0, 0), at(u64::MAX, 25_000_000)), None);
    assert!(agree(2_596_134, 2_596_900) && !agree(2_596_134, 2_600_000));
}

#[test]
#[cfg(target_arch = "x86_64")]
fn this_machine_has_a_rate() {
    let khz = measure_tsc_khz().expect("a rate");
    let again = measure_tsc_khz().expect("a rate");
    assert!(khz.abs_diff(again) < khz / 100, "{khz} and {again} are of the same counter");
}
