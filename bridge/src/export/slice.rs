//! What of one type belongs to an export: the index proposes rows, the opened resource decides.

use super::request::{Level, Request};
use crate::app::Core;
use crate::consent::decide::Permit;
use crate::error::VaultError;
use crate::fhir::membership::{self, supports};
use crate::fhir::search::check::holds;
use crate::fhir::search::criterion::{Criterion, Surroundings, Target, normal};
use crate::fhir::search::query::Filter;
use crate::ids::{Name, ResourceId, TypeName, Version};
use crate::index::blind::Clause;
use crate::index::jobs::{Job, Part};
use crate::index::scan::Scan;
use crate::index::store::Stored;
use crate::limits::{EXPORT_DELETIONS, EXPORT_PAGE, MAX_GROUP_MEMBERS, MEMBERS_AT_ONCE};
use crate::read::{Opened, in_background, let_through};
use crate::search::bounds::narrow;
use futures_util::future::try_join_all;
use notary::canonical::Json;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;

/// Records that are fetched at the same time.
const FETCHES: usize = 16;

/// The patients of a group, in its order.
#[derive(Debug, Clone, Default)]
pub(super) struct Members {
    ids: Vec<ResourceId>,
    /// Where each stands.
    at: HashMap<ResourceId, usize>,
}

impl Members {
    /// Reads `Group.member`; who left is none any more.
    pub(super) fn of(group: &Json, base: &str) -> Self {
        let Some(Json::Array(members)) = group.get("member") else { return Self::default() };
        let inside = members.iter().filter(|m| !matches!(m.get("inactive"), Some(Json::Bool(true))));
        let names = inside.filter_map(|m| Name::parse(normal(m.get("entity")?.text("reference")?, base)));
        Self::named(names.filter(|n| n.kind.as_str() == "Patient").map(|name| name.id))
    }

    /// These patients, each once.
    pub(super) fn named(ids: impl IntoIterator<Item = ResourceId>) -> Self {
        let mut all = Self::default();
        for id in ids.into_iter().take(MAX_GROUP_MEMBERS) {
            if !all.at.contains_key(&id) {
                all.at.insert(id.clone(), all.ids.len());
                all.ids.push(id);
            }
        }
        all
    }

    /// Those of them that are among others.
    pub(super) fn among(&self, others: &Self) -> Self {
        Self::named(self.ids.iter().filter(|id| others.at.contains_key(id)).cloned())
    }

    /// How many parts its resources are looked for in.
    pub(super) fn parts(&self) -> usize {
        self.ids.len().div_ceil(MEMBERS_AT_ONCE).max(1)
    }

    fn part(&self, part: usize) -> &[ResourceId] {
        self.ids.chunks(MEMBERS_AT_ONCE).nth(part).unwrap_or_default()
    }
}

/// Whose resources are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Everyone,
    /// Those of any patient.
    Patients,
    /// Those of these patients: members of the group, or named.
    Members,
}

/// The resources of one type, and of one part of the members.
#[derive(Debug, Clone)]
pub(super) struct Slice {
    scan: Scan,
    /// One must hold, and each condition of it; none: all do.
    filters: Vec<Vec<Filter>>,
    filters_exact: bool,
    reach: Reach,
    part: usize,
    members: Arc<Members>,
    /// What was decided for who asked; none: nothing is let through.
    permits: Option<Arc<[Permit; 2]>>,
}

impl Slice {
    pub(super) fn new(
        core: &Core,
        request: &Request,
        job: &Job,
        kind: TypeName,
        part: usize,
        members: Arc<Members>,
    ) -> Self {
        let now = job.made * 1_000;
        let around = core.around_at(now);
        let filters = request.filters_of(kind, &around);
        let reach = match &request.level {
            Level::Group(_) if !supports(kind) => Reach::Members,
            Level::Patient if !supports(kind) && request.patients().is_some() => Reach::Members,
            Level::Patient if !supports(kind) => Reach::Patients,
            _ => Reach::Everyone,
        };
        let scan = Scan { kind, clauses: Vec::new(), ids: None, updated: Vec::new(), after: 0, upto: job.upto, now };
        let permits = request.permits(kind).map(Arc::new);
        let mut slice = Self { scan, filters, filters_exact: true, reach, part, members, permits };
        slice.ask(core);
        slice
    }

