//! What the store holds as the group sees it: committed, done by the group ahead, by earlier transactions of its own, by this
//! one; and for conditions, what this one is about to do.

use super::seal::owner;
use super::{Author, Group};
use crate::consent::decide::decide;
use crate::error::{IngestError, Issue, VaultError};
use crate::fhir::search::check::holds;
use crate::fhir::search::criterion::Surroundings;
use crate::fhir::search::query::Filter;
use crate::fhir::write::{Act, Criteria, Write};
use crate::ids::{Name, TypeName, Version};
use crate::index::blind::{Clause, Mark};
use crate::index::scan::Scan;
use crate::limits::{MAX_CONDITION_MATCHES, MAX_CONDITIONS_MATCHES};
use crate::smart::scopes::Interaction;
use notary::canonical::Json;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The newest version of a resource, not in the index yet.
#[derive(Clone)]
pub(super) struct Pending {
    pub(super) version: Version,
    pub(super) updated: i64,
    /// None for a deletion.
    pub(super) resource: Option<Arc<Vec<u8>>>,
    /// What a deletion deleted.
    pub(super) gone: Option<Arc<Vec<u8>>>,
}

/// The newest version of a resource.
pub(super) struct Newest {
    pub(super) version: Version,
    pub(super) updated: i64,
    /// None for a deletion.
    pub(super) resource: Option<Json>,
}

/// What a transaction with conditions is about to do, so that the order of its entries makes no difference.
#[derive(Default)]
pub(super) struct Drafts {
    /// None for what will be deleted.
    resources: HashMap<Name, Option<Json>>,
    marks: HashMap<TypeName, Vec<(Name, Vec<Mark>)>>,
}

/// What a condition finds.
pub(super) struct Match {
    pub(super) shown: Option<Name>,
    /// It fits what its author is not shown, too: for him that is not there, and he claims nothing of it.
    pub(super) withholds: bool,
}

