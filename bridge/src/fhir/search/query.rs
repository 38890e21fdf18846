//! Reads a search: filters, includes, order, and what steers the reply (R4 3.1.1).

use super::chain::{chain, has};
use super::criterion::{Criterion, Surroundings, Target, TextMatch, Token};
use super::span::{Prefix, Span, moment};
use super::table::{COMPARTMENT, Kind, Parameter, belonging, parameter};
use super::text::{split, unescape};
use crate::ids::{ResourceId, TypeName};
use crate::limits::{MAX_CHAIN_DEPTH, MAX_PAGE, MAX_QUERY_VALUES};

/// A search as it was asked.
#[derive(Debug, Clone)]
pub struct Search {
    pub kind: TypeName,
    /// All must hold.
    pub filters: Vec<Filter>,
    pub includes: Vec<Include>,
    pub sort: Vec<Sort>,
    pub count: Option<usize>,
    pub total: Total,
    pub cursor: Option<String>,
    /// The parameters that this server does not know.
    pub unknown: Vec<String>,
    /// What else was passed over, where that was asked for.
    pub passed: Vec<QueryError>,
    /// What was understood, as it came: for the self link.
    pub understood: Vec<(String, String)>,
}

/// One condition. Values in a list are alternatives.
#[derive(Debug, Clone)]
pub enum Filter {
    Ids(Vec<ResourceId>),
    Updated(Vec<(Prefix, Span)>),
    Values {
        parameter: &'static Parameter,
        /// `:not`
        negated: bool,
        alternatives: Vec<Criterion>,
    },
    Missing {
        parameter: &'static Parameter,
        missing: bool,
    },
    /// `subject:Patient.name=x`: refers to a resource of one of these types that fits.
    Chain {
        parameter: &'static Parameter,
        targets: Vec<(TypeName, Filter)>,
    },
    /// `_has:Observation:patient:code=x`: is referred to by a resource that fits.
    Has {
        kind: TypeName,
        reference: &'static Parameter,
        inner: Box<Filter>,
    },
}

/// `_include` or `_revinclude`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Include {
    pub reverse: bool,
    pub iterate: bool,
    /// The type whose reference is followed; none: `*`.
    pub kind: Option<TypeName>,
    /// The parameter's name; none: every reference.
    pub parameter: Option<&'static str>,
    /// Only to this type.
    pub target: Option<TypeName>,
}

/// One key of the order.
#[derive(Debug, Clone, Copy)]
pub struct Sort {
    pub key: SortKey,
    pub descending: bool,
}

/// What to sort by.
#[derive(Debug, Clone, Copy)]
pub enum SortKey {
    Updated,
    Id,
    Parameter(&'static Parameter),
}

/// How much the total is worth to the caller (`_total`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Total {
    None,
    /// Told where it costs little.
    #[default]
    Cheap,
    Accurate,
}

/// Why a search cannot be run. Names parameters, never values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    #[error("{name}: {why}")]
    Bad { name: String, why: String },
    #[error("{name}: {why}")]
    Unsupported { name: String, why: String },
}

/// Parameters that only steer the form of the reply; `http` reads them. `_totalMethod` is fhirpy's wish for a total, which
/// `_total` says in the standard's words: it changes nothing of what is found.
const FORM: &[&str] = &["_format", "_pretty", "_summary", "_elements", "_totalMethod"];

pub(super) type Result<T> = std::result::Result<T, QueryError>;

/// What is done with a parameter that says nothing, and with an order or an include that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Faulty {
    Refused,
    /// They are listed in [`Search::passed`].
    Passed,
}

/// Reads a search over a type.
pub fn read(kind: TypeName, pairs: &[(String, String)], around: &Surroundings<'_>) -> Result<Search> {
    read_as(kind, pairs, around, Faulty::Refused)
}

/// The same, strict or lenient.
pub fn read_as(
    kind: TypeName,
    pairs: &[(String, String)],
    around: &Surroundings<'_>,
    faulty: Faulty,
) -> Result<Search> {
    let mut search = Search {
        kind,
        filters: Vec::new(),
        includes: Vec::new(),
        sort: Vec::new(),
        count: None,
        total: Total::default(),
        cursor: None,
        unknown: Vec::new(),
        passed: Vec::new(),
        understood: Vec::new(),
    };
    for (name, value) in pairs {
        match search.take(name, value, around) {
            Ok(true) => search.understood.push((name.clone(), value.clone())),
            Ok(false) => search.unknown.push(shown(name)),
            Err(error) if faulty == Faulty::Passed && may_be_passed(name, value) => search.passed.push(error),
            Err(error) => return Err(error),
        }
    }
    Ok(search)
}

