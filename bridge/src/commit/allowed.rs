//! What a client may write. The interactions were decided before; here each resource is held against the permits, as it is stored and
//! as it is about to be, because only the committer knows both.

use super::view::Newest;
use super::{Author, located};
use crate::audit::emergency::is_notice;
use crate::audit::is_trail;
use crate::consent::decide::{Denied, Permit, decide, decide_over, decide_whole};
use crate::consent::grant::rests_on_grant;
use crate::consent::outside::PARTICIPANT;
use crate::consent::policy::{Consent, is_about_privacy};
use crate::consent::request::is_request;
use crate::error::{IngestError, Issue};
use crate::fhir::references;
use crate::fhir::search::criterion::{Surroundings, normal};
use crate::fhir::write::{Act, Write};
use crate::ids::Name;
use crate::limits::MAX_MERGED;
use crate::smart::scopes::Interaction;
use notary::canonical::Json;

/// Who writes, as far as it matters for what he may.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// This service itself.
    Service,
    /// It is given, withdrawn or refused in the portal by whom it is for.
    Desk,
    /// A system: its token speaks of no person.
    System,
    /// What another organisation gives, which exchange has proved, whoever asked for it.
    Organisation,
    /// Somebody in his own name, or an app of his.
    Person,
    /// The same, of a patient.
    Patient,
}

impl Writer {
    fn of(by: &Author) -> Self {
        let Some(caller) = by.caller() else { return Self::Service };
        let is_patient = |user: &Name| user.kind.as_str() == "Patient";
        match by {
            Author::Desk(_) => Self::Desk,
            Author::Exchange(_) => Self::Organisation,
            _ if !caller.speaks_of_person() => Self::System,
            _ if caller.user.as_ref().is_none_or(is_patient) => Self::Patient,
            _ => Self::Person,
        }
    }

    /// In his own name.
    fn is_person(self) -> bool {
        matches!(self, Self::Person | Self::Patient)
    }

    fn is_house(self) -> bool {
        matches!(self, Self::Service | Self::Desk)
    }
}

/// The permits of one write.
pub(super) struct Rights {
    /// Of what is there: none, where nothing is held back.
    old: Vec<Permit>,
    /// Of what is made where nothing is there, and of what a change makes of what is.
    created: Vec<Permit>,
    changed: Vec<Permit>,
    /// Of who knows afterwards what is there: he patches it, or found it by a condition. It must be one that he is shown.
    reads: Option<Permit>,
    /// Of who changes or deletes it in his own name: what a patient withholds from him is not his to overwrite.
    touches: Option<Permit>,
    writer: Writer,
}

impl Rights {
    /// The service's own: nothing is held back.
    pub(super) fn service() -> Self {
        Self {
            old: Vec::new(),
            created: Vec::new(),
            changed: Vec::new(),
            reads: None,
            touches: None,
            writer: Writer::Service,
        }
    }

    /// What an author may do by an act. Permits for every resource hold nothing back, and are left out.
    pub(super) fn of(by: &Author, act: &Act) -> Result<Self, IngestError> {
        let Some(caller) = by.caller() else {
            return Ok(Self::service());
        };
        let permits = |interactions: &[Interaction]| {
            let each = interactions.iter().map(|interaction| decide(caller, *interaction, Some(act.kind())));
            let held = each.filter(|permit| !permit.as_ref().is_ok_and(Permit::is_whole));
            held.collect::<Result<Vec<_>, _>>().map_err(|denied| forbidden(&denied))
        };
        use Interaction::{Create, Delete, Read, Update};
        let (old, created, changed): (&[_], &[_], &[_]) = match act {
            Act::Create { .. } => (&[], &[Create], &[]),
            Act::Update { .. } => (&[Update], &[Update], &[Update]),
            Act::Recognise { .. } => (&[Update], &[Create], &[Update]),
            // Its tests and paths tell what the resource says, and so does the answer.
            Act::Patch { .. } => (&[Update, Read], &[], &[Update]),
            Act::Delete { .. } => (&[Delete], &[], &[]),
        };
        let learns = matches!(act, Act::Patch { .. }) || act.criteria().is_some();
        let reads = learns.then(|| decide(caller, Read, Some(act.kind()))).transpose();
        let writer = Writer::of(by);
        // Exchange has looked whose it was, under all numbers that were merged.
        let old = if writer == Writer::Organisation { &[] } else { old };
        let touches = match act {
            Act::Update { .. } => Some(Update),
            Act::Delete { .. } => Some(Delete),
            _ => None,
        };
        // Another organisation keeps up what it gave itself: exchange sees to it that it is that.
        let touches = touches
            .filter(|_| writer.is_person())
            .map(|interaction| decide_over(caller, interaction, Some(act.kind())));
        Ok(Self {
            old: permits(old)?,
            created: permits(created)?,
            changed: permits(changed)?,
            reads: reads.map_err(|denied| forbidden(&denied))?,
            touches: touches.transpose().map_err(|denied| forbidden(&denied))?,
            writer,
        })
    }

