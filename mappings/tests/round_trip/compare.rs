//! What of a message came back: component by component, equal by meaning.

use crate::message::{Key, Trip, ZONE, keys};
use mappings::charset::Charset;
use mappings::escape;
use mappings::map_file::{MapFile, TableFile};
use mappings::parse::{Message, Segment, Separators, split};
use mappings::path::Place;
use mappings::r4::is_oid;
use mappings::report::path;
use mappings::{convert, time};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// What became of a component.
pub enum Outcome {
    Same,
    /// Found at another place, for a stated reason.
    Moved(String),
    /// Not found, for a stated reason.
    Excepted(String),
    Lost,
}

/// A place that need not come back as it was.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    /// `GT1`, `PID-2`, `OBX-6.4`.
    places: Vec<String>,
    /// Only where the segment has one of these texts as the first component of a field.
    #[serde(default, rename = "where")]
    only: HashMap<u16, Vec<String>>,
    /// Where the value stands instead: a field, a component or `same`; without it, it may be gone.
    #[serde(default)]
    moved: Option<String>,
    because: String,
}

/// The data file of exceptions.
pub struct Exceptions(Vec<Exception>);

impl Exceptions {
    pub fn read(path: &Path) -> Self {
        Self(serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
    }

    fn of<'e>(&'e self, place: &'e str) -> impl Iterator<Item = &'e Exception> {
        let under = move |outer: &String| {
            place == outer || place.strip_prefix(outer.as_str()).is_some_and(|rest| rest.starts_with(['.', '-']))
        };
        self.0.iter().filter(move |e| e.places.iter().any(under))
    }
}

/// Which table a forward rule uses, and the tables.
pub struct Tables {
    rules: HashMap<String, String>,
    codes: HashMap<String, HashMap<String, (String, Option<String>)>>,
}

impl Tables {
    pub fn read(maps: &Path) -> Self {
        let mut rules = HashMap::new();
        for file in ["segments", "datatypes"].iter().flat_map(|folder| yaml::<MapFile>(&maps.join(folder))) {
            for row in file.rules {
                rules.extend(row.table.map(|table| (format!("{}/{}", file.map, row.row), table)));
            }
        }
        let codes = yaml::<TableFile>(&maps.join("tables"))
            .into_iter()
            .map(|file| (file.table, file.rows.into_iter().map(|row| (row.from, (row.to, row.system))).collect()));
        Self { rules, codes: codes.collect() }
    }

    /// The tables by which components were read, by segment name, field and component: what one of a name is read by, the
    /// others are too.
    fn used(&self, trip: &Trip, message: &Message<'_>) -> HashMap<(String, u16, u16), HashSet<&str>> {
        let mut used: HashMap<_, HashSet<&str>> = HashMap::new();
        for (rule, place) in &trip.origins {
            let Some(table) = self.rules.get(rule) else { continue };
            let name = message.segment(place.segment as usize).map_or("", |s| s.name());
            used.entry((name.to_owned(), place.field, place.component.max(1))).or_default().insert(table);
        }
        used
    }

    fn same_code(&self, table: &str, one: &str, other: &str) -> bool {
        // An OID names a coding system without a row.
        let oid = |v2: &str| (table == "CodingSystem" && is_oid(v2)).then(|| (format!("urn:oid:{v2}"), None));
        let code = |v2: &str| self.codes.get(table)?.get(v2).cloned().or_else(|| oid(v2));
        code(one).is_some() && code(one) == code(other)
    }
}

fn yaml<T: serde::de::DeserializeOwned>(folder: &Path) -> Vec<T> {
    let paths = std::fs::read_dir(folder).unwrap().flatten().map(|e| e.path());
    paths.map(|path| serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()).collect()
}

/// MSH fields that no map reads: they are the transport's.
const TRANSPORT: &[u16] = &[1, 2, 8, 13, 14, 15, 16, 18, 20, 21];

/// What the forward report lists of one segment: it was not used, or could not be.
struct Listed<'t> {
    message: &'t Message<'t>,
    paths: HashSet<&'t str>,
}

