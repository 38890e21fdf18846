//! `[[exchange.rules]]`: what is pushed by itself.

use super::{PURPOSES, ParticipantId};
use crate::consent::policy::{Coding, is_emergency};
use serde::Deserialize;

/// The most rules: each follows what is committed.
const MAX_RULES: usize = 100;
const MAX_NAME: usize = 40;

/// A rule: whatever new version its criteria find is pushed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushRule {
    /// Under this name it is remembered how far it has come.
    pub name: String,
    /// A search, as a Subscription's: `Observation?category=laboratory`.
    pub criteria: String,
    pub to: ParticipantId,
    /// A code of v3-ActReason; what `[consent]` names where absent.
    pub purpose: Option<String>,
}

impl PushRule {
    /// What it is for, where it says.
    pub fn purpose(&self) -> Option<Coding> {
        self.purpose.as_ref().map(|code| Coding::new(PURPOSES, code))
    }

    fn check(&self) -> Result<(), String> {
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
        if self.name.is_empty() || self.name.len() > MAX_NAME || !self.name.bytes().all(plain) {
            return Err(format!("exchange.rules.name: 1 to {MAX_NAME} letters, digits, `-`, `_`, `.`"));
        }
        let is_code = |code: &String| !code.is_empty() && code.bytes().all(|c| c.is_ascii_uppercase());
        let wrong = |what: &str| Err(format!("exchange.rules, {}: {what}", self.name));
        match &self.purpose {
            Some(code) if !is_code(code) => wrong("purpose: a code of v3-ActReason, as `TREAT`"),
            _ if self.purpose().is_some_and(|purpose| is_emergency(&purpose)) => {
                wrong("purpose: no rule is an emergency")
            }
            _ => Ok(()),
        }
    }
}

/// Checks all of them together.
pub(super) fn check(rules: &[PushRule], is_receiver: impl Fn(&ParticipantId) -> bool) -> Result<(), String> {
    if rules.len() > MAX_RULES {
        return Err(format!("exchange.rules: at most {MAX_RULES}"));
    }
    for (n, rule) in rules.iter().enumerate() {
        rule.check()?;
        if rules[..n].iter().any(|other| other.name == rule.name) {
            return Err(format!("exchange.rules: `{}` is there twice", rule.name));
        }
        if !is_receiver(&rule.to) {
            let where_to = "a participant, or one of [[exchange.fhir]] or [[exchange.hl7v2]]";
            return Err(format!("exchange.rules, {}: `to`: `{}` is no receiver: {where_to}", rule.name, rule.to));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let known = |id: &ParticipantId| ["gp", "lab"].contains(&id.as_str());
        let rule = |name: &str, to: &str, purpose: Option<&str>| PushRule {
            name: name.into(),
            criteria: "Observation".into(),
            to: ParticipantId::parse(to).unwrap(),
            purpose: purpose.map(str::to_owned),
        };
        assert_eq!(check(&[rule("a", "gp", None), rule("b", "gp", Some("TREAT"))], known), Ok(()));
        for (bad, part) in [
            (vec![rule("", "gp", None)], "name"),
            (vec![rule("a b", "gp", None)], "name"),
            (vec![rule("a", "gp", None), rule("a", "lab", None)], "twice"),
            (vec![rule("a", "north", None)], "`north` is no receiver"),
            (vec![rule("a", "gp", Some("treat"))], "purpose"),
            (vec![rule("a", "gp", Some("BTG"))], "emergency"),
            (vec![rule("a", "gp", None); MAX_RULES + 1], "at most"),
        ] {
            let error = check(&bad, known).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
