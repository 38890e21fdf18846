//! Sharing, for a patient: who of other organisations asks for a word, what they got, what came from them, and when they read here.

use super::access::HOME as ACCESS;
use super::deeds::{Deed, kinds, when};
use super::frame::Frame;
use super::hospitals::purpose;
use super::refusal::Refusal;
use super::trail::{Names, asked, events, names, table};
use super::visit::Visit;
use super::words::{moment, title};
use super::{guard, news, page, see_other};
use crate::app::App;
use crate::clock::instant;
use crate::commit::{Author, Transaction};
use crate::config::ParticipantId;
use crate::consent::grant::{Choice, Purpose, Recipient};
use crate::consent::outside::PARTICIPANT;
use crate::consent::request;
use crate::error::IngestError;
use crate::exchange::peers;
use crate::fhir::display::items;
use crate::fhir::validate::validate;
use crate::fhir::write::{Act, By, Target, Write};
use crate::http::fhir::{may, parse_name};
use crate::http::reply::Reply;
use crate::http::routes::Request;
use crate::ids::{Name, TypeName};
use crate::ingest::commit;
use crate::people::Role;
use crate::read::{Opened, read};
use crate::smart::scopes::{self, Interaction};
use crate::smart::token::Caller;
use maud::{Markup, html};
use notary::canonical::Json;
use notary::chain::participants::Status;
use std::sync::Arc;
use warp::http::StatusCode;

pub(super) const SHARES: &str = "/me/shares";
/// Requests of the page: each is looked up in the directory.
const WISHES: &str = "20";
/// Handed over and received parcels of the page.
const PARCELS: usize = 50;

/// A request that waits for the patient's word.
pub(super) struct Wish {
    pub(super) task: Opened,
    /// As the Task says.
    asks: ParticipantId,
    /// As the directory says; nothing: it takes no part now, or the directory cannot be asked.
    pub(super) recipient: Option<Recipient>,
    /// Of v3-ActReason.
    code: String,
    /// The same, where it is one that a patient can choose.
    pub(super) purpose: Option<Purpose>,
    /// Types; none: all.
    pub(super) kinds: Vec<String>,
    when: String,
}

/// What was handed over, or came.
struct Parcel {
    name: Name,
    when: String,
    who: String,
    what: String,
    sent: bool,
}

/// `GET /me/shares`.
pub(super) async fn answer(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let visit = match Visit::of(app, request, Role::Patient).await? {
        Ok(visit) => visit,
        Err(door) => return Ok(door),
    };
    let own = visit.resource()?.to_string();
    let wishes = wishes(&visit).await?;
    let parcels = parcels(&visit, &own).await?;
    let (deeds, after) = events(&visit, &asked(vec![("patient", own), ("subtype", "operation".to_owned())])).await?;
    let outside: Vec<Deed> = deeds.into_iter().filter(|deed| deed.outside.is_some()).collect();
    let called = names(&visit, &outside).await?;
    Ok(page(StatusCode::OK, &shown(&visit, &wishes, &parcels, (&outside, &called), after.as_deref())))
}

/// The requests that wait, the newest first.
async fn wishes(visit: &Visit<'_>) -> Result<Vec<Wish>, Refusal> {
    let kind = TypeName::parse("Task").ok_or(Refusal::Nothing)?;
    let asked = [
        ("patient", visit.resource()?.to_string()),
        ("code", format!("{}|{}", request::SYSTEM, request::CODE)),
        ("status", "requested".to_owned()),
        ("_sort", "-authored-on".to_owned()),
        ("_count", WISHES.to_owned()),
    ];
    let mut wishes = Vec::new();
    for opened in visit.search(kind, &asked, None).await?.matches {
        wishes.extend(wish(visit, opened).await);
    }
    Ok(wishes)
}

/// A request, as the directory knows who asks: what a Task calls him is anybody's word.
async fn wish(visit: &Visit<'_>, task: Opened) -> Option<Wish> {
    let json = task.json();
    let asks = asks(&json)?;
    let coding = json.get("reasonCode").and_then(|reason| items(reason, "coding").first());
    let code = coding.and_then(|coding| coding.text("code")).unwrap_or_default().to_owned();
    let exchange = visit.app.exchange.as_ref()?;
    let found = exchange.directory.find(&asks, peers::now(visit.app)).await.ok();
    let recipient =
        found.filter(|one| one.status == Status::Active).map(|one| Recipient::outside(asks.as_str(), &one.name));
    let kinds = items(&json, "input").iter().filter_map(|input| TypeName::parse(input.text("valueCode")?));
    Some(Wish {
        kinds: kinds.map(|kind| kind.as_str().to_owned()).collect(),
        when: moment(json.text("authoredOn").unwrap_or_default()),
        purpose: Purpose::of_code(Some(&code)),
        recipient,
        code,
        asks,
        task,
    })
}

