//! Value sets whose codes can be told from what was configured: listed codes, whole code systems, expansions.

use notary::canonical::Json;
use std::collections::HashMap;

/// Value sets within value sets: a chain longer than this is a loop.
const MAX_DEPTH: usize = 8;

/// The value sets and code systems, by canonical URL.
#[derive(Debug, Default)]
pub struct ValueSets {
    by_url: HashMap<String, Json>,
}

impl ValueSets {
    /// Adds one.
    pub fn add(&mut self, json: Json) {
        if let Some(url) = json.text("url") {
            self.by_url.insert(url.to_owned(), json);
        }
    }

    /// Whether a code is in a value set; None where that cannot be told here.
    pub fn has(&self, value_set: &str, system: Option<&str>, code: &str) -> Option<bool> {
        self.within(value_set, system, code, 0)
    }

    fn within(&self, url: &str, system: Option<&str>, code: &str, depth: usize) -> Option<bool> {
        let json = self.by_url.get(url.split('|').next().unwrap_or(url)).filter(|_| depth < MAX_DEPTH)?;
        if let Some(contains) = json.get("expansion").and_then(|e| e.get("contains")) {
            return Some(listed(contains.items(), system, code));
        }
        let compose = json.get("compose")?;
        let part = |name: &str| compose.get(name).map_or(&[][..], Json::items);
        let among = |parts: &[Json]| any(parts.iter().map(|part| self.in_part(part, system, code, depth)));
        Some(among(part("include"))? && !among(part("exclude"))?)
    }

    fn in_part(&self, part: &Json, system: Option<&str>, code: &str, depth: usize) -> Option<bool> {
        if part.get("filter").is_some() {
            // Another system's codes are not in it, whatever the filter says.
            return if system.is_some() && part.text("system") != system { Some(false) } else { None };
        }
        let sets = part.get("valueSet").map_or(&[][..], Json::items).iter().filter_map(Json::as_str);
        for url in sets {
            if !self.within(url, system, code, depth + 1)? {
                return Some(false);
            }
        }
        let Some(own) = part.text("system") else { return Some(true) };
        if system.is_some_and(|system| system != own) {
            return Some(false);
        }
        match part.get("concept") {
            Some(concepts) => Some(concepts.items().iter().any(|c| c.text("code") == Some(code))),
            None => self.in_system(own, code),
        }
    }

    fn in_system(&self, url: &str, code: &str) -> Option<bool> {
        let system = self.by_url.get(url).filter(|json| json.text("content") == Some("complete"))?;
        Some(has_concept(system, code))
    }
}

/// True if one is; unknown if none is for certain.
fn any(parts: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut unknown = false;
    for part in parts {
        match part {
            Some(true) => return Some(true),
            None => unknown = true,
            Some(false) => {}
        }
    }
    if unknown { None } else { Some(false) }
}

fn listed(contains: &[Json], system: Option<&str>, code: &str) -> bool {
    contains.iter().any(|entry| {
        let same = entry.text("code") == Some(code) && system.is_none_or(|system| entry.text("system") == Some(system));
        same || entry.get("contains").is_some_and(|nested| listed(nested.items(), system, code))
    })
}

fn has_concept(json: &Json, code: &str) -> bool {
    let concepts = json.get("concept").map_or(&[][..], Json::items);
    concepts.iter().any(|concept| concept.text("code") == Some(code) || has_concept(concept, code))
}
