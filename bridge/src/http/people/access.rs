//! Who has access and why: a patient gives, narrows and withdraws; a clinician writes down what a patient without a key has said; and
//! whoever has a revocation code withdraws by it, signed in or not.

use super::pages::access as pages;
use super::refusal::Refusal;
use super::shares::{self, Wish};
use super::visit::Visit;
use super::{at_desk, guard, guardians, news, page, parameter, recipients, record, see_other, site};
use crate::app::App;
use crate::consent::give::{self, Draft, GiveError};
use crate::consent::grant::{self, Choice, Purpose, Sensitive};
use crate::consent::registry::seconds;
use crate::error::IngestError;
use crate::http::fhir::parse_name;
use crate::http::reply::Reply;
use crate::http::routes::Request;
use crate::ids::{Name, TypeName};
use crate::limits::MAX_PAGE;
use crate::people::Role;
use crate::people::age::NotAWard;
use crate::read::Opened;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use notary::consent::{GrantKey, Preimage, RevocationCode};
use std::collections::HashMap;
use std::sync::Arc;
use warp::http::StatusCode;

pub(super) const HOME: &str = "/me/access";

/// A grant as its patient sees it.
pub(super) struct Shown {
    pub(super) key: GrantKey,
    pub(super) consent: Name,
    pub(super) choice: Choice,
    pub(super) state: State,
    /// It is known here, and what ends it is followed.
    pub(super) given: bool,
}

/// Where a grant stands, in the words of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// On its way to the chain, or in a block that may still go.
    Waiting,
    Stands,
    /// It stands, and the chain was not read lately.
    Doubted,
    Ended,
    Revoked {
        /// The chain shows it.
        on_chain: bool,
        /// What shows it is here.
        at_hand: bool,
    },
}

/// `GET /me/access`.
pub(super) async fn overview(app: &Arc<App>, request: &Request, ward: Option<&str>) -> Result<Reply, Refusal> {
    let visit = match Visit::of_patient(app, request, ward).await? {
        Ok(visit) => visit,
        Err(door) => return Ok(door),
    };
    let shown = all(&visit).await?;
    let guardians = guardians::of(app, visit.resource()?).await?;
    Ok(page(StatusCode::OK, &pages::overview(&visit, (&shown, &guardians), app.core.grants.registry().is_some())))
}

/// The grants of the visitor, the newest first.
pub(super) async fn all(visit: &Visit<'_>) -> Result<Vec<Shown>, Refusal> {
    let kind = TypeName::parse("Consent").ok_or(Refusal::Nothing)?;
    let asked = [
        ("patient", visit.resource()?.to_string()),
        ("identifier", format!("{}|", grant::KEY_SYSTEM)),
        ("_sort", "-date".to_owned()),
        ("_count", MAX_PAGE.to_string()),
    ];
    let found = visit.search(kind, &asked, None).await?;
    let mut shown = Vec::new();
    for opened in &found.matches {
        shown.extend(one(visit.app, opened).await?);
    }
    Ok(shown)
}

async fn one(app: &Arc<App>, opened: &Opened) -> Result<Option<Shown>, Refusal> {
    let consent = opened.json();
    let (Some(choice), Some(key)) = (Choice::read(&consent), grant::key(&consent)) else { return Ok(None) };
    let given = at_desk(app, move |desk| Ok(desk.store.given(key)?)).await?;
    let withdrawn =
        consent.text("status") != Some("active") || given.as_ref().is_some_and(|given| given.revoked.is_some());
    let at_hand = given.as_ref().is_some_and(|given| given.preimage.is_some());
    let state = state(app, key, (withdrawn, at_hand), choice.not_after());
    Ok(Some(Shown { key, consent: opened.stored.name.clone(), choice, state, given: given.is_some() }))
}

