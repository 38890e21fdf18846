//! What came from other hospitals, in the words and tables of a record's pages, with where each entry is from and how it was proved.

use super::super::record_pages::{parts, trends};
use super::super::words::{GROUPS, Line, line, title, told};
use crate::exchange::parcel::{Checked, Unproved};
use crate::exchange::pull::Answered;
use crate::ids::Name;
use maud::{Markup, html};
use notary::canonical::Json;
use notary::verify::Grade;
use std::collections::BTreeMap;

/// Entries of a kind on one page: more are asked for by their kind, or looked at.
pub(super) const SHOWN: usize = 100;

/// An entry of another hospital.
pub(super) struct Item<'g> {
    pub(super) checked: &'g Checked,
    /// What the hospital is called.
    pub(super) origin: &'g str,
    /// What it is called here, where it was kept.
    pub(super) here: Option<&'g Name>,
    line: Line,
}

/// Where the words of an entry lead to.
pub(super) enum More<'m> {
    /// They open in place.
    Here,
    /// To a page.
    At(&'m dyn Fn(&Item<'_>) -> Option<String>),
}

/// All entries that came, by kind: in the order of a record's page, the newest first.
pub(super) fn grouped(answered: &[Answered]) -> Vec<(String, Vec<Item<'_>>)> {
    let mut groups: BTreeMap<(usize, String), Vec<Item<'_>>> = BTreeMap::new();
    for got in answered.iter().filter_map(|one| one.outcome.as_ref().ok()) {
        for checked in &got.checked {
            let kind = checked.name.split('/').next().unwrap_or_default().to_owned();
            let order = GROUPS.iter().position(|group| group.kind == kind).unwrap_or(GROUPS.len());
            let kept = got.kept.iter().flat_map(|kept| &kept.names);
            let here = kept.filter(|(place, _)| *place == checked.place()).map(|(_, name)| name).next();
            let origin = got.partner.document.said.name.as_str();
            groups.entry((order, kind)).or_default().push(Item { checked, origin, here, line: line(&checked.json) });
        }
    }
    let sorted = |(key, mut items): ((usize, String), Vec<_>)| {
        items.sort_by(|a: &Item<'_>, b: &Item<'_>| b.line.when.cmp(&a.line.when));
        (key.1, items)
    };
    groups.into_iter().map(sorted).collect()
}

/// What of a kind is proved: of that alone charts are drawn.
fn proved(items: &[Item<'_>]) -> Vec<Json> {
    items.iter().filter(|item| item.checked.verdict.is_ok()).map(|item| item.checked.json.clone()).collect()
}

/// One kind: charts where numbers follow each other, and a table, of so many entries at most.
pub(super) fn section(kind: &str, items: &[Item<'_>], most: usize, more: &More<'_>, rest: &Markup) -> Markup {
    let id = format!("{kind}-title");
    html! {
        section.panel aria-labelledby=(id) {
            h2 id=(id) { (if kind == "Patient" { "Who it is there" } else { title(kind) }) }
            @if kind == "Observation" { (trends(&proved(items))) }
            (table(&id, &items[..items.len().min(most)], more))
            @if items.len() > most { (rest) }
        }
    }
}

fn table(label: &str, items: &[Item<'_>], more: &More<'_>) -> Markup {
    html! {
        div.table tabindex="0" role="region" aria-labelledby=(label) {
            table {
                thead { tr {
                    th scope="col" { "When" } th scope="col" { "What" } th scope="col" { "More" }
                    th scope="col" { "From" } th scope="col" { "Unchanged?" }
                } }
                tbody { @for item in items { (row(item, more)) } }
            }
        }
    }
}

fn row(item: &Item<'_>, more: &More<'_>) -> Markup {
    match &item.checked.verdict {
        Ok(grade) => html! {
            tr {
                td.time { (if item.line.when.is_empty() { "no date" } else { item.line.when.as_str() }) }
                td { (what(item, more)) }
                td { (item.line.more) }
                td { (item.origin) @if item.here.is_some() { br; span.hint { "kept here" } } }
                td { (intact(*grade)) }
            }
        },
        // What is not proved is named, and not shown.
        Err(why) => html! {
            tr.tampered {
                td.time {}
                td.mono { (item.checked.place()) }
                td { "not shown" }
                td { (item.origin) }
                td { (held_back(why)) }
            }
        },
    }
}

fn what(item: &Item<'_>, more: &More<'_>) -> Markup {
    let words = &item.line.what;
    match more {
        More::Here => html! { details { summary { (words) } (parts(&told(&item.checked.json))) } },
        More::At(to) => match to(item) {
            Some(to) => html! { a href=(to) { (words) } },
            None => html! { (words) },
        },
    }
}

/// Green, and what it rests on.
pub(super) fn intact(grade: Grade) -> Markup {
    html! { span.mark.intact { (sign("M5 13l4 4L19 7")) "Intact" } br; span.hint { (rests(grade)) } }
}

/// Red, and why.
pub(super) fn held_back(why: &Unproved) -> Markup {
    html! { span.mark.tampered { (sign("M6 6l12 12M18 6L6 18")) "Held back" } br; span.hint { (why) } }
}

fn sign(path: &str) -> Markup {
    html! { svg.icon viewBox="0 0 24 24" aria-hidden="true" { path d=(path) {} } }
}

fn rests(grade: Grade) -> &'static str {
    match grade {
        Grade::Logged => "its hospital has signed a log that holds it",
        Grade::AnchoredLocal => "its hospital’s log and its own ledger hold it",
        Grade::Witnessed => "others have signed the log that holds it",
        Grade::AnchoredConsortium => "a chain of several organisations holds it",
        Grade::AnchoredPublic => "a public chain holds it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn green_says_what_it_rests_on_and_red_why() {
        let green = intact(Grade::AnchoredConsortium).into_string();
        assert!(green.contains("mark intact") && green.contains("several organisations"), "{green}");
        let red = held_back(&Unproved::NotAnchored).into_string();
        assert!(red.contains("mark tampered") && red.contains("not anchored yet"), "{red}");
    }
}
