//! Resolution: which resource each write means. Ids, conditions, identities of messages, and the names that the entries of a
//! transaction call each other by.

use super::view::Match;
use super::{Author, Group, Stage, located};
use crate::error::{IngestError, Issue, VaultError};
use crate::fhir::references;
use crate::fhir::search::criterion::{System, Token as Asked};
use crate::fhir::write::{Act, By, Criteria, Target, Write};
use crate::ids::{Name, ResourceId, TypeName};
use crate::index::tokens::Token;
use mappings::identity::Identity;
use notary::canonical::Json;
use std::collections::HashMap;

/// What each write is to be done to, and the names that entries call each other by.
pub(super) struct Goals {
    pub(super) goals: Vec<Goal>,
    pub(super) by_url: HashMap<String, String>,
}

/// What a write is to be done to.
#[derive(Clone)]
pub(super) enum Goal {
    Resource(Name),
    /// A resource whose id was made for it: there is nothing to look for.
    New(Name),
    /// A conditional create that found its resource: nothing is written.
    Found(Name),
    /// A conditional deletion that found nothing.
    Nothing,
}

/// What only one resource can claim, and which one does.
struct Claim {
    token: Token,
    borne_by: Option<Name>,
}

impl Goal {
    pub(super) fn into_name(self) -> Option<Name> {
        match self {
            Self::Resource(name) | Self::New(name) | Self::Found(name) => Some(name),
            Self::Nothing => None,
        }
    }

    fn name(&self) -> Option<&Name> {
        match self {
            Self::Resource(name) | Self::New(name) | Self::Found(name) => Some(name),
            Self::Nothing => None,
        }
    }
}

