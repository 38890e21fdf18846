//! Validates resources. [`validate`] is on the way of every write: structure by the table of R4's elements, and what a
//! narrative may hold. [`examine`] is `$validate`: that, the standard's invariants, and what spans several elements.
//! Every issue names its element; no text quotes what was sent.

mod bundle;
mod contained;
pub(in crate::fhir) mod invariants;
mod narrative;
mod primitive;
mod rules;
mod structure;
pub(in crate::fhir) mod walk;

use crate::error::Issue;
use crate::fhir::fhirpath::Budget;
use crate::fhir::fhirpath::node::Node;
use crate::ids::TypeName;
use crate::limits::{MAX_CHECKED_REFERENCES, MAX_ISSUES, MAX_STEPS};
use notary::canonical::Json;
use std::sync::Arc;

/// A resource that was checked. Only [`validate`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validated {
    kind: TypeName,
    /// Large, and kept by who may have to try it again.
    json: Arc<Json>,
}

impl Validated {
    /// Its type.
    pub fn kind(&self) -> TypeName {
        self.kind
    }

    /// The resource.
    pub fn json(&self) -> &Json {
        &self.json
    }

    /// The resource, given away.
    pub fn into_json(self) -> Json {
        Arc::unwrap_or_clone(self.json)
    }
}

/// Checks a resource, or tells what is wrong with it.
pub fn validate(json: Json) -> Result<Validated, Vec<Issue>> {
    let kind = resource_type(&json).map_err(|issue| vec![issue])?;
    let issues = structure::check(&json, kind.as_str());
    if issues.is_empty() { Ok(Validated { kind, json: Arc::new(json) }) } else { Err(issues) }
}

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
    Information,
}

impl Severity {
    /// FHIR's code for it.
    pub fn code(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Information => "information",
        }
    }
}

/// What `$validate` found, at most [`MAX_ISSUES`] of each severity.
#[derive(Debug, Default)]
pub struct Findings(Vec<(Severity, Issue)>);

impl Findings {
    /// Adds one, unless there are enough of its kind, or it was told before.
    pub fn add(&mut self, severity: Severity, issue: Issue) {
        let alike = self.0.iter().filter(|(s, _)| *s == severity);
        if alike.clone().count() < MAX_ISSUES && !alike.into_iter().any(|(_, other)| *other == issue) {
            self.0.push((severity, issue));
        }
    }

    /// Says so where not all was evaluated.
    pub fn add_if_spent(&mut self, budget: &Budget) {
        if budget.is_spent() {
            let text = "too much to evaluate: not all constraints were looked at";
            self.add(Severity::Warning, Issue::new("too-costly", text));
        }
    }

    /// All, the gravest first.
    pub fn into_sorted(mut self) -> Vec<(Severity, Issue)> {
        self.0.sort_by_key(|(severity, _)| *severity as u8);
        self.0
    }

    /// Whether an error is among them.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|(severity, _)| *severity == Severity::Error)
    }
}

/// Checks all that this server can say of a resource by itself.
pub fn examine(json: &Json) -> Findings {
    let mut findings = Findings::default();
    let issues = match resource_type(json) {
        Err(issue) => vec![issue],
        Ok(kind) => structure::check(json, kind.as_str()),
    };
    issues.into_iter().for_each(|issue| findings.add(Severity::Error, issue));
    if let Some(node) = Node::resource(json) {
        let budget = Budget::new(MAX_STEPS);
        invariants::check(node, &budget, &mut findings);
        rules::check(node, &budget, &mut findings);
        findings.add_if_spent(&budget);
    }
    findings
}

/// The relative references to other resources, each once, the first [`MAX_CHECKED_REFERENCES`]: where it stands, type and id.
/// Those of a Bundle mean its entries.
pub fn references(json: &Json) -> Vec<(String, TypeName, String)> {
    let mut found: Vec<(String, TypeName, String)> = Vec::new();
    let Some(node) = Node::resource(json).filter(|node| node.kind != "Bundle") else { return found };
    let budget = Budget::new(0);
    walk::walk(node, &budget, &mut |place| {
        let target = place.node.json.text("reference").filter(|_| place.node.kind == "Reference");
        if let Some((kind, id)) = target.and_then(primitive::relative)
            && let Some(kind) = TypeName::parse(kind)
            && found.len() < MAX_CHECKED_REFERENCES
            && !found.iter().any(|(_, k, i)| *k == kind && i == id)
        {
            found.push((format!("{}.reference", place.path), kind, id.to_owned()));
        }
    });
    found
}

