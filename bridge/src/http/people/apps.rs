//! The apps that somebody has let in: `/me` lists them, and ends them.

use super::guard::{form, signed_in};
use super::refusal::Refusal;
use super::{HOME, at_desk, letting, news, see_other, site};
use crate::app::App;
use crate::http::reply::Reply;
use crate::http::routes::Request;
use crate::people::Role;
use std::sync::Arc;

/// `POST /auth/apps/end`: at once here, within [`crate::limits::STANDING_FRESH`] on other replicas.
pub(super) async fn end(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let form = form(app, request)?;
    let session = signed_in(app, request, form.get("token").map(String::as_str)).await?;
    let (account, grant) = (session.account.id.clone(), form.get("grant").cloned().unwrap_or_default());
    let (id, now) = (grant.clone(), app.core.clock.now().as_millisecond());
    let (ended, client) = at_desk(app, move |desk| {
        let client = desk.store.grants(&account, now)?.into_iter().map(|(one, _)| one).find(|one| one.id == id);
        Ok((desk.store.end_own_grant(&account, &id)?, client.map(|one| one.client)))
    })
    .await?;
    if ended {
        app.standing.end(&grant, now);
        news(&session.account.id, "an app's access was ended");
    }
    if let Some(client) = client.filter(|_| ended && session.account.person.role == Role::Patient) {
        letting::end(app, request, &client).await?;
    }
    Ok(see_other(&site(app).path(HOME)))
}
