//! `POST /hl7v2`: HL7 over HTTP. The same write path as MLLP; the answer is the acknowledgement.

use super::reply::{Reply, body, failure, status};
use super::routes::Call;
use crate::consent::decide::decide;
use crate::error::Issue;
use crate::ingest::{Received, receive as ingest};
use crate::intake::ack::{self, Mode};
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
        if let Err(denied) = decide(&caller, interaction, None) {
            return failure(StatusCode::FORBIDDEN, Issue::new("forbidden", denied.to_string()));
        }
    }
    let answers = ingest(app, Received { bytes: bytes.to_vec() }).await;
    answers.iter().for_each(ack::log_ours);
    let worst = answers.iter().filter_map(|a| a.outcome.as_ref().err()).map(status).max_by_key(|s| severity(*s));
    let acks: String =
        answers.iter().enumerate().map(|(n, a)| ack::acknowledge(a, n, app.core.clock.now(), Mode::Http)).collect();
    let reply = body(worst.unwrap_or(StatusCode::OK), MEDIA_TYPE, acks);
    match worst {
        Some(StatusCode::SERVICE_UNAVAILABLE) => super::reply::with_header(reply, header::RETRY_AFTER, "5"),
        _ => reply,
    }
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
