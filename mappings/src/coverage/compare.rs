//! The guide's rows beside our rules.

use super::guide::{GuideMap, GuideRow};
use super::ours::{Ours, Rule};
use super::reading::{self, Reading};
use super::wording::{self, fold};
use super::{Kind, MapReport, Row, State, place};
use crate::sources::Sources;
use std::collections::BTreeSet;

/// Datatype maps that are nothing but the conversion to the target's primitive type, folded.
const PLAIN: [&str; 9] = [
    "cwecode",
    "idcode",
    "idstring",
    "idboolean",
    "dtmdatetime",
    "tsdatetime",
    "nmpositiveint",
    "iscode",
    "stcodeableconcept",
];

/// Names that are one but for their spelling.
pub type Spellings = BTreeSet<(String, String)>;

/// A map of the guide beside ours of the same name.
pub fn map(guide: &GuideMap, ours: &Sources, spellings: &mut Spellings) -> MapReport {
    let named = |name: &str| fold(name) == fold(&guide.name);
    let found = match guide.kind {
        Kind::Message => ours.messages.iter().find(|file| named(&file.map)).map(Ours::from),
        _ => ours.maps.iter().find(|file| named(&file.map)).map(Ours::from),
    };
    let present = found.is_some();
    let ours = found.unwrap_or_default();
    note(spellings, &guide.name, ours.name);
    let mut carried = BTreeSet::new();
    let row = |row: &GuideRow| {
        let rule = ours.rule(guide.kind, &row.id);
        carried.extend(rule.map(|rule| rule.row));
        note_names(spellings, row, rule);
        Row { id: row.id.clone(), state: state(guide, row, rule, &ours) }
    };
    let rows = guide.rows.iter().map(row).collect();
    let faults = twice(&ours.rules).chain(additions(&ours.rules, &carried)).collect();
    MapReport { kind: guide.kind, name: guide.name.clone(), present, rows, faults }
}

fn note_names(spellings: &mut Spellings, row: &GuideRow, rule: Option<&Rule<'_>>) {
    let Some(rule) = rule else { return };
    note(spellings, &row.with, rule.with);
    note(spellings, &row.table, rule.table);
    if row.id != rule.row {
        spellings.insert((row.id.clone(), rule.row.to_owned()));
    }
}

/// Notes a name of ours that is the guide's but for its spelling.
pub fn note(spellings: &mut Spellings, guide: &str, ours: &str) {
    if guide != ours && fold(guide) == fold(ours) {
        spellings.insert((guide.to_owned(), ours.to_owned()));
    }
}

/// Rules that have the id of another one.
fn twice<'r>(rules: &'r [Rule<'_>]) -> impl Iterator<Item = Row> + 'r {
    let mut seen = BTreeSet::new();
    rules.iter().filter(move |rule| !seen.insert(rule.row)).map(|rule| unexplained(rule, "it is there twice"))
}

/// Rules that are not in the guide and do not say so.
fn additions<'r>(rules: &'r [Rule<'_>], carried: &'r BTreeSet<&str>) -> impl Iterator<Item = Row> + 'r {
    let silent = rules.iter().filter(|rule| rule.because.is_none() && !carried.contains(rule.row));
    silent.map(|rule| unexplained(rule, "it is not in the guide"))
}

fn unexplained(rule: &Rule<'_>, why: &str) -> Row {
    Row { id: rule.row.to_owned(), state: State::Unexplained(why.to_owned()) }
}

fn state(map: &GuideMap, row: &GuideRow, rule: Option<&Rule<'_>>, ours: &Ours<'_>) -> State {
    let Some(rule) = rule else {
        return ours.told(&row.id).map_or(State::Missing, |why| State::Off(why.to_owned()));
    };
    let differences = differences(map, row, rule, ours);
    match rule.because {
        Some(why) if rule.off => State::Off(why.to_owned()),
        None if rule.off => State::Unexplained("it is off".to_owned()),
        None if differences.is_empty() => State::Done(row.words.clone()),
        Some(_) if differences.is_empty() => State::Done(String::new()),
        Some(why) => State::Different(why.to_owned()),
        None => State::Unexplained(differences.join("; ")),
    }
}

