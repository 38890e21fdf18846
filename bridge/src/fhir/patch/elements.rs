//! Elements as FHIR has them, over the JSON that holds them: a primitive's value and extensions are two members, a list of
//! primitives two arrays, a choice has its type in its name (R4 2.6.2).

use super::path::{Segment, get_mut};
use crate::error::Issue;
use mappings::r4::{self, Found};
use notary::canonical::Json;

/// A value and its extensions; each may be null, for absent.
#[derive(Clone, PartialEq)]
pub struct Value {
    pub json: Json,
    pub shadow: Json,
    /// The type's name as it stands behind a choice, such as `Quantity`; empty where it was not said.
    pub suffix: String,
}

impl Value {
    /// Nothing.
    pub fn none() -> Self {
        Self { json: Json::Null, shadow: Json::Null, suffix: String::new() }
    }
}

/// The element of a name in a type, and its member's name in JSON.
pub fn element(kind: &str, name: &str, value: &Value) -> Result<(Found, String), Issue> {
    let model = r4::model().get(kind).ok_or_else(|| Issue::new("structure", "has no elements"))?;
    let names = [name.to_owned(), format!("{name}{}", value.suffix)];
    names
        .into_iter()
        .find_map(|name| model.element(&name).map(|found| (found, name)))
        .ok_or_else(|| Issue::new("structure", format!("{kind} has no such element of this type")))
}

/// The items of a member that is a list.
pub fn list(object: &Json, member: &str) -> Vec<Value> {
    let shadow_name = format!("_{member}");
    let items = |name: &str| object.get(name).map_or(&[][..], Json::items);
    let (plain, shadow) = (items(member), items(&shadow_name));
    let at = |list: &[Json], n: usize| list.get(n).cloned().unwrap_or(Json::Null);
    let one = |n| Value { json: at(plain, n), shadow: at(shadow, n), ..Value::none() };
    (0..plain.len().max(shadow.len())).map(one).collect()
}

/// Puts a list back; nothing of it stays where it is empty.
pub fn set_list(object: &mut Json, member: &str, values: Vec<Value>) {
    let (plain, shadow): (Vec<Json>, Vec<Json>) = values.into_iter().map(|v| (v.json, v.shadow)).unzip();
    for (name, items) in [(member.to_owned(), plain), (format!("_{member}"), shadow)] {
        if items.iter().all(|item| *item == Json::Null) {
            object.remove(&name);
        } else {
            object.set(&name, Json::Array(items));
        }
    }
}

/// Puts a single value in.
pub fn set(object: &mut Json, member: &str, value: Value) {
    for (name, json) in [(member.to_owned(), value.json), (format!("_{member}"), value.shadow)] {
        if json == Json::Null {
            object.remove(&name);
        } else {
            object.set(&name, json);
        }
    }
}

/// Whether an object has the element, in whatever type of a choice.
pub fn has(object: &Json, kind: &str, element: &Found) -> bool {
    let model = r4::model().get(kind);
    let same = |name: &str| {
        let found = model.and_then(|model| model.element(name.strip_prefix('_').unwrap_or(name)));
        found.is_some_and(|found| found.element.name == element.element.name)
    };
    object.members().iter().any(|(name, _)| same(name))
}

/// Takes what is at a place out, and tells what held it and by which member.
pub fn take<'j>(resource: &'j mut Json, place: &[Segment]) -> Option<(&'j mut Json, String, Option<usize>)> {
    let (member, item, above) = match place {
        [above @ .., Segment::Member(member), Segment::Item(n)] => (member.clone(), Some(*n), above),
        [above @ .., Segment::Member(member)] => (member.clone(), None, above),
        _ => return None,
    };
    let object = get_mut(resource, above)?;
    match item {
        Some(n) => {
            let mut values = list(object, &member);
            (n < values.len()).then(|| values.remove(n))?;
            set_list(object, &member, values);
        }
        None => {
            object.remove(&member);
            object.remove(&format!("_{member}"));
        }
    }
    Some((object, member, item))
}