impl<'t> Listed<'t> {
    fn new(trip: &'t Trip, message: &'t Message<'t>, segment: usize) -> Self {
        let name = path(message, Place { segment: segment as u32, ..Place::default() });
        let here = |p: &&String| p.strip_prefix(&name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
        Self { message, paths: trip.listed.iter().filter(here).map(String::as_str).collect() }
    }

    fn has(&self, place: Place) -> bool {
        !self.paths.is_empty() && self.paths.contains(path(self.message, place).as_str())
    }

    /// What of a value is not listed.
    fn without(&self, mut value: Value, place: Place) -> Option<Value> {
        let (segment, field) = (Place { segment: place.segment, ..Place::default() }, Place { component: 0, ..place });
        if [segment, field, place].into_iter().any(|p| self.has(p)) {
            return None;
        }
        for (n, part) in value.parts.iter_mut().enumerate() {
            if self.has(Place { subcomponent: n as u16 + 1, ..place }) {
                part.clear();
            }
        }
        value.parts.iter().any(|part| !part.is_empty()).then_some(value)
    }
}

/// What became of each component that the forward maps used, with its place in words.
pub fn compare(trip: &Trip, tables: &Tables, exceptions: &Exceptions) -> Vec<(String, Outcome)> {
    let (source, back) = (Message::parse(&trip.source).unwrap(), Message::parse(&trip.back).unwrap());
    let back_keys: HashMap<Key, usize> = keys(&back).into_iter().enumerate().map(|(n, key)| (key, n)).collect();
    let used = tables.used(trip, &source);
    let mut outcomes = Vec::new();
    for (segment, key) in source.segments().zip(keys(&source)) {
        let listed = Listed::new(trip, &source, segment.index());
        let twin = back_keys.get(&key).and_then(|n| back.segment(*n));
        for field in (1..=segment.len() as u16).filter(|f| key.name != "MSH" || !TRANSPORT.contains(f)) {
            let found = twin.map(|t| values(t.field(field as usize), &back)).unwrap_or_default();
            for value in values(segment.field(field as usize), &source) {
                let place = value.place(segment.index(), field);
                let Some(value) = listed.without(value, place) else { continue };
                let by = used.get(&(key.name.clone(), field, value.component));
                let same_code = |a: &str, b: &str| {
                    let types = key.name == "OBX" && field == 2 && synonyms(a, b);
                    types || by.into_iter().flatten().any(|t| tables.same_code(t, a, b))
                };
                let name = format!("{}-{field}.{}", key.name, value.component);
                let outcome = match found.iter().any(|other| value.is_same(other, same_code)) {
                    true => Outcome::Same,
                    false => excepted(&name, &value, segment, &back, exceptions),
                };
                outcomes.push((name, outcome));
            }
        }
    }
    outcomes
}

fn excepted(
    name: &str,
    value: &Value,
    segment: Segment<'_, '_>,
    back: &Message<'_>,
    exceptions: &Exceptions,
) -> Outcome {
    let first =
        |field: u16| segment.field(usize::from(field)).split(['^', '~', '&']).next().unwrap_or("").trim().to_owned();
    let fits = |e: &&Exception| e.only.iter().all(|(field, texts)| texts.contains(&first(*field)));
    for exception in exceptions.of(name).filter(fits) {
        let reason = format!("{}: {}", exception.places.join(", "), exception.because);
        let same = name.rsplit_once('.').map_or(name, |(field, _)| field);
        match exception.moved.as_deref() {
            None => return Outcome::Excepted(reason),
            Some(to) if stands_at(value, if to == "same" { same } else { to }, back) => return Outcome::Moved(reason),
            Some(_) => {}
        }
    }
    Outcome::Lost
}

/// Whether a value stands anywhere in a field or component of any segment of that name.
fn stands_at(value: &Value, to: &str, back: &Message<'_>) -> bool {
    let (segment, rest) = to.split_once('-').unwrap();
    let (field, component) = rest.split_once('.').map_or((rest, None), |(f, c)| (f, Some(c.parse::<u16>().unwrap())));
    let field = field.parse().unwrap();
    let all = back.segments().filter(|s| s.name() == segment).flat_map(|s| values(s.field(field), back));
    let wanted: Vec<&String> = value.parts.iter().filter(|p| !p.is_empty()).collect();
    all.filter(|v| component.is_none_or(|c| v.component == c))
        .any(|v| wanted.iter().all(|w| v.parts.iter().any(|p| alike(w, p))))
}

/// A component: its repetition, which of the valued repetitions that is, and its subcomponents' texts.
struct Value {
    repetition: u16,
    nth: usize,
    component: u16,
    parts: Vec<String>,
}

impl Value {
    fn place(&self, segment: usize, field: u16) -> Place {
        let (repetition, component) = (self.repetition, self.component);
        Place { segment: segment as u32, field, repetition, component, subcomponent: 0 }
    }

