//! `POST /hl7v2`: HL7 over HTTP. The same write path as MLLP; the answer is the acknowledgement. What was taken can be
//! read again, with its mapping report: `GET /hl7v2/messages/{id}`.

use super::reply::{Reply, body, failure, status};
use super::routes::{Call, Request};
use crate::commit::Done;
use crate::consent::decide::decide_whole;
use crate::error::Issue;
use crate::feeds::Origin;
use crate::ids::{Name, Owner, ResourceId, Version};
use crate::ingest::{Answered, Received, receive as ingest};
use crate::intake::ack::{self, Mode};
use crate::message::{Kept, fetch};
use crate::smart::scopes::Interaction;
use warp::http::{StatusCode, header};

const MEDIA_TYPE: &str = "application/hl7-v2; charset=utf-8";
/// What is taken: the registered name and the one of HAPI's HL7 over HTTP.
const TAKEN: &[&str] = &["application/hl7-v2", "x-application/hl7-v2+er7"];

/// Takes a message or a batch.
pub async fn receive(call: Call<'_>) -> Reply {
    let Call { app, caller, request, body: bytes } = call;
    let media = request.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let media = media.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    if !TAKEN.contains(&media.as_str()) {
        return failure(StatusCode::UNSUPPORTED_MEDIA_TYPE, Issue::new("not-supported", "send application/hl7-v2"));
    }
    for interaction in [Interaction::Create, Interaction::Update] {
        if let Err(denied) = decide_whole(&caller, interaction, None) {
            return failure(StatusCode::FORBIDDEN, Issue::new("forbidden", denied.to_string()));
        }
    }
    // What comes of a message this service writes itself: neither Consents nor whose record it is hold it back.
    if caller.speaks_of_person() {
        let text = "messages come from systems: this needs a token with `system/*.cu` that speaks of no person";
        return failure(StatusCode::FORBIDDEN, Issue::new("forbidden", text));
    }
    let answers = ingest(app, Received { bytes: bytes.to_vec(), origin: Origin::Http }).await;
    answers.iter().for_each(ack::log_ours);
    answers.iter().for_each(|answer| request.seen.shows(made(answer)));
    let worst = answers.iter().filter_map(|a| a.outcome.as_ref().err()).map(status).max_by_key(|s| severity(*s));
    let acks: String =
        answers.iter().enumerate().map(|(n, a)| ack::acknowledge(a, n, app.core.clock.now(), Mode::Http)).collect();
    let reply = body(worst.unwrap_or(StatusCode::OK), MEDIA_TYPE, acks);
    let reply = match answers.as_slice() {
        [one] => located(reply, one),
        _ => reply,
    };
    match worst {
        Some(StatusCode::SERVICE_UNAVAILABLE) => super::reply::with_header(reply, header::RETRY_AFTER, "5"),
        _ => reply,
    }
}

/// What came out of a message, of each patient the record itself: who sent it over HTTP is told of with that.
fn made(answer: &Answered) -> Vec<(Owner, Name, Version)> {
    let done = answer.outcome.as_ref().map_or(&[][..], |taken| taken.committed.done.as_slice());
    let written = done.iter().filter_map(Done::written).filter(|one| one.name.kind.as_str() == "Patient");
    written.map(|one| (Owner::patient(&one.name.id), one.name.clone(), one.version)).collect()
}

/// Where the message and its mapping report can be read.
fn located(reply: Reply, answer: &Answered) -> Reply {
    let id = answer.outcome.as_ref().ok().and_then(|taken| taken.committed.message.as_ref());
    match id {
        Some(id) => super::reply::with_header(reply, header::LOCATION, &format!("/hl7v2/messages/{id}")),
        None => reply,
    }
}

/// `GET /hl7v2/messages/{id}`: how a message was mapped; with `Accept: application/hl7-v2` its very bytes.
pub async fn message(call: Call<'_>, id: &str) -> Reply {
    let Call { app, caller, request, .. } = call;
    let permit = match decide_whole(&caller, Interaction::Read, None) {
        Ok(permit) => permit,
        Err(denied) => return failure(StatusCode::FORBIDDEN, Issue::new("forbidden", denied.to_string())),
    };
    let missing = || failure(StatusCode::NOT_FOUND, Issue::new("not-found", "there is no such message"));
    let Some(id) = ResourceId::parse(id) else { return missing() };
    match fetch(&app.core, &permit, &id).await {
        Ok(Some(kept)) => shown(request, kept),
        Ok(None) => missing(),
        Err(error) => super::reply::unreadable(&error),
    }
}

fn shown(request: &Request, kept: Kept) -> Reply {
    let accept = request.headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("");
    if accept.split(',').any(|media| TAKEN.contains(&media.split(';').next().unwrap_or("").trim())) {
        return body(StatusCode::OK, "application/hl7-v2", kept.bytes);
    }
    // A head of strings and lists always prints.
    body(StatusCode::OK, "application/json", serde_json::to_vec(&kept.head).unwrap_or_default())
}

/// Ours before retry-later before the sender's; a message refused for its content is a 422 whatever the kind.
fn severity(status: StatusCode) -> u8 {
    match status.as_u16() {
        500 => 4,
        503 => 3,
        422 => 2,
        _ => 1,
    }
}
