//! Views: a look at a record elsewhere, as FHIR or as a page. Nothing of it is kept, neither here nor by whoever stands between.

use super::super::accept::Wanted;
use super::super::people::words::{Line, line, title};
use super::super::reply::{Reply, body, with_header};
use super::super::routes::Call;
use super::own::{patient, pulled, urgent, whole};
use super::{read, refused};
use crate::clock::instant;
use crate::config::ParticipantId;
use crate::exchange::emergency::Urgent;
use crate::exchange::error::ExchangeError;
use crate::exchange::of;
use crate::exchange::pull::Answered;
use crate::exchange::respond::check_queries;
use crate::exchange::view::{Opening, View, begin as open, of_caller};
use crate::ids::{Name, Owner};
use crate::smart::scopes::Interaction;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, html};
use notary::commitment::Digest;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use warp::http::{HeaderName, StatusCode, header};

/// Who looks, and when: on each answer, so that whoever keeps one all the same keeps that with it.
const WATERMARK: HeaderName = HeaderName::from_static("medseal-watermark");
const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}\
    .mark{position:fixed;inset:0;display:flex;align-items:center;justify-content:center;pointer-events:none;\
    font-size:2.5rem;color:#8886;transform:rotate(-25deg);text-align:center}\
    table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ccc;padding:.3rem;text-align:left}\
    @media print{body{display:none}}";

/// `POST /exchange/view`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Asked {
    from: ParticipantId,
    patient: Box<RawValue>,
    purpose: Option<String>,
    #[serde(default)]
    request_consent: bool,
    emergency: Option<Urgent>,
}

/// Opens one: 201, and where to look.
pub(super) async fn begin(call: Call<'_>) -> Result<Reply, Reply> {
    of(call.app).map_err(|error| refused(&error))?;
    let asked: Asked = read(call.body).map_err(|error| refused(&error))?;
    whole(&call, Interaction::Search)?;
    let (described, here) = patient(&call, asked.patient).await?;
    let intent = urgent(&call, asked.purpose.as_deref(), asked.emergency.as_ref()).await?;
    let (request_consent, emergency) = (asked.request_consent, asked.emergency);
    let opening = Opening { patient: described, request_consent, emergency };
    let opened = open(call.app, &call.caller, &asked.from, &opening, here.as_ref(), &intent).await;
    let (text, view) = opened.map_err(|error| refused(&error))?;
    tell(&call, &view);
    let own = call.app.core.base.strip_suffix("/fhir").unwrap_or(&call.app.core.base);
    let url = format!("{own}/exchange/view/{text}");
    let told = json!({"id": text, "url": url, "from": view.from, "expires": time(view.expires)});
    let reply = body(StatusCode::CREATED, "application/json", told.to_string());
    Ok(with_header(reply, header::LOCATION, &url))
}

/// Whose record was looked at, where he is one's own patient too.
fn tell(call: &Call<'_>, view: &View) {
    if let Some(here) = view.here.as_deref().and_then(Name::parse) {
        call.request.seen.shows_of(&Owner::patient(&here.id));
    }
}

fn time(seconds: u64) -> String {
    instant(jiff::Timestamp::from_second(i64::try_from(seconds).unwrap_or_default()).unwrap_or_default())
}

/// `GET /exchange/view/{id}` and `GET /exchange/view/{id}/{Type}?parameters`.
pub(super) async fn look(call: Call<'_>, id: &str, kind: Option<&str>) -> Result<Reply, Reply> {
    let view = of_caller(call.app, &call.caller, id).await.map_err(|error| refused(&error))?;
    let query = match (kind, call.request.query.as_str()) {
        (None, _) => "*".to_owned(),
        (Some(kind), "") => kind.to_owned(),
        (Some(kind), query) => format!("{kind}?{query}"),
    };
    let queries = vec![query];
    check_queries(call.app, &queries).map_err(|error| refused(&error))?;
    let answered = view.look(call.app, queries).await;
    tell(&call, &view);
    let mark = watermark(&call);
    let wants_page = kind.is_none() && Wanted::of(call.request).first_of(&["html", "json"]) == Some("html");
    let reply = match &answered.outcome {
        Ok(_) if wants_page => page(&view, &answered, &mark),
        _ => pulled(call.app, std::slice::from_ref(&answered)),
    };
    Ok(with_header(reply, WATERMARK, &mark))
}

/// `DELETE /exchange/view/{id}`. One that cannot be ended there for now ends by itself, and here at once.
pub(super) async fn end(call: Call<'_>, id: &str) -> Result<Reply, Reply> {
    let view = of_caller(call.app, &call.caller, id).await.map_err(|error| refused(&error))?;
    match view.close(call.app).await {
        Ok(()) => Ok(super::super::reply::empty(StatusCode::NO_CONTENT)),
        Err(error) if error.may_pass() => {
            tracing::warn!(%error, "a view could not be ended at the other organisation: it ends by itself");
            Ok(super::super::reply::empty(StatusCode::NO_CONTENT))
        }
        Err(ExchangeError::Refused { .. }) => Ok(super::super::reply::empty(StatusCode::NO_CONTENT)),
        Err(error) => Err(refused(&error)),
    }
}

fn watermark(call: &Call<'_>) -> String {
    let user = call.caller.user.as_ref().map_or_else(|| call.caller.subject.clone(), ToString::to_string);
    format!("{user} {}", instant(call.app.core.clock.now()))
}

/// The record as a page: no script, no frame around it, nothing to print.
fn page(view: &View, answered: &Answered, mark: &str) -> Reply {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; title { "A look at " (view.from) } style { (maud::PreEscaped(STYLE)) } }
            body {
                p.mark { (mark) }
                h1 { "A look at a record of " (view.from) }
                p { "Seen by " (mark) ". Until " (time(view.expires)) ". Nothing of it is kept here." }
                @for (kind, lines) in grouped(answered) { (table(&kind, &lines)) }
            }
        }
    };
    let reply = body(StatusCode::OK, "text/html; charset=utf-8", markup.into_string());
    let style = STANDARD.encode(Digest::of(STYLE.as_bytes()).0);
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let reply = with_header(reply, header::CONTENT_SECURITY_POLICY, &policy);
    with_header(reply, header::REFERRER_POLICY, "no-referrer")
}

fn table(kind: &str, lines: &[(Line, String)]) -> Markup {
    html! {
        h2 { (title(kind)) }
        table {
            tr { th { "What" } th { "More" } th { "When" } th { "Proved" } }
            @for (line, grade) in lines { tr { td { (line.what) } td { (line.more) } td { (line.when) } td { (grade) } } }
        }
    }
}

/// What is proved, by type; the rest is not shown.
fn grouped(answered: &Answered) -> BTreeMap<String, Vec<(Line, String)>> {
    let mut groups: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for checked in answered.outcome.iter().flat_map(|got| &got.checked) {
        let Ok(grade) = &checked.verdict else { continue };
        let kind = checked.json.text("resourceType").unwrap_or_default().to_owned();
        groups.entry(kind).or_default().push((line(&checked.json), grade.to_string()));
    }
    groups
}
