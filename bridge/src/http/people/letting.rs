//! An app that a patient lets in by a Consent: what it would say, the page of its terms, and whether one stands. It is signed as any other
//! ([`super::signing`]); when it ends, the app's tokens end.

use super::access::{Shown, all, withdraw};
use super::authorize::origin;
use super::refusal::Refusal;
use super::visit::Visit;
use super::{page_going_to, pages};
use crate::app::App;
use crate::config::Apps;
use crate::consent::give::{self, Draft};
use crate::consent::grant::{self, Choice, Purpose, Recipient};
use crate::http::reply::Reply;
use crate::http::routes::Request;
use crate::index::clients::Client;
use crate::limits::CLOCK_SKEW;
use crate::people::Role;
use crate::people::session::Session;
use crate::smart::grant::has;
use crate::smart::scopes::{Context, Scope};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use maud::Markup;
use notary::consent::GrantKey;
use std::sync::Arc;
use warp::http::StatusCode;

/// How somebody may let an app in.
pub(super) struct Ways {
    /// What the Consent would say, where one can be signed.
    pub(super) consent: Option<Choice>,
    /// Whether it goes without one.
    pub(super) unsigned: bool,
}

/// How this person may let in this app, for these scopes.
pub(super) async fn ways(
    app: &Arc<App>,
    session: &Session,
    client: &Client,
    granted: &[Scope],
) -> Result<Ways, Refusal> {
    let consent = match choice(app, session, client, granted) {
        Some(choice) if give::signs(&app.core, &choice.patient).await? => Some(choice),
        _ => None,
    };
    let opens = session.account.person.role == Role::Patient && kinds(granted).is_some();
    let unsigned = match app.config.consent.apps {
        Apps::Approved => true,
        Apps::WherePossible => consent.is_none(),
        Apps::Signed => !opens,
    };
    Ok(Ways { consent, unsigned })
}

/// What the Consent would say. Nothing where none can be: the app gets nothing of a patient's own record, it registered itself and calls
/// itself what it likes, or it uses what it reads for something else than the patient himself does, which is what would be signed.
fn choice(app: &App, session: &Session, client: &Client, granted: &[Scope]) -> Option<Choice> {
    app.core.grants.registry()?;
    if client.purpose.as_deref().is_some_and(|purpose| Some(purpose) != Purpose::Own.code()) {
        return None;
    }
    let person = &session.account.person;
    let own = person.resource.as_ref().filter(|_| person.role == Role::Patient && !client.by_itself)?;
    let given = Timestamp::from_millisecond(app.core.clock.now().as_millisecond()).ok()?;
    let today = given.to_zoned(TimeZone::UTC).date();
    // A session that begins before midnight goes on after it.
    let lasts = if has(granted, "offline_access") { 1.year() } else { 1.day() };
    Some(Choice {
        patient: own.to_string(),
        recipient: recipient(&client.id, client.name.clone()),
        purpose: Purpose::Own,
        kinds: kinds(granted)?,
        without: Vec::new(),
        until: today.saturating_add(lasts),
        given,
        recorded_by: None,
        acted_by: None,
    })
}

fn recipient(client: &str, called: String) -> Recipient {
    Recipient { reference: format!("Device/{client}"), called }
}

/// The types of the record that the scopes open, none of them: all; nothing: they open none of it.
fn kinds(granted: &[Scope]) -> Option<Vec<String>> {
    let of_record = |scope: &Scope| match scope {
        Scope::Access(access) if access.context == Context::Patient => Some(access.kind),
        _ => None,
    };
    let opened: Vec<_> = granted.iter().filter_map(of_record).collect();
    if opened.is_empty() {
        return None;
    }
    let named: Option<Vec<_>> = opened.into_iter().collect();
    Some(named.map_or_else(Vec::new, |kinds| grant::kinds(kinds.iter().map(|kind| kind.as_str()))))
}

/// The page of the terms. It takes the place of what was signed for the app before. `onward`: what leads to the app in the end.
pub(super) async fn terms(
    app: &Arc<App>,
    request: &Request,
    choice: Choice,
    (onward, redirect): (&Markup, &str),
) -> Result<Reply, Refusal> {
    let visit = Visit::of(app, request, Role::Patient).await?.map_err(|_| Refusal::Login)?;
    let before = all(&visit).await?.into_iter().find(|one| lets_in(one, &choice.recipient));
    let draft = Draft::new(&app.core, choice, &visit.session.account.id, before.map(|one| one.key))?;
    let sealed = draft.seal(&app.core)?;
    let content = pages::access::terms(&visit, &draft.choice, &sealed, Some(onward));
    Ok(page_going_to(StatusCode::OK, &content, &origin(redirect)))
}

/// Whether approving is enough: no Consent is asked for, or the patient has signed as much, and that has not ended.
pub(super) async fn suffices(app: &Arc<App>, request: &Request, ways: &Ways) -> Result<bool, Refusal> {
    let choice = match &ways.consent {
        _ if ways.unsigned => return Ok(true),
        None => return Ok(false),
        Some(choice) => choice,
    };
    let visit = Visit::of(app, request, Role::Patient).await?.map_err(|_| Refusal::Login)?;
    let covers = |signed: &Choice| Choice { until: signed.until, ..choice.clone() }.is_within(signed);
    // By the clock of any replica: what one has let lapse no other one lets in by.
    let soon = app.core.clock.now().as_second().max(0) as u64 + CLOCK_SKEW.as_secs();
    let holds = |one: &Shown| lets_in(one, &choice.recipient) && covers(&one.choice) && one.choice.not_after() > soon;
    Ok(all(&visit).await?.iter().any(holds))
}

/// Withdraws what was signed for an app that the patient has ended.
pub(super) async fn end(app: &Arc<App>, request: &Request, client: &str) -> Result<(), Refusal> {
    let visit = Visit::of(app, request, Role::Patient).await?.map_err(|_| Refusal::Login)?;
    replace(&visit, &recipient(client, String::new()), None).await
}

/// Withdraws what was signed to let an app in, but for what takes its place.
pub(super) async fn replace(visit: &Visit<'_>, app: &Recipient, by: Option<GrantKey>) -> Result<(), Refusal> {
    for one in all(visit).await?.iter().filter(|one| lets_in(one, app) && Some(one.key) != by) {
        withdraw(visit.app, one.key, None).await?;
    }
    Ok(())
}

/// Whether it is what the patient has signed to let this app in, and not ended; what else the program was given is another matter. One
/// that is not known here, as after a recovery from packs of which some do not open, nobody could end.
fn lets_in(one: &Shown, recipient: &Recipient) -> bool {
    one.given && !one.state.is_over() && one.choice.lets_in() && one.choice.recipient.reference == recipient.reference
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smart::scopes::parse;

    #[test]
    fn a_consent_names_what_the_scopes_open_of_the_record() {
        for (scopes, expected) in [
            ("openid launch/patient offline_access", None),
            ("patient/*.rs", Some(vec![])),
            ("patient/Observation.rs patient/*.r", Some(vec![])),
            (
                "patient/Observation.rs?category=lab patient/Condition.r openid",
                Some(vec!["Condition", "Observation", "Patient"]),
            ),
            ("user/Observation.rs", None),
        ] {
            let expected = expected.map(|kinds| kinds.into_iter().map(str::to_owned).collect());
            assert_eq!(kinds(&parse(scopes).unwrap()), expected, "{scopes}");
        }
    }
}
