use proptest::prelude::{any, proptest};

use super::{Line, Lines, MAX_LINE};

fn cut(chunks: &[&[u8]]) -> Vec<Line> {
    let mut lines = Lines::default();
    let mut out = Vec::new();
    for chunk in chunks {
        lines.push(chunk, &mut out);
    }
    out
}

fn whole(line: &str) -> Line {
    Line::Whole(line.as_bytes().to_vec())
}

#[test]
fn a_line_may_come_in_pieces() {
    assert_eq!(cut(&[b"ab", b"c\nd\r\n", b"", b"\ne"]), [whole("abc"), whole("d"), whole("")]);
}

#[test]
fn a_line_of_the_greatest_length_passes_and_a_longer_one_is_dropped() {
    let mut longest = vec![b'x'; MAX_LINE];
    longest.push(b'\n');
    assert_eq!(cut(&[&longest]), [Line::Whole(vec![b'x'; MAX_LINE])]);
    let mut longer = vec![b'x'; MAX_LINE + 1];
    longer.push(b'\n');
    assert_eq!(cut(&[&longer, b"next\n"]), [Line::TooLong, whole("next")]);
}

#[test]
fn a_line_that_never_ends_takes_no_memory() {
    let mut lines = Lines::default();
    let mut out = Vec::new();
    for _ in 0..64 {
        lines.push(&vec![b'x'; 64 * 1024], &mut out);
        assert!(lines.partial.capacity() <= 2 * MAX_LINE);
    }
    assert!(out.is_empty());
    lines.push(b"\nnext\n", &mut out);
    assert_eq!(out, [Line::TooLong, whole("next")]);
}

#[test]
fn reset_forgets_the_unfinished_line() {
    let mut lines = Lines::default();
    let mut out = Vec::new();
    lines.push(b"{\"torn", &mut out);
    lines.reset();
    lines.push(b"next\n", &mut out);
    assert_eq!(out, [whole("next")]);
}

proptest! {
    #[test]
    fn cutting_does_not_depend_on_the_pieces(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        at in any::<proptest::sample::Index>(),
    ) {
        let (left, right) = bytes.split_at(at.index(bytes.len() + 1));
        assert_eq!(cut(&[left, right]), cut(&[&bytes]));
    }
}
