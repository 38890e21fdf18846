//! All the maps of a service: the base set, and one for each overlay. A message's sender, type and version choose.

use crate::charset::Charset;
use crate::engine::{Context, map};
use crate::maps::MapSet;
use crate::overlay::{Applies, Case, OverlayFile};
use crate::parse::Message;
use crate::plan::{PlanError, fault};
use crate::schema::place::{Placed, located};
use crate::schema::{self, Kind};
use crate::sources::{Sources, read, yaml_files};
use jiff::tz::TimeZone;
use serde_json::Value;
use std::path::Path;

/// The most overlays of a service: each is a compiled map set of some megabytes.
pub const MAX_OVERLAYS: usize = 200;
/// How deep overlays may build on each other.
const MAX_DEPTH: usize = 8;
/// The instant of an overlay's own cases, so that they give the same every time.
const CASE_TIME: &str = "2026-03-01T12:00:00.000Z";

/// The maps of a service, checked and compiled.
#[derive(Debug)]
pub struct Library {
    base: MapSet,
    overlays: Vec<Overlaid>,
}

#[derive(Debug)]
pub(crate) struct Overlaid {
    name: String,
    applies: Applies,
    set: MapSet,
}

/// An overlay and the file that it stands in.
#[derive(Debug)]
pub(crate) struct Written {
    pub name: String,
    pub text: String,
    pub overlay: OverlayFile,
}

impl Library {
    /// The maps built in, or those of a directory, with the overlays of another; each overlay's own cases must hold.
    pub fn load(maps: Option<&Path>, overlays: Option<&Path>) -> Result<Self, PlanError> {
        Self::compile(maps, overlays).map_err(|e| located(e, maps))
    }

    fn compile(maps: Option<&Path>, overlays: Option<&Path>) -> Result<Self, PlanError> {
        let base = maps.map_or_else(Sources::embedded, Sources::load)?;
        let files = overlays.map_or_else(|| Ok(Vec::new()), overlay_files)?;
        if files.len() > MAX_OVERLAYS {
            return Err(fault("overlays", format!("there are more than {MAX_OVERLAYS}")));
        }
        let overlaid = |file| overlaid(file, &files, &base).map_err(|e| e.located(&placed_layers(file, &files)));
        let overlays = files.iter().map(overlaid).collect::<Result<_, _>>()?;
        Ok(Self { base: MapSet::compile(&base)?, overlays })
    }

    /// The maps for a message: those of the first overlay that applies, by file name, or the base set.
    pub fn choose(&self, message: &Message<'_>) -> &MapSet {
        let kind = self.base.message_name(message);
        let fitting = self.overlays.iter().find(|overlay| overlay.applies.to(message, &kind));
        fitting.map_or(&self.base, |overlay| &overlay.set)
    }

    /// The maps of an overlay, whatever messages it is for.
    pub fn named(&self, overlay: &str) -> Option<&MapSet> {
        self.overlays.iter().find(|known| known.name == overlay).map(|known| &known.set)
    }

    /// The maps without an overlay.
    pub fn base(&self) -> &MapSet {
        &self.base
    }

    /// The names of the overlays, in the order in which they are tried.
    pub fn overlays(&self) -> impl Iterator<Item = &str> {
        self.overlays.iter().map(|overlay| overlay.name.as_str())
    }
}

fn overlay_files(directory: &Path) -> Result<Vec<Written>, PlanError> {
    let read_one = |path: std::path::PathBuf| {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(&path).map_err(|e| fault(&name, e))?;
        schema::check_file(&name, &text, Kind::Overlay)?;
        Ok(Written { overlay: read(&name, &text)?, name, text })
    };
    yaml_files(directory)?.into_iter().map(read_one).collect()
}

