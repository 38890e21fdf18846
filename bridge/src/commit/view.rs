//! What the store holds as the group sees it: committed, done by earlier transactions of the group, done by this one; and
//! for conditions, what this one is about to do.

use super::Group;
use crate::error::{IngestError, Issue, VaultError};
use crate::fhir::write::{Act, Criteria, Write};
use crate::ids::{Name, TypeName, Version};
use crate::index::store::Query;
use crate::index::tokens::{Term, Token};
use crate::limits::MAX_QUERY_VALUES;
use notary::canonical::Json;
use std::collections::HashMap;
use std::sync::Arc;

/// The newest version of a resource, not in the index yet.
#[derive(Clone)]
pub(super) struct Pending {
    pub(super) version: Version,
    pub(super) updated: i64,
    /// None for a deletion.
    pub(super) resource: Option<Arc<Vec<u8>>>,
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
    terms: HashMap<Token, Vec<Name>>,
}

impl Group<'_> {
    /// The newest version of a resource, deleted or not.
    pub(super) async fn newest(&self, name: &Name) -> Result<Option<Newest>, IngestError> {
        let parse = |bytes: &[u8]| Json::parse(bytes).unwrap_or(Json::Null);
        let kept = self.fresh.resources.get(name).or_else(|| self.seen.resources.get(name));
        if let Some(Pending { version, updated, resource }) = kept {
            let resource = resource.as_deref().map(|bytes| parse(bytes));
            return Ok(Some(Newest { version: *version, updated: *updated, resource }));
        }
        let Some(stored) = self.core.store.current(name).map_err(VaultError::from)? else { return Ok(None) };
        let opened = self.core.open(&stored).await?;
        let resource = (!stored.deleted).then(|| parse(&opened.resource));
        Ok(Some(Newest { version: stored.version, updated: stored.updated, resource }))
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
        for token in resource.iter().flat_map(|json| self.core.tokens.tokens(name.kind, json)) {
            self.drafts.terms.entry(token).or_default().push(name.clone());
        }
        self.drafts.resources.insert(name.clone(), resource);
    }

    /// The only resource that a condition finds; several are an error (R4 3.1.0.8.1).
    pub(super) async fn one_match(&self, kind: TypeName, criteria: &Criteria) -> Result<Option<Name>, IngestError> {
        let mut matches = match criteria {
            Criteria::Id(id) => {
                let name = Name { kind, id: id.clone() };
                if self.states(&name).await?.is_empty() { Vec::new() } else { vec![name] }
            }
            Criteria::Identifier(identifier) => self.matches(kind, &Term::Identifier(identifier.clone())).await?,
        };
        if matches.len() > 1 {
            return Err(IngestError::Precondition(Issue::new(
                "multiple-matches",
                "the condition matches several resources",
            )));
        }
        Ok(matches.pop())
    }

    /// The resources that a term finds, checked on their opened content, including those of this group.
    async fn matches(&self, kind: TypeName, term: &Term) -> Result<Vec<Name>, IngestError> {
        let token = self.core.tokens.term(kind, term);
        let terms = vec![vec![token]];
        let query = Query { kind, terms, ids: None, updated: Vec::new(), after: 0, limit: MAX_QUERY_VALUES };
        let mut names: Vec<Name> =
            self.core.store.search(&query).map_err(VaultError::from)?.into_iter().map(|s| s.name).collect();
        for terms in [&self.seen.terms, &self.fresh.terms, &self.drafts.terms] {
            names.extend(terms.get(&token).cloned().unwrap_or_default());
        }
        names.sort_by(|a, b| a.id.cmp(&b.id));
        names.dedup();
        let mut found = Vec::new();
        for name in names {
            if self.states(&name).await?.iter().any(|resource| term.matches(resource)) {
                found.push(name);
            }
        }
        Ok(found)
    }
}