fn asks(task: &Json) -> Option<ParticipantId> {
    let identifier = task.get("requester")?.get("identifier")?;
    identifier.text("system").filter(|system| *system == PARTICIPANT)?;
    ParticipantId::parse(identifier.text("value")?)
}

/// A request to the visitor that waits.
pub(super) async fn waiting(visit: &Visit<'_>, id: &str) -> Result<Wish, Refusal> {
    let name = parse_name("Task", id).ok_or(Refusal::Nothing)?;
    let permit = may(&visit.caller, Interaction::Read, Some(name.kind))?;
    let task = read(&visit.app.core, &permit, &name, None).await?;
    let task = task.filter(|opened| !opened.stored.deleted).ok_or(Refusal::Nothing)?;
    let json = task.json();
    let own = visit.resource()?.to_string();
    let is_ours = json.get("for").and_then(|whose| whose.text("reference")) == Some(own.as_str());
    let waits = json.text("status") == Some("requested");
    if is_ours && request::is_request(&json) && waits {
        wish(visit, task).await.ok_or(Refusal::Nothing)
    } else {
        Err(Refusal::Nothing)
    }
}

/// `POST /me/shares/refuse`: it is not asked again.
pub(super) async fn refuse(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let form = guard::form(app, request)?;
    guard::signed_in(app, request, form.get("token").map(String::as_str)).await?;
    let visit = Visit::of(app, request, Role::Patient).await?.map_err(|_| Refusal::Login)?;
    let wish = waiting(&visit, form.get("request").map_or("", String::as_str)).await?;
    let by = Caller { scopes: scopes::parse_known("patient/Task.u"), ..visit.caller.clone() };
    close(app, Author::Desk(Box::new(by)), &wish.task, "rejected").await?;
    news(&visit.session.account.id, "a request for access was refused");
    Ok(see_other(&visit.site.path(SHARES)))
}

async fn close(app: &Arc<App>, by: Author, task: &Opened, status: &str) -> Result<(), Refusal> {
    let mut json = task.json();
    json.set("status", Json::from(status));
    json.set("lastModified", Json::from(instant(app.core.clock.now()).as_str()));
    let resource = validate(json).map_err(|_| Refusal::Later)?;
    let stored = &task.stored;
    let target = Target {
        kind: stored.name.kind,
        by: By::Id(stored.name.id.clone()),
        if_match: Some(stored.version),
        only_new: false,
    };
    let writes = vec![Write::alone(Act::Update { target, resource })];
    match commit(app, Transaction { by, writes, message: None }).await {
        Ok(_) => Ok(()),
        Err(IngestError::Precondition(_)) => Err(Refusal::Nothing),
        Err(error) => {
            tracing::error!(%error, "a request for access was not closed");
            Err(Refusal::Later)
        }
    }
}

/// What was given closes the requests that it answers. One that stays open is asked about once more, and no more.
pub(super) async fn granted(visit: &Visit<'_>, choice: &Choice) {
    let Some(to) = choice.recipient.participant() else { return };
    let Ok(open) = wishes(visit).await else { return };
    let fits = |wish: &&Wish| {
        wish.asks.as_str() == to && (choice.purpose == Purpose::Any || wish.purpose == Some(choice.purpose))
    };
    for wish in open.iter().filter(fits) {
        // What went wrong is told in the log.
        _ = close(visit.app, Author::Service, &wish.task, "completed").await;
    }
}

/// What was pushed, and what was received: the newest.
async fn parcels(visit: &Visit<'_>, own: &str) -> Result<Vec<Parcel>, Refusal> {
    let kind = TypeName::parse("Provenance").ok_or(Refusal::Nothing)?;
    let asked = [("patient", own.to_owned()), ("_sort", "-recorded".to_owned()), ("_count", PARCELS.to_string())];
    let found = visit.search(kind, &asked, None).await?;
    Ok(found.matches.iter().filter_map(|opened| parcel(&opened.stored.name, &opened.json())).collect())
}

fn parcel(name: &Name, json: &Json) -> Option<Parcel> {
    let activity = json.get("activity").and_then(|activity| items(activity, "coding").first());
    let sent = activity.and_then(|coding| coding.text("code")) == Some("transmit");
    let who = match sent {
        true => items(json, "signature").first()?.get("who")?,
        false => items(json, "agent").first()?.get("who")?,
    };
    who.get("identifier")?.text("system").filter(|system| *system == PARTICIPANT)?;
    let id = who.get("identifier")?.text("value")?;
    let targets: Vec<Name> = items(json, "target").iter().filter_map(target).collect();
    Some(Parcel {
        name: name.clone(),
        when: when(json),
        who: who.text("display").map_or_else(|| id.to_owned(), |called| format!("{called} ({id})")),
        what: kinds(&targets),
        sent,
    })
}