/// In what a rule says something else than the guide's row.
fn differences(map: &GuideMap, row: &GuideRow, rule: &Rule<'_>, ours: &Ours<'_>) -> Vec<String> {
    let value = wording::constant(&row.assignment).unwrap_or_default();
    let formula = wording::formula(&row.assignment).unwrap_or_default();
    let same_target = wording::target(&row.target) == wording::target(rule.to);
    // Some rows of messages leave open which segment map fills the target.
    let same_map = map.kind == Kind::Message && row.with.is_empty() || plain(&row.with) == plain(rule.with);
    let parts = [
        (!same_condition(map, row, rule)).then(|| told("condition", &row.condition, rule.when)),
        (!same_target).then(|| told("target", &row.target, rule.to)),
        (!same_map).then(|| told("map", &row.with, rule.with)),
        different("table", &row.table, rule.table),
        (value != rule.value).then(|| told("value", value, &rule.value)),
        different("formula", &formula, rule.eval),
        rule.from.map(|from| told("source", &row.id, from)),
    ];
    parts.into_iter().flatten().chain(references(row, ours)).collect()
}

fn different(what: &str, guide: &str, ours: &str) -> Option<String> {
    (fold(guide) != fold(ours)).then(|| told(what, guide, ours))
}

/// A difference: the guide's, then ours.
pub fn told(what: &str, guide: &str, ours: &str) -> String {
    format!("{what} `{guide}`, here `{ours}`")
}

fn plain(map: &str) -> String {
    let folded = fold(map);
    if PLAIN.contains(&folded.as_str()) { String::new() } else { folded }
}

fn same_condition(map: &GuideMap, row: &GuideRow, rule: &Rule<'_>) -> bool {
    if row.condition.is_empty() || rule.when.is_empty() {
        return row.condition == rule.when;
    }
    let ours = reading::meaning(rule.when);
    ours.is_some() && ours.as_ref() == Reading::of(&row.condition, place(map, &row.id)).condition()
}