/// By the registry; but what was withdrawn here, by whichever replica, and what is over is so whatever that says.
fn state(app: &App, key: GrantKey, (withdrawn, at_hand): (bool, bool), not_after: u64) -> State {
    use notary::consent::{Refusal, Standing};
    let (grants, now) = (&app.core.grants, app.core.clock.now());
    match (grants.stands(key, now), grants.standing(key, now)) {
        (stands, standing) if withdrawn || stands == Err(Refusal::Revoked) => {
            State::Revoked { on_chain: matches!(standing, Standing::Revoked { .. }), at_hand }
        }
        (_, Standing::Lapsed(_)) => State::Ended,
        _ if not_after < seconds(now) => State::Ended,
        (Ok(()), _) => State::Stands,
        (Err(_), Standing::Active(_)) => State::Doubted,
        (Err(_), _) => State::Waiting,
    }
}

/// `GET /me/access/new`; `?instead=`: less than one that there is.
pub(super) async fn form(app: &Arc<App>, request: &Request, ward: Option<&str>) -> Result<Reply, Refusal> {
    let visit = match Visit::of_patient(app, request, ward).await? {
        Ok(visit) => visit,
        Err(door) => return Ok(door),
    };
    let instead = match parameter(request, "instead") {
        Some(key) => Some(own(&visit, &key).await?),
        None => None,
    };
    let wish = match parameter(request, "request") {
        Some(task) => Some(shares::waiting(&visit, &task).await?),
        None => None,
    };
    let beginning = match (&instead, &wish) {
        (Some(old), _) => Beginning::Less(old),
        (None, Some(wish)) => Beginning::Asked(wish),
        (None, None) => Beginning::Nothing,
    };
    shown_form(&visit, beginning, &format!("{}/new", visit.grants())).await
}

/// `GET /me/patients/{id}/grant`.
pub(super) async fn form_for(app: &Arc<App>, request: &Request, id: &str) -> Result<Reply, Refusal> {
    let visit = match Visit::of(app, request, Role::Clinician).await? {
        Ok(visit) => visit,
        Err(door) => return Ok(door),
    };
    let patient = parse_name("Patient", id).ok_or(Refusal::Nothing)?;
    record::chart(&visit, patient, String::new()).await?;
    shown_form(&visit, Beginning::Nothing, &request.path).await
}

