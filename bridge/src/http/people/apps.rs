//! The apps that somebody has let in: `/me` lists them, and ends them.

use super::guard::{form, signed_in};
use super::refusal::Refusal;
use super::{HOME, at_desk, letting, news, see_other, site};
use crate::app::App;
use crate::http::reply::Reply;
use crate::http::routes::Request;
use crate::people::Role;
use crate::smart::grant::Grant;
use std::sync::Arc;

/// `POST /auth/apps/end`: at once here, within [`crate::limits::STANDING_FRESH`] on other replicas.
pub(super) async fn end(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let form = form(app, request)?;
    let session = signed_in(app, request, form.get("token").map(String::as_str)).await?;
    let (account, grant) = (session.account.id.clone(), form.get("grant").cloned().unwrap_or_default());
    let (id, now) = (grant.clone(), app.core.clock.now().as_millisecond());
    let grants = at_desk(app, move |desk| Ok(desk.store.grants(&account, now)?)).await?;
    let Some((ended, _)) = grants.iter().find(|(one, _)| one.id == id) else {
        return Ok(see_other(&site(app).path(HOME)));
    };
    let opens = |one: &Grant| one.client == ended.client && one.patient.is_some();
    let goes_on = grants.iter().any(|(other, _)| other.id != id && opens(other));
    if session.account.person.role == Role::Patient && opens(ended) && !goes_on {
        // First: where it fails the app is still listed, and can be ended again.
        letting::end(app, request, &ended.client).await?;
    }
    let account = session.account.id.clone();
    at_desk(app, move |desk| Ok(desk.store.end_own_grant(&account, &id)?)).await?;
    app.standing.end(&grant, now);
    news(&session.account.id, "an app's access was ended");
    Ok(see_other(&site(app).path(HOME)))
}
