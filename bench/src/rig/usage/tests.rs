//! The kernel's files, as text and as they are.

use std::time::{Duration, Instant};

use rustix::process::{getpgrp, getpid};

use super::{members, parse_group, parse_resident, parse_schedstat, processor_time, resident_bytes};

#[test]
fn texts() {
    assert_eq!(parse_schedstat("97285 72437 2\n"), Some(Duration::from_nanos(97_285)));
    assert_eq!(parse_schedstat(""), None);
    assert_eq!(parse_group("12 (a ) b (c) S 1 77 12 0 -1 4194560"), Some(77));
    assert_eq!(parse_group("12 no name"), None);
    assert_eq!(parse_resident("Name:\tx\nVmRSS:\t    2048 kB\nThreads:\t1\n"), Some(2 << 20));
    assert_eq!(parse_resident("Name:\tkthreadd\n"), None);
}

#[test]
fn this_process_is_in_its_group_and_uses_both() {
    let group = getpgrp();
    let own = getpid().as_raw_nonzero().get().unsigned_abs();
    assert!(members(group).unwrap().contains(&own));
    assert!(resident_bytes(group).unwrap() > 1 << 20);
    let before = processor_time(group).unwrap();
    let start = Instant::now();
    while processor_time(group).unwrap() == before {
        assert!(start.elapsed() < Duration::from_secs(60), "no processor time is counted");
    }
}