    /// What there is must be shown to whoever learns of it.
    pub(super) fn reads(&self) -> Option<&Permit> {
        self.reads.as_ref()
    }

    /// Whether it is this service that writes.
    pub(super) fn is_service(&self) -> bool {
        self.writer == Writer::Service
    }

    /// Who takes no security label away: neither people nor, with a newer version, whoever gave a resource to this house.
    pub(super) fn keeps_labels(&self) -> bool {
        self.writer.is_person() || self.writer == Writer::Organisation
    }

    /// What there is must be consented to by its patients before this author may touch it.
    pub(super) fn asks(&self) -> Option<&Permit> {
        self.reads.as_ref().or(self.touches.as_ref())
    }

    /// Consents decide who sees what. One that rests on a grant is made and ended where that is given and withdrawn; others come from
    /// systems that keep what patients have said. An app of a person writes none: neither for a patient who was never asked, nor over
    /// what a patient has said. Nor does anybody put a request for consent before a patient but whoever has signed it.
    fn hold_consent(&self, name: &Name, resource: &Json) -> Result<(), IngestError> {
        let text = match () {
            () if self.writer.is_house() => return Ok(()),
            () if is_request(resource) => {
                "a request for consent comes signed, by exchange, and is answered in the portal"
            }
            () if name.kind.as_str() != "Consent" => return Ok(()),
            () if rests_on_grant(resource) => {
                "a Consent that rests on a grant is made and ended where that is given and withdrawn"
            }
            () if self.writer != Writer::System && is_about_privacy(resource) => {
                "Consents about privacy are signed by the patient in the portal, or come from systems: this needs `system/Consent` \
                 scopes in a token that speaks of no person"
            }
            () => return Ok(()),
        };
        refused(text)
    }

    /// Whether what is there may be changed. Whose a deleted one was nobody can tell.
    pub(super) fn hold(
        &self,
        name: &Name,
        newest: Option<&Newest>,
        around: &Surroundings<'_>,
    ) -> Result<(), IngestError> {
        let Some(newest) = newest else { return Ok(()) };
        let covers = |old: &Json| self.old.iter().all(|permit| permit.covers(name, old, around));
        match &newest.resource {
            Some(old) if covers(old) => self.hold_consent(name, old),
            None if self.old.is_empty() => Ok(()),
            _ => outside(),
        }
    }

    /// Who deletes a Patient would do away with what it was merged with, with the death and the age that it tells.
    pub(super) fn hold_deletion(&self, name: &Name, newest: Option<&Newest>) -> Result<(), IngestError> {
        let Some(old) = newest.and_then(|newest| newest.resource.as_ref()) else { return Ok(()) };
        if name.kind.as_str() == "Patient" && self.writer.is_person() {
            return refused("a Patient is deleted by systems: whose the record is, and who acts for him, is in it");
        }
        self.keeps_participants(Some(old), None)
    }

    /// What names an organisation of the network decides what that is shown, and is shown to patients as whom something was given
    /// to: this service and systems say it, and people's apps leave it as it is.
    fn keeps_participants(&self, old: Option<&Json>, new: Option<&Json>) -> Result<(), IngestError> {
        match self.writer.is_person() && [old, new].into_iter().flatten().any(names_participant) {
            true => refused(
                "what names an organisation of the network (`urn:medseal:participant`) is written by systems alone",
            ),
            false => Ok(()),
        }
    }

    /// Nobody changes or deletes what was told of an access, or a patient of an emergency, and people do not tell it of themselves or of
    /// others.
    pub(super) fn only_grows(&self, name: &Name, newest: Option<&Newest>) -> Result<(), IngestError> {
        let told = newest.and_then(|newest| newest.resource.as_ref());
        let text = match is_trail(name.kind) {
            _ if told.is_some_and(is_notice) => {
                "a patient was told of an emergency by it: it is neither changed nor deleted"
            }
            true if newest.is_some() => "the audit trail only grows: an AuditEvent is neither changed nor deleted",
            true if !matches!(self.writer, Writer::Service | Writer::System) => {
                "AuditEvents come from systems: this needs `system/AuditEvent.c`"
            }
            _ => return Ok(()),
        };
        refused(text)
    }