/// The guide's references that no rule of the message map sets.
fn references(row: &GuideRow, ours: &Ours<'_>) -> Vec<String> {
    let unset = |text: &&String| wording::reference(text).is_some_and(|both| !ours.references.contains(&both));
    row.references.iter().filter(unset).map(|text| told("reference", text, "")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map_file::{MapFile, MessageFile};

    fn row(id: &str, target: &str) -> GuideRow {
        GuideRow { id: id.into(), target: target.into(), ..GuideRow::default() }
    }

    /// The states of the guide's rows beside a map with these rules.
    fn states(rows: Vec<GuideRow>, rules: &str) -> Vec<(String, State)> {
        let text = format!("map: PID[Patient]\nsource: PID\ntarget: Patient\n{rules}");
        let maps = vec![serde_saphyr::from_str::<MapFile>(&text).expect("a map")];
        beside(Kind::Segment, "PID[Patient]", rows, maps, vec![])
    }

    fn beside(
        kind: Kind,
        name: &str,
        rows: Vec<GuideRow>,
        maps: Vec<MapFile>,
        messages: Vec<MessageFile>,
    ) -> Vec<(String, State)> {
        let mut ours = Sources::default();
        ours.maps.extend(maps);
        ours.messages.extend(messages);
        let guide = GuideMap { kind, name: name.into(), rows };
        let report = map(&guide, &ours, &mut Spellings::new());
        report.rows.into_iter().chain(report.faults).map(|row| (row.id, row.state)).collect()
    }

    fn one(row: GuideRow, rules: &str) -> State {
        states(vec![row], rules).remove(0).1
    }

    #[test]
    fn a_row_is_done_up_to_spelling() {
        let done = State::Done(String::new());
        let guide = GuideRow { condition: "IF PID-13.2 IS NOT VALUED".into(), ..row("PID-13/2", "telecom[1].use") };
        let guide = GuideRow { assignment: "\"home\"".into(), ..guide };
        let ours = "rules: [{row: PID-13/2, when: PID-13.2 NOT VALUED, to: \"telecom[3].use\", value: home}]";
        assert_eq!(one(guide, ours), done);
        let plain = GuideRow { with: "DTM[DateTime]".into(), ..row("PID-7", "birthDate") };
        assert_eq!(one(plain, "rules: [{row: PID-7, to: birthDate}]"), done);
        let told = GuideRow { words: "If known".into(), ..row("PID-7", "birthDate") };
        assert_eq!(one(told, "rules: [{row: PID-7, to: birthDate}]"), State::Done("If known".into()));
    }

    #[test]
    fn what_differs_needs_a_reason() {
        let guide = || GuideRow { table: "Sex".into(), ..row("PID-8", "gender") };
        let state = |rules| one(guide(), rules);
        assert_eq!(state("rules: [{row: PID-8, to: gender, because: Why.}]"), State::Different("Why.".into()));
        assert_eq!(state("rules: [{row: PID-8, off: true, because: Why.}]"), State::Off("Why.".into()));
        assert_eq!(state("unmapped: {PID-8: Why.}"), State::Off("Why.".into()));
        assert_eq!(state("rules: []"), State::Missing);
        assert!(state("rules: [{row: PID-8, off: true}]").is_gap());
        assert_eq!(
            state("rules: [{row: PID-8, to: sex}]"),
            State::Unexplained("target `gender`, here `sex`; table `Sex`, here ``".into())
        );
    }

    #[test]
    fn rules_of_our_own_say_so_and_stand_once() {
        let rules = "rules: [{row: PID-9, to: name}, {row: PID-9, to: name}, {row: PID-1, to: id, because: Ours.}]";
        let found = states(vec![], rules);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found.iter().all(|(id, state)| id == "PID-9" && state.is_gap()));
    }

    #[test]
    fn a_messages_row_may_stand_in_further_groups() {
        let rule = "{row: ORDER.ORDER_DETAIL.NTE, to: \"ServiceRequest[1].note\"}";
        let text = format!("map: ORM_O01\nmessages: [ORM_O01]\nstructure: [PID]\nrules: [{rule}]");
        let messages = vec![serde_saphyr::from_str::<MessageFile>(&text).expect("a map")];
        let rows = vec![row("ORDER_DETAIL.NTE", "ServiceRequest.note"), row("NTE", "Patient.note")];
        let found = beside(Kind::Message, "ORM_O01", rows, vec![], messages);
        let states: Vec<State> = found.into_iter().map(|(_, state)| state).collect();
        assert_eq!(states, [State::Done(String::new()), State::Missing]);
    }

    #[test]
    fn a_message_row_needs_its_references() {
        let state = |set: &str| {
            let rules = format!("[{{row: PID, to: \"Patient[1]\", with: \"PID[Patient]\", set: [{set}]}}]");
            let text = format!("map: ADT_A01\nmessages: [ADT_A01]\nstructure: [PID]\nrules: {rules}");
            let messages = vec![serde_saphyr::from_str::<MessageFile>(&text).expect("a map")];
            let guide = GuideRow { with: "PID[Patient]".into(), ..row("PID", "Patient[1]") };
            let references = vec!["Account.subject.reference=Patient[1].id".into()];
            let rows = vec![GuideRow { references, ..guide }];
            beside(Kind::Message, "ADT_A01", rows, vec![], messages).remove(0).1
        };
        assert_eq!(state("\"Account[1].subject = Patient[1]\""), State::Done(String::new()));
        assert!(state("").is_gap());
    }
}
