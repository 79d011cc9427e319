//! An example with nothing but a test.

/// The first letters of all words, as capitals.
pub fn initials(name: &str) -> String {
    let first = |word: &str| word.chars().next().map(|c| c.to_ascii_uppercase());
    name.split_whitespace().filter_map(first).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn initials() {
        assert_eq!(super::initials("ada lovelace"), "AL");
    }
}
