//! Reading a Consent. What is not understood is never passed over: it might forbid.

use super::consent::{Actor, Consent, Dark, Data, Frame, Matter, Meaning, Provision, Rule, Who, Window};
use super::facts::{coding, reference};
use super::terms::{ACT_CODE, ACTION, PARTICIPATION, SCOPE};
use super::{Action, Coding, Effect};
use crate::fhir::search::span::{moment, period};
use notary::canonical::Json;

const CONSENT: &[&str] = &[
    "resourceType",
    "id",
    "meta",
    "language",
    "text",
    "contained",
    "extension",
    "identifier",
    "status",
    "scope",
    "category",
    "patient",
    "dateTime",
    "performer",
    "organization",
    "sourceAttachment",
    "sourceReference",
    "policy",
    "policyRule",
    "verification",
    "provision",
];
const PROVISION: &[&str] = &[
    "id",
    "extension",
    "type",
    "period",
    "actor",
    "action",
    "securityLabel",
    "purpose",
    "class",
    "code",
    "dataPeriod",
    "data",
    "provision",
];
const ACTOR: &[&str] = &["id", "extension", "role", "reference"];
const DATA: &[&str] = &["id", "extension", "meaning", "reference"];
/// Statuses under which a Consent says nothing, or nothing yet, or nothing any more.
const SILENT: [&str; 5] = ["draft", "proposed", "rejected", "inactive", "entered-in-error"];
/// Scopes that are not about who may see what.
const ELSEWHERE: [&str; 3] = ["adr", "research", "treatment"];

type Read<T> = Result<T, Dark>;

impl Consent {
    /// Reads a Consent resource; nothing where it has nothing to say: not active, or not about privacy. `base` is the
    /// address of this server.
    pub fn read(resource: &Json, base: &str) -> Option<Self> {
        if resource.text("status").is_some_and(|status| SILENT.contains(&status)) {
            return None;
        }
        if !is_about_privacy(resource) {
            return None;
        }
        let scopes = codings(resource.get("scope"));
        let rule = rule(resource, &scopes, base).unwrap_or_else(Rule::Dark);
        let given = resource.text("dateTime").and_then(moment).map_or(i64::MIN, |span| span.from);
        let name = format!("Consent/{}", resource.text("id").unwrap_or_default());
        Some(Self { name, given, rule, claim: None })
    }
}

/// Whether a Consent is, or may be, about who sees what.
pub fn is_about_privacy(consent: &Json) -> bool {
    let scopes = codings(consent.get("scope"));
    let elsewhere = |scope: &Coding| scope.system == SCOPE && ELSEWHERE.contains(&scope.code.as_str());
    scopes.is_empty() || !scopes.iter().all(elsewhere)
}

fn rule(resource: &Json, scopes: &[Coding], base: &str) -> Read<Rule> {
    known(resource, CONSENT, "")?;
    if resource.text("status") != Some("active") {
        return dark("status", "a status that is not known");
    }
    if !scopes.contains(&Coding::new(SCOPE, "patient-privacy")) {
        return dark("scope", "a scope that is not known");
    }
    for (n, policy) in resource.get("policy").map_or(&[][..], Json::items).iter().enumerate() {
        known(policy, &["id", "extension", "authority", "uri"], &format!("policy[{n}]"))?;
    }
    let Some(root) = resource.get("provision") else { return dark("provision", "no provision") };
    let closed = codings(resource.get("policyRule")).contains(&Coding::new(ACT_CODE, "OPTOUT"));
    Ok(Rule::Provisions { root: Box::new(provision(root, "provision".to_owned(), base)?), closed })
}

fn provision(json: &Json, path: String, base: &str) -> Read<Provision> {
    known(json, PROVISION, &path)?;
    let effect = match json.text("type") {
        Some("permit") => Effect::Permit,
        Some("deny") => Effect::Deny,
        // R4's own examples without a type mean permit in one place and deny in the next; PCF asks for it.
        _ => return dark(&format!("{path}.type"), "neither permit nor deny"),
    };
    let exceptions = list(json, "provision").iter().enumerate();
    let exceptions = exceptions.map(|(n, one)| provision(one, format!("{path}.provision[{n}]"), base));
    Ok(Provision {
        effect,
        frame: frame(json, &path, base)?,
        matter: matter(json, effect, &path, base)?,
        exceptions: exceptions.collect::<Read<_>>()?,
        path,
    })
}

