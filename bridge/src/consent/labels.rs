//! Labels that a resource has whenever it is looked at, by the codes in it (ADR 0032): what sort of sensitive information it is (v3-ActCode)
//! and how confidential that makes it (v3-Confidentiality). Rules are data; those that come with medseal are
//! `data/sensitive-codes.tsv`, and a house adds its own. Pure.

use super::policy::{ACT_CODE, CONFIDENTIALITY, Coding, degree, is_kind_of};
use notary::canonical::Json;
use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

/// The most letters of a code that a rule may be for: ICD-10-CM has eight.
const LONGEST: usize = 64;
const RESTRICTED: &str = "R";
/// Whatever says what sort of information something is.
const SENSITIVITY: &str = "_InformationSensitivityPolicy";
const OURS: &str = include_str!("../../data/sensitive-codes.tsv");

// Were the file not readable, nothing would be labelled: a test reads it.
static BUILT_IN: LazyLock<Rules> = LazyLock::new(|| Rules::parse(OURS).unwrap_or_default());

/// Rules, ready to be used.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Addresses of code systems, and which system each is.
    systems: HashMap<String, usize>,
    /// (system, code) to labels.
    codes: HashMap<(usize, String), Vec<String>>,
    /// (system, beginning of a code) to labels.
    beginnings: HashMap<(usize, String), Vec<String>>,
    degrees: HashMap<String, String>,
}

/// A line of a file of rules that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the sensitive codes: {what}")]
pub struct RuleError {
    pub line: usize,
    pub what: &'static str,
}

