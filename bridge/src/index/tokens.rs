//! Blind search tokens: 16 bytes of HMAC-SHA256 under the index key, so that the database finds equal values
//! without knowing any. Pure.

use crate::secret::Key;
use aws_lc_rs::hmac;

/// One searchable value, blinded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Token(pub [u8; 16]);

/// Makes tokens.
pub struct Tokenizer {
    key: hmac::Key,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokenizer(<redacted>)")
    }
}

impl Tokenizer {
    /// A tokenizer under the index key.
    pub fn new(key: &Key) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key.expose()) }
    }

    /// The token of parts that belong together; each part goes in with its length.
    pub fn token(&self, parts: &[&str]) -> Token {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(&(part.len() as u32).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut out = [0; 16];
        out.copy_from_slice(&context.sign().as_ref()[..16]);
        Token(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_depend_on_key_and_parts() {
        let (one, two) = (Tokenizer::new(&Key::new([1; 32])), Tokenizer::new(&Key::new([2; 32])));
        assert_ne!(one.token(&["a"]), two.token(&["a"]));
        assert_ne!(one.token(&["a", "bc"]), one.token(&["ab", "c"]));
    }
}
