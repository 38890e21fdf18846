//! What a client's transaction did is told in the transaction itself: an AuditEvent for each patient and kind of change.

use super::allowed::Rights;
use super::resolve::Goal;
use super::seal::Links;
use super::{Author, Done, Group, Stage};
use crate::audit::TYPE;
use crate::audit::event::{Access, Detail, Did, Naming, Outcome};
use crate::audit::worker::act;
use crate::error::IngestError;
use crate::fhir::write::{Act, Write};
use crate::ids::{Name, TypeName, Version};
use crate::smart::token::Caller;
use std::collections::{BTreeMap, HashMap};

impl Did {
    /// The interaction of an act.
    fn of(act: &Act) -> Self {
        Self(match act {
            Act::Create { .. } => "create",
            Act::Update { .. } | Act::Recognise { .. } => "update",
            Act::Patch { .. } => "patch",
            Act::Delete { .. } => "delete",
        })
    }
}

/// What is to be done, before it is done.
pub(super) fn intended(writes: &[Write]) -> Vec<Did> {
    writes.iter().map(|write| Did::of(&write.act)).collect()
}

impl Group<'_> {
    /// Adds the AuditEvents of what a client did. What changed nothing is not told.
    pub(super) async fn tell(
        &mut self,
        caller: &Caller,
        (intended, done): (&[Did], &[Done]),
        stage: &mut Stage,
    ) -> Result<(), IngestError> {
        for (access, detail) in self.accesses(caller, (intended, done), stage) {
            let act = act(&access, &detail, Naming::Reference, &self.core.custodian, &self.core.base)?;
            let Some(kind) = TypeName::parse(TYPE) else { return Ok(()) };
            let goal = Goal::New(Name { kind, id: self.new_id()? });
            let links = Links { by: &Author::Service, by_url: &HashMap::new() };
            self.write_one(&Rights::service(), act, goal, links, None, stage).await?;
        }
        Ok(())
    }

    fn accesses(
        &self,
        caller: &Caller,
        (intended, done): (&[Did], &[Done]),
        stage: &Stage,
    ) -> BTreeMap<Access, Detail> {
        let labels = stage.records.iter().map(|(record, ..)| &record.sealed.label);
        let owners: HashMap<_, _> =
            labels.map(|label| ((label.type_name.as_str(), &label.id, label.version), &label.owner)).collect();
        let now = jiff::Timestamp::from_millisecond(self.now).unwrap_or_default();
        let mut told: BTreeMap<Access, Detail> = BTreeMap::new();
        for (did, (name, version)) in intended.iter().zip(done).filter_map(|(did, done)| Some((did, changed(done)?))) {
            let Some(owner) = owners.get(&(name.kind.as_str(), &name.id, version)) else { continue };
            let (who, patient) = (Some(caller.who()), owner.as_patient());
            let access = Access { who, did: *did, outcome: Outcome::Done, patient };
            told.entry(access).or_insert_with(|| Detail::at(now)).resources.insert((name.clone(), version));
        }
        told
    }
}

fn changed(done: &Done) -> Option<(&Name, Version)> {
    match done {
        Done::Written(written) => Some((&written.name, written.version)),
        Done::Deleted(deleted) => Some((&deleted.name, deleted.version)),
        Done::Nothing => None,
    }
}
