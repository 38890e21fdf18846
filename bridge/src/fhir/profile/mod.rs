//! Profiles: StructureDefinitions with a snapshot, and the value sets that they bind to, as an implementation guide
//! publishes them. Pure: somebody else reads the files. References are not followed, and `mustSupport` asks for nothing here.

mod check;
mod definition;
mod fit;
mod slicing;
mod values;

use crate::error::Issue;
use crate::fhir::fhirpath::node::Node;
use crate::fhir::validate::{Findings, Severity, walk};
use definition::Profile;
use notary::canonical::Json;
use std::collections::HashMap;
use values::ValueSets;

/// All that was configured.
#[derive(Debug, Default)]
pub struct Profiles {
    by_url: HashMap<String, Profile>,
    values: ValueSets,
}

/// What [`Profiles::read`] could not use.
pub type Doubts = Vec<String>;

impl Profiles {
    /// Takes StructureDefinitions, ValueSets and CodeSystems, and passes over what else there is. The doubts say which
    /// definitions or constraints will not be checked.
    pub fn read(resources: impl IntoIterator<Item = Json>) -> (Self, Doubts) {
        let (mut profiles, mut doubts) = (Self::default(), Vec::new());
        for json in resources {
            match json.text("resourceType") {
                Some("StructureDefinition") => match Profile::read(&json, &mut doubts) {
                    Ok(profile) => _ = profiles.by_url.insert(profile.url.clone(), profile),
                    Err(doubt) => doubts.push(doubt),
                },
                Some("ValueSet" | "CodeSystem") => profiles.values.add(json),
                _ => {}
            }
        }
        (profiles, doubts)
    }

    /// How many profiles there are.
    pub fn len(&self) -> usize {
        self.by_url.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_url.is_empty()
    }

    /// The profile of that canonical URL, with or without a version.
    fn get(&self, url: &str) -> Option<&Profile> {
        self.by_url.get(url.split('|').next().unwrap_or(url))
    }

    /// Checks a resource against the profiles that were asked for, and each resource in it against those that it names.
    pub fn check(&self, resource: Node, asked: &[String], findings: &mut Findings) {
        walk::walk(resource, &mut |place| {
            let named = place.node.json.get("meta").and_then(|meta| meta.get("profile")).map_or(&[][..], Json::items);
            if Node::resource(place.node.json).is_none() {
                return;
            }
            for (n, url) in named.iter().enumerate().filter_map(|(n, url)| Some((n, url.as_str()?))) {
                let at = format!("{}.meta.profile[{n}]", place.path);
                self.one(place, url, (Severity::Information, &at), findings);
            }
            if place.within.is_none() {
                // Who nominates a profile is not told that all is well where it was not looked at (R4, $validate).
                asked.iter().for_each(|url| self.one(place, url, (Severity::Error, place.path), findings));
            }
        });
    }

    fn one(&self, place: &walk::Place, url: &str, unknown: (Severity, &str), findings: &mut Findings) {
        match self.get(url) {
            Some(profile) if profile.kind == place.node.kind => check::check(self, profile, place, findings),
            Some(_) => findings.add(Severity::Error, Issue::at("value", unknown.1, "this profile is for another type")),
            None => {
                let text = "this profile is not configured here, and was not checked";
                findings.add(unknown.0, Issue::at("not-supported", unknown.1, text));
            }
        }
    }
}

#[cfg(test)]
mod tests;
