//! The administrator's page of the network: who takes part, and what of ours has not arrived there. Of records it shows nothing.

use super::frame::Frame;
use super::hospitals::ALONE;
use super::pages::time;
use super::refusal::Refusal;
use super::visit::Visit;
use super::{at_desk, fresh, guard, news, page, see_other};
use crate::app::App;
use crate::exchange::document::Document;
use crate::exchange::order::Order;
use crate::exchange::participants::Participant;
use crate::exchange::rules::Rule;
use crate::http::exchange::own::listed;
use crate::http::reply::Reply;
use crate::http::routes::Request;
use crate::index::pushes::{Push, State};
use crate::people::Role;
use maud::{Markup, html};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use warp::http::StatusCode;

const NETWORK: &str = "/me/network";
/// Deliveries of the page.
const SHOWN: usize = 100;

type Listed = Vec<(Participant, Option<Arc<Document>>)>;

/// `GET /me/network`.
pub(super) async fn answer(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let visit = match Visit::of(app, request, Role::Administrator).await? {
        Ok(visit) => visit,
        Err(door) => return Ok(door),
    };
    if app.exchange.is_none() {
        let content = html! { p.notice role="status" { "This service exchanges nothing with others: its configuration has no "
        code { "[exchange]" } "." } };
        return Ok(page(StatusCode::OK, &framed(&visit, &content)));
    }
    let network = listed(app, &HashMap::new()).await;
    if let Err(error) = &network {
        tracing::warn!(%error, "the network cannot be shown");
    }
    let prefixes: Vec<String> = rules(app).map(|rule| rule.prefix.clone()).collect();
    let (pushes, waiting) = at_desk(app, move |desk| {
        let waiting = prefixes.iter().map(|prefix| desk.store.waiting_pushes(prefix)).collect::<Result<Vec<_>, _>>()?;
        Ok((desk.store.open_pushes(SHOWN)?, waiting))
    })
    .await?;
    let rules: Vec<(&Rule, usize)> = rules(app).zip(waiting).collect();
    Ok(page(StatusCode::OK, &shown(&visit, network.ok().as_ref(), &rules, &pushes)))
}

/// `POST /me/network/retry`, by an administrator who signed in lately.
pub(super) async fn retry(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let form = guard::form(app, request)?;
    guard::signed_in(app, request, form.get("token").map(String::as_str)).await?;
    let visit = Visit::of(app, request, Role::Administrator).await?.map_err(|_| Refusal::Login)?;
    fresh(app, &visit.session)?;
    if app.exchange.is_none() {
        return Err(ALONE);
    }
    let id = form.get("delivery").cloned().ok_or(Refusal::Form)?;
    let now = app.core.clock.now().as_millisecond();
    if !at_desk(app, move |desk| Ok(desk.store.retry_push(&id, now)?)).await? {
        return Err(Refusal::Nothing);
    }
    news(&visit.session.account.id, "a delivery is tried again");
    Ok(see_other(&visit.site.path(NETWORK)))
}

fn framed(visit: &Visit<'_>, content: &Markup) -> Markup {
    let title = "Network";
    Frame { site: &visit.site, title, here: NETWORK, script: false, role: Some(Role::Administrator) }.around(content)
}

fn rules(app: &App) -> impl Iterator<Item = &Rule> {
    app.exchange.iter().flat_map(|exchange| &exchange.rules.all)
}

fn shown(visit: &Visit<'_>, network: Option<&Listed>, rules: &[(&Rule, usize)], pushes: &[Push]) -> Markup {
    let content = html! {
        p.lead { "Who takes part in the network, and what was sent from here and has not arrived. Who is admitted and who is suspended is the "
            "steward’s word, on the chain: " code { "medseal participants" } "." }
        section.panel aria-labelledby="who-title" {
            h2 #who-title { "Organisations" }
            @match network {
                None => { p.notice role="alert" { "The directory cannot be asked at this moment: nobody is exchanged with until it can." } }
                Some(all) => {
                    (source(visit))
                    (organisations(visit, all))
                }
            }
        }
        @if !rules.is_empty() { (ruled(visit, rules)) }
        section.panel aria-labelledby="deliveries-title" {
            h2 #deliveries-title { "Deliveries that have not arrived" }
            @if pushes.is_empty() { p role="status" { "Everything has arrived." } } @else { (deliveries(visit, pushes)) }
            @if pushes.len() == SHOWN { p.hint { "The last " (SHOWN) " are shown." } }
        }
    };
    framed(visit, &content)
}

fn source(visit: &Visit<'_>) -> Markup {
    let is_listed = visit.app.exchange.as_ref().is_some_and(|exchange| exchange.directory.is_listed());
    html! { @if is_listed { p.hint { "They are listed in the configuration: nobody but who wrote it vouches for them." } } }
}

