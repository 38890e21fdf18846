//! `_include` and `_revinclude` (R4 3.1.1.5.4): what the matches refer to, and what refers to them.

use super::bounds::narrow;
use super::{Result, Run, pointed_to};
use crate::consent::decide::decide;
use crate::fhir::search::check::{found, holds};
use crate::fhir::search::criterion::{Criterion, Target};
use crate::fhir::search::query::{Filter, Include};
use crate::fhir::search::table::{Parameter, parameters};
use crate::ids::{Name, TypeName};
use crate::index::scan::Scan;
use crate::limits::{MAX_INCLUDED, MAX_PAGE_BYTES};
use crate::read::Opened;
use crate::smart::scopes::Interaction;
use std::collections::HashSet;

/// What a page has beside its matches.
#[derive(Debug, Default)]
pub struct Included {
    pub resources: Vec<Opened>,
    /// There are more than a page takes.
    pub cut: bool,
}

/// The included resources, each once, none that is a match. Types that the caller may not read are left out.
pub(super) async fn of(run: &Run<'_>, includes: &[Include], matches: &[Opened], upto: i64) -> Result<Included> {
    if includes.is_empty() {
        return Ok(Included::default());
    }
    let mut known: HashSet<Name> = matches.iter().map(|o| o.stored.name.clone()).collect();
    let mut included: Vec<Opened> = Vec::new();
    let mut round = step(run, includes, matches, &mut known, upto).await?;
    let again: Vec<Include> = includes.iter().filter(|i| i.iterate).cloned().collect();
    while !round.is_empty() && included.len() <= MAX_INCLUDED {
        let next = step(run, &again, &round, &mut known, upto).await?;
        included.append(&mut round);
        round = next;
    }
    let cut = !fit(&mut included);
    Ok(Included { resources: included, cut })
}

/// Cuts off what is too much in number or weight. Tells whether nothing was.
fn fit(included: &mut Vec<Opened>) -> bool {
    let mut bytes = 0;
    let heavy = included.iter().position(|opened| {
        bytes += opened.resource.len();
        bytes > MAX_PAGE_BYTES
    });
    let room = heavy.unwrap_or(included.len()).min(MAX_INCLUDED);
    let all = room == included.len();
    included.truncate(room);
    all
}

async fn step(
    run: &Run<'_>,
    includes: &[Include],
    from: &[Opened],
    known: &mut HashSet<Name>,
    upto: i64,
) -> Result<Vec<Opened>> {
    let mut found = Vec::new();
    for include in includes {
        let fresh = if include.reverse {
            backward(run, include, from, upto).await?
        } else {
            forward(run, include, from, known, upto).await?
        };
        found.extend(fresh.into_iter().filter(|o| known.insert(o.stored.name.clone())));
        if found.len() > MAX_INCLUDED {
            break;
        }
    }
    Ok(found)
}

fn references(kind: TypeName, name: Option<&str>) -> impl Iterator<Item = &'static Parameter> {
    parameters(kind).filter(move |p| p.is_followed() && name.is_none_or(|n| n == p.name))
}

async fn forward(
    run: &Run<'_>,
    include: &Include,
    from: &[Opened],
    known: &HashSet<Name>,
    upto: i64,
) -> Result<Vec<Opened>> {
    let mut wanted: Vec<Name> = Vec::new();
    for opened in from.iter().filter(|o| include.kind.is_none_or(|kind| kind == o.stored.name.kind)) {
        let json = opened.json();
        for parameter in references(opened.stored.name.kind, include.parameter) {
            let names = found(parameter, &json).into_iter().filter_map(|v| pointed_to(&v, run.around.base));
            wanted.extend(names.filter(|n| include.target.is_none_or(|t| t == n.kind) && !known.contains(n)));
        }
    }
    wanted.sort_by(|a, b| (a.kind, &a.id).cmp(&(b.kind, &b.id)));
    wanted.dedup();
    wanted.truncate(MAX_INCLUDED + 1);
    let mut included = Vec::new();
    for of_type in wanted.chunk_by(|a, b| a.kind == b.kind) {
        let kind = of_type[0].kind;
        let Ok(permit) = decide(run.caller, Interaction::Read, Some(kind)) else { continue };
        let ids = of_type.iter().map(|n| n.id.clone()).collect();
        let scan = scan(kind, Some(ids), Vec::new(), run, upto);
        let rows = run.store(move |store| store.scan(&scan, MAX_INCLUDED + 1)).await?;
        included.extend(run.open(&permit, &rows).await?);
    }
    Ok(included)
}

async fn backward(run: &Run<'_>, include: &Include, from: &[Opened], upto: i64) -> Result<Vec<Opened>> {
    let Some(kind) = include.kind else { return Ok(Vec::new()) };
    let Ok(permit) = decide(run.caller, Interaction::Search, Some(kind)) else { return Ok(Vec::new()) };
    let mut included = Vec::new();
    for parameter in references(kind, include.parameter) {
        let allowed = |n: &Name| parameter.targets.is_empty() || parameter.targets.contains(&n.kind.as_str());
        let asked = |n: &Name| include.target.is_none_or(|t| t == n.kind);
        let names: Vec<Name> = from.iter().map(|o| o.stored.name.clone()).filter(|n| allowed(n) && asked(n)).collect();
        if names.is_empty() {
            continue;
        }
        let alternatives = vec![Criterion::Reference(Target::Local(names))];
        let filter = Filter::Values { parameter, negated: false, alternatives };
        let clauses = run.core.tokens.clauses(kind, &filter, run.around.now).clauses;
        let mut scan = scan(kind, None, clauses, run, upto);
        narrow(&run.core.tokens, &permit, &run.around, &mut scan);
        let rows = run.store(move |store| store.scan(&scan, MAX_INCLUDED + 1)).await?;
        let mut opened = run.open(&permit, &rows).await?;
        opened.retain(|o| holds(&filter, &o.json(), &run.around));
        included.extend(opened);
    }
    Ok(included)
}

fn scan(
    kind: TypeName,
    ids: Option<Vec<crate::ids::ResourceId>>,
    clauses: Vec<crate::index::blind::Clause>,
    run: &Run<'_>,
    upto: i64,
) -> Scan {
    Scan { kind, clauses, ids, updated: Vec::new(), after: 0, upto, now: run.around.now }
}
