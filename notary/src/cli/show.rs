//! Verdicts and refusals, for people and for machines.

use super::say::say;
use notary::verify::{Refusal, Verdict};
use serde_json::{Value, json};

/// A verdict as JSON.
pub fn verdict_json(verdict: &Verdict) -> Value {
    json!({
        "verdict": verdict.grade.to_string(),
        "deletion": verdict.deletion,
        "erased": verdict.erased,
        "checked": checked(verdict),
        "log": {"origin": verdict.checkpoint.origin, "size": verdict.checkpoint.size, "index": verdict.index},
        "restsOn": verdict.rests_on,
    })
}

/// A refusal as JSON.
pub fn refusal_json(refusal: &dyn std::fmt::Display) -> Value {
    let (name, why) = name_and_why(refusal);
    json!({"verdict": "REFUSED", "name": name, "why": why})
}

/// The name that all refusals begin with, and the rest.
pub fn name_and_why(refusal: &dyn std::fmt::Display) -> (String, String) {
    let text = refusal.to_string();
    match text.split_once(": ") {
        Some((name, why)) => (name.to_owned(), why.to_owned()),
        None => ("REFUSED".to_owned(), text),
    }
}

/// A verdict and what it rests on, in lines.
pub fn print_verdict(verdict: &Verdict) {
    match &verdict.erased {
        Some(time) => say(format!("{} ERASED on {time}", verdict.grade)),
        None => say(verdict.grade),
    }
    say(format!("  checked:  {}", checked(verdict).join(", ")));
    for line in &verdict.rests_on {
        say(format!("  rests on: {line}"));
    }
    if !verdict.resource_checked && !verdict.deletion && verdict.erased.is_none() {
        say("  note:     no resource was given, so only the receipt itself was checked");
    }
}

/// A refusal on one line.
pub fn print_refusal(refusal: &Refusal) {
    say(format!("REFUSED {refusal}"));
}

fn checked(verdict: &Verdict) -> Vec<&'static str> {
    let parts = [
        (verdict.resource_checked, "resource"),
        (verdict.raw_checked, "raw message"),
        (true, "log entry"),
        (true, "checkpoint signature"),
        (verdict.anchored.is_some(), "anchor"),
    ];
    parts.into_iter().filter_map(|(done, name)| done.then_some(name)).collect()
}
