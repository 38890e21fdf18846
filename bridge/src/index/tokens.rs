//! Blind search tokens: 16 bytes of HMAC-SHA256 under the index key, so that the database finds equal values
//! without knowing any. Pure.

use crate::ids::TypeName;
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

    /// The token of a search term (R4 3.1.1.4.10): `system|code`, `|code`, `system|` or `code`.
    pub fn term(&self, kind: TypeName, term: &Term) -> Token {
        match term {
            Term::Identifier(Identifier::Both(system, value)) => {
                self.token(&[kind.as_str(), "identifier", "both", system, value])
            }
            Term::Identifier(Identifier::NoSystem(value)) => self.token(&[kind.as_str(), "identifier", "none", value]),
            Term::Identifier(Identifier::System(system)) => {
                self.token(&[kind.as_str(), "identifier", "system", system])
            }
            Term::Identifier(Identifier::Value(value)) => self.token(&[kind.as_str(), "identifier", "value", value]),
            Term::Patient(id) => self.token(&[kind.as_str(), "patient", id]),
        }
    }

    /// Every token of a resource, sorted and distinct: sorted inserts are twice as fast.
    pub fn tokens(&self, kind: TypeName, resource: &Json) -> Vec<Token> {
        let mut tokens: Vec<Token> = terms(resource).iter().map(|term| self.term(kind, term)).collect();
        tokens.sort_unstable();
        tokens.dedup();
        tokens
    }
}

/// What can be searched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Term {
    Identifier(Identifier),
    /// The id of the patient that a resource speaks of.
    Patient(String),
}

/// The forms of an identifier search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identifier {
    Both(String, String),
    NoSystem(String),
    System(String),
    Value(String),
}

impl Identifier {
    /// Reads `system|value` in any of its forms.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once('|') {
            None if text.is_empty() => None,
            None => Some(Self::Value(text.to_owned())),
            Some(("", "")) => None,
            Some(("", value)) => Some(Self::NoSystem(value.to_owned())),
            Some((system, "")) => Some(Self::System(system.to_owned())),
            Some((system, value)) => Some(Self::Both(system.to_owned(), value.to_owned())),
        }
    }
}

impl Term {
    /// The exact check on the opened resource.
    pub fn matches(&self, resource: &Json) -> bool {
        terms(resource).contains(self)
    }
}

/// The elements that R4's `patient` search parameter reads, over all types.
const PATIENT_ELEMENTS: &[&str] = &["patient", "subject", "beneficiary", "for", "individual"];

/// Every term that finds a resource.
pub fn terms(resource: &Json) -> Vec<Term> {
    let mut terms = Vec::new();
    let identifiers = match resource.get("identifier") {
        Some(list @ Json::Array(_)) => list.items().iter().collect(),
        Some(one) => vec![one],
        None => Vec::new(),
    };
    for identifier in identifiers {
        let (system, value) = (identifier.text("system"), identifier.text("value"));
        let forms = [
            value.map(|v| Identifier::Value(v.to_owned())),
            system.map(|s| Identifier::System(s.to_owned())),
            match (system, value) {
                (Some(s), Some(v)) => Some(Identifier::Both(s.to_owned(), v.to_owned())),
                (None, Some(v)) => Some(Identifier::NoSystem(v.to_owned())),
                _ => None,
            },
        ];
        terms.extend(forms.into_iter().flatten().map(Term::Identifier));
    }
    terms.extend(patient_ids(resource).into_iter().map(Term::Patient));
    terms
}

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

    fn resource() -> Json {
        let text = r#"{"resourceType":"Observation","identifier":[{"system":"urn:a","value":"1"},{"value":"2"}],
            "subject":{"reference":"Patient/p1"},"encounter":{"reference":"Encounter/e"}}"#;
        Json::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn each_form_of_a_search_finds_what_it_should() {
        let resource = resource();
        let matches = |text: &str| Term::Identifier(Identifier::parse(text).unwrap()).matches(&resource);
        for (text, expected) in [
            ("urn:a|1", true),
            ("1", true),
            ("urn:a|", true),
            ("|2", true),
            ("|1", false),
            ("urn:a|2", false),
            ("2", true),
            ("urn:b|", false),
        ] {
            assert_eq!(matches(text), expected, "{text}");
        }
        let account =
            Json::parse(br#"{"subject":[{"reference":"Device/d"},{"reference":"Patient/p9/_history/2"}]}"#).unwrap();
        assert_eq!(patient_ids(&account), ["p9"]);
        assert!(Term::Patient("p1".into()).matches(&resource) && !Term::Patient("e".into()).matches(&resource));
        assert_eq!(Identifier::parse("|"), None);
    }

    #[test]
    fn tokens_depend_on_key_type_and_value() {
        let kind = |name| TypeName::parse(name).unwrap();
        let (one, two) = (Tokenizer::new(&Key::new([1; 32])), Tokenizer::new(&Key::new([2; 32])));
        let term = Term::Patient("p1".into());
        assert_ne!(one.term(kind("Observation"), &term), two.term(kind("Observation"), &term));
        assert_ne!(one.term(kind("Observation"), &term), one.term(kind("Condition"), &term));
        assert!(one.tokens(kind("Observation"), &resource()).contains(&one.term(kind("Observation"), &term)));
        assert_ne!(one.token(&["a", "bc"]), one.token(&["ab", "c"]));
    }
}
