//! Which slice an element belongs to.

use super::Profiles;
use super::definition::{Discriminator, Element, Profile, Slicing};
use super::fit;
use crate::fhir::fhirpath::Scope;
use crate::fhir::fhirpath::node::{Item, Node};
use notary::canonical::Json;

/// What a slice wants at a discriminator's path.
enum Wanted {
    Fixed(Json),
    Pattern(Json),
    ValueSet(String),
}

/// Whether a node is in a slice; None where that cannot be told.
pub fn matches(
    profiles: &Profiles,
    profile: &Profile,
    slicing: &Slicing,
    slice: &Element,
    scope: &Scope,
) -> Option<bool> {
    let mut all = Some(true);
    for discriminator in &slicing.discriminators {
        match holds(profiles, profile, discriminator, slice, scope) {
            Some(false) => return Some(false),
            Some(true) => {}
            None => all = None,
        }
    }
    if slicing.discriminators.is_empty() { None } else { all }
}

fn holds(profiles: &Profiles, profile: &Profile, by: &Discriminator, slice: &Element, scope: &Scope) -> Option<bool> {
    match by.kind.as_str() {
        "value" | "pattern" => {
            let wanted = wanted(profile, by, slice)?;
            let mut unknown = false;
            for item in by.path.items(scope)? {
                match has(profiles, &wanted, &item) {
                    Some(true) => return Some(true),
                    None => unknown = true,
                    Some(false) => {}
                }
            }
            if unknown { None } else { Some(false) }
        }
        "type" => {
            let types = &at(profile, slice, &by.text)?.types;
            let found =
                if by.text == "resolve()" { referred(scope.context).into_iter().collect() } else { kinds(by, scope)? };
            Some(found.iter().any(|kind| types.iter().any(|(code, _)| code == kind)))
        }
        "exists" => {
            let element = at(profile, slice, &by.text)?;
            let exists = !by.path.items(scope)?.is_empty();
            Some(if element.max == Some(0) { !exists } else { exists })
        }
        // By the type that the profile is for: whether the whole profile fits would be asked again and again.
        "profile" => {
            let wanted: Vec<&str> = at(profile, slice, &by.text)?
                .types
                .iter()
                .flat_map(|(_, urls)| urls)
                .filter_map(|url| profiles.get(url))
                .map(|p| p.kind)
                .collect();
            let found = kinds(by, scope)?;
            if wanted.is_empty() || found.is_empty() {
                None
            } else {
                Some(found.iter().any(|kind| wanted.contains(kind)))
            }
        }
        _ => None,
    }
}

fn kinds(by: &Discriminator, scope: &Scope) -> Option<Vec<&'static str>> {
    let items = by.path.items(scope)?;
    Some(items.iter().filter_map(|item| if let Item::Node(node) = item { Some(node.kind) } else { None }).collect())
}

/// The type that a literal reference names.
fn referred(node: Node) -> Option<&'static str> {
    let mut parts = node.json.text("reference")?.rsplit('/').skip(1);
    mappings::r4::model().get(parts.next()?).map(|t| t.name)
}

/// The element at a discriminator's path, below a slice.
fn at<'p>(profile: &'p Profile, slice: &'p Element, path: &str) -> Option<&'p Element> {
    let names = path.split('.').filter(|name| *name != "$this" && !name.contains('('));
    names.into_iter().try_fold(slice, |element, name| child(profile, element, name))
}

fn child<'p>(profile: &'p Profile, element: &Element, name: &str) -> Option<&'p Element> {
    element.children.iter().map(|&n| &profile.elements[n]).find(|child| child.name == name)
}

/// A slice says what it wants at the path itself, or above it in a pattern, or as the URL of an extension.
fn wanted(profile: &Profile, by: &Discriminator, slice: &Element) -> Option<Wanted> {
    let names: Vec<&str> = by.text.split('.').filter(|name| *name != "$this").collect();
    let mut element = slice;
    let mut rest = names.as_slice();
    loop {
        if let Some(wanted) = own(element, rest) {
            return Some(wanted);
        }
        let (name, below) = rest.split_first()?;
        match child(profile, element, name) {
            Some(next) => (element, rest) = (next, below),
            None if *name == "url" => return extension_url(element),
            None => return None,
        }
    }
}

fn own(element: &Element, rest: &[&str]) -> Option<Wanted> {
    let part = |json: &Json| rest.iter().try_fold(json.clone(), |json, name| part_of(&json, name));
    if let Some(fixed) = element.fixed.as_ref().and_then(part) {
        return Some(Wanted::Fixed(fixed));
    }
    if let Some(pattern) = element.pattern.as_ref().and_then(part) {
        return Some(Wanted::Pattern(pattern));
    }
    element.value_set.clone().filter(|_| rest.is_empty()).map(Wanted::ValueSet)
}

/// A member, through an array with one item.
fn part_of(json: &Json, name: &str) -> Option<Json> {
    match json {
        Json::Array(items) => items.first()?.get(name).cloned(),
        json => json.get(name).cloned(),
    }
}

fn extension_url(element: &Element) -> Option<Wanted> {
    let url = element.types.iter().flat_map(|(_, urls)| urls).next()?;
    Some(Wanted::Fixed(url.split('|').next().unwrap_or(url).into()))
}

fn has(profiles: &Profiles, wanted: &Wanted, item: &Item) -> Option<bool> {
    let Item::Node(node) = item else { return None };
    match wanted {
        Wanted::Fixed(fixed) => Some(fit::is_fixed(fixed, node.json)),
        Wanted::Pattern(Json::Array(patterns)) => Some(patterns.iter().any(|pattern| fit::fits(pattern, node.json))),
        Wanted::Pattern(pattern) => Some(fit::fits(pattern, node.json)),
        Wanted::ValueSet(url) => super::check::is_bound(profiles, url, *node),
    }
}
