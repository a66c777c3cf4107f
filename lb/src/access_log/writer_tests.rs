use std::io::{self, Write};

use proptest::prelude::*;

use super::write_lines;

/// A disk with little room, that takes a few bytes at a time.
struct Disk {
    bytes: Vec<u8>,
    room: usize,
    at_a_time: usize,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(self.at_a_time).min(self.room);
        if n == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(&bytes[..n]);
        self.room -= n;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

proptest! {
    #[test]
    fn each_line_is_whole_or_said_to_be_lost(
        rooms in prop::collection::vec(0_usize..30, 1..10), at_a_time in 1_usize..9,
    ) {
        let mut disk = Disk { bytes: Vec::new(), room: 0, at_a_time };
        let (mut torn, mut whole) = (false, 0);
        for room in rooms {
            disk.room = room;
            match write_lines(&mut disk, &mut torn, b"first\nsecond\n") {
                Ok(()) => whole += 2,
                Err((e, written)) => {
                    prop_assert_eq!(e.kind(), io::ErrorKind::StorageFull);
                    whole += usize::from(written >= "first\n".len());
                }
            }
        }
        disk.room = 99;
        prop_assert!(write_lines(&mut disk, &mut torn, b"last\n").is_ok());
        let text = String::from_utf8(disk.bytes).unwrap();
        let is_part = |line: &str| ["first", "second", "last"].iter().any(|all| all.starts_with(line));
        prop_assert!(text.lines().all(is_part), "{}", text);
        // One that lacks only its end counts as lost and is whole all the same.
        prop_assert!(text.lines().filter(|line| ["first", "second"].contains(line)).count() >= whole);
        prop_assert_eq!(text.lines().last(), Some("last"));
    }
}
