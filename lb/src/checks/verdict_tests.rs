use super::{Limits, Verdict};

/// The verdict after each check: `+` good, `-` bad, in upper case where it changes.
fn verdicts(rise: u32, fall: u32, checks: &str) -> String {
    let mut verdict = Verdict::default();
    let after = |check: char| {
        let changed = verdict.observe(check == '+', Limits { rise, fall });
        assert!(changed.is_none_or(|good| good != verdict.is_bad));
        match (changed, verdict.is_bad) {
            (None, false) => 'g',
            (None, true) => 'b',
            (Some(_), false) => 'G',
            (Some(_), true) => 'B',
        }
    };
    checks.chars().map(after).collect()
}

#[test]
fn verdicts_change_after_so_many_in_a_row() {
    for (rise, fall, checks, expected) in [
        (1, 1, "+-+-+-", "gBGBGB"),
        (1, 1, "--++", "BbGg"),
        (2, 3, "---++", "ggBbG"),
        (2, 3, "--+--+---", "ggggggggB"),
        (2, 3, "---+-+-++", "ggBbbbbbG"),
        (3, 2, "--++-+++", "gBbbbbbG"),
        (2, 2, "++++++--", "gggggggB"),
        // After a change, counting begins anew.
        (2, 2, "---+-++-+--", "gBbbbbGgggB"),
        (1000, 1, "-+++", "Bbbb"),
    ] {
        assert_eq!(verdicts(rise, fall, checks), expected, "rise {rise}, fall {fall}: {checks}");
    }
}