impl Group<'_> {
    /// In the standard's order, those with conditions last among their like: a condition sees what the entries before it will
    /// do (R4 3.1.0.11.2).
    pub(super) async fn resolve_all(
        &mut self,
        by: &Author,
        writes: &[Write],
        stage: &mut Stage,
    ) -> Result<Goals, IngestError> {
        let conditions = writes.len() > 1 && writes.iter().any(is_conditional);
        let mut order: Vec<usize> = (0..writes.len()).collect();
        order.sort_by_key(|n| (writes[*n].act.rank(), writes[*n].act.criteria().is_some()));
        let mut goals: Vec<Goal> = vec![Goal::Nothing; writes.len()];
        let mut taken = Taken::default();
        for n in order {
            let write = &writes[n];
            let goal = self.resolve(by, &write.act, stage).await.map_err(|error| located(error, write.entry))?;
            taken.add(write, &goal).map_err(|error| located(error, write.entry))?;
            if let (true, Goal::Resource(name) | Goal::New(name)) = (conditions, &goal) {
                self.draft(write, name);
            }
            goals[n] = goal;
        }
        let by_url = names(writes, &goals)?;
        Ok(Goals { goals, by_url })
    }

    async fn resolve(&mut self, by: &Author, act: &Act, stage: &mut Stage) -> Result<Goal, IngestError> {
        let kind = act.kind();
        Ok(match act {
            Act::Create { if_none_exist: None, .. } => Goal::New(Name { kind, id: self.new_id()? }),
            Act::Create { if_none_exist: Some(criteria), .. } => {
                let claim = self.before_search(self.condition_token(kind, criteria))?;
                let found = self.one_match(by, kind, criteria).await?;
                no_second(&found, criteria)?;
                match found.shown {
                    Some(name) => Goal::Found(name),
                    // The server gives the id, also where the condition names one (R4 3.1.0.8).
                    None if found.withholds => Goal::New(Name { kind, id: self.new_id()? }),
                    None => Goal::Resource(self.claim(claim, Name { kind, id: self.new_id()? }, stage)),
                }
            }
            Act::Update { target, resource } => {
                Goal::Resource(self.target(by, target, resource.json().text("id"), stage).await?)
            }
            Act::Patch { target, .. } => match &target.by {
                By::Id(id) => Goal::Resource(Name { kind, id: id.clone() }),
                By::Search(criteria) => {
                    let none = || IngestError::NotFound(Issue::new("not-found", "the condition matches no resource"));
                    Goal::Resource(self.one_match(by, kind, criteria).await?.shown.ok_or_else(none)?)
                }
            },
            Act::Delete { target } => match &target.by {
                By::Id(id) => Goal::Resource(Name { kind, id: id.clone() }),
                By::Search(criteria) => {
                    self.one_match(by, kind, criteria).await?.shown.map_or(Goal::Nothing, Goal::Resource)
                }
            },
            Act::Recognise { identity: None, .. } => Goal::New(Name { kind, id: self.new_id()? }),
            Act::Recognise { identity: Some(identity), .. } => {
                Goal::Resource(self.recognise(kind, identity, stage).await?)
            }
        })
    }

    /// The resource of an update (R4 3.1.0.7.1).
    async fn target(
        &mut self,
        by: &Author,
        target: &Target,
        own: Option<&str>,
        stage: &mut Stage,
    ) -> Result<Name, IngestError> {
        let kind = target.kind;
        let criteria = match &target.by {
            By::Id(id) => return Ok(Name { kind, id: id.clone() }),
            By::Search(criteria) => criteria,
        };
        let path = format!("{kind}.id");
        let claim = self.before_search(self.condition_token(kind, criteria))?;
        let found = self.one_match(by, kind, criteria).await?;
        no_second(&found, criteria)?;
        match found.shown {
            Some(name) if own.is_some_and(|own| own != name.id.as_str()) => {
                let text = "the condition matches another resource than the id says";
                Err(IngestError::Contradiction(Issue::at("value", &path, text)))
            }
            Some(name) => Ok(name),
            None => {
                let id = match criteria.id().or_else(|| own.and_then(ResourceId::parse)) {
                    Some(id) => id,
                    None => self.new_id()?,
                };
                let name = Name { kind, id };
                let name = if found.withholds { name } else { self.claim(claim, name, stage) };
                if self.current(&name).await?.is_some() {
                    let text = "the condition matches nothing, and the resource's own id is taken by another resource";
                    return Err(IngestError::Conflict(Issue::at("duplicate", &path, text)));
                }
                Ok(name)
            }
        }
    }

    /// Who bears a claim, asked before the search that may make another bear it: what another replica commits meanwhile is a
    /// conflict then, and not taken for a claim that its resource has lost.
    fn before_search(&self, token: Token) -> Result<Claim, VaultError> {
        Ok(Claim { token, borne_by: self.claimed(&token)? })
    }

    /// Claims something for a resource; that makes a second one, elsewhere, impossible.
    fn claim(&mut self, Claim { token, borne_by }: Claim, name: Name, stage: &mut Stage) -> Name {
        match borne_by {
            Some(claimed) if claimed == name => return name,
            // Its resource has lost the identifier, or the search would have found it: the claim is let go.
            Some(claimed) => stage.stale.push((token, claimed)),
            None => {}
        }
        self.fresh.identities.insert(token, name.clone());
        stage.identities.retain(|(t, _)| *t != token);
        stage.identities.push((token, name.clone()));
        name
    }

    fn claimed(&self, token: &Token) -> Result<Option<Name>, VaultError> {
        match self.known(|seen| seen.identities.get(token)) {
            Some(name) => Ok(Some(name.clone())),
            None => Ok(self.core.store.identity(token)?),
        }
    }

    /// A condition on one identifier claims what a message with that identifier claims.
    fn condition_token(&self, kind: TypeName, criteria: &Criteria) -> Token {
        if let Some((system, value)) = identifier(criteria) {
            let identity = Identity::Identifier { system: Some(system), value, scope: String::new() };
            return self.identity_token(kind, &identity);
        }
        let parts = criteria.pairs.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]);
        self.core.identity_token(&["condition", kind.as_str()].into_iter().chain(parts).collect::<Vec<_>>())
    }

    fn identity_token(&self, kind: TypeName, identity: &Identity) -> Token {
        self.core.identity_token(&["identity", kind.as_str(), &identity.key()])
    }

    async fn recognise(&mut self, kind: TypeName, identity: &Identity, stage: &mut Stage) -> Result<Name, IngestError> {
        let claim = self.before_search(self.identity_token(kind, identity))?;
        if let Some(name) = &claim.borne_by
            && self.still_bears(name, identity).await?
        {
            return Ok(name.clone());
        }
        // Somebody may have sent the same business identifier over FHIR.
        if let Identity::Identifier { system: Some(system), value, .. } = identity {
            let criteria = Criteria::identifier(system, value);
            if let Some(name) = self.one_match(&Author::Service, kind, &criteria).await?.shown {
                return Ok(self.claim(claim, name, stage));
            }
        }
        Ok(self.claim(claim, Name { kind, id: self.new_id()? }, stage))
    }

    /// Whether a claimed resource has the identifier still: it may have been given to somebody else since.
    async fn still_bears(&self, name: &Name, identity: &Identity) -> Result<bool, IngestError> {
        let Identity::Identifier { system, value, .. } = identity else { return Ok(true) };
        let Some(json) = self.current(name).await? else {
            // Claimed by an earlier entry of this very transaction: it is not written yet.
            return Ok(self.fresh.identities.values().any(|n| n == name));
        };
        Ok(bears(&json, system.as_deref(), value))
    }
}

