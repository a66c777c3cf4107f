//! Which notes of the machine are of one kind: the same words about other MACs.
//!
//! A MAC is made up in no time, and each new one is news to the machine. Whoever does so must not fill the journal.

/// `text` without the MACs in it.
pub(super) fn kind(text: &str) -> String {
    let words = text.split(' ').map(|word| {
        let bare = word.trim_matches(|it: char| !it.is_ascii_hexdigit());
        if is_mac(bare) { "MAC" } else { word }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn is_mac(word: &str) -> bool {
    let octet = |part: &str| part.len() == 2 && part.bytes().all(|it| it.is_ascii_hexdigit());
    word.split(':').count() == 6 && word.split(':').all(octet)
}

#[cfg(test)]
mod tests;