impl Group<'_> {
    /// The newest version of a resource, deleted or not.
    pub(super) async fn newest(&self, name: &Name) -> Result<Option<Newest>, IngestError> {
        let parse = |bytes: &[u8]| Json::parse(bytes).unwrap_or(Json::Null);
        let kept = self.known(|seen| seen.resources.get(name));
        if let Some(Pending { version, updated, resource, .. }) = kept {
            let resource = resource.as_deref().map(|bytes| parse(bytes));
            return Ok(Some(Newest { version: *version, updated: *updated, resource }));
        }
        let Some(stored) = self.core.store.current(name).map_err(VaultError::from)? else { return Ok(None) };
        // What was erased cannot be opened; like what was deleted it is not there.
        let opened = if stored.erased { None } else { self.core.open_unless_erased(&stored).await? };
        let resource = opened.filter(|_| !stored.deleted).map(|opened| parse(&opened.resource));
        Ok(Some(Newest { version: stored.version, updated: stored.updated, resource }))
    }

    /// What a resource was before it was deleted with this version; nothing where that was erased.
    pub(super) async fn before(&self, name: &Name, deleted: Version) -> Result<Option<Json>, IngestError> {
        let pending = self.known(|seen| seen.resources.get(name));
        if let Some(gone) = pending.and_then(|pending| pending.gone.as_deref()) {
            return Ok(Json::parse(gone).ok());
        }
        let before = Version(deleted.0.saturating_sub(1));
        let Some(stored) = self.core.store.version(name, before).map_err(VaultError::from)? else { return Ok(None) };
        let opened = if stored.erased { None } else { self.core.open_unless_erased(&stored).await? };
        Ok(opened.filter(|_| !stored.deleted).and_then(|opened| Json::parse(&opened.resource).ok()))
    }

    /// A resource that is there.
    pub(super) async fn current(&self, name: &Name) -> Result<Option<Json>, IngestError> {
        Ok(self.newest(name).await?.and_then(|newest| newest.resource))
    }

    /// A resource as conditions see it: as it will be after this transaction, and as it is. It is found by either, so that
    /// the order of the entries makes no difference.
    async fn states(&self, name: &Name) -> Result<Vec<Json>, IngestError> {
        let draft = match self.drafts.resources.get(name) {
            Some(None) => return Ok(Vec::new()),
            Some(Some(draft)) => Some(draft.clone()),
            None => None,
        };
        Ok(draft.into_iter().chain(self.current(name).await?).collect())
    }

    /// Lets the conditions that follow see what a write will do.
    pub(super) fn draft(&mut self, write: &Write, name: &Name) {
        let resource = write.act.resource().map(|resource| resource.json().clone());
        if resource.is_none() && !matches!(write.act, Act::Delete { .. }) {
            return;
        }
        if let Some(json) = &resource {
            let marks = self.core.tokens.blind(name.kind, json, &self.core.base).marks;
            self.drafts.marks.entry(name.kind).or_default().push((name.clone(), marks));
        }
        self.drafts.resources.insert(name.clone(), resource);
    }

    /// What a condition finds of what its author is shown; several are an error (R4 3.1.0.8.1).
    pub(super) async fn one_match(
        &self,
        by: &Author,
        kind: TypeName,
        criteria: &Criteria,
    ) -> Result<Match, IngestError> {
        let around = self.core.around_at(self.now * 1_000);
        let filters = criteria.filters(kind, &around).map_err(|issue| IngestError::Invalid(vec![issue]))?;
        let found = self.matches(kind, &filters, &around).await?;
        let count = found.len();
        let mut shown = self.shown_to(by, found).await?;
        if shown.len() > 1 {
            return Err(IngestError::Precondition(Issue::new(
                "multiple-matches",
                "the condition matches several resources",
            )));
        }
        Ok(Match { withholds: shown.len() < count, shown: shown.pop() })
    }

    /// Those of some resources that an author is shown: by what a condition finds he would learn what is in it. A system that writes what
    /// others withhold from it must make no second one of it: it finds all, and is refused.
    async fn shown_to(&self, by: &Author, found: Vec<Name>) -> Result<Vec<Name>, IngestError> {
        let Some(caller) = by.caller().filter(|caller| caller.speaks_of_person()) else { return Ok(found) };
        let mut shown = Vec::with_capacity(found.len());
        for name in found {
            let permit = decide(caller, Interaction::Search, Some(name.kind));
            let permit = permit.map_err(|denied| super::allowed::forbidden(&denied))?;
            match self.newest(&name).await? {
                Some(Newest { resource: Some(json), version, .. })
                    if !self.core.consents_to(&permit, &name, &json).await? =>
                {
                    permit.seen().withholds((owner(&name, &json, &self.core.base), name, version));
                }
                _ => shown.push(name),
            }
        }
        Ok(shown)
    }

    /// The resources that the filters find, tested on their opened content, including those of this group and of the one ahead.
    async fn matches(
        &self,
        kind: TypeName,
        filters: &[Filter],
        around: &Surroundings<'_>,
    ) -> Result<Vec<Name>, IngestError> {
        let ids = filters.iter().find_map(|f| if let Filter::Ids(ids) = f { Some(ids.clone()) } else { None });
        let clauses: Vec<Clause> =
            filters.iter().flat_map(|f| self.core.tokens.clauses(kind, f, around.now).clauses).collect();
        let updated =
            filters.iter().filter_map(|f| if let Filter::Updated(any) = f { Some(any.clone()) } else { None });
        let upto = self.core.store.newest().map_err(VaultError::from)?;
        let updated = updated.collect();
        let scan = Scan { kind, clauses, ids: ids.clone(), updated, after: 0, upto, now: around.now };
        let stored = self.core.store.scan(&scan, MAX_CONDITION_MATCHES + 1).map_err(VaultError::from)?;
        self.looked_at(stored.len())?;
        let mut names: Vec<Name> = stored.into_iter().map(|s| s.name).collect();
        names.extend(ids.into_iter().flatten().map(|id| Name { kind, id }));
        let ahead = self.ahead.as_ref().map(|ahead| &ahead.marks);
        for marks in ahead.into_iter().chain([&self.seen.marks, &self.fresh.marks, &self.drafts.marks]) {
            let marked = marks.get(&kind).map_or(&[][..], Vec::as_slice);
            let fits = |(_, marks): &&(Name, Vec<Mark>)| scan.clauses.iter().all(|clause| clause.holds(marks));
            names.extend(marked.iter().filter(fits).map(|(name, _)| name.clone()));
        }
        names.sort_by(|a, b| a.id.cmp(&b.id));
        names.dedup();
        let mut found = Vec::new();
        for name in names {
            let states = self.states(&name).await?;
            if states.iter().any(|resource| filters.iter().all(|filter| fits(filter, &name, resource, around))) {
                found.push(name);
            }
        }
        Ok(found)
    }
}

impl Group<'_> {
    /// A condition that the index narrows too little is refused: to look at some and trust that would make doubles. All
    /// others wait while the conditions of one transaction are held against the store.
    fn looked_at(&self, count: usize) -> Result<(), IngestError> {
        let before = self.looked_at.fetch_add(count, Ordering::Relaxed);
        if count > MAX_CONDITION_MATCHES || before + count > MAX_CONDITIONS_MATCHES {
            let text = "the condition has to be held against too many resources: name an identifier";
            return Err(IngestError::Precondition(Issue::new("too-costly", text)));
        }
        Ok(())
    }
}

/// The exact test. A draft does not bear its id yet.
fn fits(filter: &Filter, name: &Name, resource: &Json, around: &Surroundings<'_>) -> bool {
    match filter {
        Filter::Ids(ids) => ids.contains(&name.id),
        other => holds(other, resource, around),
    }
}
