//! OperationOutcome: how every error is told over FHIR (R4 2.30).

use super::validate::Severity;
use crate::error::Issue;
use serde_json::{Value, json};

/// An outcome of errors.
pub fn errors(issues: &[Issue]) -> Value {
    outcome(issues, "error")
}

/// An outcome of warnings, such as ignored search parameters.
pub fn warnings(issues: &[Issue]) -> Value {
    outcome(issues, "warning")
}

/// An outcome of what was done.
pub fn information(issues: &[Issue]) -> Value {
    outcome(issues, "information")
}

/// What `$validate` answers; an outcome has at least one issue, so that "nothing" is one too.
pub fn findings(findings: &[(Severity, Issue)]) -> Value {
    let mut list: Vec<Value> = findings.iter().map(|(severity, issue)| one(issue, severity.code())).collect();
    if list.is_empty() {
        list.push(one(&Issue::new("informational", "all ok: nothing was found"), Severity::Information.code()));
    }
    json!({"resourceType": "OperationOutcome", "issue": list})
}

fn outcome(issues: &[Issue], severity: &str) -> Value {
    let list: Vec<Value> = issues.iter().map(|issue| one(issue, severity)).collect();
    json!({"resourceType": "OperationOutcome", "issue": list})
}

fn one(issue: &Issue, severity: &str) -> Value {
    let mut value = json!({"severity": severity, "code": issue.code, "details": {"text": issue.text}});
    if let Some(expression) = &issue.expression {
        value["expression"] = json!([expression]);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issue_keeps_its_place() {
        let outcome = errors(&[Issue::at("required", "Patient.name", "is required"), Issue::new("transient", "later")]);
        assert_eq!(outcome["issue"][0]["expression"][0], "Patient.name");
        assert_eq!(outcome["issue"][1].get("expression"), None);
        assert_eq!(findings(&[])["issue"][0]["severity"], "information");
        assert_eq!(findings(&[(Severity::Warning, Issue::new("value", "x"))])["issue"][0]["severity"], "warning");
        assert_eq!(warnings(&[Issue::new("value", "x")])["issue"][0]["severity"], "warning");
    }
}
