//! Blind search tokens: 16 bytes of HMAC-SHA256 under the index key, so that the database finds equal values
//! without knowing any. Pure.

use crate::secret::Key;
use aws_lc_rs::hmac;
use notary::canonical::Json;

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

/// The elements that R4's `patient` search parameter reads, over all types.
const PATIENT_ELEMENTS: &[&str] = &["patient", "subject", "beneficiary", "for", "individual"];

/// The ids of the patients that a resource refers to as its own.
pub fn patient_ids(resource: &Json) -> Vec<String> {
    let elements = PATIENT_ELEMENTS.iter().filter_map(|name| resource.get(name));
    let each =
        elements.flat_map(|e| if let Json::Array(items) = e { items.iter() } else { std::slice::from_ref(e).iter() });
    let references = each.filter_map(|e| e.text("reference"));
    references
        .filter_map(|r| r.strip_prefix("Patient/"))
        .map(|id| id.split('/').next().unwrap_or("").to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patients_are_found_wherever_a_resource_names_its_own() {
        let json = |text: &str| Json::parse(text.as_bytes()).unwrap();
        let account = json(r#"{"subject":[{"reference":"Device/d"},{"reference":"Patient/p9/_history/2"}]}"#);
        assert_eq!(patient_ids(&account), ["p9"]);
        let observation = json(r#"{"subject":{"reference":"Patient/p1"},"encounter":{"reference":"Encounter/e"}}"#);
        assert_eq!(patient_ids(&observation), ["p1"]);
    }

    #[test]
    fn tokens_depend_on_key_and_parts() {
        let (one, two) = (Tokenizer::new(&Key::new([1; 32])), Tokenizer::new(&Key::new([2; 32])));
        assert_ne!(one.token(&["a"]), two.token(&["a"]));
        assert_ne!(one.token(&["a", "bc"]), one.token(&["ab", "c"]));
    }
}
