//! Where and how a Subscription wants to be told: its channel.

use super::{BACKPORT, Content, Form, at, extension};
use crate::error::Issue;
use crate::limits::MAX_SUBSCRIPTION_HEADERS;
use notary::canonical::Json;
use warp::http::{HeaderMap, HeaderName, HeaderValue};

/// Headers that say how a request travels, not what it is.
const FORBIDDEN: &[&str] = &[
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// The one kind of channel that there is, by R4's code and by the backport's, which may name another one.
pub(super) fn is_rest_hook(channel: &Json) -> Result<(), Issue> {
    let url = format!("{BACKPORT}backport-channel-type");
    let named = channel.get("_type").into_iter().flat_map(|kind| extension(kind, &url));
    let codes = named.map(|one| one.get("valueCoding").and_then(|coding| coding.text("code")));
    match codes.chain([channel.text("type")]).all(|code| code == Some("rest-hook")) {
        true => Ok(()),
        false => Err(at("not-supported", "channel.type", "this server notifies over rest-hook alone")),
    }
}

/// What bodies are sent as: the very text of the payload, of this version of FHIR.
pub(super) fn media(channel: &Json) -> Result<HeaderValue, Issue> {
    let payload = channel.text("payload").filter(|payload| !payload.is_empty()).unwrap_or("application/fhir+json");
    let (media, parameter) = payload.split_once(';').unwrap_or((payload, "fhirVersion=4.0"));
    let known = matches!(media.trim(), "application/fhir+json" | "application/json");
    let held = known && matches!(parameter.trim(), "fhirVersion=4.0" | "fhirVersion=4.0.1");
    let refused = || at("not-supported", "channel.payload", "application/fhir+json of FHIR 4.0, or nothing");
    HeaderValue::from_str(payload).ok().filter(|_| held).ok_or_else(refused)
}

/// How much a notification tells.
pub(super) fn content(channel: &Json, form: Form) -> Result<Content, Issue> {
    let payload = channel.text("payload");
    let named =
        channel.get("_payload").into_iter().flat_map(|p| extension(p, &format!("{BACKPORT}backport-payload-content")));
    let named = named.filter_map(|e| e.text("valueCode")).next();
    match (form, named) {
        (Form::Search, _) if payload.is_some_and(|p| !p.is_empty()) => Ok(Content::Resources),
        (Form::Search, _) => Ok(Content::Empty),
        (_, None) => Ok(Content::Ids),
        (_, Some(code)) => {
            Content::of(code).ok_or_else(|| at("value", "channel.payload.extension", "empty, id-only or full-resource"))
        }
    }
}

/// `Authorization: Bearer x`. Never quotes what it refuses: it may be a secret.
pub(super) fn headers(channel: &Json) -> Result<HeaderMap, Issue> {
    let given = match channel.get("header") {
        Some(Json::Array(given)) => given.as_slice(),
        _ => &[],
    };
    if given.len() > MAX_SUBSCRIPTION_HEADERS {
        return Err(at("too-costly", "channel.header", format!("at most {MAX_SUBSCRIPTION_HEADERS}")));
    }
    let mut headers = HeaderMap::new();
    for (n, text) in given.iter().enumerate() {
        let (name, value) = header(text).ok_or_else(|| {
            let text = "must be `Name: value`, and not a header that says how a request travels";
            at("value", &format!("channel.header[{n}]"), text)
        })?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn header(text: &Json) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = text.as_str()?.split_once(':')?;
    let name: HeaderName = name.trim().parse().ok()?;
    if FORBIDDEN.contains(&name.as_str()) || name.as_str().starts_with("proxy-") {
        return None;
    }
    let mut value: HeaderValue = value.trim().parse().ok()?;
    value.set_sensitive(true);
    Some((name, value))
}