fn frame(json: &Json, path: &str, base: &str) -> Read<Frame> {
    let actors = list(json, "actor").iter().enumerate().map(|(n, one)| actor(one, &format!("{path}.actor[{n}]"), base));
    Ok(Frame {
        period: json.get("period").map(window),
        actors: actors.collect::<Read<_>>()?,
        actions: list(json, "action").iter().map(action).collect(),
        purposes: list(json, "purpose").iter().map(coding).collect(),
    })
}

fn matter(json: &Json, effect: Effect, path: &str, base: &str) -> Read<Matter> {
    let labels: Vec<Option<Coding>> = list(json, "securityLabel").iter().map(coding).collect();
    let data = list(json, "data").iter().enumerate().map(|(n, one)| data(one, &format!("{path}.data[{n}]"), base));
    Ok(Matter {
        labels: (!labels.is_empty()).then_some((effect, labels)),
        classes: list(json, "class").iter().map(coding).collect(),
        codes: list(json, "code").iter().map(|concept| codings(Some(concept))).collect(),
        period: json.get("dataPeriod").map(|period| (effect, window(period))),
        data: data.collect::<Read<_>>()?,
    })
}

fn actor(json: &Json, path: &str, base: &str) -> Read<Actor> {
    known(json, ACTOR, path)?;
    let roles = codings(json.get("role"));
    let receives = |role: &Coding| role.system == PARTICIPATION && ["IRCP", "PRCP"].contains(&role.code.as_str());
    Ok(Actor { receives: roles.iter().any(receives), who: who(json.get("reference"), base) })
}

fn who(json: Option<&Json>, base: &str) -> Who {
    let Some(json) = json else { return Who::Unknown };
    // What is contained is nobody that a caller could be.
    if let Some(literal) = json.text("reference").filter(|literal| !literal.starts_with('#')) {
        return Who::Reference(reference(literal, base));
    }
    let identifier = json.get("identifier");
    let parts = identifier.and_then(|identifier| identifier.text("system").zip(identifier.text("value")));
    parts.map_or(Who::Unknown, |(system, value)| Who::Identifier(Coding::new(system, value)))
}

fn action(concept: &Json) -> Option<Action> {
    codings(Some(concept))
        .iter()
        .filter(|coding| coding.system == ACTION)
        .find_map(|coding| Action::parse(&coding.code))
}

fn data(json: &Json, path: &str, base: &str) -> Read<Data> {
    known(json, DATA, path)?;
    let meaning = match json.text("meaning") {
        Some("instance") => Meaning::Instance,
        Some("related") => Meaning::Related,
        Some("dependents") => Meaning::Dependents,
        Some("authoredby") => Meaning::AuthoredBy,
        _ => Meaning::Unknown,
    };
    let literal = json.get("reference").and_then(|reference| reference.text("reference"));
    Ok(Data { meaning, reference: literal.map(|literal| reference(literal, base)) })
}

/// Both ends must be readable where they are there.
fn window(json: &Json) -> Window {
    let ends = [json.get("start"), json.get("end")];
    let readable = ends.into_iter().flatten().all(|end| end.as_str().is_some_and(|text| moment(text).is_some()));
    period(json.text("start"), json.text("end")).filter(|_| readable)
}

/// Only members with these names, or their companions (`_type`), which say nothing of their own.
fn known(json: &Json, names: &[&str], path: &str) -> Read<()> {
    let strange = json.members().iter().find(|(name, _)| !names.contains(&name.trim_start_matches('_')));
    let Some((name, _)) = strange else { return Ok(()) };
    let what = if name == "modifierExtension" {
        "an extension that changes the meaning"
    } else {
        "an element that is not known"
    };
    let name = if name.chars().all(char::is_alphanumeric) { name } else { "?" };
    dark(&if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }, what)
}

fn dark<T>(path: &str, what: &'static str) -> Read<T> {
    Err(Dark { path: path.to_owned(), what })
}

fn list<'j>(json: &'j Json, name: &str) -> &'j [Json] {
    json.get(name).map_or(&[], Json::items)
}

/// The codings of a CodeableConcept.
fn codings(concept: Option<&Json>) -> Vec<Coding> {
    concept.map_or(&[][..], |concept| list(concept, "coding")).iter().filter_map(coding).collect()
}