/// R4 3.1.1.3: an empty parameter is no error; here it is one unless the client is lenient, because what is left finds
/// everything. A value that cannot be read is an error always.
fn may_be_passed(name: &str, value: &str) -> bool {
    value.is_empty() || ["_sort", "_include", "_revinclude"].contains(&name.split(':').next().unwrap_or(name))
}

impl Search {
    /// Takes a parameter; tells whether it is known.
    fn take(&mut self, name: &str, value: &str, around: &Surroundings<'_>) -> Result<bool> {
        if value.is_empty() && !FORM.contains(&name) {
            return Err(bad(name, "is empty; leave it out, or send `Prefer: handling=lenient`"));
        }
        if self.steer(name, value)? {
            return Ok(true);
        }
        let filter = filter(self.kind, name, value, around, 0)?;
        let known = filter.is_some();
        self.filters.extend(filter);
        Ok(known)
    }

    /// Takes a parameter that is no filter; tells whether it was one.
    fn steer(&mut self, name: &str, value: &str) -> Result<bool> {
        match name {
            "_count" => self.count = Some(count(value)?),
            "_cursor" => self.cursor = Some(value.to_owned()),
            "_total" => self.total = total(value)?,
            "_sort" => self.sort = sort(self.kind, value)?,
            _ if FORM.contains(&name) => {}
            _ => match name.split_once(':').map_or((name, None), |(n, m)| (n, Some(m))) {
                (n @ ("_include" | "_revinclude"), modifier) => {
                    self.includes.push(include(n == "_revinclude", modifier, value).ok_or_else(|| {
                        bad(name, "takes Type:parameter, Type:parameter:Target or Type:*, with or without :iterate")
                    })?);
                }
                _ => return Ok(false),
            },
        }
        Ok(true)
    }
}

fn shown(name: &str) -> String {
    name.chars().filter(char::is_ascii_graphic).take(60).collect()
}

pub(super) fn bad(name: &str, why: impl Into<String>) -> QueryError {
    QueryError::Bad { name: shown(name), why: why.into() }
}

fn unsupported(name: &str, why: impl Into<String>) -> QueryError {
    QueryError::Unsupported { name: shown(name), why: why.into() }
}

/// `_count`, bounded.
fn count(text: &str) -> Result<usize> {
    let count = text.parse::<usize>().map_err(|_| bad("_count", "a whole number"))?;
    Ok(count.min(MAX_PAGE))
}

fn total(text: &str) -> Result<Total> {
    match text {
        "none" => Ok(Total::None),
        "estimate" => Ok(Total::Cheap),
        "accurate" => Ok(Total::Accurate),
        _ => Err(bad("_total", "none, estimate or accurate")),
    }
}

fn sort(kind: TypeName, text: &str) -> Result<Vec<Sort>> {
    split(text, ',').into_iter().map(|key| sort_key(kind, key)).collect()
}

fn sort_key(kind: TypeName, text: &str) -> Result<Sort> {
    let (name, descending) = text.strip_prefix('-').map_or((text, false), |name| (name, true));
    let key = match name {
        "_lastUpdated" => SortKey::Updated,
        "_id" => SortKey::Id,
        name => match parameter(kind, name) {
            Some(p) if p.kind != Kind::Composite => SortKey::Parameter(p),
            _ => return Err(bad("_sort", format!("{kind} cannot be sorted by {}", shown(name)))),
        },
    };
    Ok(Sort { key, descending })
}

fn include(reverse: bool, modifier: Option<&str>, value: &str) -> Option<Include> {
    let iterate = match modifier {
        None => false,
        Some("iterate" | "recurse") => true,
        Some(_) => return None,
    };
    let parts: Vec<&str> = value.split(':').collect();
    let (kind, name, target) = match parts.as_slice() {
        ["*"] if !reverse => return Some(Include { reverse, iterate, kind: None, parameter: None, target: None }),
        [kind, name] => (TypeName::parse(kind)?, *name, None),
        [kind, name, target] => (TypeName::parse(kind)?, *name, Some(TypeName::parse(target)?)),
        _ => return None,
    };
    let name = match name {
        "*" => None,
        name => Some(parameter(kind, name).filter(|p| p.is_followed())?.name),
    };
    Some(Include { reverse, iterate, kind: Some(kind), parameter: name, target })
}

