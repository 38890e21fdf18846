//! What a message says changes a resource; what it is silent on stays. In HL7 v2 an empty field means "no news", and `""`
//! means "delete" (v2.8.2 chapter 2.5.3): a laboratory's short PID must not wipe an address out.

use notary::canonical::Json;
use std::collections::{HashMap, HashSet};

/// Elements that gather instead of being replaced: another sender's identifier is still an identifier.
const GATHERED: &[&str] = &["identifier", "link"];

/// The existing resource with what it lacks put in: for a message that speaks of it second-hand, as a result does of
/// the visit.
pub fn fill(existing: &Json, news: &Json) -> Json {
    let mut filled = existing.clone();
    for (name, value) in news.members() {
        if !has(existing, name.trim_start_matches('_')) && !has_other_choice(existing, news, name) {
            filled.set(name, value.clone());
        }
    }
    filled
}

/// What a message makes of the existing resource: its own words changed, `gaps` only filled, all only filled where it speaks
/// of the resource second-hand (`weak`).
pub fn news(existing: &Json, mut news: Json, deleted: &[&str], weak: bool, gaps: &[&str]) -> Json {
    if has_ended(existing) && gaps.contains(&"status") && !tells_end(&news) {
        // An update of a visit that is over: where the patient is now is not told by it.
        news.remove("location");
    }
    for name in gaps.iter().filter(|name| has(existing, name)) {
        news.remove(name);
        news.remove(&format!("_{name}"));
    }
    if weak {
        return fill(existing, &news);
    }
    let mut merged = merge(existing, &news, deleted);
    if has_ended(existing) && news.text("status").is_some_and(|status| OPEN.contains(&status)) && !tells_end(&news) {
        // Opened again, as by A13: it has no end any more.
        let mut period = merged.get("period").cloned().unwrap_or(Json::Null);
        period.remove("end");
        merged.set("period", period);
    }
    merged
}

/// The statuses of a visit that goes on or is still to come.
const OPEN: &[&str] = &["planned", "arrived", "triaged", "in-progress", "onleave"];

/// Whether a resource is a visit that is over, with its end.
fn has_ended(visit: &Json) -> bool {
    visit.text("resourceType") == Some("Encounter") && visit.text("status") == Some("finished") && tells_end(visit)
}

fn tells_end(visit: &Json) -> bool {
    visit.get("period").is_some_and(|period| has(period, "end"))
}

/// Whether a resource has an element, or says why it is absent.
pub fn has(json: &Json, name: &str) -> bool {
    json.get(name).is_some() || json.get(&format!("_{name}")).is_some()
}

/// The existing resource with the message's elements put in and its deletions taken out.
pub fn merge(existing: &Json, news: &Json, deleted: &[&str]) -> Json {
    let mut merged = existing.clone();
    for name in deleted {
        merged.remove(name);
        merged.remove(&format!("_{name}"));
    }
    for (name, value) in news.members() {
        if matches!(name.as_str(), "id" | "meta") {
            continue;
        }
        remove_other_choice(&mut merged, news, name);
        if let Some(plain) = name.strip_prefix('_').filter(|plain| news.get(plain).is_none()) {
            // What is said to be unknown now is not what was known before.
            merged.remove(plain);
        }
        match (GATHERED.contains(&name.as_str()), merged.get(name)) {
            (true, Some(Json::Array(old))) => {
                let gathered = gather(old, value.items());
                merged.set(name, Json::Array(gathered));
            }
            (_, Some(old)) if grows(news, name) => {
                let grown = merge(old, value, &[]);
                merged.set(name, grown);
            }
            _ => merged.set(name, value.clone()),
        }
        drop_shadow(&mut merged, news, name);
    }
    merged
}

/// A period, or a part of the resource that stands once: `period.end` does not end what is known of its start.
fn grows(news: &Json, name: &str) -> bool {
    let kind = news.text("resourceType").and_then(|t| mappings::r4::model().get(t));
    kind.and_then(|k| k.element(name)).is_some_and(|found| {
        let backbone =
            mappings::r4::model().get(found.type_name).is_some_and(|t| t.kind == mappings::r4::Kind::Backbone);
        !found.element.repeats && (backbone || found.type_name == "Period")
    })
}

/// A new value does not keep the old one's extensions: another birth date has another time of birth.
fn drop_shadow(merged: &mut Json, news: &Json, name: &str) {
    let shadow = format!("_{name}");
    if !name.starts_with('_') && news.get(&shadow).is_none() {
        merged.remove(&shadow);
    }
}

/// `deceasedDateTime` replaces `deceasedBoolean`: a choice has one type at a time.
fn remove_other_choice(merged: &mut Json, news: &Json, name: &str) {
    for other in other_choices(merged, news, name) {
        merged.remove(&other);
    }
}

fn has_other_choice(existing: &Json, news: &Json, name: &str) -> bool {
    !other_choices(existing, news, name).is_empty()
}