/// The maps with an overlay.
pub(crate) fn overlaid(file: &Written, all: &[Written], base: &Sources) -> Result<Overlaid, PlanError> {
    let overlay = &file.overlay;
    let mut sources = base.clone();
    let mut zone = None;
    let mut policy = None;
    let mut charset = None;
    for layer in layers(&overlay.overlay, all, 0)? {
        layer.overlay.over(&mut sources)?;
        sources.hashed(&layer.text);
        zone = layer.overlay.zone.as_ref().or(zone);
        policy = layer.overlay.policy.or(policy);
        charset = layer.overlay.charset.as_ref().or(charset);
    }
    let place = || format!("overlay {}", overlay.overlay);
    let zone = zone.map(|name| TimeZone::get(name).map_err(|_| fault(place(), format!("there is no zone {name}"))));
    let mut set = MapSet::compile(&sources)?;
    set.zone = zone.transpose()?;
    let named = |name: &String| {
        Charset::named(name).ok_or_else(|| fault(place(), format!("the character set {name} is not supported")))
    };
    set.charset = charset.map(named).transpose()?;
    set.policy = policy.unwrap_or_default();
    for case in &overlay.cases {
        check(&set, case).map_err(|problem| fault(format!("{}, case {}", place(), case.name), problem))?;
    }
    Ok(Overlaid { name: overlay.overlay.clone(), applies: overlay.applies.clone(), set })
}

/// An overlay and those below it, with the place of each of their rules: the upper one first.
pub(crate) fn placed_layers(file: &Written, all: &[Written]) -> Vec<Placed> {
    let layers = layers(&file.overlay.overlay, all, 0).unwrap_or_else(|_| vec![file]);
    layers.iter().rev().filter_map(|layer| Placed::read(&layer.name, &layer.text)).collect()
}

/// An overlay behind those that it builds on.
fn layers<'o>(name: &str, all: &'o [Written], depth: usize) -> Result<Vec<&'o Written>, PlanError> {
    let found = all.iter().find(|file| file.overlay.overlay == name).filter(|_| depth < MAX_DEPTH);
    let file = found.ok_or_else(|| fault("overlays", format!("{name} is not there, or builds on itself")))?;
    let mut layers_below = Vec::new();
    for below in &file.overlay.extends {
        layers_below.extend(layers(below, all, depth + 1)?);
    }
    layers_below.push(file);
    Ok(layers_below)
}

/// Runs one case of an overlay.
fn check(set: &MapSet, case: &Case) -> Result<(), String> {
    let message = Message::parse(&case.message).map_err(|e| e.to_string())?;
    let context = Context { charset: Charset::Utf8, zone: None, now: CASE_TIME };
    let mapped = map(set, &message, &context).map_err(|e| e.to_string())?;
    let resources = mapped.drafts.iter().map(|draft| serde_json::from_str(&mapped.json(draft)));
    let resources: Vec<Value> = resources.collect::<Result<_, _>>().map_err(|e| e.to_string())?;
    case.expect.iter().try_for_each(|expected| meets(&resources, expected))
}

fn meets(resources: &[Value], expected: &str) -> Result<(), String> {
    let (path, wanted) = match (expected.split_once(" = "), expected.strip_suffix(" absent")) {
        (Some((path, text)), _) => (path.trim(), Some(text.trim())),
        (None, Some(path)) => (path.trim(), None),
        (None, None) => return Err(format!("`{expected}` is neither `path = value` nor `path absent`")),
    };
    let (kind, elements) = path.split_once('.').unwrap_or((path, ""));
    let of_kind = resources.iter().filter(|r| r["resourceType"] == kind);
    let found: Vec<String> = of_kind.flat_map(|r| values(r, elements)).collect();
    match wanted {
        None if found.is_empty() => Ok(()),
        None => Err(format!("{path} is there")),
        Some(text) if found.iter().any(|value| value == text) => Ok(()),
        Some(text) => Err(format!("{path} is not {text}")),
    }
}