    /// Whether what is about to be stored may be.
    pub(super) fn hold_new(
        &self,
        name: &Name,
        new: &Json,
        newest: Option<&Newest>,
        around: &Surroundings<'_>,
    ) -> Result<(), IngestError> {
        let permits = if newest.is_some() { &self.changed } else { &self.created };
        if !permits.iter().all(|permit| permit.covers(name, new, around)) {
            return outside();
        }
        self.hold_consent(name, new)?;
        let old = newest.and_then(|newest| newest.resource.as_ref());
        self.keeps_who(name, old, new)?;
        self.keeps_participants(old, Some(new))?;
        names_its_patient(name, new, around.base)?;
        match () {
            () if self.is_service() => Ok(()),
            () if is_notice(new) => refused(
                "this service alone tells a patient of emergencies: no other Communication is about an AuditEvent",
            ),
            // Nobody could be shown anything of that record.
            () if merges(new).len() > MAX_MERGED => refused("Patient.link: more merged records than are followed"),
            () => Ok(()),
        }
    }

    /// Whose record a Patient is, and with which it was merged, decides who sees what, and whose the messages are that come in: systems say
    /// it. People's apps leave it as it is, and patients' apps also what makes somebody known, of age, or dead.
    fn keeps_who(&self, name: &Name, old: Option<&Json>, new: &Json) -> Result<(), IngestError> {
        if name.kind.as_str() != "Patient" || !self.writer.is_person() {
            return Ok(());
        }
        if old.map_or_else(Vec::new, merges) != merges(new) {
            return refused(
                "a Patient's links to the records that were merged with it come from systems: leave them as they are",
            );
        }
        if self.writer != Writer::Patient {
            return Ok(());
        }
        let part_of = |patient: Option<&Json>, part: &str| patient.and_then(|one| one.get(part)).map(Json::canonical);
        let same = |part: &&str| part_of(old, part) == part_of(Some(new), part);
        match WHO.iter().find(|part| !same(part)) {
            Some(part) => refused(&format!("Patient.{part} comes from the organisation: leave it as it is")),
            None => Ok(()),
        }
    }
}

/// What makes a patient known to feeds, of age, or dead.
const WHO: [&str; 6] = ["identifier", "link", "active", "birthDate", "deceasedBoolean", "deceasedDateTime"];

/// The links of a Patient to records that were merged with it.
fn merges(patient: &Json) -> Vec<Vec<u8>> {
    let links = patient.get("link").map_or(&[][..], Json::items).iter();
    links.filter(|link| matches!(link.text("type"), Some("replaces" | "replaced-by"))).map(Json::canonical).collect()
}

/// Whether a resource names an organisation of the network anywhere.
fn names_participant(json: &Json) -> bool {
    json.text("system") == Some(PARTICIPANT)
        || json.items().iter().any(names_participant)
        || json.members().iter().any(|(_, value)| names_participant(value))
}

/// A Consent that speaks of nobody whom this server knows would be stored, and would decide nothing.
fn names_its_patient(name: &Name, consent: &Json, base: &str) -> Result<(), IngestError> {
    let patient = consent.get("patient").and_then(|patient| patient.text("reference"));
    let known =
        patient.and_then(|text| Name::parse(normal(text, base))).is_some_and(|name| name.kind.as_str() == "Patient");
    if name.kind.as_str() != "Consent" || known || Consent::read(consent, base).is_none() {
        return Ok(());
    }
    let text = "a Consent about privacy names its patient as `Patient/id` of this server: else it would decide nothing";
    Err(IngestError::Invalid(vec![Issue::at("value", "Consent.patient", text)]))
}

fn refused(text: &str) -> Result<(), IngestError> {
    Err(IngestError::Forbidden(Issue::new("forbidden", text)))
}

fn outside() -> Result<(), IngestError> {
    refused("the token's scopes are for a part of the resources, and this one is or would be outside of it")
}

pub(super) fn forbidden(denied: &Denied) -> IngestError {
    IngestError::Forbidden(Issue::new("forbidden", denied.to_string()))
}

/// A condition looks at all resources, and a claim on an identifier is one among all of them: whoever may see a part names what he
/// writes by its id.
pub(super) fn conditions(by: &Author, writes: &[Write]) -> Result<(), IngestError> {
    let Some(caller) = by.caller() else { return Ok(()) };
    let whole = |interaction, kind| decide_whole(caller, interaction, Some(kind)).map(|_| ());
    for write in writes {
        let kind = write.act.kind();
        let own = write
            .act
            .criteria()
            .map_or(Ok(()), |_| whole(Interaction::Search, kind).and_then(|()| whole(Interaction::Read, kind)));
        let referred = write.act.resource().map_or(Vec::new(), |r| references::conditional_types(r.json()));
        let all = own.and_then(|()| referred.into_iter().try_for_each(|kind| whole(Interaction::Search, kind)));
        all.map_err(|denied| located(forbidden(&denied), write.entry))?;
    }
    Ok(())
}