/// The members that are another type of the same choice.
fn other_choices(json: &Json, news: &Json, name: &str) -> Vec<String> {
    let Some(kind) = news.text("resourceType").and_then(|t| mappings::r4::model().get(t)) else { return Vec::new() };
    let Some(found) = kind.element(name).filter(|f| f.element.choice) else { return Vec::new() };
    let same = |n: &str| kind.element(n).is_some_and(|f| std::ptr::eq(f.element, found.element));
    json.members().iter().map(|(n, _)| n.clone()).filter(|n| n != name && same(n)).collect()
}

/// Old items stay unless a new one is of the same system and value, or is the same link.
fn gather(old: &[Json], new: &[Json]) -> Vec<Json> {
    let known: HashSet<_> = old.iter().map(gathered_by).collect();
    let mut newest = HashMap::new();
    new.iter().for_each(|item| _ = newest.entry(gathered_by(item)).or_insert(item));
    // In place: news that says nothing new must not even change the order.
    let kept = old.iter().map(|item| newest.get(&gathered_by(item)).copied().unwrap_or(item));
    let added = new.iter().filter(|item| !known.contains(&gathered_by(item)));
    kept.chain(added).cloned().collect()
}

/// What makes two items of a gathered element the same.
fn gathered_by(item: &Json) -> [Option<&str>; 4] {
    let other = item.get("other").and_then(|o| o.text("reference"));
    [item.text("system"), item.text("value"), other, item.text("type")]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_said_to_be_unknown_replaces_what_was_known_unless_it_only_fills_a_gap() {
        let old = json(r#"{"resourceType":"Appointment","start":"2026-01-01T10:00:00Z","end":"2026-01-01T11:00:00Z"}"#);
        let unknown = r#""_end":{"extension":[{"url":"http://x","valueCode":"unknown"}]}"#;
        let moved = json(&format!(r#"{{"resourceType":"Appointment","start":"2026-02-01T10:00:00Z",{unknown}}}"#));
        assert_eq!(news(&old, moved, &[], false, &[]).get("end"), None, "the old end is not that of the new start");
        let silent = || json(&format!(r#"{{"resourceType":"Appointment",{unknown}}}"#));
        assert_eq!(news(&old, silent(), &[], false, &["end"]), old);
        assert_eq!(news(&old, silent(), &[], true, &[]), old);
    }

    #[test]
    fn a_visit_that_is_over_is_opened_wholly_or_not_at_all() {
        let old = json(
            r#"{"resourceType":"Encounter","status":"finished","period":{"start":"2026-01-01","end":"2026-01-02"},
            "location":[{"status":"completed"}]}"#,
        );
        let open = || json(r#"{"resourceType":"Encounter","status":"in-progress","location":[{"status":"active"}]}"#);
        assert_eq!(news(&old, open(), &[], false, &["status"]), old, "an update tells no event");
        let opened = news(&old, open(), &[], false, &[]);
        assert_eq!(opened.text("status"), Some("in-progress"));
        assert_eq!(opened.get("period").map(|p| (p.text("start"), p.text("end"))), Some((Some("2026-01-01"), None)));
    }

    #[test]
    fn silence_keeps_news_replaces_and_deletion_deletes() {
        let existing = json(
            r#"{"resourceType":"Patient","id":"1","identifier":[{"system":"a","value":"1"},{"system":"b","value":"2"}],
            "gender":"male","birthDate":"1980","deceasedBoolean":false,"address":[{"city":"X"}]}"#,
        );
        let news = json(
            r#"{"resourceType":"Patient","identifier":[{"system":"b","value":"2","use":"old"},{"system":"c","value":"3"}],
            "gender":"female","deceasedDateTime":"2020"}"#,
        );
        let merged = merge(&existing, &news, &["birthDate"]);
        let expected = json(
            r#"{"resourceType":"Patient","id":"1","identifier":[{"system":"a","value":"1"},{"system":"b","value":"2","use":"old"},
            {"system":"c","value":"3"}],"gender":"female","address":[{"city":"X"}],"deceasedDateTime":"2020"}"#,
        );
        assert_eq!(merged.canonical(), expected.canonical());
        let stay = json(r#"{"resourceType":"Encounter","period":{"start":"2020"},"_status":{"id":"x"}}"#);
        let end = json(r#"{"resourceType":"Encounter","status":"finished","period":{"end":"2021"}}"#);
        let grown = merge(&stay, &end, &[]);
        let period = grown.get("period").map(Json::canonical);
        assert_eq!(period.as_deref(), Some(br#"{"end":"2021","start":"2020"}"#.as_slice()));
        assert_eq!(grown.get("_status"), None);
        let order = |j: &Json| {
            j.get("identifier")
                .map(|i| i.items().iter().map(|x| x.text("system").map(str::to_owned)).collect::<Vec<_>>())
        };
        let short = json(r#"{"resourceType":"Patient","identifier":[{"system":"a","value":"1"}]}"#);
        assert_eq!(order(&merge(&existing, &short, &[])), order(&existing), "no news, no change");
        let filled = fill(&existing, &news);
        assert_eq!((filled.text("gender"), filled.get("deceasedDateTime")), (Some("male"), None));
        assert_eq!(fill(&json("{\"id\":\"1\"}"), &news).text("gender"), Some("female"));
        assert_eq!(merge(&merged, &news, &[]).canonical(), expected.canonical(), "saying it again changes nothing");
    }
}