fn target(reference: &Json) -> Option<Name> {
    Name::parse(reference.text("reference")?.split("/_history").next()?)
}

fn shown(
    visit: &Visit<'_>,
    wishes: &[Wish],
    parcels: &[Parcel],
    (outside, called): (&[Deed], &Names),
    after: Option<&str>,
) -> Markup {
    let path = |path: &str| visit.site.path(path);
    let (sent, came): (Vec<_>, Vec<_>) = parcels.iter().partition(|parcel| parcel.sent);
    let who = |deed: &Deed| called.who(deed, visit.session.account.person.resource.as_ref());
    let content = html! {
        p.lead { "What other hospitals ask of you, what they got of your record, and what came from them. Whom you have given access is under "
            a href=(path(ACCESS)) { "Who has access" } ", and each look at your record, by whomever, under "
            a href=(path("/me/records/access")) { "Who looked" } "." }
        section.panel aria-labelledby="wishes-title" {
            h2 #wishes-title { "Waiting for your word" }
            @if wishes.is_empty() { p role="status" { "Nobody asks." } }
            @for wish in wishes { (asked_for(visit, wish)) }
        }
        (handed("sent", "Sent to others", "Nothing was sent.", &sent, visit))
        (handed("came", "Came from others and is kept here", "Nothing came.", &came, visit))
        section.panel aria-labelledby="read-title" {
            h2 #read-title { "Read by others" }
            @if outside.is_empty() { p { "No other hospital has read here lately." } } @else { (table(visit, outside, &who, false)) }
            @if let Some(after) = after { p.ways { a href=(path(&format!("{SHARES}?after={after}"))) { "Older entries" } } }
        }
    };
    Frame { site: &visit.site, title: "Sharing", here: SHARES, script: false, role: Some(Role::Patient) }
        .around(&content)
}

/// What is asked for, in plain words; the patient himself comes with everything.
fn what(kinds: &[String]) -> String {
    let others: Vec<&str> = kinds.iter().filter(|kind| *kind != "Patient").map(|kind| title(kind)).collect();
    match (kinds.is_empty(), others.is_empty()) {
        (true, _) => "everything in your record".to_owned(),
        (false, true) => "name, birth date and the like".to_owned(),
        (false, false) => others.join(", "),
    }
}

fn asked_for(visit: &Visit<'_>, wish: &Wish) -> Markup {
    let id = &wish.task.stored.name.id;
    let called = wish.recipient.as_ref().map(|recipient| recipient.called.as_str());
    html! {
        article.grant {
            h3 { (called.unwrap_or("An organisation that takes no part now")) " " span.hint { (wish.asks) } }
            dl.facts.plain {
                dt { "Asks to see" } dd { (what(&wish.kinds)) }
                dt { "For" } dd { (purpose(&wish.code)) }
                dt { "Since" } dd { (wish.when) }
            }
            form method="post" action=(visit.site.path(&format!("{SHARES}/refuse"))) {
                input type="hidden" name="token" value=(visit.session.token());
                input type="hidden" name="request" value=(id);
                @if called.is_some() {
                    a.button href=(visit.site.path(&format!("{ACCESS}/new?request={id}"))) { "Allow" span.unseen { ": " (called.unwrap_or_default()) } } " "
                }
                button.quiet type="submit" { "Refuse" span.unseen { ": " (called.unwrap_or_default()) } }
            }
            p.hint { "To allow, you choose what and until when, read it once more, and sign. What you refuse is not asked again for this purpose." }
        }
    }
}

fn handed(id: &str, heading: &str, none: &str, parcels: &[&Parcel], visit: &Visit<'_>) -> Markup {
    let label = format!("{id}-title");
    html! {
        section.panel aria-labelledby=(label) {
            h2 id=(label) { (heading) }
            @if parcels.is_empty() { p { (none) } } @else {
                div.table tabindex="0" role="region" aria-labelledby=(label) {
                    table {
                        thead { tr { th scope="col" { "When (UTC)" } th scope="col" { "Who" } th scope="col" { "What" } th scope="col" { "Proof" } } }
                        tbody { @for parcel in parcels {
                            tr {
                                td.time { (parcel.when) }
                                td { (parcel.who) }
                                td { (parcel.what) }
                                td { a href=(visit.site.path(&format!("/me/records/{}/receipt", parcel.name))) {
                                    "Receipt" span.unseen { " of " (parcel.when) }
                                } }
                            }
                        } }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_never_told_as_more_or_less() {
        let of = |kinds: &[&str]| what(&kinds.iter().map(|kind| (*kind).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&[]), "everything in your record");
        assert_eq!(of(&["Patient"]), "name, birth date and the like");
        assert_eq!(of(&["Coverage", "Observation", "Patient"]), "Coverage, Results and measurements");
    }
}