fn resource_type(json: &Json) -> Result<TypeName, Issue> {
    let Json::Object(_) = json else {
        return Err(Issue::new("structure", "a resource is a JSON object"));
    };
    let name = json.text("resourceType").ok_or_else(|| Issue::new("structure", "resourceType is missing"))?;
    TypeName::parse(name).ok_or_else(|| Issue::at("structure", "resourceType", "not a resource type of FHIR R4"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::Value;
    use std::path::{Path, PathBuf};

    fn issues(text: &str) -> Vec<(String, &'static str)> {
        let json = Json::parse(text.as_bytes()).unwrap();
        let issues = validate(json).err().unwrap_or_default();
        issues.into_iter().map(|i| (i.expression.unwrap_or_default(), i.code)).collect()
    }

    #[test]
    fn a_good_resource_passes_with_its_digits() {
        let text = r#"{"resourceType":"Observation","status":"final","code":{"text":"x"},"valueQuantity":{"value":1.00},
            "_issued":{"extension":[{"url":"http://x","valueCode":"unknown"}]},"note":[{"text":"a"}],
            "subject":{"reference":"Patient/1"},"contained":[{"resourceType":"Patient","gender":"male"}]}"#;
        assert_eq!(issues(text), []);
    }

    #[test]
    fn each_fault_is_located() {
        let cases: Value = serde_json::from_str(include_str!("invalid.json")).unwrap();
        for case in cases.as_array().unwrap() {
            let text = case["resource"].to_string();
            let found = issues(&text);
            let expected = (case["expression"].as_str().unwrap().to_owned(), case["code"].as_str().unwrap());
            assert!(found.iter().any(|(e, c)| (e, *c) == (&expected.0, expected.1)), "{case}: {found:?}");
        }
    }

    #[test]
    fn each_finding_of_validate_is_located() {
        let cases: Value = serde_json::from_str(include_str!("doubtful.json")).unwrap();
        for case in cases.as_array().unwrap() {
            let json = Json::parse(case["resource"].to_string().as_bytes()).unwrap();
            assert_eq!(validate(json.clone()).err(), None, "a write takes it: {case}");
            let findings = examine(&json).into_sorted();
            let found: Vec<_> = findings
                .iter()
                .map(|(s, i)| (s.code(), i.expression.as_deref().unwrap_or(""), i.code, i.text.as_str()))
                .collect();
            match case["at"].as_str() {
                None => assert!(!examine(&json).has_errors(), "{case}: {found:?}"),
                Some(at) => {
                    let expected = (case["severity"].as_str().unwrap(), at, case["code"].as_str().unwrap());
                    assert!(found.iter().any(|(s, e, c, _)| (*s, *e, *c) == expected), "{case}: {found:?}");
                }
            }
        }
    }

    #[test]
    fn there_are_never_too_many_findings() {
        let names = vec![r#"{"x":1}"#; 10_000].join(",");
        let json = Json::parse(format!(r#"{{"resourceType":"Patient","name":[{names}]}}"#).as_bytes()).unwrap();
        assert_eq!(examine(&json).into_sorted().iter().filter(|(s, _)| *s == Severity::Error).count(), MAX_ISSUES);
    }

    /// The corpora, where they stand beside the repository or above it; a test that needs them says that it skips.
    pub(in crate::fhir) fn corpora(folder: &str) -> Option<PathBuf> {
        let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
        let found = above.map(|dir| dir.join("shared/corpora/fhir").join(folder)).find(|dir| dir.is_dir());
        if found.is_none() {
            println!("skipped: the corpora are not here (shared/corpora/fhir/{folder})");
        }
        found
    }

    /// The resources of a folder, by file name.
    pub(in crate::fhir) fn resources(folder: &Path) -> Vec<(String, Json)> {
        let read = |path: PathBuf| {
            let json = Json::parse(&std::fs::read(&path).ok()?).ok()?;
            json.text("resourceType")?;
            Some((path.file_stem()?.to_string_lossy().into_owned(), json))
        };
        let files = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
        let mut all: Vec<_> = files.filter(|p| p.extension().is_some_and(|e| e == "json")).filter_map(read).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    #[test]
    fn the_standards_own_examples_pass() {
        let Some(folder) = corpora("hl7-r4-examples") else { return };
        // Faults of the examples themselves: they refer to types that R4 does not allow there.
        let known = ["DeviceMetric-example", "DeviceUseStatement-example", "Observation-clinical-gender"];
        let mut count = 0;
        for (name, json) in resources(&folder).into_iter().filter(|(name, _)| !known.contains(&name.as_str())) {
            assert_eq!(validate(json).err(), None, "{name}");
            count += 1;
        }
        assert!(count > 400, "{count}");
    }

    /// The modules of the reference validator's cases that speak of the base specification.
    const BASE: &[&str] =
        &["bundle", "extensions", "fmt", "general", "invariants", "json5", "references", "security", "xhtml"];
    /// All 417 cases have 59 invalid ones in these modules, and 40 of them are to be found. Where files are missing, as many of
    /// those that are there.
    const TO_FIND: (usize, usize) = (40, 59);
    /// The same files are invalid in another case: what they say depends on an option of the reference validator.
    const TWINS: &[&str] = &["contained-resource-bad-id-ignore", "json-comments-1-yes", "json-comments-2-yes"];

    #[test]
    fn the_reference_validators_base_cases_are_told_apart() {
        let Some(folder) = corpora("fhir-validator-cases") else { return };
        let cases: Value = serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap();
        let (mut found, mut missed, mut kept, mut refused) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let base = cases["cases"].as_array().unwrap().iter().filter(|case| {
            case["needs"].as_array().unwrap().is_empty() && BASE.contains(&case["module"].as_str().unwrap_or(""))
        });
        for case in base {
            let Ok(text) = std::fs::read(folder.join(case["file"].as_str().unwrap())) else { continue };
            let errors = Json::parse(&text).map_or(vec!["not JSON".to_owned()], |json| errors(&json));
            let line = format!("{}: {errors:?}", case["name"].as_str().unwrap());
            match (case["error_count"].as_u64().unwrap() > 0, errors.is_empty()) {
                (true, false) => found.push(line),
                (true, true) => missed.push(line),
                (false, true) => kept.push(line),
                (false, false) if TWINS.iter().any(|twin| line.starts_with(twin)) => {}
                (false, false) => refused.push(line),
            }
        }
        for (what, list) in [("invalid, found", &found), ("invalid, missed", &missed), ("valid, kept", &kept)] {
            println!("{what}: {}\n  {}", list.len(), list.join("\n  "));
        }
        assert!(refused.is_empty(), "valid, refused: {refused:#?}");
        assert!(found.len() * TO_FIND.1 >= (found.len() + missed.len()) * TO_FIND.0, "{}", found.len());
    }

    /// The errors of `$validate`, in words.
    fn errors(json: &Json) -> Vec<String> {
        let all = examine(json).into_sorted().into_iter().filter(|(severity, _)| *severity == Severity::Error);
        all.map(|(_, issue)| format!("{} {}", issue.expression.unwrap_or_default(), issue.text)).collect()
    }

    #[test]
    fn what_others_publish_is_kept() {
        // Faults of the files themselves.
        let known = [
            "Bundle-66c8856b-ba11-4876-8aa8-467aad8c11a2 Bundle.entry[2].fullUrl does not end in the resource's id",
            "Bundle-docref-example-2 Bundle.entry[2].fullUrl does not end in the resource's id",
            "Questionnaire-zika-virus-exposure-assessment Questionnaire.text.div the narrative says nothing (txt-2)",
            "DeviceMetric-example DeviceMetric.parent.reference may refer to Device only",
            "Observation-clinical-gender Observation.performer[0].reference may refer to Practitioner, PractitionerRole, \
             Organization, CareTeam, Patient, RelatedPerson only",
            "DeviceUseStatement-example DeviceUseStatement.reasonReference[0].reference may refer to Condition, Observation, \
             DiagnosticReport, DocumentReference, Media only",
        ];
        for folder in ["hl7-r4-examples", "ig-us-core-6.1.0/example", "ig-ips-1.1.0/example", "synthea-r4/plain"] {
            let Some(path) = corpora(folder) else { return };
            // Synthea's bundles are large and alike.
            let most = if folder.starts_with("synthea") { 3 } else { usize::MAX };
            for (name, json) in resources(&path).into_iter().take(most) {
                let faults: Vec<String> = errors(&json).into_iter().map(|fault| format!("{name} {fault}")).collect();
                assert!(faults.iter().all(|fault| known.contains(&fault.as_str())), "{folder}: {faults:?}");
            }
        }
    }
}