    /// What the index is asked. Of alternatives it is asked nothing.
    fn ask(&mut self, core: &Core) {
        let (kind, now) = (self.scan.kind, self.scan.now);
        match self.filters.as_slice() {
            [] => {}
            [all] => {
                for filter in all {
                    let asked = core.tokens.clauses(kind, filter, now);
                    self.filters_exact &=
                        asked.exact && matches!(filter, Filter::Values { .. } | Filter::Missing { .. });
                    self.scan.clauses.extend(asked.clauses);
                }
            }
            _ => self.filters_exact = false,
        }
        match self.reach {
            Reach::Everyone | Reach::Patients => {}
            Reach::Members if kind.as_str() == "Patient" => self.scan.ids = Some(self.members.part(self.part).to_vec()),
            Reach::Members => self.scan.clauses.push(self.of_members(core)),
        }
        let permits = self.permits.clone();
        let around = core.around_at(now);
        permits.iter().flat_map(|two| two.iter()).for_each(|one| narrow(&core.tokens, one, &around, &mut self.scan));
    }

    /// Refers to one of the members by one of the parameters of the compartment.
    fn of_members(&self, core: &Core) -> Clause {
        let kind = self.scan.kind;
        let patient = TypeName::parse("Patient");
        let names = self.members.part(self.part).iter().filter_map(|id| Some(Name { kind: patient?, id: id.clone() }));
        let target = Criterion::Reference(Target::Local(names.collect()));
        let asked = membership::by(kind, "Patient").into_iter().flat_map(|parameter| {
            let filter = Filter::Values { parameter, negated: false, alternatives: vec![target.clone()] };
            core.tokens.clauses(kind, &filter, self.scan.now).clauses
        });
        // References can always be looked up, each by its own mark.
        Clause::looked_up(asked.filter_map(Clause::into_lookups).flatten())
    }

    /// Whatever the index proposes fits.
    pub(super) fn exact(&self) -> bool {
        self.filters_exact && self.reach == Reach::Everyone && self.is_whole()
    }

    /// Who asked may see every resource of the type.
    fn is_whole(&self) -> bool {
        self.permits.as_ref().is_some_and(|permits| permits.iter().all(Permit::shows_all))
    }

    /// Whether who asked might have seen a resource before it was deleted.
    fn let_through(&self, opened: &Opened, core: &Core) -> bool {
        let around = core.around_at(self.scan.now);
        self.permits.as_ref().is_some_and(|permits| permits.iter().all(|permit| opened.is_for(permit, &around)))
    }

    /// Whether its patients would have let who asked see it.
    async fn consented(&self, core: &Core, opened: Opened) -> Result<bool, VaultError> {
        let mut shown = vec![opened];
        for permit in self.permits.iter().flat_map(|two| two.iter()) {
            shown = core.consented(permit, shown).await?;
        }
        Ok(!shown.is_empty())
    }

    pub(super) fn upto(&self) -> i64 {
        self.scan.upto
    }

    pub(super) fn part(&self, deleted: bool, after: i64, last: i64, count: Option<u64>) -> Part {
        Part { kind: self.scan.kind, deleted, part: self.part, after, last, count }
    }

    /// The next rows that the index proposes.
    pub(super) async fn rows(
        &self,
        core: &Core,
        after: i64,
        last: i64,
        limit: usize,
    ) -> Result<Vec<Stored>, VaultError> {
        if self.reach == Reach::Members && self.members.ids.is_empty() {
            return Ok(Vec::new());
        }
        let (store, scan) = (core.store.clone(), Scan { after, ..self.scan.clone() });
        let mut rows = in_background(move || store.scan(&scan, limit)).await?;
        rows.retain(|row| row.row <= last);
        Ok(rows)
    }

    /// Whether an opened resource belongs to the export.
    fn takes(&self, resource: &Json, base: &str) -> bool {
        let around = Surroundings { base, now: self.scan.now, labels: None };
        let fits = |all: &Vec<Filter>| all.iter().all(|filter| holds(filter, resource, &around));
        self.reaches(resource, base) && (self.filters.is_empty() || self.filters.iter().any(fits))
    }

    fn reaches(&self, resource: &Json, base: &str) -> bool {
        let patients = || patients(self.scan.kind, resource, base);
        match self.reach {
            Reach::Everyone => true,
            Reach::Patients => self.scan.kind.as_str() == "Patient" || !patients().is_empty(),
            // What belongs to several members goes with the first of them: it stands in one file.
            Reach::Members => {
                let first = patients().iter().filter_map(|id| self.members.at.get(id)).min().copied();
                first.is_some_and(|at| at / MEMBERS_AT_ONCE == self.part)
            }
        }
    }

