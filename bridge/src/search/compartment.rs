//! Compartments (R4 4.14.1, `$everything`): what belongs to a patient or to an encounter, type by type in the order of the
//! rows, and what that refers to. A page ends by count or by weight, so that no record is held in memory as a whole.

use super::bounds::narrow;
use super::{FETCHES, Result, Run};
use crate::app::Core;
use crate::audit::is_trail;
use crate::consent::decide::{Permit, decide};
use crate::fhir::membership;
use crate::fhir::references::literals;
use crate::fhir::search::check::found;
use crate::fhir::search::criterion::{Criterion, Surroundings, Target, normal};
use crate::fhir::search::query::Filter;
use crate::fhir::search::span::{Prefix, Span};
use crate::fhir::search::table::{Kind, Parameter, compartment_types, parameters};
use crate::fhir::search::value::Value;
use crate::ids::{Name, TypeName};
use crate::index::blind::Clause;
use crate::index::scan::Scan;
use crate::limits::{MAX_INCLUDED, MAX_PAGE, MAX_PAGE_BYTES};
use crate::read::Opened;
use crate::smart::scopes::Interaction;
use crate::smart::token::Caller;
use notary::canonical::Json;
use std::collections::HashSet;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The patient or the encounter.
    pub focus: Name,
    /// Only these types.
    pub types: Option<Vec<TypeName>>,
    /// Only what was written in this span or later.
    pub since: Option<Span>,
    /// Only care in this span; what has no date stays.
    pub care: Option<Span>,
}

/// Where a page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// The newest row when the first page was made.
    pub upto: i64,
    /// None: the focus itself comes first.
    pub kind: Option<TypeName>,
    /// Rows of that type after this one.
    pub after: i64,
}

/// A page.
#[derive(Debug, Default)]
pub struct Found {
    pub members: Vec<Opened>,
    /// What the members refer to and no patient owns.
    pub referred: Vec<Opened>,
    pub next: Option<Start>,
    /// Types that the caller may not search.
    pub withheld: Vec<TypeName>,
}

/// What else a reference may lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// What is not in the compartment itself: that comes on a page of its own.
    Outside,
    /// What is in the compartment too.
    All,
}

/// Dates of a person's life, which are no dates of care.
const LIFE: &[&str] = &["birthdate", "death-date", "_lastUpdated"];

/// A page of what belongs to the focus, and what that refers to.
pub async fn everything(
    core: &Core,
    caller: &Caller,
    around: Surroundings<'_>,
    wanted: &Wanted,
    from: Option<Start>,
    count: usize,
) -> Result<Found> {
    let run = Run { core, caller, around };
    let (mut found, upto) = run.members(wanted, from, count).await?;
    found.referred = run.referred(wanted, &found.members, upto, Follow::Outside).await?;
    caller.seen.shows(found.members.iter().chain(&found.referred).map(Opened::as_shown));
    Ok(found)
}

/// A page of what belongs to the focus. Who may not read the focus gets nothing; types that he may not search are left out.
pub async fn members(
    core: &Core,
    caller: &Caller,
    around: Surroundings<'_>,
    wanted: &Wanted,
    from: Option<Start>,
) -> Result<Found> {
    let run = Run { core, caller, around };
    let (found, _) = run.members(wanted, from, MAX_PAGE).await?;
    caller.seen.shows(found.members.iter().map(Opened::as_shown));
    Ok(found)
}

/// What resources refer to, step by step, each once; nothing of another patient's, and no type that the caller may not read.
pub async fn referred(
    core: &Core,
    caller: &Caller,
    around: Surroundings<'_>,
    wanted: &Wanted,
    from: &[Opened],
) -> Result<Vec<Opened>> {
    let run = Run { core, caller, around };
    let upto = run.store(|store| store.newest()).await?;
    let referred = run.referred(wanted, from, upto, Follow::All).await?;
    caller.seen.shows(referred.iter().map(Opened::as_shown));
    Ok(referred)
}

/// The members of a page as it grows.
struct Collector {
    found: Found,
    count: usize,
    bytes: usize,
}

impl Collector {
    /// Takes a resource in, or says that the page is full. A page holds at least one.
    fn take(&mut self, opened: Opened) -> bool {
        let full = self.found.members.len() >= self.count || self.bytes + opened.resource.len() > MAX_PAGE_BYTES;
        if full && !self.found.members.is_empty() {
            return false;
        }
        self.bytes += opened.resource.len();
        self.found.members.push(opened);
        true
    }
}

impl Wanted {
    /// Who looked at a record is no part of it, unless that is asked for.
    fn asks_for(&self, kind: TypeName) -> bool {
        self.types.as_ref().map_or(!is_trail(kind), |types| types.contains(&kind))
    }

