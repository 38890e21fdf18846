//! The patient report as one page of HTML that prints on A4: no script, no link to anything outside, every word from the
//! record escaped. Pure.

pub mod chart;

use super::display::{concepts, escape, items, joined, person};
use super::summary::sections::{SECTIONS, Section};
use super::summary::{Index, newest, table};
use notary::canonical::Json;
use notary::commitment::Digest;
use std::collections::BTreeSet;

/// The only style; the page's policy allows it by its hash.
pub const STYLE: &str = include_str!("report.css");
/// Of each code the newest so many stand in a table; the charts show more.
const ROWS: usize = 3;

/// What a report is made of.
pub struct Parts<'p> {
    pub base: &'p str,
    pub custodian: &'p str,
    /// An instant.
    pub now: &'p str,
    pub patient: &'p Json,
    /// For each section, in its order.
    pub chosen: &'p [Vec<Json>],
    pub referred: &'p [Json],
    /// Types that the reader may not see.
    pub withheld: &'p [&'p str],
    /// What is shown, version by version.
    pub versions: &'p [Version],
    /// The log's verifier key.
    pub log_key: &'p str,
}

/// One version of a resource, and its place in the log.
pub struct Version {
    /// `Patient/1/_history/2`.
    pub reference: String,
    /// The hash of its leaf; none: it is not in the log yet.
    pub leaf: Option<String>,
}

impl Version {
    fn line(&self) -> String {
        format!("{} {}", self.reference, self.leaf.as_deref().unwrap_or("not in the log yet"))
    }
}

/// One number for all versions in a report: SHA-256 of their lines, each with a newline.
pub fn verification_code(versions: &[Version]) -> String {
    let lines: String = versions.iter().map(|version| version.line() + "\n").collect();
    Digest::of(lines.as_bytes()).to_string()
}

/// The page.
pub fn page(parts: &Parts<'_>) -> String {
    let resources = std::iter::once(parts.patient).chain(parts.chosen.iter().flatten()).chain(parts.referred);
    let index = Index::of(parts.base, resources);
    let sections: String = SECTIONS.iter().zip(parts.chosen).map(|(s, chosen)| section(s, chosen, &index)).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Patient report</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>\
         {header}<main>{withheld}{sections}</main>{verification}</body></html>\n",
        header = header(parts),
        withheld = withheld(parts.withheld),
        verification = verification(parts),
    )
}

fn header(parts: &Parts<'_>) -> String {
    let patient = parts.patient;
    let numbers = joined(numbers(patient), "; ");
    let told = |name| patient.text(name).unwrap_or("").to_owned();
    let facts = [
        ("Born", told("birthDate")),
        ("Sex", told("gender")),
        ("Numbers", numbers),
        ("Record", format!("Patient/{}", told("id"))),
        ("Made at", parts.now.to_owned()),
    ];
    let facts: String = facts
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("<div><dt>{name}</dt><dd>{}</dd></div>", escape(value)))
        .collect();
    format!("<header><p>{}</p><h1>{}</h1><dl>{facts}</dl></header>", escape(parts.custodian), escape(&person(patient)))
}

/// Each identifier with what kind it is, once.
fn numbers(patient: &Json) -> BTreeSet<String> {
    let one = |i: &Json| joined([concepts(i, "type"), i.text("value").unwrap_or("").to_owned()], " ");
    items(patient, "identifier").iter().map(one).collect()
}

fn withheld(types: &[&str]) -> String {
    if types.is_empty() {
        return String::new();
    }
    format!("<p class=\"warning\">Left out, because the reader may not see it: {}.</p>", escape(&types.join(", ")))
}

fn section(section: &Section, chosen: &[Json], index: &Index<'_>) -> String {
    let content = match (chosen, &section.absent) {
        ([], None) => return String::new(),
        ([], Some(absent)) => format!("<p>{}.</p>", escape(absent.display)),
        _ => {
            let rows = newest(section, chosen.to_vec(), Some(ROWS), Json::clone);
            table(section, &rows, index) + &chart::charts(chosen)
        }
    };
    format!("<section><h2>{}</h2>{content}</section>", section.title)
}

fn verification(parts: &Parts<'_>) -> String {
    let lines: String = parts.versions.iter().map(|version| version.line() + "\n").collect();
    format!(
        "<footer><h2>Verification</h2><p>Verification code <b>{code}</b></p>\
         <p>It is the SHA-256 of the lines below: each version in this report, with the hash of its leaf in the log. To check a \
         version, fetch <code>{base}/[version]/$receipt</code> and the version itself, and run <code>medseal-verify receipt.json \
         resource.json</code>, which needs no network. The log's key is <code>{key}</code>.</p><pre>{lines}</pre></footer>",
        code = verification_code(parts.versions),
        base = escape(parts.base),
        key = escape(parts.log_key),
        lines = escape_lines(&lines),
    )
}

/// `escape` would make the line ends spaces.
fn escape_lines(text: &str) -> String {
    text.lines().map(|line| escape(line) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    fn made(patient: &str, conditions: &[&str], withheld: &[&str]) -> String {
        let conditions: Vec<Json> = conditions.iter().map(|c| json(c)).collect();
        let takes = |s: &Section| conditions.iter().filter(|c| (s.takes)(c)).cloned().collect();
        let chosen: Vec<Vec<Json>> = SECTIONS.iter().map(takes).collect();
        page(&Parts {
            base: "http://here/fhir",
            custodian: "North & Quay",
            now: "2026-03-02T08:15:00.000Z",
            patient: &json(patient),
            chosen: &chosen,
            referred: &[],
            withheld,
            versions: &[Version { reference: "Patient/ada/_history/1".into(), leaf: Some("00ff".into()) }],
            log_key: "log+1+key",
        })
    }

    #[test]
    fn whatever_the_record_says_is_text() {
        let evil = "<script>alert(1)</script>\\\"' onload=x <img src=http://x>";
        let patient = format!(
            r#"{{"resourceType":"Patient","id":"ada","name":[{{"family":"{evil}"}}],"birthDate":"1980-02-29"}}"#
        );
        let condition = format!(r#"{{"resourceType":"Condition","code":{{"text":"{evil}"}}}}"#);
        let page = made(&patient, &[&condition], &[]);
        assert!(!page.contains("<script") && !page.contains("<img") && page.contains("&lt;script&gt;"));
        assert!(page.contains("North &amp; Quay") && page.contains("No information about allergies."));
    }

    #[test]
    fn a_reader_can_recompute_the_verification_code() {
        let page = made(r#"{"resourceType":"Patient","id":"ada"}"#, &[], &["Condition"]);
        let lines = page.split_once("<pre>").unwrap().1.split_once("</pre>").unwrap().0;
        assert_eq!(lines, "Patient/ada/_history/1 00ff\n");
        assert!(page.contains(&Digest::of(lines.as_bytes()).to_string()));
        assert!(page.contains("may not see it: Condition."));
        assert!(
            ["style=", "href=", "src=", "<script"].iter().all(|part| !page.contains(part)),
            "nothing but text and style"
        );
    }
}
