//! The administrator's page of people: who may come in. What it does is what `medseal user` does; of records it shows nothing.

use super::frame::Frame;
use super::guard;
use super::pages::{kind, time};
use super::refusal::Refusal;
use super::visit::Visit;
use super::{at_desk, fresh, news, page, see_other, site};
use crate::app::App;
use crate::http::reply::Reply;
use crate::http::routes::Request;
use crate::ids::{Name, Owner, ResourceId};
use crate::people::enrol::{Desk, invite};
use crate::people::secrets::Bearer;
use crate::people::{Account, AccountId, Kind, Person, Refused, Role};
use crate::secret::system_random;
use maud::{Markup, html};
use std::collections::HashMap;
use std::sync::Arc;
use warp::http::StatusCode;

const PEOPLE: &str = "/me/people";

/// An account, what it signs in with, and when it last did.
struct Listed {
    account: Account,
    kinds: Vec<Kind>,
    used: Option<i64>,
}

/// `GET /me/people`.
pub(super) async fn answer(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let visit = match Visit::of(app, request, Role::Administrator).await? {
        Ok(visit) => visit,
        Err(door) => return Ok(door),
    };
    let people = at_desk(app, listed).await?;
    Ok(page(StatusCode::OK, &everybody(&visit, &people, None)))
}

fn listed(desk: &Desk) -> Result<Vec<Listed>, Refused> {
    let one = |account: Account| {
        let keys = desk.store.credentials(&account.id)?;
        let used = keys.iter().map(|key| key.used).max().filter(|used| *used > 0);
        Ok(Listed { account, kinds: keys.iter().map(|key| key.kind).collect(), used })
    };
    desk.store.accounts()?.into_iter().map(one).collect()
}

/// `POST /me/people/invite` and `/me/people/close`, by an administrator who signed in lately.
pub(super) async fn act(app: &Arc<App>, request: &Request, step: &str) -> Result<Reply, Refusal> {
    let form = guard::form(app, request)?;
    guard::signed_in(app, request, form.get("token").map(String::as_str)).await?;
    let visit = Visit::of(app, request, Role::Administrator).await?.map_err(|_| Refusal::Login)?;
    fresh(app, &visit.session)?;
    if step == "close" { close(&visit, &form).await } else { invited(&visit, &form).await }
}

/// Shows the link once: it is kept nowhere.
async fn invited(visit: &Visit<'_>, form: &HashMap<String, String>) -> Result<Reply, Refusal> {
    let person = whom(form).ok_or(Refusal::Question)?;
    let whose = owner(&person);
    let code = at_desk(visit.app, move |desk| invite(&desk.store, &person, desk.now, &system_random)).await?;
    news(&visit.session.account.id, "somebody was invited");
    visit.request.seen.shows_of(&whose);
    let people = at_desk(visit.app, listed).await?;
    Ok(page(StatusCode::OK, &everybody(visit, &people, Some(&code))))
}

/// In whose trail it stands: the patient is to see who let somebody in to his record, were it in his name.
fn owner(person: &Person) -> Owner {
    let patient = person.resource.as_ref().filter(|name| name.kind.as_str() == "Patient");
    patient.map_or_else(Owner::custodian, |patient| Owner::patient(&patient.id))
}

fn whom(form: &HashMap<String, String>) -> Option<Person> {
    let given = |name: &str| form.get(name).map(|text| text.trim()).filter(|text| !text.is_empty());
    let name = |name: &str| given(name).map_or(Some(None), |text| Name::parse(text).map(Some));
    Person::new(Role::parse(given("role")?)?, name("for")?, name("organisation")?).ok()
}

/// Closes an account, or opens it again; nobody locks himself out.
async fn close(visit: &Visit<'_>, form: &HashMap<String, String>) -> Result<Reply, Refusal> {
    let id = form.get("account").and_then(|id| ResourceId::parse(id)).map(AccountId).ok_or(Refusal::Form)?;
    let closed = form.get("close").is_some_and(|word| word == "yes");
    if id == visit.session.account.id {
        return Err(Refusal::Own);
    }
    let account = id.clone();
    let known = at_desk(visit.app, move |desk| Ok(desk.store.close_account(&account, closed)?)).await?;
    // What is no account is whatever a form said: the log has none of it.
    if !known {
        return Err(Refusal::Nothing);
    }
    news(&id, if closed { "the account was closed" } else { "the account was opened again" });
    Ok(see_other(&site(visit.app).path(PEOPLE)))
}

fn everybody(visit: &Visit<'_>, people: &[Listed], code: Option<&Bearer>) -> Markup {
    let content = html! {
        @if let Some(code) = code {
            section.panel role="status" {
                h2 { "The invitation" }
                p { "It counts once, for 72 hours. Give it to nobody but this person; it is not shown again." }
                p { code { (visit.site.address(&format!("/auth/join?code={}", code.expose()))) } }
            }
        }
        section.panel aria-labelledby="people-title" {
            h2 #people-title { "Who may sign in" }
            div.table tabindex="0" role="region" aria-labelledby="people-title" {
                table {
                    thead { tr {
                        th scope="col" { "Role" } th scope="col" { "Is" } th scope="col" { "Signs in with" }
                        th scope="col" { "Since" } th scope="col" { "Last signed in" } th scope="col" { "State" }
                    } }
                    tbody { @for one in people { (row(visit, one)) } }
                }
            }
        }
        (invitation(visit))
    };
    let (title, here) = ("People", PEOPLE);
    Frame { site: &visit.site, title, here, script: false, role: Some(Role::Administrator) }.around(&content)
}

fn row(visit: &Visit<'_>, one: &Listed) -> Markup {
    let Account { id, person, disabled, made } = &one.account;
    html! {
        tr {
            td { (person.role.as_str()) }
            td.mono {
                @if let Some(resource) = &person.resource { (resource) " " }
                @if let Some(organisation) = &person.organisation { "of " (organisation) }
                span.hint { " account " (id) }
            }
            td { @for kind in &one.kinds { (self::kind(*kind)) " " } }
            td.time { (time(*made)) }
            td.time { @if let Some(used) = one.used { (time(used)) } @else { "never" } }
            td {
                (if *disabled { "closed" } else { "open" })
                @if *id != visit.session.account.id { (switch(visit, &one.account)) }
            }
        }
    }
}

fn switch(visit: &Visit<'_>, account: &Account) -> Markup {
    html! {
        form method="post" action=(visit.site.path("/me/people/close")) {
            input type="hidden" name="token" value=(visit.session.token());
            input type="hidden" name="account" value=(account.id);
            input type="hidden" name="close" value=(if account.disabled { "no" } else { "yes" });
            button.quiet type="submit" {
                (if account.disabled { "Open again" } else { "Close" }) span.unseen { " the account " (account.id) }
            }
        }
    }
}

fn invitation(visit: &Visit<'_>) -> Markup {
    html! {
        section.panel aria-labelledby="invite-title" {
            h2 #invite-title { "Invite somebody" }
            form.filters.many method="post" action=(visit.site.path("/me/people/invite")) {
                input type="hidden" name="token" value=(visit.session.token());
                div {
                    label for="role" { "Role" }
                    select #role name="role" { @for role in Role::ALL { option value=(role.as_str()) { (role.as_str()) } } }
                }
                div {
                    label for="for" { "Who it is" }
                    input #for type="text" name="for" placeholder="Patient/id or Practitioner/id" autocomplete="off";
                }
                div {
                    label for="organisation" { "Organisation" }
                    input #organisation type="text" name="organisation" placeholder="Organization/id" autocomplete="off";
                }
                button type="submit" { "Invite" }
            }
        }
    }
}
