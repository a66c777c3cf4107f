use super::*;
use crate::net::mac::MacAddr;

const SPEC: FilterSpec = FilterSpec {
    vip: std::net::Ipv4Addr::new(10, 77, 0, 100),
    except_from: Some(MacAddr::new([2, 0, 0, 0, 0, 0xb])),
};

#[test]
fn the_table_is_replaced_as_a_whole_and_spares_the_former_owner() {
    let with = script(&SPEC);
    let head: Vec<_> = with.lines().take(3).collect();
    assert_eq!(
        head,
        ["table ip phalanx_vip", "delete table ip phalanx_vip", "table ip phalanx_vip {"],
        "one transaction, whatever was there"
    );
    let position = |part: &str| with.find(part).unwrap_or_else(|| panic!("{part:?} in {with}"));
    let order = [
        "ip daddr != 10.77.0.100 return",
        "ether saddr 02:00:00:00:00:0b return",
        "tcp flags & (syn | ack) == syn return",
        "ct state new ct mark set 0x50",
        "ct mark 0x50 meta mark set 0x50",
    ];
    assert!(order.map(position).is_sorted(), "{with}");

    let without = script(&FilterSpec { except_from: None, ..SPEC });
    assert!(!without.contains("ether"), "{without}");
}

#[test]
fn the_first_line_of_a_complaint_is_the_reason() {
    use std::os::unix::process::ExitStatusExt;
    let output = |status, stderr: &str| Output {
        status: std::process::ExitStatus::from_raw(status),
        stdout: Vec::new(),
        stderr: stderr.into(),
    };
    assert!(check(&output(0, "a warning")).is_ok());
    let refused = check(&output(256, "Error: Operation not permitted\nand more\n")).unwrap_err();
    assert_eq!(refused.to_string(), "nft: Error: Operation not permitted");
    assert_eq!(check(&output(256, "")).unwrap_err().to_string(), "nft: without a word");
}