/// The one identifier that a condition asks for.
fn identifier(criteria: &Criteria) -> Option<(String, String)> {
    let [(name, value)] = criteria.pairs.as_slice() else { return None };
    match Asked::parse(value) {
        Some(Asked { system: System::Is(system), code: Some(value) }) if name == "identifier" => Some((system, value)),
        _ => None,
    }
}

/// Of one number there is one resource: who asks by it for what is withheld from him is told so much, and makes no second one.
fn no_second(found: &Match, criteria: &Criteria) -> Result<(), IngestError> {
    match found.withholds && identifier(criteria).is_some() {
        true => {
            Err(IngestError::Precondition(Issue::new("conflict", "the condition finds a resource that is not for you")))
        }
        false => Ok(()),
    }
}

fn bears(resource: &Json, system: Option<&str>, value: &str) -> bool {
    let found = resource.get("identifier").map_or(&[][..], |one| match one {
        Json::Array(items) => items,
        one => std::slice::from_ref(one),
    });
    found.iter().any(|i| i.text("system") == system && i.text("value") == Some(value))
}

/// The resources of a transaction: each is written by one entry at most, whatever the entries call it.
#[derive(Default)]
struct Taken(HashMap<Name, bool>);

impl Taken {
    fn add(&mut self, write: &Write, goal: &Goal) -> Result<(), IngestError> {
        let Some(name) = goal.name() else { return Ok(()) };
        let found = matches!(goal, Goal::Found(_));
        let Some(found_before) = self.0.insert(name.clone(), found) else { return Ok(()) };
        // Of a message several drafts may be one resource, and several conditions may find the same.
        if matches!(write.act, Act::Recognise { .. }) || (found && found_before) {
            return Ok(());
        }
        let text = "another entry of the transaction is the same resource";
        Err(IngestError::Conflict(Issue::new("duplicate", text)))
    }
}

/// Whether the outcome of a write depends on what a search finds.
fn is_conditional(write: &Write) -> bool {
    let patches = matches!(write.act, Act::Patch { .. });
    patches
        || write.act.criteria().is_some()
        || write.act.resource().is_some_and(|r| references::has_conditional(r.json()))
}

/// The names that entries call each other by.
fn names(writes: &[Write], goals: &[Goal]) -> Result<HashMap<String, String>, IngestError> {
    let mut by_url = HashMap::new();
    for (write, goal) in writes.iter().zip(goals) {
        let (Some(full_url), Some(name)) = (&write.full_url, goal.name()) else { continue };
        for url in named_by(full_url) {
            if by_url.insert(url, name.to_string()).is_some() {
                let path = write.entry.map_or("fullUrl".to_owned(), |n| format!("Bundle.entry[{n}].fullUrl"));
                let text = "another entry has the same fullUrl";
                return Err(IngestError::Conflict(Issue::at("duplicate", &path, text)));
            }
        }
    }
    Ok(by_url)
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
