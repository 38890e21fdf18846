//! The administrator's page of programs: which may ask for tokens, when they last did, and taking one out. Registering one needs its
//! keys and is done at the machine (`medseal client add`).

use super::frame::Frame;
use super::guard;
use super::pages::time;
use super::refusal::Refusal;
use super::visit::Visit;
use super::{at_desk, fresh, page, see_other, site};
use crate::app::App;
use crate::http::reply::Reply;
use crate::http::routes::Request;
use crate::ids::Owner;
use crate::index::clients::{Client, Keys};
use crate::people::Role;
use maud::{Markup, html};
use std::collections::HashMap;
use std::sync::Arc;
use warp::http::StatusCode;

const CLIENTS: &str = "/me/clients";

/// `GET /me/clients`.
pub(super) async fn list(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let visit = match Visit::of(app, request, Role::Administrator).await? {
        Ok(visit) => visit,
        Err(door) => return Ok(door),
    };
    let (clients, used) = at_desk(app, |desk| Ok((desk.store.clients()?, desk.store.clients_used()?))).await?;
    Ok(page(StatusCode::OK, &programs(&visit, &clients, &used)))
}

/// `GET /me/clients/{id}/remove`: what it would mean.
pub(super) async fn ask(app: &Arc<App>, request: &Request, id: &str) -> Result<Reply, Refusal> {
    let visit = match Visit::of(app, request, Role::Administrator).await? {
        Ok(visit) => visit,
        Err(door) => return Ok(door),
    };
    let id = id.to_owned();
    let client = at_desk(app, move |desk| Ok(desk.store.client(&id)?)).await?.ok_or(Refusal::Nothing)?;
    Ok(page(StatusCode::OK, &confirmation(&visit, &client)))
}

/// `POST /me/clients/{id}/remove`, by an administrator who signed in lately.
pub(super) async fn remove(app: &Arc<App>, request: &Request, id: &str) -> Result<Reply, Refusal> {
    let form = guard::form(app, request)?;
    guard::signed_in(app, request, form.get("token").map(String::as_str)).await?;
    let visit = Visit::of(app, request, Role::Administrator).await?.map_err(|_| Refusal::Login)?;
    fresh(app, &visit.session)?;
    let gone = id.to_owned();
    if !at_desk(app, move |desk| Ok(desk.store.drop_client(&gone)?)).await? {
        return Err(Refusal::Nothing);
    }
    tracing::info!(account = %visit.session.account.id, "a program was removed");
    visit.request.seen.shows_of(&Owner::custodian());
    Ok(see_other(&site(app).path(CLIENTS)))
}

fn programs(visit: &Visit<'_>, clients: &[Client], used: &HashMap<String, i64>) -> Markup {
    let content = html! {
        p.lead { "Programs that may ask for tokens by a key of their own, and apps that people let in. They are registered at the machine: "
            code { "medseal client add" } "." }
        h2.unseen #clients-title { "Programs" }
        @if clients.is_empty() { p { "None is registered." } } @else {
            div.table tabindex="0" role="region" aria-labelledby="clients-title" {
                table {
                    thead { tr {
                        th scope="col" { "Name" } th scope="col" { "Id" } th scope="col" { "May at most" } th scope="col" { "Keys" }
                        th scope="col" { "Since" } th scope="col" { "Last had a token" }
                    } }
                    tbody { @for client in clients { (row(visit, client, used.get(&client.id))) } }
                }
            }
        }
    };
    around(visit, "Programs", &content)
}

fn row(visit: &Visit<'_>, client: &Client, used: Option<&i64>) -> Markup {
    html! {
        tr {
            td {
                (client.name) " "
                a href=(visit.site.path(&format!("{CLIENTS}/{}/remove", client.id))) { "Remove" span.unseen { " " (client.name) } }
            }
            td.mono { (client.id) } td.mono { (client.scope) }
            td { @match &client.keys { Keys::At(url) => { (url) } Keys::Inline(_) => { "kept here" } Keys::None => { "none: a public app" } } }
            td.time { (time(client.made)) }
            td.time { @if let Some(used) = used { (time(*used)) } @else { "never" } }
        }
    }
}

fn confirmation(visit: &Visit<'_>, client: &Client) -> Markup {
    let content = html! {
        section.panel aria-labelledby="remove-title" {
            h2 #remove-title { "Remove " (client.name) "?" }
            p { "Its tokens are refused within seconds, and what people have allowed it ends. It cannot be undone: registered again, it gets "
                "another id." }
            p.mono { (client.id) }
            form method="post" action=(visit.site.path(&format!("{CLIENTS}/{}/remove", client.id))) {
                input type="hidden" name="token" value=(visit.session.token());
                button type="submit" { "Remove it" }
                " " a href=(visit.site.path(CLIENTS)) { "Keep it" }
            }
        }
    };
    around(visit, "Remove a program", &content)
}

fn around(visit: &Visit<'_>, title: &str, content: &Markup) -> Markup {
    Frame { site: &visit.site, title, here: CLIENTS, script: false, role: Some(Role::Administrator) }.around(content)
}
