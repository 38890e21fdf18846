//! What an export was asked for: read from a query or from Parameters, checked, and kept sealed. Pure.

use crate::audit::is_trail;
use crate::consent::decide::{Denied, Permit, decide};
use crate::error::Issue;
use crate::fhir::membership::supports;
use crate::fhir::search::criterion::Surroundings;
use crate::fhir::search::query::{self, Filter};
use crate::fhir::search::span::moment;
use crate::fhir::search::table::compartment_types;
use crate::http::query::{pairs, shown};
use crate::ids::{Name, ResourceId, TypeName};
use crate::smart::scopes::Interaction;
use crate::smart::token::{Caller, Kept};
use mappings::r4;
use notary::canonical::Json;
use serde::{Deserialize, Serialize};

/// What an export was asked for.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// As it came: for the manifest.
    pub url: String,
    pub level: Level,
    types: Vec<String>,
    /// The ids of the patients that are named; none: all are meant.
    #[serde(default)]
    patients: Vec<String>,
    /// A type, and a search over it.
    filters: Vec<(String, String)>,
    /// Who asked; of before that was kept, nobody, who may see nothing.
    #[serde(default)]
    by: Kept,
    /// The time that was named; only later versions are wanted, and deletions too.
    pub since: Option<i64>,
    /// The last row before that.
    pub after: i64,
}

/// Whose resources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Level {
    System,
    Patient,
    /// The members of this group.
    Group(String),
}

crate::redacted_debug!(Request);

/// Why an export is not begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    Bad(Issue),
    Denied(Denied),
}

/// What is done with parameters that this server does not know or hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unheld {
    Refused,
    Ignored,
}

/// The names of the one form that there is.
const NDJSON: &[&str] = &["application/fhir+ndjson", "application/ndjson", "ndjson"];

fn bad(code: &'static str, text: impl Into<String>) -> Refusal {
    Refusal::Bad(Issue::new(code, text))
}

impl Request {
    /// Reads the parameters of a request.
    pub fn read(
        url: String,
        level: Level,
        given: &[(String, String)],
        unheld: Unheld,
        caller: &Caller,
    ) -> Result<Self, Refusal> {
        let (types, patients, filters) = (Vec::new(), Vec::new(), Vec::new());
        let mut asked = Self { url, level, types, patients, filters, by: Kept::of(caller), since: None, after: 0 };
        let mut named = Vec::new();
        for (name, value) in given {
            match name.as_str() {
                "_outputFormat" if NDJSON.contains(&value.replace(' ', "+").as_str()) => {}
                "_outputFormat" => return Err(bad("not-supported", "_outputFormat: application/fhir+ndjson alone")),
                "_since" => asked.since = Some(instant(value)?),
                "_type" => named.extend(value.split(',').filter(|t| !t.is_empty()).map(str::to_owned)),
                // To leave it out would send what nobody asked for.
                "patient" if asked.level == Level::System => {
                    return Err(bad("not-supported", "patient: at Patient/$export and Group/[id]/$export alone"));
                }
                "patient" => asked.patients.push(patient(value)?),
                "_typeFilter" => asked.filters.extend(split(value).map(filter).collect::<Result<Vec<_>, _>>()?),
                "_format" | "_pretty" => {}
                _ if unheld == Unheld::Ignored => {}
                other => {
                    let text = format!("{}: an export does not hold this parameter", shown(other));
                    return Err(bad("not-supported", text));
                }
            }
        }
        asked.choose(named, caller)?;
        Ok(asked)
    }

    /// The types that are named, or all that the caller may read but the audit trail, which is no part of the record.
    fn choose(&mut self, named: Vec<String>, caller: &Caller) -> Result<(), Refusal> {
        let may = |kind: TypeName| {
            decide(caller, Interaction::Read, Some(kind)).and_then(|_| decide(caller, Interaction::Search, Some(kind)))
        };
        if named.is_empty() {
            let kinds = self.possible().into_iter().filter(|kind| !is_trail(*kind) && may(*kind).is_ok());
            self.types = kinds.map(|kind| kind.to_string()).collect();
            let any = decide(caller, Interaction::Search, None);
            return if self.types.is_empty() { any.map(|_| ()).map_err(Refusal::Denied) } else { self.filtered() };
        }
        for name in named {
            let kind = TypeName::parse(&name).ok_or_else(|| bad("value", "_type: names no resource type of R4"))?;
            if !self.possible().contains(&kind) && (self.level == Level::System || !supports(kind)) {
                return Err(bad("not-supported", format!("_type: {kind} belongs to no patient")));
            }
            may(kind).map_err(Refusal::Denied)?;
            if !self.types.contains(&name) {
                self.types.push(name);
            }
        }
        self.filtered()
    }