fn organisations(visit: &Visit<'_>, all: &Listed) -> Markup {
    html! {
        div.table tabindex="0" role="region" aria-labelledby="who-title" {
            table {
                thead { tr {
                    th scope="col" { "Organisation" } th scope="col" { "State" } th scope="col" { "Address" }
                    th scope="col" { "Document and keys" } th scope="col" { "Last heard of" }
                } }
                tbody { @for (one, document) in all { (organisation(visit, one, document.as_deref())) } }
            }
        }
        p.hint { "Last heard of: a signed request or answer since this process was started. Of several replicas each counts its own." }
    }
}

fn organisation(visit: &Visit<'_>, one: &Participant, document: Option<&Document>) -> Markup {
    let exchange = visit.app.exchange.as_ref();
    let own = exchange.is_some_and(|exchange| exchange.settings.id == one.id);
    let met = exchange.and_then(|exchange| exchange.met.when(&one.id)).and_then(|at| i64::try_from(at).ok());
    html! {
        tr {
            td.id { (one.name) br; span.hint { (one.id) } }
            td { (one.status.name()) @if own { br; span.hint { "this one" } } }
            td.mono { (one.endpoint) }
            td.mono {
                "document " (one.digest)
                @if let Some(document) = document {
                    @for key in &document.keys { br; "key " (key.name) }
                    br; "log " (document.said.log)
                } @else { br; "not fetched" }
            }
            td.time { @if let Some(met) = met { (time(met * 1_000)) } @else { "not yet" } }
        }
    }
}

/// The rules, and how many of their orders wait.
fn ruled(visit: &Visit<'_>, rules: &[(&Rule, usize)]) -> Markup {
    let most = visit.app.exchange.as_ref().map_or(0, |exchange| exchange.rules.most.load(Ordering::Relaxed));
    html! {
        section.panel aria-labelledby="rules-title" {
            h2 #rules-title { "What is pushed by rules" }
            div.table tabindex="0" role="region" aria-labelledby="rules-title" {
                table {
                    thead { tr { th scope="col" { "Rule" } th scope="col" { "What" } th scope="col" { "To" } th scope="col" { "State" } } }
                    tbody { @for (rule, waiting) in rules { tr {
                        td.id { (rule.said.name) }
                        td.mono { (rule.said.criteria) }
                        td.mono { (rule.said.to) }
                        td { @if *waiting >= most { "stands still: " } (waiting) " of at most " (most) " wait" }
                    } } }
                }
            }
            p.hint { "A rule stands still while its receiver takes nothing, and goes on where it was." }
        }
    }
}

fn deliveries(visit: &Visit<'_>, pushes: &[Push]) -> Markup {
    html! {
        div.table tabindex="0" role="region" aria-labelledby="deliveries-title" {
            table {
                thead { tr {
                    th scope="col" { "Delivery" } th scope="col" { "To" } th scope="col" { "State" }
                    th.number scope="col" { "Tries" } th scope="col" { "Next try" } th scope="col" { "Why" } th scope="col" { "Do" }
                } }
                tbody { @for push in pushes { (delivery(visit, push)) } }
            }
        }
    }
}

fn delivery(visit: &Visit<'_>, push: &Push) -> Markup {
    let order = Order::open(&visit.app.core, push);
    let why = order.as_ref().and_then(|order| order.why.as_deref()).map(own_words);
    html! {
        tr {
            td.id { span.mono { (push.id) } br; span.hint { "since " (time(push.made)) } }
            td.mono { @if let Some(order) = &order { (order.to) br; (order.places.len()) " entries" } @else { "cannot be read" } }
            td { (state(push.state)) }
            td.number { (push.failures) }
            td.time { @if push.state == State::Waits { (time(push.due)) } @else { "none" } }
            td.why { @if let Some(why) = why { (why) } }
            td { form method="post" action=(visit.site.path(&format!("{NETWORK}/retry"))) {
                input type="hidden" name="token" value=(visit.session.token());
                input type="hidden" name="delivery" value=(push.id);
                button.quiet type="submit" { "Try now" span.unseen { ", delivery " (push.id) } }
            } }
        }
    }
}

fn state(state: State) -> &'static str {
    match state {
        State::Waits => "waiting",
        State::Delivered => "delivered",
        State::Refused => "refused",
        State::GivenUp => "given up",
    }
}

/// What we say ourselves: the other's words may speak of a patient, and an administrator sees nothing of records.
fn own_words(why: &str) -> String {
    match why.split_once("): ") {
        Some((own, _)) => format!("{own})"),
        None => why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_refusal_the_others_words_are_left_out() {
        let told = own_words("the other organisation refused (409 Conflict): Ada Lovelace is like somebody");
        assert_eq!(told, "the other organisation refused (409 Conflict)");
        assert_eq!(own_words("the directory cannot be asked now"), "the directory cannot be asked now");
    }
}