    /// At the same place, with each valued part again.
    fn is_same(&self, other: &Self, same_code: impl Fn(&str, &str) -> bool) -> bool {
        let again = |(n, text): (usize, &String)| {
            let back = other.parts.get(n).map_or("", String::as_str);
            text.is_empty() || alike(text, back) || same_code(text, back)
        };
        (self.nth, self.component) == (other.nth, other.component) && self.parts.iter().enumerate().all(again)
    }
}

fn values(field: &str, message: &Message<'_>) -> Vec<Value> {
    let separators = message.separators();
    let repetitions = split(field, Some(separators.repetition)).enumerate();
    let valued = repetitions.filter(|(_, text)| !text.trim().is_empty() && text.trim() != "\"\"");
    let mut all = Vec::new();
    for (nth, (repetition, text)) in valued.enumerate() {
        for (n, component) in split(text, Some(separators.component)).enumerate() {
            let parts = texts(component, &separators);
            if parts.iter().any(|p| !p.is_empty()) {
                all.push(Value { repetition: repetition as u16, nth, component: n as u16 + 1, parts });
            }
        }
    }
    all
}

fn texts(component: &str, separators: &Separators) -> Vec<String> {
    let decoded = |t| escape::decode(t, separators, Charset::Utf8).trim().to_owned();
    let text = |t| match decoded(t) {
        deleted if deleted == "\"\"" => String::new(),
        text => text,
    };
    split(component, separators.subcomponent).map(text).collect()
}

/// Datatypes that say the same of a value (OBX-2): which of them a sender chose is not kept.
const SYNONYMS: &[&[&str]] =
    &[&["CE", "CWE", "CNE", "CF", "IS"], &["ST", "TX", "FT"], &["TS", "DT", "DTM"], &["NM", "SN", "SI"]];

fn synonyms(one: &str, other: &str) -> bool {
    SYNONYMS.iter().any(|all| all.contains(&one) && all.contains(&other))
}

/// Equal as text, as number, as time or as time of day.
fn alike(one: &str, other: &str) -> bool {
    // A URI has no spaces: the forward maps write them `%20`.
    let plain = |t: &str| t.replace("%20", " ").split_whitespace().collect::<Vec<_>>().join(" ");
    let moment = |t: &str| time::date_time(t, Some(&ZONE)).ok().map(|(t, _)| t);
    let clock = |t: &str| time::time(t).ok().map(|(t, _)| t);
    let number = |t: &str| convert::decimal(Cow::Borrowed(t)).map(Cow::into_owned);
    let both = |f: &dyn Fn(&str) -> Option<String>| f(one).is_some() && f(one) == f(other);
    plain(one) == plain(other) || both(&number) || both(&moment) || both(&clock)
}