    /// A filter for a type that is not exported would do nothing, and nobody would know.
    fn filtered(&self) -> Result<(), Refusal> {
        match self.filters.iter().find(|(kind, _)| !self.types.contains(kind)) {
            Some((kind, _)) => Err(bad("value", format!("_typeFilter: {kind} is not exported"))),
            None => Ok(()),
        }
    }

    /// The types of this level.
    fn possible(&self) -> Vec<TypeName> {
        match self.level {
            Level::System => r4::model().resource_types().into_iter().filter_map(TypeName::parse).collect(),
            Level::Patient if self.patients.is_empty() => compartment_types(),
            // Other groups name patients that are no members of this one, or were not named.
            Level::Patient | Level::Group(_) => {
                compartment_types().into_iter().filter(|kind| kind.as_str() != "Group").collect()
            }
        }
    }

    /// The patients that are named; none: all are meant.
    pub fn patients(&self) -> Option<impl Iterator<Item = ResourceId>> {
        let ids = || self.patients.iter().filter_map(|id| ResourceId::parse(id));
        (!self.patients.is_empty()).then(ids)
    }

    /// The types that are exported.
    pub fn kinds(&self) -> Vec<TypeName> {
        self.types.iter().filter_map(|name| TypeName::parse(name)).collect()
    }

    /// What lets resources of a type through, each of them; none: nothing does.
    pub fn permits(&self, kind: TypeName) -> Option<[Permit; 2]> {
        let caller = self.by.caller()?;
        let one = |interaction| decide(&caller, interaction, Some(kind)).ok();
        Some([one(Interaction::Search)?, one(Interaction::Read)?])
    }

    /// The searches over a type: what fits one of them is exported.
    pub fn filters_of(&self, kind: TypeName, around: &Surroundings<'_>) -> Vec<Vec<Filter>> {
        let own = self.filters.iter().filter(|(name, _)| name == kind.as_str());
        // They were read before they were kept.
        own.filter_map(|(_, text)| filters(kind, text, around).ok()).collect()
    }
}

fn patient(reference: &str) -> Result<String, Refusal> {
    let named = Name::parse(reference).filter(|name| name.kind.as_str() == "Patient");
    let named = named.ok_or_else(|| bad("value", "patient: a reference to a patient of this server, `Patient/id`"))?;
    Ok(named.id.to_string())
}

/// An instant as it was sent; a plus that was not encoded came in as a space.
fn instant(text: &str) -> Result<i64, Refusal> {
    let span = moment(&text.replace(' ', "+")).ok_or_else(|| bad("value", "_since: an instant"))?;
    Ok(span.from.div_euclid(1_000))
}

/// Filters in one value are parted by commas, which stand inside filters too: a new one begins with a type.
fn split(value: &str) -> impl Iterator<Item = String> {
    let mut all: Vec<String> = Vec::new();
    for piece in value.split(',') {
        let begins = piece.split_once('?').is_some_and(|(kind, _)| TypeName::parse(kind).is_some());
        match all.last_mut() {
            Some(last) if !begins => {
                last.push(',');
                last.push_str(piece);
            }
            _ => all.push(piece.to_owned()),
        }
    }
    all.into_iter()
}

fn filter(text: String) -> Result<(String, String), Refusal> {
    let form = || bad("value", "_typeFilter: takes Type?parameter=value");
    let (kind, search) = text.split_once('?').ok_or_else(form)?;
    let kind = TypeName::parse(kind).ok_or_else(form)?;
    filters(kind, search, &Surroundings { base: "", now: 0, labels: None })?;
    Ok((kind.to_string(), search.to_owned()))
}

fn filters(kind: TypeName, search: &str, around: &Surroundings<'_>) -> Result<Vec<Filter>, Refusal> {
    let given = pairs(search).map_err(|text| bad("value", format!("_typeFilter: {text}")))?;
    let read = query::read(kind, &given, around).map_err(|e| bad("value", format!("_typeFilter: {e}")))?;
    if let Some(name) = read.unknown.first() {
        return Err(bad("not-supported", format!("_typeFilter: {kind} has no search parameter {name}")));
    }
    if read.filters.is_empty() || read.filters.len() < given.len() {
        return Err(bad("not-supported", "_typeFilter: takes search parameters and nothing else"));
    }
    if read.filters.iter().any(|f| matches!(f, Filter::Chain { .. } | Filter::Has { .. })) {
        return Err(bad("not-supported", "_typeFilter: takes no chained parameters"));
    }
    Ok(read.filters)
}

