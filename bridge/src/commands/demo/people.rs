//! Who can be looked at in the demo, and who may look: a patient with a record that tells a story, a child, a clinician, an administrator;
//! what they have looked at, written down and let in; and a way in for each role.

use super::super::{Failed, serve::Running};
use super::call::send;
use super::visitor::Visitor;
use super::{apps, neighbour, upkeep};
use crate::app::App;
use crate::consent::give::{self, Draft};
use crate::consent::grant::{Choice, Purpose, Recipient, Sensitive};
use crate::ids::{Name, ResourceId};
use crate::people::enrol::invite;
use crate::people::site::Site;
use crate::people::{AccountId, Person, Role};
use crate::secret::{bytes, system_random};
use crate::smart::scopes;
use crate::smart::token::Caller;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use notary::consent::{GrantKey, Preimage};
use std::sync::Arc;
use std::time::Duration;

/// A transaction; `@-30@` stands for the day thirty days ago.
const RECORD: &str = include_str!("../demo-people.json");
pub(super) const PATIENT: &str = "Patient/demo-runa";
pub(super) const CHILD: &str = "Patient/demo-kim";
const CLINICIAN: &str = "Practitioner/demo-weiss";
const CHIEF: &str = "Practitioner/demo-holm";
const CLINIC: (&str, &str) = ("Organization/demo-quay", "Northquay Clinic");
/// What she declares, so that the patient finds a notice of it.
const EMERGENCY: &str = r#"{"resourceType": "Parameters", "parameter": [
    {"name": "role", "valueString": "physician on call"},
    {"name": "reason", "valueString": "found unconscious at the tram stop, allergies unknown"},
    {"name": "purpose", "valueCode": "ETREAT"}, {"name": "minutes", "valuePositiveInt": 60}]}"#;
/// For what is done while the demo begins.
const MOMENT: Duration = Duration::from_secs(60);

/// Somebody who may sign in: as what, and by which link.
pub struct Guest {
    pub role: Role,
    pub link: String,
}

/// The house of the demo, and the one next door.
pub struct Houses<'h> {
    pub own: &'h Running,
    /// It may write everything in the own house.
    pub token: &'h str,
    pub next_door: &'h Running,
}

/// Fills the pages, and invites somebody of each role.
pub async fn seed(houses: &Houses<'_>) -> Result<Vec<Guest>, Failed> {
    let (own, app) = (houses.own, &houses.own.app);
    let now = app.core.clock.now();
    send(own, houses.token, ("POST", "/fhir"), days(RECORD, now)?).await?;
    looked_at(own, now).await?;
    let clinic = Recipient { reference: CLINIC.0.into(), called: CLINIC.1.into() };
    write_down(app, now, clinic, vec![Sensitive::Mind]).await?;
    let grant = write_down(app, now, neighbour::recipient(), Vec::new()).await?;
    // Both wait for something, and neither for the other.
    tokio::try_join!(neighbour::exchange(houses, &grant), upkeep::seed(own))?;
    apps::register(app, now).await?;
    come_in(own).await?;
    guests(app, now)
}

/// The clinician has looked at the record, and declared an emergency.
async fn looked_at(own: &Running, now: Timestamp) -> Result<(), Failed> {
    let doctor = doctor(&own.app, "user/*.rs", now)?;
    for path in ["Patient/demo-runa", "Observation?patient=demo-runa", "MedicationRequest?patient=demo-runa"] {
        send(own, &doctor, ("GET", &format!("/fhir/{path}")), String::new()).await?;
    }
    let declared = format!("/fhir/{PATIENT}/$emergency-access");
    send(own, &doctor, ("POST", &declared), EMERGENCY.to_owned()).await?;
    Ok(())
}

/// Patient and administrator have been here before: she has let an app in, and she acts for her child.
async fn come_in(own: &Running) -> Result<(), Failed> {
    let patient = Visitor::join(own, &person(Role::Patient, Some(PATIENT), None)?).await?;
    let chief = Visitor::join(own, &person(Role::Administrator, Some(CHIEF), None)?).await?;
    chief.fill("/me/guardians/link", &[("guardian", PATIENT), ("patient", CHILD)]).await?;
    apps::let_in(&patient).await
}