    /// Whether a deleted resource belonged to the export while it was there, in whatever part.
    fn took(&self, resource: &Json, base: &str) -> bool {
        match self.reach {
            Reach::Members => {
                patients(self.scan.kind, resource, base).iter().any(|id| self.members.at.contains_key(id))
            }
            _ => self.reaches(resource, base),
        }
    }
}

/// The patients that a resource belongs to. A patient is told with himself alone, whoever he is linked to.
fn patients(kind: TypeName, resource: &Json, base: &str) -> Vec<ResourceId> {
    let Some(id) = resource.text("id").and_then(ResourceId::parse) else { return Vec::new() };
    if kind.as_str() == "Patient" {
        return vec![id];
    }
    membership::of(&Name { kind, id }, resource, base).into_iter().map(|patient| patient.id).collect()
}

/// Reads a part page by page.
pub(super) struct Reader<'c> {
    core: &'c Core,
    slice: Slice,
    deleted: bool,
    at: i64,
    last: i64,
}

impl<'c> Reader<'c> {
    pub(super) fn new(core: &'c Core, slice: Slice, part: &Part) -> Self {
        Self { core, slice, deleted: part.deleted, at: part.after, last: part.last }
    }

    /// Whether there is anything in it.
    pub(super) async fn any(mut self) -> Result<bool, VaultError> {
        while let Some(page) = self.next().await? {
            if !page.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The next lines; they may be none. Nothing: the part ends.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, VaultError> {
        if self.at >= self.last {
            return Ok(None);
        }
        if self.deleted { self.deletions().await.map(Some) } else { self.resources().await.map(Some) }
    }

    async fn resources(&mut self) -> Result<Vec<u8>, VaultError> {
        let rows = self.slice.rows(self.core, self.at, self.last, EXPORT_PAGE).await?;
        self.went_to(&rows, EXPORT_PAGE);
        let mut lines = Vec::new();
        for opened in self.allowed(open(self.core, &rows).await?).await? {
            if self.slice.takes(&opened.json(), &self.core.base) {
                lines.extend(&opened.resource);
                lines.push(b'\n');
            }
        }
        Ok(lines)
    }

    /// Those that who asked may see.
    async fn allowed(&self, mut opened: Vec<Opened>) -> Result<Vec<Opened>, VaultError> {
        let Some(permits) = &self.slice.permits else { return Ok(Vec::new()) };
        for permit in permits.iter() {
            opened = let_through(self.core, permit, opened).await?;
        }
        Ok(opened)
    }

    /// One Bundle a page.
    async fn deletions(&mut self) -> Result<Vec<u8>, VaultError> {
        let (store, kind) = (self.core.store.clone(), self.slice.scan.kind);
        let (after, last) = (self.at, self.last);
        let rows = in_background(move || store.deletions(kind, after, last, EXPORT_DELETIONS)).await?;
        self.went_to(&rows, EXPORT_DELETIONS);
        let mut entries = Vec::new();
        for row in rows {
            let all = self.slice.reach == Reach::Everyone && self.slice.is_whole();
            if all || self.was_taken(&row).await? {
                entries.push(json!({"request": {"method": "DELETE", "url": row.name.to_string()}}));
            }
        }
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        Ok(format!("{}\n", json!({"resourceType": "Bundle", "type": "transaction", "entry": entries})).into_bytes())
    }

    /// A deletion has no content: what was there before it tells.
    async fn was_taken(&self, row: &Stored) -> Result<bool, VaultError> {
        let (store, name, version) = (self.core.store.clone(), row.name.clone(), Version(row.version.0 - 1));
        match in_background(move || store.version(&name, version)).await? {
            Some(before) => {
                let Some(opened) = self.core.open_unless_erased(&before).await? else { return Ok(false) };
                let base = &self.core.base;
                let taken = self.slice.let_through(&opened, self.core) && self.slice.took(&opened.json(), base);
                Ok(taken && self.slice.consented(self.core, opened).await?)
            }
            None => Ok(false),
        }
    }

    fn went_to(&mut self, rows: &[Stored], limit: usize) {
        let more = rows.len() == limit;
        self.at = rows.last().filter(|_| more).map_or(self.last, |row| row.row);
    }
}

async fn open(core: &Core, rows: &[Stored]) -> Result<Vec<Opened>, VaultError> {
    core.fetch_ahead(rows).await;
    let mut opened = Vec::with_capacity(rows.len());
    for some in rows.chunks(FETCHES) {
        let found = try_join_all(some.iter().map(|row| core.open_unless_erased(row))).await?;
        opened.extend(found.into_iter().flatten());
    }
    Ok(opened)
}
