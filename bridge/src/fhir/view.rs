//! Parts of resources: `_summary` and `_elements` (R4 3.1.1.5.8 and 3.1.1.5.9), by the flags of R4's elements. Pure.

use mappings::r4;
use notary::canonical::Json;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

/// What of a resource is to be shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum View {
    #[default]
    Whole,
    /// What R4 marks as summary, and what must be there or changes the meaning of others.
    Summary,
    /// The narrative, and what must be there.
    Text,
    /// All but the narrative.
    Data,
    /// Nothing but how many there are.
    Count,
    /// These elements, and what must be there or changes the meaning of others.
    Elements(Vec<String>),
}

/// The marked elements of a type.
#[derive(Default)]
struct Flags {
    summary: Vec<&'static str>,
    modifiers: Vec<&'static str>,
}

static FLAGS: LazyLock<HashMap<&'static str, Flags>> = LazyLock::new(|| {
    let lines = include_str!("../../data/r4-flags.tsv").lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(flags).collect()
});

fn flags(line: &'static str) -> Option<(&'static str, Flags)> {
    let mut columns = line.split('\t');
    let name = columns.next()?;
    let mut list = || columns.next().map(|names| names.split('|').filter(|name| *name != "-").collect());
    Some((name, Flags { summary: list()?, modifiers: list()? }))
}

impl View {
    /// Reads `_summary` and `_elements` out of a query; its other parameters are left to others.
    pub fn read(pairs: &[(String, String)]) -> Result<Self, String> {
        let values = |name: &str| pairs.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect::<Vec<_>>();
        match (values("_summary").as_slice(), values("_elements").as_slice()) {
            ([], []) | (["false"], []) => Ok(Self::Whole),
            (["true"], []) => Ok(Self::Summary),
            (["text"], []) => Ok(Self::Text),
            (["data"], []) => Ok(Self::Data),
            (["count"], []) => Ok(Self::Count),
            ([], lists) => {
                lists.iter().flat_map(|list| list.split(',')).map(element).collect::<Result<_, _>>().map(Self::Elements)
            }
            ([_], []) => Err("_summary: true, text, data, count or false".into()),
            _ => Err("_summary and _elements: one of them, once".into()),
        }
    }

    /// A stored resource as it is to be shown. What is not cut keeps its very bytes.
    pub fn show<'r>(&self, resource: &'r [u8]) -> Cow<'r, [u8]> {
        if *self == Self::Whole {
            return Cow::Borrowed(resource);
        }
        let cut = Json::parse(resource).ok().and_then(|json| self.cut(&json));
        cut.map_or(Cow::Borrowed(resource), |json| Cow::Owned(json.canonical()))
    }

    /// The part of a resource that is to be shown, marked as a part; nothing where it is the whole.
    pub fn cut(&self, resource: &Json) -> Option<Json> {
        let kind = resource.text("resourceType")?;
        let mut part = match self {
            Self::Whole | Self::Count => return None,
            Self::Summary => summary(resource, kind),
            Self::Text => top(resource, |name| name == "text" || is_required(kind, name)),
            Self::Data => top(resource, |name| name != "text"),
            Self::Elements(wanted) => top(resource, |name| {
                let asked = |asked: &String| match asked.split_once('.') {
                    Some((of, element)) => of == kind && element == name,
                    None => asked == name,
                };
                wanted.iter().any(asked) || is_required(kind, name) || is_modifier(kind, name)
            }),
        };
        if part == *resource {
            return None;
        }
        mark(&mut part);
        Some(part)
    }
}

/// The name of an element at the top of a resource, perhaps behind a type's.
fn element(text: &str) -> Result<String, String> {
    let text = text.trim();
    let (kind, name) = text.split_once('.').map_or((None, text), |(kind, name)| (Some(kind), name));
    let plain = !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric());
    if plain && kind.is_none_or(|kind| r4::model().is_resource(kind)) {
        return Ok(text.to_owned());
    }
    Err("_elements: names of elements at the top of a resource, separated by commas".into())
}

/// The element behind a member: of a choice the name without the type, of a primitive's extensions that of the value.
fn base(kind: &str, member: &str) -> Option<r4::Found> {
    r4::model().get(kind)?.element(member.strip_prefix('_').unwrap_or(member))
}

fn is_required(kind: &str, member: &str) -> bool {
    base(kind, member).is_some_and(|found| found.element.min > 0)
}

fn is_modifier(kind: &str, member: &str) -> bool {
    let name = base(kind, member).map(|found| found.element.name);
    FLAGS.get(kind).zip(name).is_some_and(|(flags, name)| flags.modifiers.contains(&name))
}

/// The members at the top that are kept; type, id and meta always are.
fn top(resource: &Json, keep: impl Fn(&str) -> bool) -> Json {
    let kind = resource.text("resourceType").unwrap_or("");
    let kept = |member: &str| {
        let plain = member.strip_prefix('_').unwrap_or(member);
        let name = base(kind, member).map_or(plain, |found| found.element.name);
        ["resourceType", "id", "meta"].contains(&plain) || keep(name) || keep(plain)
    };
    let members = resource.members().iter().filter(|(name, _)| kept(name)).cloned();
    Json::Object(members.collect())
}