/// The day of each `@n@`, counted from today.
pub(super) fn days(text: &str, now: Timestamp) -> Result<String, Failed> {
    let today = now.to_zoned(TimeZone::UTC).date();
    let mut whole = String::with_capacity(text.len());
    for (n, part) in text.split('@').enumerate() {
        if n % 2 == 0 {
            whole.push_str(part);
        } else {
            let ahead: i64 = part.parse().map_err(Failed::from_error)?;
            whole.push_str(&today.checked_add(ahead.days()).map_err(Failed::from_error)?.to_string());
        }
    }
    Ok(whole)
}

/// A token of the clinician's.
pub(super) fn doctor(app: &App, scope: &str, now: Timestamp) -> Result<String, Failed> {
    let scopes = scopes::parse(scope).map_err(Failed)?;
    let caller =
        Caller { user: Some(name(CLINICIAN)?), purpose: Some("TREAT".into()), ..Caller::new("ward-display", scopes) };
    app.token_key.issue(&caller, now.as_second().max(0) as u64, MOMENT).map_err(Failed::from_error)
}

/// A token for everything.
pub(super) fn everything(running: &Running) -> Result<String, Failed> {
    let now = running.app.core.clock.now().as_second().max(0) as u64;
    running.app.token_key.mint("demo", "system/*.cruds", now, MOMENT).map_err(Failed::from_error)
}

fn name(text: &str) -> Result<Name, Failed> {
    Name::parse(text).ok_or_else(|| Failed(format!("{text} is no name")))
}

fn person(role: Role, resource: Option<&str>, organisation: Option<&str>) -> Result<Person, Failed> {
    let named = |text: Option<&str>| text.map(name).transpose();
    Person::new(role, named(resource)?, named(organisation)?).map_err(Failed::from_error)
}

/// The patient has said, and the clinician has written down, that somebody may see the record for her treatment, without some of it.
async fn write_down(
    app: &Arc<App>,
    now: Timestamp,
    recipient: Recipient,
    without: Vec<Sensitive>,
) -> Result<GrantKey, Failed> {
    let today = now.to_zoned(TimeZone::UTC).date();
    let choice = Choice {
        patient: PATIENT.into(),
        recipient,
        purpose: Purpose::Treatment,
        kinds: Vec::new(),
        without,
        until: today.saturating_add(1.year()),
        given: Timestamp::from_millisecond(now.as_millisecond()).map_err(Failed::from_error)?,
        recorded_by: Some((CLINICIAN.into(), CLINIC.0.into())),
        acted_by: None,
    };
    let nobody = AccountId(ResourceId::from_bytes([0; 16]));
    let draft = Draft::new(&app.core, choice, &nobody, None).map_err(Failed::from_error)?;
    let preimage = Preimage(bytes(&system_random).map_err(Failed::from_error)?);
    let opening = draft.opening(&app.core, preimage.tag(), str::to_owned).map_err(Failed::from_error)?;
    let by = Caller::new("demo", scopes::parse("system/Consent.cu").map_err(Failed)?);
    give::give(app, by, &draft, opening, Some(preimage)).await.map_err(Failed::from_error)
}

fn guests(app: &App, now: Timestamp) -> Result<Vec<Guest>, Failed> {
    let site = Site::of(&app.core.base);
    let guest = |role, resource: Option<&str>, organisation: Option<&str>| {
        let person = person(role, resource, organisation)?;
        let code = invite(&app.core.store, &person, now, &system_random).map_err(Failed::from_error)?;
        Ok(Guest { role, link: site.address(&format!("/auth/join?code={}", code.expose())) })
    };
    Ok(vec![
        guest(Role::Patient, Some(PATIENT), None)?,
        guest(Role::Clinician, Some(CLINICIAN), Some(CLINIC.0))?,
        guest(Role::Auditor, None, None)?,
        guest(Role::Administrator, Some(CHIEF), None)?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_today() {
        let now = "2026-03-01T23:59:00Z".parse().unwrap();
        assert_eq!(days("a @-1@T08:00 @365@", now).unwrap(), "a 2026-02-28T08:00 2027-03-01");
        assert!(days("@x@", now).is_err());
    }
}
