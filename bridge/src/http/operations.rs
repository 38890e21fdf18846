//! The routes of operations (R4 3.2.0): whatever has a name with a `$` in it. Each can be invoked by POST, and by GET where
//! it changes nothing and its parameters fit into an address. The same routes answer the entries of a batch.

use super::reply::{Reply, failure};
use super::routes::{Call, Request, guard, not_found};
use super::{everything, export, fhir, matching, meta, report, subscription, summary};
use crate::app::App;
use crate::error::Issue;
use crate::export::request::Level;
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
        [_, _, ..] => of_resources(call, rest).await,
        _ => Err(not_found()),
    }
}

/// The operations that answer at once.
async fn of_resources<'r>(call: impl Fn(&[Method]) -> Result<Call<'r>, Reply>, rest: &[&str]) -> Result<Reply, Reply> {
    match rest {
        [kind, "$validate"] => fhir::validate::of_type(call(POSTED)?, kind).await,
        [kind, id, "$validate"] => fhir::validate::of_resource(call(ASKING)?, kind, id).await,
        ["Patient", "$match"] => matching::answer(call(POSTED)?).await,
        ["Subscription", id, "$status"] => subscription::status(call(&[Method::GET])?, id).await,
        ["Subscription", id, "$events"] => subscription::events_of(call(&[Method::GET])?, id).await,
        [kind @ ("Patient" | "Encounter"), id, "$everything"] => everything::answer(call(ASKING)?, kind, id).await,
        [kind, id, "$meta"] => meta::read(call(&[Method::GET])?, kind, id).await,
        [kind, id, "$meta-add"] => meta::change(call(POSTED)?, kind, id, true).await,
        [kind, id, "$meta-delete"] => meta::change(call(POSTED)?, kind, id, false).await,
        ["Patient", id, "$report"] => report::answer(call(&[Method::GET])?, id).await,
        ["Patient", id, "$summary"] => summary::answer(call(&[Method::GET])?, id).await,
        [kind, id, "$receipt"] => fhir::receipt(call(&[Method::GET])?, kind, id, None).await,
        [kind, id, "_history", version, "$receipt"] => {
            fhir::receipt(call(&[Method::GET])?, kind, id, Some(version)).await
        }
        _ => Err(not_found()),
    }
}

/// Answers an entry of a batch: an operation whose answer is a resource, or the CapabilityStatement.
pub(super) async fn entry(app: &Arc<App>, request: &Request) -> Result<Reply, Reply> {
    let segments: Vec<&str> = request.path.split('/').collect();
    let unfit = |text| Err(failure(StatusCode::UNPROCESSABLE_ENTITY, Issue::new("not-supported", text)));
    match segments.as_slice() {
        ["metadata"] => fhir::metadata(app, request),
        [.., "$export"] | ["$export", ..] => unfit("$export answers later, and not in a batch: send it alone"),
        [.., "$receipt"] => unfit("a receipt is no resource, and stands in no Bundle: ask for it alone"),
        [.., "$report"] => unfit("a report is a page, and stands in no Bundle: ask for it alone"),
        rest => answer(app, request, rest).await,
    }
}