/// The values at a path of elements, through all items of lists.
fn values(value: &Value, path: &str) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().flat_map(|item| values(item, path)).collect(),
        Value::Object(fields) if !path.is_empty() => {
            let (name, rest) = path.split_once('.').unwrap_or((path, ""));
            fields.get(name).map_or(Vec::new(), |inner| values(inner, rest))
        }
        Value::String(text) => vec![text.clone()],
        other => vec![other.to_string()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::charset;

    const HEAD: &str = "MSH|^~\\&|LAB|NORTH|||20260301||ADT^A04^ADT_A01|7|P|2.5";

    fn library(files: &[(&str, &str)]) -> Result<Library, PlanError> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Library::load(None, Some(folder.path()))
    }

    fn mapped(library: &Library, text: &str) -> Vec<Value> {
        let message = Message::parse(text).unwrap();
        let context = Context { charset: Charset::Utf8, zone: None, now: CASE_TIME };
        let mapped = map(library.choose(&message), &message, &context).unwrap();
        mapped.drafts.iter().map(|draft| serde_json::from_str(&mapped.json(draft)).unwrap()).collect()
    }

    fn found(resources: &[Value], path: &str) -> Vec<String> {
        let (kind, rest) = path.split_once('.').unwrap();
        resources.iter().filter(|r| r["resourceType"] == kind).flat_map(|r| values(r, rest)).collect()
    }

    const SITE: &str = r#"
overlay: north
applies: {sender: ["LAB|NORTH"], messages: ["ADT_*"]}
zone: Europe/Berlin
authorities: [{name: HOSP, system: "urn:oid:1.2.3"}]
tables:
  - table: AdministrativeSex
    rows: [{from: W, to: female}]