/// Reads one parameter; none: it is not known.
pub fn filter(
    kind: TypeName,
    name: &str,
    value: &str,
    around: &Surroundings<'_>,
    depth: usize,
) -> Result<Option<Filter>> {
    if depth > MAX_CHAIN_DEPTH {
        return Err(unsupported(name, format!("chains are at most {MAX_CHAIN_DEPTH} long")));
    }
    if let Some(rest) = name.strip_prefix("_has:") {
        return has(kind, name, rest, value, around, depth);
    }
    if let Some((head, rest)) = name.split_once('.') {
        return chain(kind, head, rest, value, around, depth);
    }
    let (plain, modifier) = name.split_once(':').map_or((name, None), |(n, m)| (n, Some(m)));
    let values = alternatives(name, value)?;
    match (plain, modifier) {
        ("_id", None) => {
            // What is no id is the id of nothing.
            return Ok(Some(Filter::Ids(values.iter().filter_map(|v| ResourceId::parse(&unescape(v))).collect())));
        }
        ("_lastUpdated", None) => return updated(&values).map(Some),
        ("_id" | "_lastUpdated", Some(_)) => return Err(unsupported(name, "takes no modifier")),
        _ => {}
    }
    let Some(parameter) = parameter(kind, plain).or_else(|| patients(kind, name)) else { return Ok(None) };
    if modifier == Some("missing") && parameter.kind != Kind::Composite {
        let missing = value.parse().map_err(|_| bad(name, "true or false"))?;
        return Ok(Some(Filter::Missing { parameter, missing }));
    }
    let one = |text: &&str| {
        criterion(parameter, name, modifier, text, around)?.ok_or_else(|| bad(name, form(parameter.kind)))
    };
    let alternatives = values.iter().map(one).collect::<Result<_>>()?;
    Ok(Some(Filter::Values { parameter, negated: modifier == Some("not"), alternatives }))
}

/// The parameter of a search in a patient's compartment.
fn patients(kind: TypeName, name: &str) -> Option<&'static Parameter> {
    if name == COMPARTMENT { belonging(kind) } else { None }
}

/// Ids are looked up one by one; of them there may be as many as a query has room for.
fn alternatives<'v>(name: &str, value: &'v str) -> Result<Vec<&'v str>> {
    let values = split(value, ',');
    if values.len() > MAX_QUERY_VALUES && name != "_id" {
        return Err(bad(name, format!("at most {MAX_QUERY_VALUES} alternatives")));
    }
    Ok(values)
}

/// What a value should have looked like.
fn form(kind: Kind) -> &'static str {
    match kind {
        Kind::Token => "a value, `code`, `system|code`, `|code` or `system|`",
        Kind::String => "some text",
        Kind::Date => "a date or time, with a prefix eq, ne, gt, ge, lt, le, sa, eb or ap",
        Kind::Number => "a number, with a prefix eq, ne, gt, ge, lt, le, sa, eb or ap",
        Kind::Quantity => "a number, `number|system|code` or `number||code`, with or without a prefix",
        Kind::Uri => "a URI",
        Kind::Reference => "`id`, `Type/id` or a URL, of a type that the reference may have",
        Kind::Composite => "one value for each component, separated by `$`",
    }
}

fn criterion(
    parameter: &'static Parameter,
    name: &str,
    modifier: Option<&str>,
    text: &str,
    around: &Surroundings<'_>,
) -> Result<Option<Criterion>> {
    Ok(match (parameter.kind, modifier) {
        (_, None) if parameter.name == COMPARTMENT => {
            let patient = TypeName::parse("Patient");
            patient.and_then(|kind| Target::of_type(&unescape(text), kind, around)).map(Criterion::Reference)
        }
        (_, None) | (Kind::Token, Some("not")) => Criterion::parse(parameter, text, around),
        (Kind::String, Some("exact")) => Criterion::text(text, TextMatch::Exact),
        (Kind::String, Some("contains")) => Criterion::text(text, TextMatch::Contains),
        (Kind::Reference, Some("identifier")) => Token::parse(text).map(Criterion::Identifier),
        (Kind::Reference, Some(target)) if TypeName::parse(target).is_some() => {
            let kind = TypeName::parse(target).filter(|k| allows(parameter, *k));
            let kind = kind.ok_or_else(|| bad(name, "the reference is never of that type"))?;
            Target::of_type(&unescape(text), kind, around).map(Criterion::Reference)
        }
        (_, Some(modifier)) => {
            return Err(unsupported(name, format!("the modifier :{} is not supported here", shown(modifier))));
        }
    })
}

