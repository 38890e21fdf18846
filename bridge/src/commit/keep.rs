//! Keeping a message as it came: beside what was made of it, in quarantine, or out of it.

use super::{Done, Group, KeptAs, RawMessage, Stage, Written};
use crate::clock::instant;
use crate::error::{IngestError, VaultError};
use crate::ids::{Owner, ResourceId, Version};
use crate::index::blind::Blinded;
use crate::index::store::StoreError;
use crate::message::{Head, Held, Kept, QUARANTINE, Replayed};
use crate::vault::seal::{Label, RecordKind};

impl Group<'_> {
    pub(super) async fn seal_message(
        &mut self,
        message: &RawMessage,
        done: &[Done],
        stage: &mut Stage,
    ) -> Result<(), IngestError> {
        let Some((_, id)) = stage.message.clone() else { return Ok(()) };
        let written: Vec<&Written> = done.iter().filter_map(Done::written).collect();
        let head = self.head(message, &written);
        let (kind, owner) = match &message.kept_as {
            KeptAs::Held(_) => (QUARANTINE, unknown(&id)),
            KeptAs::Message | KeptAs::Replay { .. } => ("Message", of_first(&written)),
        };
        if let KeptAs::Replay { of, told, .. } = &message.kept_as {
            self.close(of, &id, told, &head, stage).await?;
        }
        let label = Label { kind: RecordKind::Message, type_name: kind.into(), id, version: Version(1), owner };
        self.seal_kept(label, Kept { head, bytes: message.bytes.clone() }, stage).await
    }

    /// The second version of what was in quarantine says what became of it. The first one stays as it is.
    async fn close(
        &mut self,
        of: &ResourceId,
        message: &ResourceId,
        told: &Held,
        head: &Head,
        stage: &mut Stage,
    ) -> Result<(), IngestError> {
        let replayed = told.replayed.clone().map(|how| Replayed { message: message.to_string(), ..how });
        let head =
            Head { held: Some(Held { replayed, ..told.clone() }), replay_of: None, report: Vec::new(), ..head.clone() };
        let (kind, type_name) = (RecordKind::Message, QUARANTINE.to_owned());
        let label = Label { kind, type_name, id: of.clone(), version: Version(2), owner: unknown(of) };
        self.seal_kept(label, Kept { head, bytes: Vec::new() }, stage).await
    }

    async fn seal_kept(&mut self, label: Label, kept: Kept, stage: &mut Stage) -> Result<(), IngestError> {
        let plain = kept.to_bytes().map_err(|_| VaultError::from(StoreError::Nonsense("a report that is no JSON")))?;
        let record = self.sealed(label, &plain, None).await?;
        stage.records.push((record, false, Blinded::default()));
        Ok(())
    }

    fn head(&self, message: &RawMessage, written: &[&Written]) -> Head {
        let (held, replay_of) = match &message.kept_as {
            KeptAs::Message => (None, None),
            KeptAs::Held(held) => (Some(held.clone()), None),
            KeptAs::Replay { of, .. } => (None, Some(of.to_string())),
        };
        Head {
            received: instant(jiff::Timestamp::from_millisecond(self.now).unwrap_or_default()),
            control_id: message.control_id.clone(),
            map: message.map.clone(),
            map_set: message.map_set.clone(),
            resources: written.iter().map(|w| format!("{}/_history/{}", w.name, w.version)).collect(),
            report: message.report.clone(),
            held,
            replay_of,
        }
    }
}

/// The message is sealed under the first patient that it speaks of, so that erasing the patient erases it.
fn of_first(written: &[&Written]) -> Owner {
    let patient = written.iter().find(|w| w.name.kind.as_str() == "Patient");
    patient.map_or_else(Owner::custodian, |w| Owner::patient(&w.name.id))
}

/// Of whom one in quarantine speaks nobody knows: it has a key of its own, as if it were a patient's, and can be erased like one.
fn unknown(id: &ResourceId) -> Owner {
    Owner::patient(id)
}