rules:
  - {map: "PID[Patient]", row: PID-11, off: true, because: The address is another system's.}
  - {map: "PID[Patient]", row: PID-30/z1, to: "extension[90].valueString", from: PID-39.1, because: Not in the guide.}
  - {map: "PID[Patient]", row: PID-30/z2, to: "extension[90].url", from: PID-39.1, value: "urn:tribe", because: Not in the guide.}
maps:
  - map: "ZPI[Patient]"
    source: ZPI
    target: Patient
    rules: [{row: ZPI-1, to: "communication[1].language.text"}]
messages:
  - map: ADT_A01
    insert: [{after: PID, segment: "ZPI?"}]
    rules: [{row: ZPI, to: "Patient[1]", with: "ZPI[Patient]"}]
cases:
  - name: a woman
    message: "MSH|^~\\&|LAB|NORTH|||20260301||ADT^A04^ADT_A01|7|P|2.5\rPID|1||1^^^HOSP||A^B|||W"
    expect: [Patient.gender = female, Patient.identifier.system = urn:oid:1.2.3, Patient.address absent]
"#;

    #[test]
    fn an_overlay_changes_the_maps_for_its_sender_only() {
        let library = library(&[("north.yaml", SITE)]).unwrap();
        let body = "\rPID|1||1^^^HOSP||A^B||198002291305|W|||Street\rZPI|Frisian\r";
        let north = mapped(&library, &format!("{HEAD}{body}"));
        assert_eq!(found(&north, "Patient.gender"), ["female"]);
        assert_eq!(found(&north, "Patient.communication.language.text"), ["Frisian"]);
        assert!(found(&north, "Patient.address").is_empty());
        assert!(found(&north, "Patient.birthDate").iter().any(|d| d == "1980-02-29"));
        let other = mapped(&library, &format!("{}{body}", HEAD.replace("NORTH", "SOUTH")));
        assert!(
            found(&other, "Patient.gender").is_empty()
                && found(&other, "Patient.communication.language.text").is_empty()
        );
        assert_eq!(found(&other, "Patient.address.line"), ["Street"]);
        let message = Message::parse(HEAD).unwrap();
        assert_ne!(library.choose(&message).hash(), library.base().hash());
    }

    #[test]
    fn a_faulty_overlay_is_refused_with_its_name() {
        for (text, part) in [
            ("overlay: x\nswitches: {nothing: here}", "there is no switch nothing"),
            ("overlay: x\nzone: Mars/Olympus", "there is no zone"),
            ("overlay: x\ncharset: klingon", "the character set klingon is not supported"),
            ("overlay: x\nextends: [x]", "builds on itself"),
            (
                "overlay: x\nrules: [{map: \"PID[Patient]\", row: PID-99, off: true}]",
                "x.yaml:2:9: PID[Patient]/PID-99: there is no rule",
            ),
            (
                "overlay: x\nrules: [{map: \"PID[Patient]\", row: PID-8, to: sex}]",
                "x.yaml:2:9: PID[Patient]/PID-8: Patient has no element sex",
            ),
            (
                "overlay: x\nmessages: [{map: ADT_A01, insert: [{after: QQQ, segment: ZZZ}]}]",
                "x.yaml:2:12: ADT_A01: it has no QQQ",
            ),
            ("overlay: x\nwhatever: 1", "x.yaml:2:1: there is no key `whatever` here"),
            (&SITE.replace("gender = female", "gender = male"), "case a woman: Patient.gender is not male"),
        ] {
            let error = library(&[("x.yaml", text)]).unwrap_err().to_string();
            assert!(error.contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn a_sender_without_a_character_set_has_that_of_his_overlay() {
        let site = "overlay: north\napplies: {sender: [\"LAB|NORTH\"]}\ncharset: 8859/1";
        let library = library(&[("north.yaml", site)]).unwrap();
        let name = |head: &str| {
            let bytes = [head.as_bytes(), b"\rPID|1||1^^^HOSP||M\xfcller^Ada\r"].concat();
            let header = charset::header(&bytes).unwrap();
            let set = library.choose(&Message::parse(&header).unwrap()).charset().unwrap_or(Charset::Utf8);
            charset::decode(&bytes, set).map(|decoded| found(&mapped(&library, &decoded.text), "Patient.name.family"))
        };
        assert_eq!(name(HEAD).unwrap(), ["M\u{fc}ller"]);
        assert!(name(&HEAD.replace("NORTH", "SOUTH")).is_err(), "another sender's is the feed's");
        assert!(name(&format!("{HEAD}||||||UNICODE UTF-8")).is_err(), "MSH-18 goes first");
    }

    #[test]
    fn a_feed_may_refuse_what_is_lost_or_keep_it() {
        let lost = [
            ("a segment without a place", "PID|1||1^^^HOSP||A^B\rZZZ|1^2", "ZZZ: "),
            ("a second patient", "PID|1||1^^^HOSP||A^B\rPID|2||2^^^HOSP||C^D", "PID(2): "),
            ("a code without a row", "PID|1||1^^^HOSP||A^B|||f", "PID-8: "),
            ("a time without a zone", "PID|1||1^^^HOSP||A^B||||||||||||||||||||||||202601010830", "PID-29: "),
            ("a value without a rule", "PID|1||1^^^HOSP||A^B||||||||||||||||||||||||||||||||||||||||||x", "PID-47"),
        ];
        let strict = library(&[("x.yaml", "overlay: x\npolicy: refuse")]).unwrap();
        let keeping = library(&[("x.yaml", "overlay: x\npolicy: extension")]).unwrap();
        let local = format!("{HEAD}\rPID|1||1^^^HOSP||A^B|||||||||||||||||||||Elbe^Elbisch^L");
        let message = Message::parse(&local).unwrap();
        let context = Context { charset: Charset::Utf8, zone: None, now: CASE_TIME };
        assert!(
            map(strict.choose(&message), &message, &context).is_ok(),
            "a local code has no system that could be lost"
        );
        for (what, body, place) in lost {
            let text = format!("{HEAD}\r{body}\r");
            let message = Message::parse(&text).unwrap();
            let context = Context { charset: Charset::Utf8, zone: None, now: CASE_TIME };
            let error = map(strict.choose(&message), &message, &context).map(|_| ()).unwrap_err().to_string();
            assert!(error.starts_with(place), "{what}: {error}");
            let text = serde_json::to_string(&mapped(&keeping, &text)).unwrap();
            assert!(text.contains(&format!("\"valueString\":\"{}", place.trim_end_matches(": "))), "{what}");
        }
    }

    #[test]
    fn overlays_build_on_each_other() {
        let below = "overlay: below\napplies: {sender: [nobody]}\nauthorities: [{name: HOSP, system: \"urn:oid:2.9\"}]";
        let above = "overlay: above\nextends: [below]\npolicy: extension";
        let library = library(&[("1.yaml", below), ("2.yaml", above)]).unwrap();
        let resources =
            mapped(&library, &format!("{HEAD}\rPID|1||1^^^HOSP||A^B||||||||||||||||||||||||||||||||||||||||||x"));
        assert_eq!(found(&resources, "Patient.identifier.system"), ["urn:oid:2.9"]);
        assert_eq!(found(&resources, "Patient.extension.extension.valueString"), ["PID-47.1", "x"]);
    }
}