    /// The parameters by which a resource of a type belongs to the focus.
    fn membership(&self, kind: TypeName) -> Vec<&'static Parameter> {
        membership::by(kind, self.focus.kind.as_str())
    }

    fn scan(&self, kind: TypeName, after: i64, upto: i64, now: i64) -> Scan {
        let updated = self.since.map(|since| vec![(Prefix::Ge, since)]).into_iter().collect();
        Scan { kind, clauses: Vec::new(), ids: None, updated, after, upto, now }
    }

    fn in_care(&self, kind: TypeName, json: &Json) -> bool {
        let Some(care) = self.care else { return true };
        let dates = parameters(kind).filter(|p| p.kind == Kind::Date && !LIFE.contains(&p.name));
        let spans: Vec<Span> = dates.flat_map(|p| found(p, json)).filter_map(span).collect();
        spans.is_empty() || spans.iter().any(|span| span.from < care.to && care.from < span.to)
    }
}

fn span(value: Value<'_>) -> Option<Span> {
    if let Value::Span(span) = value { Some(span) } else { None }
}

impl Run<'_> {
    async fn members(&self, wanted: &Wanted, from: Option<Start>, count: usize) -> Result<(Found, i64)> {
        let permit = decide(self.caller, Interaction::Read, Some(wanted.focus.kind))?;
        let from = match from {
            Some(start) => start,
            None => Start { upto: self.store(|store| store.newest()).await?, kind: None, after: 0 },
        };
        let mut page = Collector { found: Found::default(), count: count.max(1), bytes: 0 };
        if from.kind.is_none() {
            self.focus(&permit, wanted, from.upto, &mut page).await?;
        }
        self.types(wanted, from, &mut page).await?;
        Ok((page.found, from.upto))
    }

    async fn focus(&self, permit: &Permit, wanted: &Wanted, upto: i64, page: &mut Collector) -> Result<()> {
        let focus = &wanted.focus;
        if wanted.asks_for(focus.kind) {
            let scan = Scan { ids: Some(vec![focus.id.clone()]), ..wanted.scan(focus.kind, 0, upto, self.around.now) };
            let rows = self.store(move |store| store.scan(&scan, 1)).await?;
            page.found.members.extend(self.open(permit, &rows).await?);
        }
        Ok(())
    }

    async fn types(&self, wanted: &Wanted, from: Start, page: &mut Collector) -> Result<()> {
        let asked = compartment_types().into_iter().filter(|kind| wanted.asks_for(*kind));
        for kind in asked.filter(|kind| from.kind.is_none_or(|start| *kind >= start)) {
            let members = wanted.membership(kind);
            if members.is_empty() {
                continue;
            }
            let Ok(permit) = decide(self.caller, Interaction::Search, Some(kind)) else {
                page.found.withheld.push(kind);
                continue;
            };
            let after = if from.kind == Some(kind) { from.after } else { 0 };
            let mut scan = self.belonging(wanted, kind, &members, after, from.upto);
            narrow(&self.core.tokens, &permit, &self.around, &mut scan);
            if let Some(after) = self.of_type(&permit, wanted, &members, scan, page).await? {
                page.found.next = Some(Start { upto: from.upto, kind: Some(kind), after });
                break;
            }
        }
        Ok(())
    }

    /// One walk for all parameters together: a resource that belongs by two of them comes once.
    fn belonging(
        &self,
        wanted: &Wanted,
        kind: TypeName,
        members: &[&'static Parameter],
        after: i64,
        upto: i64,
    ) -> Scan {
        let asked = members.iter().flat_map(|parameter| {
            let alternatives = vec![Criterion::Reference(Target::Local(vec![wanted.focus.clone()]))];
            let filter = Filter::Values { parameter, negated: false, alternatives };
            self.core.tokens.clauses(kind, &filter, self.around.now).clauses
        });
        // References can always be looked up, each by its own mark.
        let clauses = vec![Clause::looked_up(asked.filter_map(Clause::into_lookups).flatten())];
        Scan { clauses, ..wanted.scan(kind, after, upto, self.around.now) }
    }

    /// Takes what fits until the page is full; then says after which row the next one goes on.
    async fn of_type(
        &self,
        permit: &Permit,
        wanted: &Wanted,
        members: &[&'static Parameter],
        scan: Scan,
        page: &mut Collector,
    ) -> Result<Option<i64>> {
        let mut after = scan.after;
        loop {
            let step = Scan { after, ..scan.clone() };
            let rows = self.store(move |store| store.scan(&step, FETCHES)).await?;
            for opened in self.open(permit, &rows).await? {
                let row = opened.stored.row;
                if self.belongs(wanted, members, &opened) && !page.take(opened) {
                    return Ok(Some(row - 1));
                }
                after = row;
            }
            // Those that were held back, or erased since, are passed too.
            after = rows.last().map_or(after, |last| last.row);
            if rows.len() < FETCHES {
                return Ok(None);
            }
        }
    }

    fn belongs(&self, wanted: &Wanted, members: &[&'static Parameter], opened: &Opened) -> bool {
        let json = opened.json();
        let is = |value: &Value<'_>| membership::target(value, self.around.base).as_ref() == Some(&wanted.focus);
        let points = |p: &&'static Parameter| found(p, &json).iter().any(is);
        opened.stored.name != wanted.focus
            && members.iter().any(points)
            && wanted.in_care(opened.stored.name.kind, &json)
    }

    async fn referred(&self, wanted: &Wanted, from: &[Opened], upto: i64, follow: Follow) -> Result<Vec<Opened>> {
        let mut known: HashSet<Name> = from.iter().map(|o| o.stored.name.clone()).collect();
        known.insert(wanted.focus.clone());
        let patients = self.patients(wanted, upto).await?;
        let (mut all, mut bytes): (Vec<Opened>, usize) = (Vec::new(), 0);
        let mut names = self.names(from, &mut known);
        while !names.is_empty() && all.len() < MAX_INCLUDED && bytes < MAX_PAGE_BYTES {
            let mut fresh = self.named(&names, upto).await?;
            fresh.retain(|o| wanted.asks_for(o.stored.name.kind) && self.may_follow(wanted, o, &patients, follow));
            names = self.names(&fresh, &mut known);
            bytes += fresh.iter().map(|o| o.resource.len()).sum::<usize>();
            all.extend(fresh);
        }
        all.truncate(MAX_INCLUDED);
        Ok(all)
    }

    /// The patient that the focus is, or those that the encounter speaks of.
    async fn patients(&self, wanted: &Wanted, upto: i64) -> Result<Vec<Name>> {
        if wanted.focus.kind.as_str() == "Patient" {
            return Ok(vec![wanted.focus.clone()]);
        }
        let focus = self.named(std::slice::from_ref(&wanted.focus), upto).await?;
        Ok(focus.iter().flat_map(|opened| self.owners(opened)).collect())
    }

    /// The patients whose compartments a resource is in, and whom it is about though R4's table leaves it out: a Device, a Task.
    fn owners(&self, opened: &Opened) -> Vec<Name> {
        let (name, json) = (&opened.stored.name, opened.json());
        let mut owners = membership::of(name, &json, self.around.base);
        owners.extend(membership::keeper(name, &json, self.around.base));
        owners
    }

    fn may_follow(&self, wanted: &Wanted, opened: &Opened, patients: &[Name], follow: Follow) -> bool {
        let owners = self.owners(opened);
        let members = wanted.membership(opened.stored.name.kind);
        let alone = opened.stored.name.kind.as_str() == "Patient" && !patients.contains(&opened.stored.name);
        let others = !owners.is_empty() && !owners.iter().any(|owner| patients.contains(owner));
        !alone && !others && (follow == Follow::All || !self.belongs(wanted, &members, opened))
    }

    /// What resources refer to, without what is known already.
    fn names(&self, from: &[Opened], known: &mut HashSet<Name>) -> Vec<Name> {
        let mut names = Vec::new();
        for opened in from {
            let json = opened.json();
            let pointed = literals(&json).into_iter().filter_map(|text| Name::parse(normal(text, self.around.base)));
            names.extend(pointed.filter(|name| known.insert(name.clone())));
        }
        names.sort_by(|a, b| (a.kind, &a.id).cmp(&(b.kind, &b.id)));
        names.truncate(MAX_INCLUDED);
        names
    }

    async fn named(&self, names: &[Name], upto: i64) -> Result<Vec<Opened>> {
        let mut opened = Vec::new();
        for of_type in names.chunk_by(|a, b| a.kind == b.kind) {
            let kind = of_type[0].kind;
            let Ok(permit) = decide(self.caller, Interaction::Read, Some(kind)) else { continue };
            let ids = of_type.iter().map(|name| name.id.clone()).collect();
            let (clauses, now) = (Vec::new(), self.around.now);
            let scan = Scan { kind, clauses, ids: Some(ids), updated: Vec::new(), after: 0, upto, now };
            let rows = self.store(move |store| store.scan(&scan, MAX_INCLUDED)).await?;
            opened.extend(self.open(&permit, &rows).await?);
        }
        Ok(opened)
    }
}
