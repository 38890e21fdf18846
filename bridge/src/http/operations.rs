//! The routes of operations (R4 3.2.0): whatever has a name with a `$` in it. Each can be invoked by POST, and by GET where
//! it changes nothing and its parameters fit into an address. The same routes answer the entries of a batch.

use super::parameters::{primitives, resource};
use super::query::{encode, shown};
use super::reply::{Reply, failure};
use super::routes::{Call, Request, guard};
use super::{
    docref, emergency, everything, explain, export, fhir, matching, meta, report, statuses, subscription, summary,
};
use crate::app::App;
use crate::error::Issue;
use crate::export::request::Level;
use bytes::Bytes;
use std::sync::Arc;
use warp::http::{Method, StatusCode};

/// What an operation that changes nothing takes, and what one that does, or needs a body, takes.
const ASKING: &[Method] = &[Method::GET, Method::POST];
const POSTED: &[Method] = &[Method::POST];

/// Answers the operation at an address.
pub(super) async fn answer(app: &Arc<App>, request: &Request, rest: &[&str]) -> Result<Reply, Reply> {
    let call = |methods: &[Method]| guard(app, request, methods);
    match rest {
        ["$export"] => export::begin(call(ASKING)?, Level::System).await,
        ["$export", job] => export::status(call(&[Method::GET, Method::DELETE])?, job).await,
        ["$export", job, file] => export::file_of(call(&[Method::GET])?, job, file).await,
        ["Patient", "$export"] => export::begin(call(ASKING)?, Level::Patient).await,
        ["Group", id, "$export"] => export::of_group(call(ASKING)?, id).await,
        rest => of_resources(call, rest).await,
    }
}

/// The operations that answer at once.
async fn of_resources<'r>(call: impl Fn(&[Method]) -> Result<Call<'r>, Reply>, rest: &[&str]) -> Result<Reply, Reply> {
    match rest {
        [kind, "$validate"] => fhir::validate::of_type(call(POSTED)?, kind).await,
        [kind, id, "$validate"] => fhir::validate::of_resource(call(ASKING)?, kind, id).await,
        ["DocumentReference", "$docref"] => docref::answer(call(ASKING)?).await,
        ["Patient", "$match"] => matching::answer(call(POSTED)?).await,
        ["Subscription", id, "$status"] => subscription::status(call(ASKING)?, id).await,
        ["Subscription", "$status"] => statuses::answer(call(ASKING)?).await,
        ["Subscription", id, "$events"] => {
            let call = call(ASKING)?;
            let (request, body) = (queried(&call).await?, Bytes::new());
            subscription::events_of(Call { app: call.app, caller: call.caller, request: &request, body: &body }, id)
                .await
        }
        [kind @ ("Patient" | "Encounter"), id, "$everything"] => everything::answer(call(ASKING)?, kind, id).await,
        [kind, id, "$explain-access"] => explain::answer(call(ASKING)?, kind, id).await,
        ["Patient", id, "$emergency-access"] => emergency::begin(call(POSTED)?, id).await,
        ["Patient", id, "$end-emergency-access"] => emergency::finish(call(POSTED)?, id).await,
        [kind, id, "$meta"] => meta::read(call(ASKING)?, kind, id).await,
        [kind, id, "$meta-add"] => meta::change(call(POSTED)?, kind, id, true).await,
        [kind, id, "$meta-delete"] => meta::change(call(POSTED)?, kind, id, false).await,
        ["Patient", id, "$report"] => report::answer(call(ASKING)?, id).await,
        ["Patient", id, "$summary"] => summary::answer(call(ASKING)?, id).await,
        [kind, id, "$receipt"] => fhir::receipt(call(ASKING)?, kind, id, None).await,
        [kind, id, "_history", version, "$receipt"] => fhir::receipt(call(ASKING)?, kind, id, Some(version)).await,
        ["Patient" | "Encounter", "$everything"] => Err(not_here(
            "$everything is of one record, Patient/[id]/$everything; what all patients have, Patient/$export gives",
        )),
        rest => Err(not_here(&unknown(rest))),
    }
}

fn unknown(rest: &[&str]) -> String {
    let name = rest.iter().find(|segment| segment.starts_with('$')).map_or("", |name| name.trim_start_matches('$'));
    format!(
        "${}: not an operation that this server knows at this address; /fhir/metadata lists those that it knows",
        shown(name)
    )
}

fn not_here(text: &str) -> Reply {
    failure(StatusCode::NOT_FOUND, Issue::new("not-supported", text))
}

/// The request with the parameters of its body in its query, for what reads them there.
async fn queried(call: &Call<'_>) -> Result<Request, Reply> {
    let Request { method, path, query, headers, .. } = call.request;
    let mut query = query.clone();
    if !call.body.is_empty() {
        for (name, value) in primitives(&resource(call).await?)? {
            query.push_str(&format!("&{}={}", encode(&name), encode(&value)));
        }
    }
    let (method, path, headers) = (method.clone(), path.clone(), headers.clone());
    let seen = call.request.seen.clone();
    Ok(Request { method, path, query, headers, body: Ok(Bytes::new()), seen })
}

/// Answers an entry of a batch: an operation whose answer is a resource, or the CapabilityStatement.
pub(super) async fn entry(app: &Arc<App>, request: &Request) -> Result<Reply, Reply> {
    let segments: Vec<&str> = request.path.split('/').collect();
    let unfit = |text| Err(failure(StatusCode::UNPROCESSABLE_ENTITY, Issue::new("not-supported", text)));
    match segments.as_slice() {
        ["metadata"] => fhir::metadata(app, request),
        [.., "$export"] | ["$export", ..] => unfit("$export answers later, and not in a batch: send it alone"),
        [.., "$emergency-access" | "$end-emergency-access"] => {
            unfit("an emergency is declared by a request of its own: send it alone")
        }
        [.., "$receipt"] => unfit("a receipt is no resource, and stands in no Bundle: ask for it alone"),
        rest => answer(app, request, rest).await,
    }
}