/// The parameters of a posted request, as a query has them.
pub fn posted(body: &Json) -> Result<Vec<(String, String)>, Issue> {
    if body.text("resourceType") != Some("Parameters") {
        return Err(Issue::at("structure", "resourceType", "send a Parameters resource"));
    }
    let given = match body.get("parameter") {
        None => return Ok(Vec::new()),
        Some(Json::Array(given)) => given,
        Some(_) => return Err(Issue::at("structure", "Parameters.parameter", "must be an array")),
    };
    given.iter().enumerate().map(|(n, one)| pair(one, n)).collect()
}

fn pair(one: &Json, n: usize) -> Result<(String, String), Issue> {
    let at = |element: &str, text: &str| Issue::at("value", &format!("Parameters.parameter[{n}].{element}"), text);
    let name = one.text("name").ok_or_else(|| at("name", "is required"))?;
    let kinds = ["valueString", "valueCode", "valueInstant", "valueDateTime", "valueUri"];
    let reference = || one.get("valueReference").and_then(|reference| reference.text("reference"));
    let value = kinds.iter().find_map(|kind| one.text(kind)).or_else(reference);
    let value = value.ok_or_else(|| at("value[x]", "must be text, an instant or a reference"))?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smart::scopes;

    fn ask(level: Level, query: &str, scope: &str) -> Result<Request, Refusal> {
        let caller = Caller::new("x", scopes::parse(scope).unwrap());
        Request::read("u".into(), level, &pairs(query).unwrap(), Unheld::Refused, &caller)
    }

    // meets bulk 32 47 51 52 231 251 274
    #[test]
    fn an_export_is_what_was_asked_and_what_the_caller_may_read() {
        for form in ["application/fhir+ndjson", "application/ndjson", "ndjson"] {
            for level in [Level::System, Level::Patient, Level::Group("g".into())] {
                assert!(ask(level, &format!("_outputFormat={form}"), "system/*.rs").is_ok(), "{form}");
            }
        }
        let all = ask(Level::System, "_outputFormat=application/fhir%2Bndjson", "system/*.rs").unwrap();
        assert!(all.kinds().len() > 140 && all.since.is_none());
        let some = ask(Level::Patient, "", "system/Patient.rs system/Organization.rs system/Observation.r").unwrap();
        assert_eq!(some.types, ["Patient"]);
        let group = Level::Group("g".into());
        assert!(ask(group.clone(), "", "system/*.rs").unwrap().types.iter().all(|t| t != "Group"));
        let two = "_type=Patient,Practitioner&_type=Patient&_since=2026-01-01T00:00:00%2B00:00";
        let two = ask(group, two, "system/*.rs").unwrap();
        assert_eq!((two.types.len(), two.since), (2, Some(1_767_225_600_000)));
        let query = "_type=Observation&_typeFilter=Observation%3Fcode%3Da%2Cb%2CObservation%3Fstatus%3Dfinal";
        assert_eq!(ask(Level::System, query, "system/*.rs").unwrap().filters.len(), 2);
    }

    #[test]
    fn what_is_not_held_is_refused_by_name() {
        for (query, name) in [
            ("_elements=id", "_elements"),
            ("_outputFormat=csv", "_outputFormat"),
            ("_since=soon", "_since"),
            ("_type=Patient,Cat", "_type"),
            ("_type=Bundle", "_type"),
            ("_typeFilter=code%3Da", "_typeFilter"),
            ("_typeFilter=Observation%3Fcat%3Da", "_typeFilter"),
            ("_typeFilter=Observation%3F_sort%3Ddate", "_typeFilter"),
            ("_typeFilter=Observation%3Fsubject.name%3Da", "_typeFilter"),
            ("_type=Patient&_typeFilter=Observation%3Fcode%3Da", "_typeFilter"),
        ] {
            let Err(Refusal::Bad(issue)) = ask(Level::Patient, query, "system/*.rs") else { panic!("{query}") };
            assert!(issue.text.starts_with(name), "{query}: {}", issue.text);
        }
        for (level, patient) in
            [(Level::System, "Patient/a"), (Level::Patient, "Group/a"), (Level::Patient, "http://x/Patient/a")]
        {
            let query = format!("patient={patient}");
            let Err(Refusal::Bad(issue)) = ask(level, &query, "system/*.rs") else { panic!("{query}") };
            assert!(issue.text.starts_with("patient"), "{query}: {}", issue.text);
        }
        let denied = |query| matches!(ask(Level::System, query, "system/Patient.r"), Err(Refusal::Denied(_)));
        assert!(denied("_type=Observation") && denied("_type=Patient") && denied(""));
    }
}