impl Rules {
    /// Those that come with medseal.
    pub fn built_in() -> &'static Self {
        &BUILT_IN
    }

    /// Reads a file of the form of `data/sensitive-codes.tsv`.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let (mut rules, mut names) = (Self::default(), Vec::new());
        rules.add(text, &mut names)?;
        Ok(rules)
    }

    /// Those that come with medseal, and beside them those of a house: it may go by the code systems that are named there, and takes
    /// nothing away.
    pub fn beside(own: &str) -> Result<Self, RuleError> {
        let (mut rules, mut names) = (Self::default(), Vec::new());
        rules.add(OURS, &mut names)?;
        match rules.add(own, &mut names)? {
            0 => Err(RuleError { line: own.lines().count(), what: "the file ends here, and has no line L" }),
            _ => Ok(rules),
        }
    }

    /// Adds what a text says. How many lines L it has.
    fn add(&mut self, text: &str, names: &mut Vec<String>) -> Result<usize, RuleError> {
        let mut found = 0;
        for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            self.line(line, names).map_err(|what| RuleError { line: n + 1, what })?;
            found += usize::from(line.starts_with('L'));
        }
        Ok(found)
    }

    fn line(&mut self, line: &str, names: &mut Vec<String>) -> Result<(), &'static str> {
        match line.split('\t').collect::<Vec<_>>().as_slice() {
            ["S", name, address] => self.system(name, address, names),
            ["D", label, level] => self.degree(label, level),
            ["L", label, system, code, _] => {
                let system = names.iter().position(|known| known == system).ok_or("a code system without a line S")?;
                self.rule(label, system, code)
            }
            _ => Err("neither S, D nor L with its columns"),
        }
    }

    fn system(&mut self, name: &str, address: &str, names: &mut Vec<String>) -> Result<(), &'static str> {
        let blank = |text: &str| text.is_empty() || text.contains(char::is_whitespace);
        if blank(name) || blank(address) {
            return Err("a code system needs a name and an address, without blanks");
        }
        let known = names.iter().position(|known| known == name).unwrap_or_else(|| {
            names.push(name.to_owned());
            names.len() - 1
        });
        // Else what is known by that address would not be found any more.
        match self.systems.insert(address.to_owned(), known) {
            Some(other) if other != known => Err("the address of another code system"),
            _ => Ok(()),
        }
    }

    fn degree(&mut self, label: &str, level: &str) -> Result<(), &'static str> {
        let of = |level: &str| degree(&Coding::new(CONFIDENTIALITY, level));
        let before = self.degrees.get(label).map_or(RESTRICTED, String::as_str);
        match of(level) {
            None => Err("no degree of confidentiality"),
            level if level < of(before) => Err("a lower degree of confidentiality than without this line"),
            _ => {
                self.degrees.insert(sensitive(label)?.to_owned(), level.to_owned());
                Ok(())
            }
        }
    }

    fn rule(&mut self, label: &str, system: usize, code: &str) -> Result<(), &'static str> {
        let (map, code) = match code.strip_suffix('*') {
            Some(beginning) => (&mut self.beginnings, beginning),
            None => (&mut self.codes, code),
        };
        if code.is_empty() || code.len() > LONGEST || code.trim() != code {
            return Err("a code that is empty, too long, or has blanks around it");
        }
        map.entry((system, code.to_owned())).or_default().push(sensitive(label)?.to_owned());
        Ok(())
    }

    /// The labels that a resource gets: sensitivities in the order of their codes, then how confidential they make it.
    /// None for what is not sensitive: that is normal.
    pub fn labels(&self, resource: &Json) -> Vec<Coding> {
        let mut found = BTreeSet::new();
        for (_, value) in resource.members().iter().filter(|(name, _)| name != "meta") {
            self.walk(value, &mut found);
        }
        let of =
            |label: &&str| Coding::new(CONFIDENTIALITY, self.degrees.get(*label).map_or(RESTRICTED, String::as_str));
        let highest = found.iter().map(of).max_by_key(degree);
        found.iter().map(|label| Coding::new(ACT_CODE, label)).chain(highest).collect()
    }

    /// The same resource with its labels.
    pub fn labelled(&self, resource: &Json) -> Json {
        let mut labelled = resource.clone();
        self.apply(&mut labelled);
        labelled
    }

    /// Puts the labels on that are not there yet. None is taken off but a lower degree of confidentiality, of which a
    /// resource has one. Whether anything was changed.
    pub fn apply(&self, resource: &mut Json) -> bool {
        let labels = self.labels(resource);
        let meta = resource.get("meta").cloned().unwrap_or_else(|| Json::Object(Vec::new()));
        let before = meta.get("security").map_or(&[][..], Json::items);
        let mut after = before.to_vec();
        labels.iter().for_each(|label| put(&mut after, label));
        if after == before {
            return false;
        }
        let mut meta = meta;
        meta.set("security", Json::Array(after));
        resource.set("meta", meta);
        true
    }

    fn walk<'s>(&'s self, json: &Json, found: &mut BTreeSet<&'s str>) {
        if let (Some(system), Some(code)) = (json.text("system"), json.text("code")) {
            found.extend(self.matching(system, code));
        }
        json.items().iter().for_each(|item| self.walk(item, found));
        json.members().iter().for_each(|(_, value)| self.walk(value, found));
    }

    fn matching<'s>(&'s self, system: &str, code: &str) -> impl Iterator<Item = &'s str> {
        let system = self.systems.get(system).copied();
        let exact = system.and_then(|system| self.codes.get(&(system, code.to_owned())));
        let beginnings = (1..=code.len().min(LONGEST)).filter_map(|length| code.get(..length));
        let begun: Vec<_> =
            beginnings.filter_map(|beginning| self.beginnings.get(&(system?, beginning.to_owned()))).collect();
        exact.into_iter().chain(begun).flatten().map(String::as_str)
    }
}

/// A label that is one: what is misspelt no Consent speaks of.
fn sensitive(label: &str) -> Result<&str, &'static str> {
    match is_kind_of(&Coding::new(ACT_CODE, label), &Coding::new(ACT_CODE, SENSITIVITY)) {
        true => Ok(label),
        false => Err("no label of v3-ActCode for what is sensitive"),
    }
}

