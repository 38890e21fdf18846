//! What people read of a resource: codes as words, values with their units, all of it plain text. Pure.

use notary::canonical::Json;

/// The words of a CodeableConcept: its text, else what a coding is called, else a code.
pub fn concept(json: &Json) -> String {
    let codings = items(json, "coding");
    let called = || codings.iter().find_map(|c| c.text("display"));
    let code = || codings.iter().find_map(|c| c.text("code"));
    json.text("text").or_else(called).or_else(code).unwrap_or("").to_owned()
}

/// The words of a member that is a CodeableConcept, or a list of them.
pub fn concepts(json: &Json, name: &str) -> String {
    match json.get(name) {
        Some(Json::Array(list)) => joined(list.iter().map(concept), ", "),
        Some(one) => concept(one),
        None => String::new(),
    }
}

/// Whether a CodeableConcept has one of these codes.
pub fn coded(concept: &Json, codes: &[&str]) -> bool {
    items(concept, "coding").iter().any(|c| c.text("code").is_some_and(|code| codes.contains(&code)))
}

/// `6.3 mmol/L`, digit for digit.
pub fn quantity(json: &Json) -> String {
    let Some(Json::Number(value)) = json.get("value") else { return String::new() };
    let unit = json.text("unit").or_else(|| json.text("code")).unwrap_or("");
    joined([json.text("comparator").unwrap_or(""), value, unit].map(str::to_owned), " ")
}

/// `from - to`, either of which may be missing.
pub fn range(json: &Json) -> String {
    let end = |name| json.get(name).map(quantity).unwrap_or_default();
    match (end("low"), end("high")) {
        (low, high) if low.is_empty() && high.is_empty() => String::new(),
        (low, high) if low.is_empty() => format!("up to {high}"),
        (low, high) if high.is_empty() => format!("from {low}"),
        (low, high) => format!("{low} to {high}"),
    }
}

/// A member that may have several types (`value[x]`), in words.
pub fn choice(json: &Json, name: &str) -> String {
    let chosen = |(key, _): &&(String, Json)| {
        key.strip_prefix(name).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
    };
    json.members().iter().find(chosen).map(|(_, value)| any(value)).unwrap_or_default()
}

/// A value by its form; nothing for one that has no words of its own.
pub fn any(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Number(lexeme) => lexeme.to_string(),
        Json::Bool(truth) => if *truth { "yes" } else { "no" }.to_owned(),
        _ if value.get("coding").is_some() || value.get("text").is_some() => concept(value),
        _ if value.get("start").is_some() || value.get("end").is_some() => period(value),
        _ if value.get("low").is_some() || value.get("high").is_some() => range(value),
        _ if value.get("numerator").is_some() => {
            let part = |name| value.get(name).map(quantity).unwrap_or_default();
            format!("{} : {}", part("numerator"), part("denominator"))
        }
        _ => quantity(value),
    }
}

fn period(json: &Json) -> String {
    let end = |name| json.text(name).map(day).unwrap_or_default();
    format!("{} to {}", end("start"), end("end")).trim().to_owned()
}

/// The day of a date or time; what is less precise stays so.
pub fn day(text: &str) -> String {
    text.split('T').next().unwrap_or(text).to_owned()
}

/// The result of an observation: its value, its components, or why there is none.
pub fn result(observation: &Json) -> String {
    let value = choice(observation, "value");
    if !value.is_empty() {
        return value;
    }
    let part = |c: &Json| joined([concepts(c, "code"), choice(c, "value")], " ");
    let parts = joined(items(observation, "component").iter().map(part), "; ");
    if parts.is_empty() { concepts(observation, "dataAbsentReason") } else { parts }
}

/// A person's name as it is written; the official one first.
pub fn person(resource: &Json) -> String {
    let names = items(resource, "name");
    let official = names.iter().find(|n| n.text("use") == Some("official"));
    let Some(name) = official.or(names.first()) else { return String::new() };
    if let Some(text) = name.text("text") {
        return text.to_owned();
    }
    let list = |key| items(name, key).iter().filter_map(Json::as_str).map(str::to_owned);
    let family = name.text("family").map(str::to_owned);
    joined(list("prefix").chain(list("given")).chain(family).chain(list("suffix")), " ")
}

/// The items of a list.
pub fn items<'j>(json: &'j Json, name: &str) -> &'j [Json] {
    json.get(name).map_or(&[], Json::items)
}

/// What is not empty, with something between.
pub fn joined(parts: impl IntoIterator<Item = String>, between: &str) -> String {
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(between)
}

/// Text as it may stand in HTML and XHTML, also in an attribute. Characters that XML does not have become spaces.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn values_are_told_in_words() {
        for (text, told) in [
            (r#"{"valueQuantity":{"value":6.30,"unit":"mmol/L"}}"#, "6.30 mmol/L"),
            (r#"{"valueQuantity":{"value":5,"comparator":"<","code":"mg"}}"#, "< 5 mg"),
            (r#"{"valueCodeableConcept":{"coding":[{"code":"x","display":"Never smoked"}]}}"#, "Never smoked"),
            (r#"{"valueBoolean":false}"#, "no"),
            (r#"{"valueRange":{"low":{"value":1},"high":{"value":2,"unit":"h"}}}"#, "1 to 2 h"),
            (r#"{"valueRatio":{"numerator":{"value":1},"denominator":{"value":128}}}"#, "1 : 128"),
            (r#"{"valuePeriod":{"start":"2024-01-02T10:00:00Z"}}"#, "2024-01-02 to"),
            (
                r#"{"component":[{"code":{"text":"Systolic"},"valueQuantity":{"value":120,"unit":"mmHg"}},
                    {"code":{"text":"Diastolic"},"valueQuantity":{"value":80,"unit":"mmHg"}}]}"#,
                "Systolic 120 mmHg; Diastolic 80 mmHg",
            ),
            (r#"{"dataAbsentReason":{"text":"clotted"}}"#, "clotted"),
            (r#"{"values":"x"}"#, ""),
        ] {
            assert_eq!(result(&json(text)), told, "{text}");
        }
        let patient =
            r#"{"name":[{"use":"nickname","text":"Adi"},{"use":"official","given":["Ada","L."],"family":"Novak"}]}"#;
        assert_eq!(person(&json(patient)), "Ada L. Novak");
    }

    proptest! {
        #[test]
        fn escaped_text_opens_no_tag_and_no_attribute(text in "\\PC{0,40}|[<>&\"'\u{0}-\u{1f}]{0,20}") {
            let escaped = escape(&text);
            prop_assert!(!escaped.contains(['<', '>', '"', '\'']));
            prop_assert!(escaped.chars().all(|c| !c.is_control()));
        }
    }
}
