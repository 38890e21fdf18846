//! Resolution: which resource each write means. Ids, conditions, identities of messages, and the names that the entries of a
//! transaction call each other by.

use super::{Group, Stage};
use crate::error::{IngestError, Issue, VaultError};
use crate::fhir::bundle::{Criteria, How, Write};
use crate::fhir::search::check::holds;
use crate::fhir::search::criterion::{Criterion, Surroundings, System, Token as Asked};
use crate::fhir::search::query::Filter;
use crate::fhir::search::table::parameter;
use crate::ids::{Name, ResourceId, TypeName, Version};
use crate::index::blind::Mark;
use crate::index::scan::Scan;
use crate::index::tokens::{Identifier, Token};
use crate::limits::MAX_QUERY_VALUES;
use mappings::identity::Identity;
use notary::canonical::Json;
use std::collections::{HashMap, HashSet};
/// Which resource each write means, and the names that entries call each other by.
pub(super) struct Targets {
    pub(super) targets: Vec<Target>,
    pub(super) by_url: HashMap<String, String>,
}

#[derive(Clone)]
pub(super) struct Target {
    pub(super) name: Name,
    /// A conditional create that found its resource: nothing is written.
    pub(super) found: bool,
}

impl Group<'_> {
    pub(super) async fn resolve_all(&mut self, writes: &[Write], stage: &mut Stage) -> Result<Targets, IngestError> {
        let mut targets: Vec<Target> = Vec::new();
        let mut by_url = HashMap::new();
        let mut taken: HashSet<Name> = HashSet::new();
        for (n, write) in writes.iter().enumerate() {
            let target = self.resolve(write, stage).await?;
            let from_message = matches!(write.how, How::Recognise { .. });
            let twice = !target.found && !taken.insert(target.name.clone());
            if twice && !from_message {
                return Err(IngestError::Conflict(Issue::at(
                    "duplicate",
                    &format!("Bundle.entry[{n}]"),
                    "another entry of the transaction is the same resource",
                )));
            }
            for url in write.full_url.iter().flat_map(|url| named_by(url)) {
                if by_url.insert(url, target.name.to_string()).is_some() {
                    let path = format!("Bundle.entry[{n}].fullUrl");
                    let text = "another entry has the same fullUrl";
                    return Err(IngestError::Conflict(Issue::at("duplicate", &path, text)));
                }
            }
            targets.push(target);
        }
        Ok(Targets { targets, by_url })
    }

    async fn resolve(&mut self, write: &Write, stage: &mut Stage) -> Result<Target, IngestError> {
        let kind = write.resource.kind();
        let (name, found) = match &write.how {
            How::Create { if_none_exist: None } => (Name { kind, id: self.new_id()? }, false),
            How::Create { if_none_exist: Some(criteria) } => match self.one_match(kind, criteria).await? {
                Some(name) => (name, true),
                None => (self.claim(kind, criteria, None, stage)?, false),
            },
            How::Update { id, .. } => (Name { kind, id: id.clone() }, false),
            How::ConditionalUpdate { criteria, .. } => match self.one_match(kind, criteria).await? {
                Some(name) => (name, false),
                None => {
                    let name = self.claim(kind, criteria, write.resource.json().text("id"), stage)?;
                    if self.current(&name).await?.is_some() {
                        let text =
                            "the condition matches nothing, and the resource's own id is taken by another resource";
                        return Err(IngestError::Conflict(Issue::new("duplicate", text)));
                    }
                    (name, false)
                }
            },
            How::Recognise { identity: None, .. } => (Name { kind, id: self.new_id()? }, false),
            How::Recognise { identity: Some(identity), .. } => (self.recognise(kind, identity, stage).await?, false),
        };
        Ok(Target { name, found })
    }

    /// A new resource for a condition; the claim on it makes a second one, elsewhere, impossible.
    fn claim(
        &mut self,
        kind: TypeName,
        criteria: &Criteria,
        id: Option<&str>,
        stage: &mut Stage,
    ) -> Result<Name, IngestError> {
        let id = match (criteria, id.and_then(ResourceId::parse)) {
            (Criteria::Id(id), _) => id.clone(),
            (_, Some(id)) => id,
            (_, None) => self.new_id()?,
        };
        let name = Name { kind, id };
        if let Criteria::Identifier(Identifier::Both(system, value)) = criteria {
            let identity =
                Identity::Identifier { system: Some(system.clone()), value: value.clone(), scope: String::new() };
            self.claim_token(self.identity_token(kind, &identity), &name, stage)?;
        }
        Ok(name)
    }

    fn claim_token(&mut self, token: Token, name: &Name, stage: &mut Stage) -> Result<(), IngestError> {
        match self.claimed(&token)? {
            Some(claimed) if claimed == *name => return Ok(()),
            // Its resource has lost the identifier, or the search would have found it: the claim is let go.
            Some(_) => stage.stale.push(token),
            None => {}
        }
        self.fresh.identities.insert(token, name.clone());
        stage.identities.retain(|(t, _)| *t != token);
        stage.identities.push((token, name.clone()));
        Ok(())
    }

    fn claimed(&self, token: &Token) -> Result<Option<Name>, VaultError> {
        match self.fresh.identities.get(token).or_else(|| self.seen.identities.get(token)) {
            Some(name) => Ok(Some(name.clone())),
            None => Ok(self.core.store.identity(token)?),
        }
    }

    fn identity_token(&self, kind: TypeName, identity: &Identity) -> Token {
        self.core.identity_token(&["identity", kind.as_str(), &identity.key()])
    }

    async fn recognise(&mut self, kind: TypeName, identity: &Identity, stage: &mut Stage) -> Result<Name, IngestError> {
        let token = self.identity_token(kind, identity);
        if let Some(name) = self.claimed(&token)?
            && self.still_bears(&name, identity).await?
        {
            return Ok(name);
        }
        // Somebody may have sent the same business identifier over FHIR.
        if let Identity::Identifier { system: Some(system), value, .. } = identity {
            let criteria = Criteria::Identifier(Identifier::Both(system.clone(), value.clone()));
            if let Some(name) = self.one_match(kind, &criteria).await? {
                self.claim_token(token, &name, stage)?;
                return Ok(name);
            }
        }
        let name = Name { kind, id: self.new_id()? };
        self.claim_token(token, &name, stage)?;
        Ok(name)
    }

    /// Whether a claimed resource has the identifier still: it may have been given to somebody else since.
    async fn still_bears(&self, name: &Name, identity: &Identity) -> Result<bool, IngestError> {
        let Identity::Identifier { system, value, .. } = identity else { return Ok(true) };
        let Some((_, json)) = self.current(name).await? else {
            // Claimed by an earlier entry of this very transaction: it is not written yet.
            return Ok(self.fresh.identities.values().any(|n| n == name));
        };
        let identifier = match system {
            Some(system) => Identifier::Both(system.clone(), value.clone()),
            None => Identifier::NoSystem(value.clone()),
        };
        Ok(identifier.is_of(&json))
    }

    /// The only resource that a condition finds; several are an error (R4 3.1.0.8.1).
    pub(super) async fn one_match(&self, kind: TypeName, criteria: &Criteria) -> Result<Option<Name>, IngestError> {
        let mut matches = match criteria {
            Criteria::Id(id) => {
                let name = Name { kind, id: id.clone() };
                if self.current(&name).await?.is_some() { vec![name] } else { Vec::new() }
            }
            Criteria::Identifier(identifier) => self.matches(kind, &by_identifier(kind, identifier)?).await?,
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
    async fn matches(&self, kind: TypeName, filter: &Filter) -> Result<Vec<Name>, IngestError> {
        let now = self.now * 1_000;
        let clauses = self.core.tokens.clauses(kind, filter, now).clauses;
        let upto = self.core.store.newest().map_err(VaultError::from)?;
        let scan = Scan { kind, clauses, ids: None, updated: Vec::new(), after: 0, upto, now };
        let stored = self.core.store.scan(&scan, MAX_QUERY_VALUES).map_err(VaultError::from)?;
        let mut names: Vec<Name> = stored.into_iter().map(|s| s.name).collect();
        for seen in [&self.seen, &self.fresh] {
            let marked = seen.marks.get(&kind).map_or(&[][..], Vec::as_slice);
            let fits = |(_, marks): &&(Name, Vec<Mark>)| scan.clauses.iter().all(|clause| clause.holds(marks));
            names.extend(marked.iter().filter(fits).map(|(name, _)| name.clone()));
        }
        names.sort_by(|a, b| a.id.cmp(&b.id));
        names.dedup();
        let around = Surroundings { base: &self.core.base, now };
        let mut found = Vec::new();
        for name in names {
            if let Some((_, resource)) = self.current(&name).await?
                && holds(filter, &resource, &around)
            {
                found.push(name);
            }
        }
        Ok(found)
    }

    /// The newest version of a resource, as the group sees it.
    pub(super) async fn current(&self, name: &Name) -> Result<Option<(Version, Json)>, IngestError> {
        let parse = |bytes: &[u8]| Json::parse(bytes).unwrap_or(Json::Null);
        let seen = self.fresh.resources.get(name).or_else(|| self.seen.resources.get(name));
        if let Some((version, bytes)) = seen {
            return Ok(Some((*version, parse(bytes))));
        }
        let Some(stored) = self.core.store.current(name).map_err(VaultError::from)? else { return Ok(None) };
        let opened = self.core.open(&stored).await?;
        Ok(Some((stored.version, parse(&opened.resource))))
    }
}

/// The references that mean an entry: its fullUrl, and for an address on some server what is relative to that (R4 2.36.4.1).
fn named_by(full_url: &str) -> Vec<String> {
    let mut parts = full_url.rsplit('/');
    let relative = match (parts.next(), parts.next()) {
        (Some(id), Some(kind)) if full_url.starts_with("http") => Name::parse(&format!("{kind}/{id}")),
        _ => None,
    };
    std::iter::once(full_url.to_owned()).chain(relative.map(|name| name.to_string())).collect()
}

fn by_identifier(kind: TypeName, identifier: &Identifier) -> Result<Filter, IngestError> {
    let (system, code) = match identifier.clone() {
        Identifier::Both(system, value) => (System::Is(system), Some(value)),
        Identifier::NoSystem(value) => (System::Without, Some(value)),
        Identifier::System(system) => (System::Is(system), None),
        Identifier::Value(value) => (System::Any, Some(value)),
    };
    let none = || IngestError::Unsupported(Issue::new("not-supported", "the type has no identifier"));
    let parameter = parameter(kind, "identifier").ok_or_else(none)?;
    Ok(Filter::Values { parameter, negated: false, alternatives: vec![Criterion::Token(Asked { system, code })] })
}
