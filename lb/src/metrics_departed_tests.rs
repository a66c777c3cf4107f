use std::time::{Duration, Instant};

use super::{Departed, KEPT, MOST};

fn read(departed: &mut Departed) -> Vec<String> {
    departed.reading();
    departed.read()
}

#[test]
fn series_go_when_they_were_read_twice() {
    let mut departed = Departed::default();
    assert!(departed.left("a", Instant::now()));
    assert!(read(&mut departed).is_empty());
    assert_eq!(read(&mut departed), ["a"]);
    assert!(read(&mut departed).is_empty());
}

#[test]
fn or_when_nobody_reads_them() {
    let mut departed = Departed::default();
    let now = Instant::now();
    assert!(departed.left("a", now));
    assert!(departed.expired(now + KEPT - Duration::from_millis(1)).is_empty());
    assert_eq!(departed.expired(now + KEPT), ["a"]);
    assert!(read(&mut departed).is_empty() && read(&mut departed).is_empty());
}

#[test]
fn one_that_comes_back_keeps_its_series() {
    let mut departed = Departed::default();
    let now = Instant::now();
    departed.left("a", now);
    read(&mut departed);
    departed.came_back("a");
    assert!(read(&mut departed).is_empty());
    // When it leaves again it is as if for the first time.
    departed.left("a", now);
    assert!(read(&mut departed).is_empty());
    assert_eq!(read(&mut departed), ["a"]);
}

#[test]
fn there_is_room_for_so_many() {
    let mut departed = Departed::default();
    let now = Instant::now();
    assert!((0..MOST).all(|n| departed.left(&n.to_string(), now)));
    assert!(!departed.left("one more", now));
    assert!(departed.left("0", now), "it is remembered already");
    assert_eq!(departed.expired(now + KEPT).len(), MOST);
}

#[test]
fn what_is_read_while_it_leaves_is_not_read_for_certain() {
    let mut departed = Departed::default();
    departed.reading();
    departed.left("a", Instant::now());
    assert!(departed.read().is_empty());
    assert!(read(&mut departed).is_empty());
    assert_eq!(read(&mut departed), ["a"]);
}
