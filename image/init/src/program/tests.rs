use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use super::describe;

#[test]
fn an_end_is_described_also_when_a_real_time_signal_caused_it() {
    assert_eq!(describe(ExitStatus::from_raw(3 << 8)), "exit status 3");
    assert_eq!(describe(ExitStatus::from_raw(9)), "signal 9");
    assert_eq!(describe(ExitStatus::from_raw(0x80 | 11)), "signal 11");
    assert_eq!(describe(ExitStatus::from_raw(40)), "signal 40");
}
