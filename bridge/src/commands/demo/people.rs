//! Who can be looked at in the demo, and who may look: a patient with a record that tells a story, a child, a clinician; what she has looked at and
//! written down; and a way in for each role.

use super::super::{Failed, client, serve::Running};
use crate::app::App;
use crate::consent::give::{self, Draft};
use crate::consent::grant::{Choice, Purpose, Recipient, Sensitive};
use crate::ids::{Name, ResourceId};
use crate::index::clients::{Client, Keys};
use crate::limits::MAX_CLIENTS;
use crate::people::enrol::invite;
use crate::people::site::Site;
use crate::people::{AccountId, Person, Role};
use crate::read::in_background;
use crate::secret::{bytes, system_random};
use crate::smart::scopes;
use crate::smart::token::Caller;
use bytes::Bytes;
use http_body_util::Full;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use notary::consent::Preimage;
use std::sync::Arc;
use std::time::Duration;
use warp::http::Request;

/// A transaction; `@-30@` stands for the day thirty days ago.
const RECORD: &str = include_str!("../demo-people.json");
const PATIENT: &str = "Patient/demo-runa";
const CLINICIAN: &str = "Practitioner/demo-weiss";
const CLINIC: (&str, &str) = ("Organization/demo-quay", "Northquay Clinic");
/// An app that anybody may write on his own machine.
pub const APP: &str = "demo-app";
pub const APP_REDIRECT: &str = "http://localhost:9000/";
/// What she declares, so that the patient finds a notice of it.
const EMERGENCY: &str = r#"{"resourceType": "Parameters", "parameter": [
    {"name": "role", "valueString": "physician on call"},
    {"name": "reason", "valueString": "found unconscious at the tram stop, allergies unknown"},
    {"name": "purpose", "valueCode": "ETREAT"}, {"name": "minutes", "valuePositiveInt": 60}]}"#;
/// For what she looks at herself.
const MOMENT: Duration = Duration::from_secs(60);

/// Somebody who may sign in: as what, and by which link.
pub struct Guest {
    pub role: Role,
    pub link: String,
}

/// Fills the pages, and invites somebody of each role. `token` may write everything.
pub async fn seed(running: &Running, token: &str) -> Result<Vec<Guest>, Failed> {
    let (app, now) = (&running.app, running.app.core.clock.now());
    send(running, token, "POST", "/fhir", days(RECORD, now)?).await?;
    let doctor = token_of(app, CLINICIAN, now)?;
    for path in ["Patient/demo-runa", "Observation?patient=demo-runa", "MedicationRequest?patient=demo-runa"] {
        send(running, &doctor, "GET", &format!("/fhir/{path}"), String::new()).await?;
    }
    write_down(app, now).await?;
    send(running, &doctor, "POST", &format!("/fhir/{PATIENT}/$emergency-access"), EMERGENCY.to_owned()).await?;
    register(app, now).await?;
    guests(app, now)
}

/// The day of each `@n@`, counted from today.
fn days(text: &str, now: Timestamp) -> Result<String, Failed> {
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

fn token_of(app: &App, user: &str, now: Timestamp) -> Result<String, Failed> {
    let scopes = scopes::parse("user/*.rs").map_err(Failed)?;
    let caller =
        Caller { user: Some(name(user)?), purpose: Some("TREAT".into()), ..Caller::new("ward-display", scopes) };
    app.token_key.issue(&caller, now.as_second().max(0) as u64, MOMENT).map_err(Failed::from_error)
}

fn name(text: &str) -> Result<Name, Failed> {
    Name::parse(text).ok_or_else(|| Failed(format!("{text} is no name")))
}

async fn send(running: &Running, token: &str, method: &str, path: &str, body: String) -> Result<(), Failed> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/fhir+json")
        .body(Full::new(Bytes::from(body)))
        .map_err(Failed::from_error)?;
    let reply = client::send(running.http, request).await?;
    match reply.status().is_success() {
        true => Ok(()),
        false => Err(Failed(format!("{method} {path}: {} {}", reply.status(), String::from_utf8_lossy(reply.body())))),
    }
}

/// The patient has said, and the clinician has written down, that the clinic may see the record; not what is about the mind.
async fn write_down(app: &Arc<App>, now: Timestamp) -> Result<(), Failed> {
    let today = now.to_zoned(TimeZone::UTC).date();
    let choice = Choice {
        patient: PATIENT.into(),
        recipient: Recipient { reference: CLINIC.0.into(), called: CLINIC.1.into() },
        purpose: Purpose::Treatment,
        kinds: Vec::new(),
        without: vec![Sensitive::Mind],
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
    give::give(app, by, &draft, opening, Some(preimage)).await.map(|_| ()).map_err(Failed::from_error)
}

/// A public app, called back on the machine of who tries it.
async fn register(app: &App, now: Timestamp) -> Result<(), Failed> {
    let client = Client {
        id: APP.into(),
        name: "An app on my machine".into(),
        scope: "openid fhirUser launch/patient offline_access online_access patient/*.rs user/*.rs".into(),
        keys: Keys::None,
        redirects: vec![APP_REDIRECT.into()],
        launch: None,
        purpose: None,
        by_itself: false,
        made: now.as_millisecond(),
    };
    let store = app.core.store.clone();
    let added = in_background(move || store.add_client(&client, MAX_CLIENTS)).await.map_err(Failed::from_error)?;
    if added { Ok(()) } else { Err(Failed("the app was not registered".into())) }
}

fn guests(app: &App, now: Timestamp) -> Result<Vec<Guest>, Failed> {
    let site = Site::of(&app.core.base);
    let guest = |role, resource: Option<&str>, organisation: Option<&str>| {
        let named = |text: Option<&str>| text.map(name).transpose();
        let person = Person::new(role, named(resource)?, named(organisation)?).map_err(Failed::from_error)?;
        let code = invite(&app.core.store, &person, now, &system_random).map_err(Failed::from_error)?;
        Ok(Guest { role, link: site.address(&format!("/auth/join?code={}", code.expose())) })
    };
    Ok(vec![
        guest(Role::Patient, Some(PATIENT), None)?,
        guest(Role::Clinician, Some(CLINICIAN), Some(CLINIC.0))?,
        guest(Role::Auditor, None, None)?,
        guest(Role::Administrator, None, None)?,
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