/// Puts a label beside the others, in the place of a lower degree if it is one.
fn put(labels: &mut Vec<Json>, label: &Coding) {
    let own = |json: &Json| json.text("system") == Some(&label.system);
    let Some(level) = degree(label) else {
        if !labels.iter().any(|json| own(json) && json.text("code") == Some(&label.code)) {
            labels.push(written(label));
        }
        return;
    };
    let lower = |json: &Json| {
        let code = json.text("code").unwrap_or_default();
        own(json) && degree(&Coding::new(CONFIDENTIALITY, code)).is_some_and(|theirs| theirs < level)
    };
    labels.retain(|json| !lower(json));
    if !labels.iter().any(own) {
        labels.push(written(label));
    }
}

fn written(label: &Coding) -> Json {
    Json::Object(vec![
        ("system".to_owned(), Json::from(label.system.as_str())),
        ("code".to_owned(), Json::from(label.code.as_str())),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    /// System (its last part), code, and the labels of a Condition with it.
    const CASES: &[(&str, &str, &str)] = &[
        ("http://hl7.org/fhir/sid/icd-10-cm", "B20", "HIV R"),
        ("urn:oid:2.16.840.1.113883.6.90", "B20", "HIV R"),
        ("http://hl7.org/fhir/sid/icd-10-cm", "F10.20", "ETHUD R"),
        ("http://hl7.org/fhir/sid/icd-10-cm", "F11.11", "OPIOIDUD R"),
        ("http://hl7.org/fhir/sid/icd-10-cm", "F14.10", "SUD R"),
        ("http://hl7.org/fhir/sid/icd-10-cm", "F33.1", "PSY R"),
        ("http://hl7.org/fhir/sid/icd-10-cm", "T74.11XA", "SDV R"),
        ("http://hl7.org/fhir/sid/icd-10-cm", "A56.2", "STD R"),
        ("http://hl7.org/fhir/sid/icd-10-cm", "Z33.2", "SEX R"),
        ("http://hl7.org/fhir/sid/icd-10-cm", "D57.1", "SCA R"),
        ("http://hl7.org/fhir/sid/icd-10-cm", "E11.9", ""),
        ("http://hl7.org/fhir/sid/icd-10-cm", "F17.210", ""),
        ("http://hl7.org/fhir/sid/icd-10-cm", "Z21.9x", ""),
        ("http://hl7.org/fhir/sid/icd-10-cm", "é20", ""),
        ("http://snomed.info/sct", "86406008", "HIV R"),
        ("http://snomed.info/sct", "864060080", ""),
        ("http://snomed.info/sct", "706893006", "SDV R"),
        ("http://snomed.info/sct", "444175001", "PSYTHPN V"),
        ("http://snomed.info/sct", "44054006", ""),
        ("http://loinc.org", "20447-9", "HIV R"),
        ("http://loinc.org", "4548-4", ""),
        ("http://www.nlm.nih.gov/research/umls/rxnorm", "352364", "OPIOIDUD R"),
        ("http://www.nlm.nih.gov/research/umls/rxnorm", "86406008", ""),
        ("urn:own", "B20", ""),
    ];

    fn codes(labels: &[Coding]) -> String {
        labels.iter().map(|label| label.code.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn codes_give_labels() {
        for (system, code, labels) in CASES {
            let resource = json(&format!(
                r#"{{"resourceType":"Condition","code":{{"coding":[{{"system":"{system}","code":"{code}"}}]}}}}"#
            ));
            assert_eq!(codes(&Rules::built_in().labels(&resource)), *labels, "{system} {code}");
        }
    }

    #[test]
    fn they_are_found_wherever_they_stand() {
        let deep = r#"{"resourceType":"Observation","component":[{"valueCodeableConcept":{"coding":[{"system":"http://snomed.info/sct",
            "code":"444175001"}]}}],"contained":[{"resourceType":"Condition","code":{"coding":[{"system":"http://snomed.info/sct",
            "code":"86406008"}]}}]}"#;
        assert_eq!(codes(&Rules::built_in().labels(&json(deep))), "HIV PSYTHPN V");
    }

    #[test]
    fn labels_are_put_on_once_and_a_degree_only_rises() {
        let condition = |security: &str| {
            json(&format!(
                r#"{{"resourceType":"Condition","meta":{{"versionId":"1","security":[{security}]}},
                "code":{{"coding":[{{"system":"http://snomed.info/sct","code":"86406008"}}]}}}}"#
            ))
        };
        let level = |code: &str| format!(r#"{{"system":"{CONFIDENTIALITY}","code":"{code}"}}"#);
        for (before, after) in [("", "HIV R"), ("N", "HIV R"), ("R", "R HIV"), ("V", "V HIV")] {
            let mut resource = condition(&if before.is_empty() { String::new() } else { level(before) });
            assert!(Rules::built_in().apply(&mut resource));
            assert!(!Rules::built_in().apply(&mut resource), "a second time changes nothing");
            let security = resource.get("meta").and_then(|meta| meta.get("security")).unwrap();
            let found: Vec<_> = security.items().iter().filter_map(|label| label.text("code")).collect();
            assert_eq!(found.join(" "), after);
            assert_eq!(resource.get("meta").unwrap().text("versionId"), Some("1"));
        }
        let mut plain = json(r#"{"resourceType":"Patient"}"#);
        assert!(!Rules::built_in().apply(&mut plain) && plain.get("meta").is_none());
    }

    #[test]
    fn the_rules_that_come_with_medseal_are_read_and_each_label_is_one() {
        let rules = Rules::parse(OURS).unwrap();
        let labels = || rules.codes.values().chain(rules.beginnings.values()).flatten();
        assert!(labels().count() > 130);
        assert!(labels().all(|label| sensitive(label).is_ok()));
        for ((system, beginning), labels) in &rules.beginnings {
            assert_eq!(*system, rules.systems["http://hl7.org/fhir/sid/icd-10-cm"], "{beginning} {labels:?}");
        }
    }

    #[test]
    fn a_line_that_makes_no_sense_is_named() {
        for (text, line) in [
            ("S\tx\turn:x\nL\tHIV\ty\t1\tn", 2),
            ("D\tHIV\tX", 1),
            ("# c\n\nL\tHIV", 3),
            ("S\tx\turn:x\nL\tHIV\tx\t*\tn", 2),
            ("S\tx\turn:x\nL\tHVI\tx\t1\tn", 2),
            ("S\tx\turn:x\nL\tHIV\tx\t 1\tn", 2),
            ("S\tx\turn:x\nS\ty\turn:x", 2),
            ("S\tx\t", 1),
            ("D\tHIV\tN", 1),
            ("D\tnone\tV", 1),
        ] {
            assert_eq!(Rules::parse(text).unwrap_err().line, line, "{text}");
        }
    }

    #[test]
    fn a_house_adds_codes_and_takes_none_away() {
        let own = "# ours\nS\tours\turn:ours\nL\tEMP\tours\tX*\tour own people\nL\tHIV\tsct\t44054006\tx\nD\tHIV\tV\n";
        let rules = Rules::beside(own).unwrap();
        let found = |system: &str, code: &str| {
            codes(&rules.labels(&json(&format!(
                r#"{{"resourceType":"Basic","code":{{"system":"{system}","code":"{code}"}}}}"#
            ))))
        };
        assert_eq!(found("urn:ours", "X12"), "EMP R");
        assert_eq!(found("http://snomed.info/sct", "44054006"), "HIV V");
        assert_eq!(found("http://hl7.org/fhir/sid/icd-10-cm", "F33.1"), "PSY R");
        for (own, line) in [
            ("S\tours\thttp://snomed.info/sct", 1),
            ("D\tPSYTHPN\tR", 1),
            ("L\tHIV\tours\t1\tx", 1),
            ("# none\n\n", 2),
            ("", 0),
        ] {
            assert_eq!(Rules::beside(own).unwrap_err().line, line, "{own}");
        }
    }
}