pub(super) fn allows(parameter: &Parameter, kind: TypeName) -> bool {
    parameter.targets.is_empty() || parameter.targets.contains(&kind.as_str())
}

fn updated(values: &[&str]) -> Result<Filter> {
    let one = |text: &&str| {
        let (prefix, rest) = Prefix::split(text);
        moment(&unescape(rest)).map(|span| (prefix, span)).ok_or_else(|| bad("_lastUpdated", form(Kind::Date)))
    };
    values.iter().map(one).collect::<Result<_>>().map(Filter::Updated)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AROUND: Surroundings<'static> = Surroundings { base: "http://here/fhir", now: 0, labels: None };

    fn search(kind: &str, query: &str) -> Result<Search> {
        let pairs: Vec<(String, String)> =
            query.split('&').map(|p| p.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned())).unwrap()).collect();
        read(TypeName::parse(kind).unwrap(), &pairs, &AROUND)
    }

    #[test]
    fn searches_are_read() {
        let query = "subject:Patient.name=x&_has:Provenance:target:agent=Practitioner/1&code=a|b,c&code:not=d&status:missing=true\
            &_sort=-date,_id&_count=5&_include=Observation:subject&_revinclude:iterate=Provenance:target&_total=none&foo=1&_id=a,b_c";
        let search = search("Observation", query).unwrap();
        assert_eq!(search.filters.len(), 6);
        assert!(matches!(&search.filters[0], Filter::Chain { targets, .. } if targets.len() == 1));
        assert!(
            matches!(&search.filters[2], Filter::Values { alternatives, negated: false, .. } if alternatives.len() == 2)
        );
        assert!(matches!(&search.filters[5], Filter::Ids(ids) if ids.len() == 1));
        assert_eq!((search.sort.len(), search.sort[0].descending, search.includes.len()), (2, true, 2));
        assert_eq!((search.count, search.total, search.unknown), (Some(5), Total::None, vec!["foo".to_owned()]));
        assert!(search.understood.iter().all(|(n, _)| n != "foo"));
    }

    #[test]
    fn who_is_lenient_is_told_what_was_passed_over_and_what_cannot_be_read_is_refused_still() {
        let lenient = |query: &str| {
            let pairs: Vec<(String, String)> = query
                .split('&')
                .map(|p| p.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned())).unwrap())
                .collect();
            read_as(TypeName::parse("Patient").unwrap(), &pairs, &AROUND, Faulty::Passed)
        };
        let read = lenient("family=&_sort=nothing&_include=Patient:name&gender=male").unwrap();
        assert_eq!((read.filters.len(), read.passed.len(), read.sort.len(), read.understood.len()), (1, 3, 0, 1));
        for query in ["birthdate=tomorrow", "_count=x", "name:sounds=x"] {
            assert!(lenient(query).is_err(), "{query}");
        }
        let ids = format!("_id={}", "a,".repeat(5 * MAX_QUERY_VALUES));
        assert!(lenient(&ids).is_ok(), "ids may be many");
        assert_eq!(search("Patient", "_format=&gender=male").unwrap().filters.len(), 1);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (kind, query) in [
            ("Patient", "name:sounds=x"),
            ("Patient", "identifier:text=x"),
            ("Patient", "identifier:in=x"),
            ("Patient", "birthdate=tomorrow"),
            ("Patient", "_count=x"),
            ("Patient", "_sort=nothing"),
            ("Patient", "_total=maybe"),
            ("Patient", "_include=Patient:name"),
            ("Patient", "name.family=x"),
            ("Patient", "active:missing=perhaps"),
            ("Patient", "_has:Observation:nothing:code=x"),
            ("Patient", "_has:Observation=x"),
            ("Observation", "subject:Organization=1"),
            ("Observation", "focus.name=x"),
            ("Observation", "_id:not=x"),
            ("Observation", "code="),
            ("Observation", "_count="),
            ("Observation", "_compartment=Group/1"),
        ] {
            let error = search(kind, query).unwrap_err().to_string();
            let name = query.split('=').next().unwrap();
            assert!(error.starts_with(name.split('.').next().unwrap()), "{query}: {error}");
        }
        let deep = format!("{}name=x", "part-of.".repeat(MAX_CHAIN_DEPTH + 1));
        assert!(search("Procedure", &deep).is_err());
        let many = format!("code={}", "a,".repeat(MAX_QUERY_VALUES));
        assert!(search("Observation", &many).is_err());
    }
}
