//! When two messages speak of the same resource. An identity is a business identifier, or a key made of
//! source values under the sender's name; the bridge turns it into an id that reveals neither.

use crate::look::{At, Level, Look, Value};
use crate::path::{Place, Source};
use crate::plan::{Identify, IdentityPart};
use crate::r4::{self, Name};
use crate::run::Run;
use crate::tree::{Id, Mark, Shape};
use std::borrow::Cow;
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

/// The numbers of a map's alternatives, as they stand in a key; no map has more.
const ALTERNATIVES: [&str; 30] = [
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18", "19", "20",
    "21", "22", "23", "24", "25", "26", "27", "28", "29",
];

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
        let mut key = String::new();
        self.write_key(&mut key);
        key
    }

    fn write_key(&self, key: &mut String) {
        match self {
            Self::Identifier { system: Some(system), value, .. } => join(key, "identifier", &[system, value]),
            Self::Identifier { system: None, value, scope } => join(key, "local", &[scope, value]),
            Self::Derived(derived) => key.push_str(derived),
        }
    }
}

/// Each part with its length, so that no two lists of parts join to the same text.
fn joined(kind: &str, parts: &[&str]) -> String {
    let mut all = String::with_capacity(kind.len() + parts.iter().map(|part| part.len() + 5).sum::<usize>());
    join(&mut all, kind, parts);
    all
}

fn join(all: &mut String, kind: &str, parts: &[&str]) {
    all.push_str(kind);
    parts.iter().for_each(|part| join_part(all, part));
}