/// What a form begins with.
#[derive(Clone, Copy)]
pub(super) enum Beginning<'b> {
    Nothing,
    /// Less than there is.
    Less(&'b Shown),
    /// What another organisation asks for.
    Asked(&'b Wish),
}

async fn shown_form(visit: &Visit<'_>, beginning: Beginning<'_>, at: &str) -> Result<Reply, Refusal> {
    let recipients = recipients::all(visit.app).await?;
    let today = visit.app.core.clock.now().to_zoned(TimeZone::UTC).date();
    let until = match beginning {
        Beginning::Less(shown) => shown.choice.until,
        _ => visit.by_then(today.saturating_add(1.year())),
    };
    Ok(page(StatusCode::OK, &pages::form(visit, &recipients, beginning, at, until)))
}

/// A grant of the visitor's own.
pub(super) async fn own(visit: &Visit<'_>, key: &str) -> Result<Shown, Refusal> {
    let key = key.parse().map(GrantKey).map_err(|_| Refusal::Nothing)?;
    let given = at_desk(visit.app, move |desk| Ok(desk.store.given(key)?)).await?.ok_or(Refusal::Nothing)?;
    let opened = give::consent(&visit.app.core, &given.consent).await?.ok_or(Refusal::Nothing)?;
    let shown = one(visit.app, &opened).await?.ok_or(Refusal::Nothing)?;
    let own = shown.choice.patient == visit.resource()?.to_string() && shown.key == key;
    if own { Ok(shown) } else { Err(Refusal::Nothing) }
}

/// `POST /me/access/new`: the terms, to be signed.
pub(super) async fn terms(app: &Arc<App>, request: &Request, ward: Option<&str>) -> Result<Reply, Refusal> {
    let form = guard::form(app, request)?;
    guard::signed_in(app, request, form.get("token").map(String::as_str)).await?;
    let visit = Visit::of_patient(app, request, ward).await?.map_err(|_| Refusal::Login)?;
    let instead = match form.get("instead").filter(|key| !key.is_empty()) {
        Some(key) => Some(own(&visit, key).await?),
        None => None,
    };
    let patient = visit.resource()?.to_string();
    let choice = visit.to_sign(chosen(app, &form, patient, None).await?);
    if instead.as_ref().is_some_and(|old| !choice.is_within(&old.choice)) {
        return Err(Refusal::App("this would be more than before: give a new access for that"));
    }
    shown_terms(&visit, choice, instead.map(|old| old.key))
}

/// `POST /me/patients/{id}/grant`: the same, to be written down.
pub(super) async fn terms_for(app: &Arc<App>, request: &Request, id: &str) -> Result<Reply, Refusal> {
    let form = guard::form(app, request)?;
    guard::signed_in(app, request, form.get("token").map(String::as_str)).await?;
    let visit = Visit::of(app, request, Role::Clinician).await?.map_err(|_| Refusal::Login)?;
    let patient = parse_name("Patient", id).ok_or(Refusal::Nothing)?;
    let chart = record::chart(&visit, patient, String::new()).await?;
    let person = &visit.session.account.person;
    let by = person.resource.as_ref().zip(person.organisation.as_ref()).ok_or(Refusal::Role)?;
    let by = (by.0.to_string(), by.1.to_string());
    let guardians = guardians::of(app, chart.name()).await?;
    for one in std::iter::once(chart.name()).chain(&guardians) {
        if give::signs(&app.core, &one.to_string()).await? {
            return Err(GiveError::Signs.into());
        }
    }
    let choice = chosen(app, &form, chart.name().to_string(), Some(by)).await?;
    shown_terms(&visit, choice, None)
}

/// `POST /me/access/take`: what somebody wrote down becomes the patient's own, in the same words, when it is signed. It takes the place of the
/// other, as less does.
pub(super) async fn take(app: &Arc<App>, request: &Request, ward: Option<&str>) -> Result<Reply, Refusal> {
    const OTHER: Refusal = Refusal::App("only an access that somebody wrote down and that has not ended can be signed");
    let form = guard::form(app, request)?;
    guard::signed_in(app, request, form.get("token").map(String::as_str)).await?;
    let visit = Visit::of_patient(app, request, ward).await?.map_err(|_| Refusal::Login)?;
    let old = own(&visit, form.get("grant").map_or("", String::as_str)).await?;
    if old.choice.recorded_by.is_none() || old.state.is_over() {
        return Err(OTHER);
    }
    let given = now(app)?;
    let choice = visit.to_sign(Choice { recorded_by: None, given, ..old.choice });
    if choice.is_timely() { shown_terms(&visit, choice, Some(old.key)) } else { Err(OTHER) }
}

/// As precise as the Consent says it.
fn now(app: &App) -> Result<Timestamp, Refusal> {
    Timestamp::from_millisecond(app.core.clock.now().as_millisecond()).map_err(|_| Refusal::Later)
}

fn shown_terms(visit: &Visit<'_>, choice: Choice, instead: Option<GrantKey>) -> Result<Reply, Refusal> {
    let core = &visit.app.core;
    give::registry(core)?;
    let draft = Draft::new(core, choice, &visit.session.account.id, instead)?;
    let sealed = draft.seal(core)?;
    Ok(page(StatusCode::OK, &pages::terms(visit, &draft.choice, &sealed, None)))
}

async fn chosen(
    app: &Arc<App>,
    form: &HashMap<String, String>,
    patient: String,
    recorded_by: Option<(String, String)>,
) -> Result<Choice, Refusal> {
    const LATE: Refusal =
        Refusal::App("the last day must be a day from today on, within ten years, such as 2027-12-31");
    let given = |name: &str| form.get(name).map(|text| text.trim()).filter(|text| !text.is_empty());
    let recipient = recipients::named(app, given("other").or(given("who")).unwrap_or_default()).await?;
    let purpose = Purpose::OFFERED.into_iter().find(|purpose| given("purpose") == Some(purpose.words()));
    let kinds = match given("what") {
        Some("some") => grant::kinds(form.keys().filter_map(|name| name.strip_prefix("kind-"))),
        _ => Vec::new(),
    };
    if given("what") == Some("some") && kinds.is_empty() {
        return Err(Refusal::App("choose at least one kind of entries"));
    }
    let left_out = |sensitive: &Sensitive| form.contains_key(&format!("without-{sensitive:?}"));
    let choice = Choice {
        patient,
        recipient,
        purpose: purpose.ok_or(Refusal::Form)?,
        kinds,
        without: Sensitive::ALL.into_iter().filter(left_out).collect(),
        until: given("until").and_then(|day| day.parse().ok()).ok_or(LATE)?,
        given: now(app)?,
        recorded_by,
        acted_by: None,
    };
    if choice.is_timely() { Ok(choice) } else { Err(LATE) }
}

/// It counts no more when this is answered.
pub(super) async fn withdraw(app: &Arc<App>, key: GrantKey, preimage: Option<&Preimage>) -> Result<(), Refusal> {
    let given = at_desk(app, move |desk| Ok(desk.store.given(key)?)).await?.ok_or(Refusal::Nothing)?;
    Ok(give::revoke(app, &given, preimage).await?)
}

/// `POST /me/access/revoke`: it counts no more when this is answered.
pub(super) async fn revoke(app: &Arc<App>, request: &Request, ward: Option<&str>) -> Result<Reply, Refusal> {
    let form = guard::form(app, request)?;
    guard::signed_in(app, request, form.get("token").map(String::as_str)).await?;
    let visit = Visit::of_patient(app, request, ward).await?.map_err(|_| Refusal::Login)?;
    let shown = own(&visit, form.get("grant").map_or("", String::as_str)).await?;
    withdraw(app, shown.key, None).await?;
    news(&visit.session.account.id, "access was withdrawn");
    Ok(see_other(&site(app).path(&visit.grants())))
}

/// `GET /withdraw`.
pub(super) fn code_form(app: &App) -> Reply {
    page(StatusCode::OK, &pages::code(&site(app), None))
}

/// `POST /withdraw`: by the code alone. Whoever has it may.
pub(super) async fn by_code(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let form = guard::form(app, request)?;
    let _place = app.withdrawals.try_acquire().map_err(|_| Refusal::Busy)?;
    let preimage = preimage(app, form.get("code").map_or("", String::as_str))?;
    let tag = preimage.tag();
    let given = at_desk(app, move |desk| Ok(desk.store.given_with(tag)?)).await?;
    if given.is_empty() {
        return Err(Refusal::App("no access that was given here is withdrawn by this code"));
    }
    for one in &given {
        give::revoke(app, one, Some(&preimage)).await?;
    }
    Ok(page(StatusCode::OK, &pages::code(&site(app), Some(given.len()))))
}

/// Of a file, or of the secret as it was typed.
fn preimage(app: &App, text: &str) -> Result<Preimage, Refusal> {
    const UNREADABLE: Refusal = Refusal::App("this is no revocation code, or a letter of it is wrong or missing");
    const ELSEWHERE: Refusal = Refusal::App("this code is of another registry: give it to whom it names");
    if !text.contains("secret:") {
        return Preimage::from_code(text).map_err(|_| UNREADABLE);
    }
    let code = RevocationCode::parse(text).map_err(|_| UNREADABLE)?;
    if Some(&code.registry) == app.core.grants.registry() { Ok(code.preimage) } else { Err(ELSEWHERE) }
}

impl From<GiveError> for Refusal {
    fn from(error: GiveError) -> Self {
        match error {
            GiveError::Nowhere => Self::App("no registry for access is set up here: ask the administrator"),
            GiveError::Draft => Self::App("this page is too old, or was used before: begin again"),
            GiveError::Proof(_) | GiveError::Signature => Self::App("the signature is not over these terms"),
            GiveError::Signs => Self::App("this patient has a key, and gives access in the portal"),
            GiveError::Dead => Self::Ward(NotAWard::Dead),
            GiveError::Preimage => Self::App("the code is not the one of this access"),
            GiveError::Refused(refused) => Self::Person(refused),
            GiveError::Vault(error) => error.into(),
            GiveError::Ingest(IngestError::Precondition(_)) => GiveError::Draft.into(),
            GiveError::Ingest(error) => {
                tracing::error!(%error, "a Consent was not stored");
                Self::Later
            }
        }
    }
}
