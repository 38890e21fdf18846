//! Labels put on a resource and taken off it (`$meta-add`, `$meta-delete`; R4 3.2.0.4): profiles, tags, security labels.

use crate::error::Issue;
use notary::canonical::Json;

/// What `meta` holds that may be changed so.
const LABELS: [&str; 3] = ["profile", "security", "tag"];

/// A change of labels.
#[derive(Clone)]
pub struct Change {
    add: bool,
    meta: Json,
}

impl Change {
    /// Labels to put on, or to take off. Versions and times are the server's: who sends them asks for what cannot be.
    pub fn new(add: bool, meta: Json) -> Result<Self, Issue> {
        let labels =
            |(name, value): &(String, Json)| LABELS.contains(&name.as_str()) && matches!(value, Json::Array(_));
        match &meta {
            Json::Object(members) if !members.is_empty() && members.iter().all(labels) => Ok(Self { add, meta }),
            _ => Err(Issue::new(
                "value",
                "valueMeta holds lists of profile, security or tag, at least one, and nothing else",
            )),
        }
    }

    /// Puts the labels on or takes them off: one that is there already, or is not there, changes nothing.
    pub fn apply(&self, resource: &mut Json) {
        if resource.get("meta").is_none() {
            resource.set("meta", Json::Object(Vec::new()));
        }
        let Some(meta) = resource.get_mut("meta") else { return };
        for (name, labels) in self.meta.members() {
            let mut list = meta.get(name).map_or(&[][..], Json::items).to_vec();
            for label in labels.items() {
                let known = list.iter().any(|one| same(one, label));
                match (self.add, known) {
                    (true, false) => list.push(label.clone()),
                    (false, true) => list.retain(|one| !same(one, label)),
                    _ => {}
                }
            }
            // FHIR has no empty lists.
            if list.is_empty() {
                meta.remove(name);
            } else {
                meta.set(name, Json::Array(list));
            }
        }
    }
}

/// Codings are the same by system and code, whatever they are called.
fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Object(_), Json::Object(_)) => ["system", "code"].iter().all(|part| a.text(part) == b.text(part)),
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn labels_are_a_set() {
        let mut resource = json(
            r#"{"resourceType":"Basic","meta":{"versionId":"3","tag":[{"system":"s","code":"a","display":"A"}]}}"#,
        );
        let change = |add, text: &str| Change::new(add, json(text)).unwrap();
        change(true, r#"{"tag":[{"system":"s","code":"a"},{"system":"s","code":"b"}],"profile":["urn:p"]}"#)
            .apply(&mut resource);
        let meta = String::from_utf8(resource.get("meta").unwrap().canonical()).unwrap();
        assert_eq!(
            meta,
            r#"{"profile":["urn:p"],"tag":[{"code":"a","display":"A","system":"s"},{"code":"b","system":"s"}],"versionId":"3"}"#
        );
        change(false, r#"{"tag":[{"system":"s","code":"a"},{"system":"t","code":"b"}]}"#).apply(&mut resource);
        let tags = resource.get("meta").unwrap().get("tag").unwrap();
        assert_eq!(tags.items().iter().map(|t| t.text("code").unwrap()).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn only_labels_are_changed() {
        for text in ["{}", r#"{"versionId":"1"}"#, r#"{"tag":{"code":"a"}}"#, "[]"] {
            assert!(Change::new(true, json(text)).is_err(), "{text}");
        }
    }
}
