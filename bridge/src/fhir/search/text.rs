//! Strings in searches: folded to what letters they are made of, and the escapes of query values.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Lower case, without accents, white space as single spaces (R4 3.1.1.4.8).
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return squeeze(text.chars().map(|c| c.to_ascii_lowercase()));
    }
    squeeze(text.nfkd().filter(|c| !is_combining_mark(*c)).flat_map(char::to_lowercase))
}

fn squeeze(chars: impl Iterator<Item = char>) -> String {
    let mut out = String::new();
    for c in chars {
        match c.is_whitespace() {
            true if out.is_empty() || out.ends_with(' ') => {}
            true => out.push(' '),
            false => out.push(c),
        }
    }
    if out.ends_with(' ') {
        out.pop();
    }
    out
}

/// Splits at a character that no backslash stands before; escapes stay as they are.
pub fn split(text: &str, at: char) -> Vec<&str> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (n, c) in text.char_indices() {
        if c == at && !escaped {
            parts.push(&text[start..n]);
            start = n + c.len_utf8();
        }
        escaped = c == '\\' && !escaped;
    }
    parts.push(&text[start..]);
    parts
}

/// Takes the backslashes away: `a\,b` is `a,b` (R4 3.1.1.4.19).
pub fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            c => out.push(c),
        }
    }
    out
}

/// Puts the backslashes in that `unescape` takes away.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, ',' | '|' | '$' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_fold() {
        for (text, folded) in
            [("Müller", "muller"), ("  JOSÉ   María ", "jose maria"), ("ÅNGSTRÖM", "angstrom"), ("山田", "山田")]
        {
            assert_eq!(fold(text), folded);
        }
    }

    #[test]
    fn escapes_protect_separators() {
        assert_eq!(split(r"a\,b,c\\,d", ','), [r"a\,b", r"c\\", "d"]);
        assert_eq!(unescape(r"a\,b\\c\"), r"a,b\c");
        assert_eq!(split("", ','), [""]);
        assert_eq!(unescape(&escape(r"a|b,$\")), r"a|b,$\");
    }
}
