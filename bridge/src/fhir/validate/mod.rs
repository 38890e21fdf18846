//! Validates resources. [`validate`] is on the way of every write: structure by the table of R4's elements, and what a
//! narrative may hold. [`examine`] is `$validate`: that, the standard's invariants, and what spans several elements.
//! Every issue names its element; no text quotes what was sent.

mod bundle;
pub(in crate::fhir) mod invariants;
mod narrative;
mod primitive;
mod rules;
mod structure;
pub(in crate::fhir) mod walk;

use crate::error::Issue;
use crate::fhir::fhirpath::node::Node;
use crate::ids::TypeName;
use crate::limits::MAX_ISSUES;
use notary::canonical::Json;

/// A resource that was checked. Only [`validate`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validated {
    kind: TypeName,
    json: Json,
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
        self.json
    }
}

/// Checks a resource, or tells what is wrong with it.
pub fn validate(json: Json) -> Result<Validated, Vec<Issue>> {
    let kind = resource_type(&json).map_err(|issue| vec![issue])?;
    let issues = structure::check(&json, kind.as_str());
    if issues.is_empty() { Ok(Validated { kind, json }) } else { Err(issues) }
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
        invariants::check(node, &mut findings);
        rules::check(node, &mut findings);
    }
    findings
}

fn resource_type(json: &Json) -> Result<TypeName, Issue> {
    let Json::Object(_) = json else {
        return Err(Issue::new("structure", "a resource is a JSON object"));
    };
    let name = json.text("resourceType").ok_or_else(|| Issue::new("structure", "resourceType is missing"))?;
    TypeName::parse(name).ok_or_else(|| Issue::at("structure", "resourceType", "not a resource type of FHIR R4"))
}

#[cfg(test)]
pub(super) mod tests;
