//! When two messages speak of the same resource. An identity is a business identifier, or a key made of
//! source values under the sender's name; the bridge turns it into an id that reveals neither.

use crate::engine::{Run, Work};
use crate::look::Look;
use crate::plan::{Identify, IdentityPart};
use crate::tree::Node;
use std::collections::HashMap;
use std::fmt;

/// How a resource is recognised in later messages.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Identity {
    /// One of the resource's own identifiers. Without a system it only means something inside `scope`:
    /// the sender, and the assigning authority where one was named.
    Identifier { system: Option<String>, value: String, scope: String },
    /// Source values that together name it, already scoped by the sender.
    Derived(String),
}

/// Stands for the ordinal until all keys of a message are known; no decoded text holds it.
const NTH: &str = "\u{0}nth\u{0}";

impl fmt::Debug for Identity {
    /// An identity names a patient: it does not print.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identifier { .. } => "Identity::Identifier(<redacted>)",
            Self::Derived(_) => "Identity::Derived(<redacted>)",
        })
    }
}

impl Identity {
    /// The whole identity as one unambiguous text, to be hashed under a key.
    pub fn key(&self) -> String {
        match self {
            Self::Identifier { system: Some(system), value, .. } => joined("identifier", &[system, value]),
            Self::Identifier { system: None, value, scope } => joined("local", &[scope, value]),
            Self::Derived(key) => key.clone(),
        }
    }
}

/// Each part with its length, so that no two lists of parts join to the same text.
fn joined(kind: &str, parts: &[&str]) -> String {
    parts.iter().fold(kind.to_owned(), |all, part| format!("{all}|{}:{part}", part.len()))
}

impl Run<'_, '_> {
    /// The identity of each draft.
    pub(crate) fn identities(&self) -> Vec<Option<Identity>> {
        let mut seen: HashMap<String, usize> = HashMap::new();
        let mut number = |identity: Identity| match identity {
            Identity::Derived(key) if key.contains(NTH) => {
                let count = seen.entry(key.clone()).or_default();
                *count += 1;
                Identity::Derived(key.replace(NTH, &count.to_string()))
            }
            other => other,
        };
        (0..self.drafts.len()).map(|draft| self.identity(draft, 0).map(&mut number)).collect()
    }

    fn identity(&self, draft: usize, depth: usize) -> Option<Identity> {
        let work = &self.drafts[draft];
        let origin = work.origin.as_ref()?;
        let plan = &self.set.maps[origin.map];
        plan.identity.iter().enumerate().find_map(|(n, alternative)| match alternative {
            Identify::Identifier { prefer } => self.by_identifier(work, prefer),
            Identify::Parts(parts) => self.by_parts(draft, n, parts, depth),
        })
    }

    fn by_identifier(&self, work: &Work<'_>, prefer: &[String]) -> Option<Identity> {
        let all = work.root.field("identifier")?;
        let items: Vec<&Node> = match all {
            Node::Object(_) => vec![all],
            _ => all.items().filter(|i| text(i, "value").is_some()).collect(),
        };
        // A social security number is no name for a record: 999-99-9999 is everybody.
        let names = |i: &&&Node| !matches!(type_code(i), Some("SS" | "SB"));
        let of_type = |code: &str| items.iter().find(|i| type_code(i) == Some(code));
        let chosen = prefer.iter().find_map(|code| of_type(code)).or_else(|| items.iter().find(names))?;
        let authority = chosen.field("assigner").and_then(|a| text(a, "display")).unwrap_or("");
        let scope = match authority {
            "" => joined("sender", &[&self.sender]),
            authority => joined("authority", &[self.message.header(4), authority]),
        };
        Some(Identity::Identifier {
            system: text(chosen, "system").map(str::to_owned),
            value: text(chosen, "value")?.to_owned(),
            scope,
        })
    }

    fn by_parts(&self, draft: usize, alternative: usize, parts: &[IdentityPart], depth: usize) -> Option<Identity> {
        // Identities name each other (a Condition its Patient) at most this deep.
        const MAX_DEPTH: usize = 4;
        if depth > MAX_DEPTH {
            return None;
        }
        let work = &self.drafts[draft];
        let origin = work.origin.as_ref()?;
        let look = Look { run: self, segment: origin.segment, here: None, value: origin.value };
        let texts = parts.iter().map(|part| match part {
            IdentityPart::Nth => Some(NTH.to_owned()),
            IdentityPart::Path(path) => Some(look.raw_text(path)).filter(|t| !t.is_empty()),
            IdentityPart::Resource(name) => {
                let bound = origin.bound.iter().rev().find(|(t, _)| t == name)?.1;
                self.identity(bound, depth + 1).map(|identity| identity.key())
            }
        });
        let texts: Vec<String> = texts.collect::<Option<_>>()?;
        let kind = format!("{}|{alternative}", work.type_name);
        let mut all: Vec<&str> = vec![&self.sender];
        all.extend(texts.iter().map(String::as_str));
        Some(Identity::Derived(joined(&kind, &all)))
    }
}

fn text<'n>(node: &'n Node, name: &'static str) -> Option<&'n str> {
    node.field(name)?.text()
}

fn type_code(identifier: &Node) -> Option<&str> {
    identifier.field("type")?.field("coding")?.items().find_map(|coding| text(coding, "code"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_lists_of_parts_make_one_key_and_none_prints() {
        assert_ne!(joined("k", &["a", "bc"]), joined("k", &["ab", "c"]));
        assert_ne!(joined("k", &["a|1:b"]), joined("k", &["a", "b"]));
        let with = |system: Option<&str>| Identity::Identifier {
            system: system.map(str::to_owned),
            value: "7".into(),
            scope: "s".into(),
        };
        assert_ne!(with(Some("s")).key(), with(None).key());
        assert!(!format!("{:?}", with(Some("urn:secret"))).contains("secret"));
    }
}