fn join_part(all: &mut String, part: &str) {
    let mut digits = [0; 20];
    let mut rest = part.len();
    let mut at = digits.len();
    while at == digits.len() || rest > 0 {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    all.push('|');
    all.push_str(std::str::from_utf8(&digits[at..]).unwrap_or_default());
    all.push(':');
    all.push_str(part);
}

/// What a draft's identity is made from: the map that may name it, where it began, and the resources that it may speak
/// of, in the order of [`crate::plan::Plan::needs`]. A message has many drafts: this is kept small.
#[derive(Debug)]
pub(crate) struct Begun {
    pub map: u32,
    /// Where there is none, [`UNBOUND`].
    pub bound: [u32; MAX_NEEDS],
    /// The place and the length of the value; nothing has no length.
    pub value: (Mark, u32),
}

/// No resource.
pub(crate) const UNBOUND: u32 = u32::MAX;

/// The most resources that an identity speaks of.
pub(crate) const MAX_NEEDS: usize = 4;

/// The texts that the alternatives of one draft ask for, each looked up once.
struct Texts<'l, 'a> {
    look: Look<'l, 'a>,
    known: Vec<(Source, Cow<'a, str>)>,
}

impl Texts<'_, '_> {
    fn of(&mut self, path: &Source) -> &str {
        let at = self.known.iter().position(|(known, _)| known == path).unwrap_or(self.known.len());
        if at == self.known.len() {
            self.known.push((*path, self.look.raw_text(path)));
        }
        &self.known[at].1
    }
}

/// The identities while they are found.
struct Found {
    /// A draft's identity: not looked at, being found, found.
    memo: Vec<Option<Option<Identity>>>,
    /// Keys grow here: a key is kept in no more than it needs.
    key: String,
    part: String,
    /// The pairs of drafts of one type of which the first refers to the other.
    pairs: Vec<(u32, u32)>,
}

impl<'a> Run<'a> {
    /// The identity of each draft.
    pub(crate) fn identities(&self) -> Vec<Option<Identity>> {
        let kind = |draft: u32| self.drafts[draft as usize].kind;
        let is_pair = |(from, to): &&(u32, u32)| from < to && kind(*from) == kind(*to);
        let pairs = self.links.iter().filter(is_pair).copied().collect();
        let mut found = Found { memo: vec![None; self.drafts.len()], key: String::new(), part: String::new(), pairs };
        (0..self.drafts.len()).for_each(|draft| self.find_identity(draft, &mut found));
        let mut identities: Vec<Option<Identity>> = found.memo.into_iter().map(Option::flatten).collect();
        number(&mut identities);
        identities
    }

    fn find_identity(&self, draft: usize, found: &mut Found) {
        if found.memo[draft].is_some() {
            return;
        }
        // Two that name each other have no identity by each other.
        found.memo[draft] = Some(None);
        let Some(begun) = &self.drafts[draft].begun else { return };
        let plan = &self.set.maps[begun.map as usize];
        let bound = begun.bound.iter().filter(|bound| **bound != UNBOUND);
        bound.for_each(|bound| self.find_identity(*bound as usize, found));
        let segment = self.drafts[draft].segment as usize;
        let look = Look { run: self, segment, here: None, value: self.value_of(begun).map(Value::whole) };
        let mut texts = Texts { look, known: Vec::with_capacity(8) };
        let identity = plan.identity.iter().enumerate().find_map(|(n, alternative)| match alternative {
            Identify::Identifier { prefer } => self.by_identifier(draft, prefer, &found.pairs),
            Identify::Parts(parts) => self.by_parts(draft, begun, (n, parts), &mut texts, found),
        });
        found.memo[draft] = Some(identity);
    }

    /// The value that a draft began with.
    fn value_of(&self, begun: &Begun) -> Option<At<'a>> {
        let (mark, length) = begun.value;
        let start = mark.offset() as usize;
        let text = self.message.text().get(start..start + length as usize).filter(|text| !text.is_empty())?;
        Some(At { text, level: Level::of(mark.level()) })
    }

    fn by_identifier(&self, draft: usize, prefer: &[String], pairs: &[(u32, u32)]) -> Option<Identity> {
        let known = &self.set.known;
        let items = self.identifiers(draft);
        let code = |item: Id| self.type_code(item).unwrap_or("");
        // A social security number is no name for a record: 999-99-9999 is everybody.
        let names = |item: &Id| !matches!(code(*item), "SS" | "SB");
        let choose = |items: &[Id]| {
            let of_type = |wanted: &String| items.iter().copied().find(|item| code(*item) == wanted);
            prefer.iter().find_map(of_type).or_else(|| items.iter().copied().find(names))
        };
        let first = choose(&items)?;
        // A merge may list the prior number beside the one that stays: the record that stays is known by the other.
        let others = pairs.iter().filter(|(from, _)| *from as usize == draft);
        let others = others.flat_map(|(_, to)| self.identifiers(*to as usize));
        let others: Vec<_> = others.map(|item| self.number(item)).collect();
        let free = |item: &Id| !others.contains(&self.number(*item)) && self.field_of(*item) == self.field_of(first);
        let chosen = match others.contains(&self.number(first)) {
            true => choose(&items.iter().copied().filter(free).collect::<Vec<_>>()).unwrap_or(first),
            false => first,
        };
        let assigner = self.tree.find(chosen, known.assigner);
        let scope = match assigner.and_then(|a| self.text(a, known.display)) {
            None | Some("") => joined("sender", &self.sender()),
            Some(authority) => joined("authority", &[self.message.header(4), authority]),
        };
        Some(Identity::Identifier {
            system: self.text(chosen, known.system).map(str::to_owned),
            value: self.text(chosen, known.value)?.to_owned(),
            scope,
        })
    }

    /// The identifiers of a draft that have a value.
    fn identifiers(&self, draft: usize) -> Vec<Id> {
        let known = &self.set.known;
        let Some(all) = self.tree.find(self.drafts[draft].root, known.identifier) else { return Vec::new() };
        let has_value = |item: &Id| self.text(*item, known.value).is_some();
        match self.tree.shape(all) {
            Shape::Array => self.tree.children(all).filter(has_value).collect(),
            _ => vec![all],
        }
    }

    /// What tells an identifier from others: system, assigner, value.
    fn number(&self, item: Id) -> [Option<&str>; 3] {
        let known = &self.set.known;
        let assigner = self.tree.find(item, known.assigner).and_then(|a| self.text(a, known.display));
        [self.text(item, known.system), assigner, self.text(item, known.value)]
    }

    /// The field that an identifier came from.
    fn field_of(&self, item: Id) -> Option<u16> {
        let value = self.tree.find(item, self.set.known.value)?;
        Some(Place::of(self.message, self.tree.reason(value)?.source).field)
    }

    fn by_parts(
        &self,
        draft: usize,
        begun: &Begun,
        (alternative, parts): (usize, &[IdentityPart]),
        texts: &mut Texts<'_, 'a>,
        found: &mut Found,
    ) -> Option<Identity> {
        if parts.iter().any(|part| matches!(part, IdentityPart::Path(path) if texts.of(path).is_empty())) {
            return None;
        }
        let needs = &self.set.maps[begun.map as usize].needs;
        let [application, facility] = self.sender();
        let Found { memo, key, part: scratch, .. } = found;
        key.clear();
        scratch.clear();
        key.push_str(r4::model().at(self.drafts[draft].kind).name);
        key.push('|');
        key.push_str(ALTERNATIVES.get(alternative).copied().unwrap_or("+"));
        scratch.extend([application, "|", facility]);
        join_part(key, scratch);
        for part in parts {
            match part {
                IdentityPart::Nth => join_part(key, NTH),
                IdentityPart::Path(path) => join_part(key, texts.of(path)),
                IdentityPart::Resource(kind) => {
                    let bound = begun.bound[needs.iter().position(|k| k == kind)?];
                    scratch.clear();
                    memo.get(bound as usize)?.as_ref()?.as_ref()?.write_key(scratch);
                    join_part(key, scratch);
                }
            }
        }
        Some(Identity::Derived(key.as_str().to_owned()))
    }

    /// MSH-3 and MSH-4.
    fn sender(&self) -> [&str; 2] {
        [self.message.header(3), self.message.header(4)]
    }

    fn text(&self, node: Id, name: Name) -> Option<&str> {
        self.tree.text(self.tree.find(node, name)?)
    }

    fn type_code(&self, identifier: Id) -> Option<&str> {
        let known = &self.set.known;
        let kind = self.tree.find(identifier, known.kind)?;
        let codings = self.tree.find(kind, known.coding)?;
        self.tree.children(codings).find_map(|coding| self.text(coding, known.code))
    }
}

/// Where the ordinal stands in a key. A NUL alone may be the sender's.
fn nth_in(key: &str) -> Option<usize> {
    memchr::memchr_iter(0, key.as_bytes()).find(|at| key[*at..].starts_with(NTH))
}

/// Puts the ordinals into the keys that have one. It stands last, or in the key of the resource that comes last.
fn number(identities: &mut [Option<Identity>]) {
    let waiting = identities.iter_mut().filter_map(|identity| match identity {
        Some(Identity::Derived(key)) if nth_in(key).is_some() => Some(key),
        _ => None,
    });
    let mut waiting: Vec<&mut String> = waiting.collect();
    // Equal ones stay in their order.
    waiting.sort();
    for same in waiting.chunk_by_mut(|one, other| one == other) {
        for (nth, key) in (1_usize..).zip(same) {
            let nth = nth.to_string();
            while let Some(at) = nth_in(key) {
                key.replace_range(at..at + NTH.len(), &nth);
            }
        }
    }
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