/// The marked elements, at every level. A type of which nothing is marked belongs to its element whole.
fn summary(json: &Json, kind: &str) -> Json {
    let (Json::Object(members), Some(flags)) = (json, FLAGS.get(kind)) else { return json.clone() };
    let kept = members.iter().filter_map(|(member, value)| {
        if member == "resourceType" {
            return Some((member.clone(), value.clone()));
        }
        let found = base(kind, member)?;
        let name = found.element.name;
        let marked = flags.summary.contains(&name) || flags.modifiers.contains(&name);
        let belongs = marked || found.element.min > 0;
        belongs.then(|| (member.clone(), summary_of(value, found.type_name)))
    });
    Json::Object(kept.collect())
}

fn summary_of(value: &Json, type_name: &str) -> Json {
    match value {
        Json::Array(items) => Json::Array(items.iter().map(|item| summary_of(item, type_name)).collect()),
        one => summary(one, one.text("resourceType").unwrap_or(type_name)),
    }
}

/// A part says that it is one, so that nobody writes it back as the whole.
fn mark(part: &mut Json) {
    let tag = Json::Object(vec![
        ("system".into(), "http://terminology.hl7.org/CodeSystem/v3-ObservationValue".into()),
        ("code".into(), "SUBSETTED".into()),
    ]);
    let mut meta = part.remove("meta").unwrap_or(Json::Object(Vec::new()));
    let tags = meta.get("tag").map_or(&[][..], Json::items).iter().cloned().chain([tag]).collect();
    meta.set("tag", Json::Array(tags));
    part.set("meta", meta);
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBSERVATION: &str = r#"{"resourceType":"Observation","id":"o","meta":{"tag":[{"code":"x"}]},"text":{"status":"generated","div":"<div>x</div>"},
        "status":"final","_status":{"id":"s"},"code":{"text":"c"},"valueQuantity":{"value":1.00},"note":[{"text":"n"}],
        "component":[{"code":{"text":"y"},"interpretation":[{"text":"high"}],"valueString":"v"}],
        "modifierExtension":[{"url":"http://m","valueCode":"a"}],"subject":{"reference":"Patient/p","extension":[{"url":"http://e","valueCode":"a"}]}}"#;

    fn members(query: &str) -> Vec<String> {
        let view = View::read(&crate::http::query::pairs(query).unwrap()).unwrap();
        let part = view.cut(&Json::parse(OBSERVATION.as_bytes()).unwrap()).unwrap();
        assert!(String::from_utf8(part.canonical()).unwrap().contains(r#"{"code":"x"},{"code":"SUBSETTED""#));
        let names = part.members().iter().map(|(name, _)| name.clone());
        names.filter(|name| !["resourceType", "id", "meta"].contains(&name.as_str())).collect()
    }

    #[test]
    fn each_view_shows_its_part() {
        assert_eq!(members("_summary=text"), ["text", "status", "_status", "code"]);
        assert!(!members("_summary=data").contains(&"text".to_owned()) && members("_summary=data").len() == 8);
        let summary = ["status", "_status", "code", "valueQuantity", "component", "modifierExtension", "subject"];
        assert_eq!(
            members("_summary=true").iter().collect::<std::collections::HashSet<_>>(),
            summary.map(str::to_owned).iter().collect()
        );
        let with = |more: &[&str]| {
            let all = ["status", "_status", "code", "valueQuantity", "note", "modifierExtension"];
            all.into_iter().filter(|n| more.contains(n) || !["valueQuantity", "note"].contains(n)).collect::<Vec<_>>()
        };
        assert_eq!(members("_elements=value,note"), with(&["valueQuantity", "note"]));
        assert_eq!(members("_elements=Observation.note,Patient.value"), with(&["note"]));
    }

    #[test]
    fn a_summary_goes_down_and_keeps_digits_and_meaning() {
        let whole = OBSERVATION.as_bytes();
        let view = View::read(&[("_summary".into(), "true".into())]).unwrap();
        let text = String::from_utf8(view.show(whole).into_owned()).unwrap();
        for kept in
            [r#""value":1.00"#, r#""valueCode":"a""#, r#""component":[{"code":{"text":"y"},"valueString":"v"}]"#]
        {
            assert!(text.contains(kept), "{kept} in {text}");
        }
        assert!(!text.contains("http://e"), "extensions are no summary: {text}");
        let small = br#"{"active":true,"id":"p","resourceType":"Patient"}"#;
        assert_eq!(view.show(small), &small[..], "nothing was cut and nothing is marked");
    }

    #[test]
    fn what_is_no_view_is_refused() {
        for query in [
            "_summary=yes",
            "_summary=true&_elements=a",
            "_elements=",
            "_elements=name.family",
            "_elements=a%20b",
            "_summary=true&_summary=data",
        ] {
            assert!(View::read(&crate::http::query::pairs(query).unwrap()).is_err(), "{query}");
        }
    }
}
