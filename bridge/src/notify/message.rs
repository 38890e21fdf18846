//! What is sent: the requests of R4's rest-hook, and the notification Bundles of the R5 backport.

use super::{Live, open_or_leave};
use crate::app::Core;
use crate::clock::instant;
use crate::consent::decide::Permit;
use crate::error::VaultError;
use crate::fhir::subscription::{Content, Form, Status};
use crate::index::notices::Notice;
use crate::index::store::Stored;
use crate::limits::MAX_PAGE_BYTES;
use crate::outgoing::Outbound;
use crate::read::{Opened, in_background, let_through};
use crate::secret::{bytes as random_bytes, system_random};
use bytes::Bytes;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use warp::http::{HeaderMap, HeaderValue, Method, header};

/// Records that are fetched at the same time.
const FETCHES: usize = 16;

/// Why a notification Bundle is made (SubscriptionStatus.type).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    Handshake,
    Heartbeat,
    Event,
    /// `$status`.
    Status,
    /// `$events`.
    Query,
}

impl Why {
    fn code(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Heartbeat => "heartbeat",
            Self::Event => "event-notification",
            Self::Status => "query-status",
            Self::Query => "query-event",
        }
    }
}

/// An event, and the version that it is about.
pub struct Event {
    pub notice: Notice,
    pub stored: Stored,
    /// Its very text, where that is told.
    resource: Vec<u8>,
}

/// What a notification tells, and how much of it.
pub struct Told<'e> {
    pub why: Why,
    pub events: &'e [Event],
    pub content: Content,
    /// Where those that did not fit are.
    pub next: Option<String>,
}

/// What becomes of an event whose record is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damaged {
    Refused,
    /// Its number is missing: who counts sees that there was something.
    LeftOut,
}

/// What the notices speak of, opened where its text is told, and the number up to which that goes: it ends early where it
/// becomes heavy, and holds one at least. What the permit is not for is left out.
pub async fn events(
    core: &Core,
    permit: &Permit,
    notices: Vec<Notice>,
    content: Content,
    damaged: Damaged,
) -> Result<(Vec<Event>, u64), VaultError> {
    let (mut events, mut upto, mut bytes) = (Vec::new(), 0, 0);
    for some in notices.chunks(FETCHES) {
        let found = try_join_all(some.iter().map(|notice| event(core, permit, notice, content, damaged))).await?;
        for (notice, event) in some.iter().zip(found) {
            bytes += event.as_ref().map_or(0, |event| event.resource.len());
            if bytes > MAX_PAGE_BYTES && !events.is_empty() {
                return Ok((events, upto));
            }
            upto = notice.number;
            events.extend(event);
        }
    }
    Ok((events, upto))
}

async fn event(
    core: &Core,
    permit: &Permit,
    notice: &Notice,
    content: Content,
    damaged: Damaged,
) -> Result<Option<Event>, VaultError> {
    let (store, row) = (core.store.clone(), notice.row);
    let Some(stored) = in_background(move || store.row(row)).await? else { return Ok(None) };
    // Its number is missing: there is nothing to be told any more.
    if stored.erased {
        return Ok(None);
    }
    if permit.shows_all() && content != Content::Resources {
        return Ok(Some(Event { notice: notice.clone(), stored, resource: Vec::new() }));
    }
    let opened = match damaged {
        Damaged::Refused => Some(core.open(&stored).await?),
        Damaged::LeftOut => open_or_leave(core, &stored).await?,
    };
    let opened = let_through(core, permit, opened.into_iter().collect()).await?.pop();
    permit.seen().shows(opened.iter().map(Opened::as_shown));
    let told = |opened: Opened| if content == Content::Resources { opened.resource } else { Vec::new() };
    Ok(opened.map(|opened| Event { notice: notice.clone(), stored, resource: told(opened) }))
}

/// The request that tells of events, or of none.
pub fn outbound(core: &Core, live: &Live, why: Why, events: &[Event]) -> Result<Outbound, VaultError> {
    let endpoint = live.wanted.endpoint.clone();
    match (live.wanted.form, events) {
        (Form::Topic { .. }, _) => {
            let bundle = bundle(core, live, &Told { why, events, content: live.wanted.content, next: None })?;
            Ok(request(live, Method::POST, endpoint, Bytes::from(bundle)))
        }
        // R4 3.: with a payload the receiver is written to like a FHIR server, without one it is only rung.
        (Form::Search, [event, ..]) if live.wanted.content == Content::Resources => {
            let url = format!("{}/{}", endpoint.trim_end_matches('/'), event.stored.name);
            Ok(request(live, Method::PUT, url, Bytes::from(event.resource.clone())))
        }
        (Form::Search, _) => Ok(request(live, Method::POST, endpoint, Bytes::new())),
    }
}

fn request(live: &Live, method: Method, url: String, body: Bytes) -> Outbound {
    let mut headers: HeaderMap = live.wanted.headers.clone();
    if !body.is_empty() {
        headers.insert(header::CONTENT_TYPE, live.wanted.media.clone());
    }
    headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("medseal/", env!("CARGO_PKG_VERSION"))));
    Outbound { method, url, headers, body }
}

const PROFILES: &str = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/";

/// A notification Bundle. A resource stands in it in its very text.
pub fn bundle(core: &Core, live: &Live, told: &Told<'_>) -> Result<Vec<u8>, VaultError> {
    let mut entries = vec![status_entry(core, live, told)?];
    if told.content != Content::Empty {
        entries.extend(told.events.iter().map(|event| entry(core, event, told.content)));
    }
    let now = instant(core.clock.now());
    let profile = format!("{PROFILES}backport-subscription-notification-r4");
    let kind = if told.why == Why::Status { "searchset" } else { "history" };
    let meta = if told.why == Why::Status { json!({"lastUpdated": now}) } else { json!({"profile": [profile]}) };
    let next = told.next.as_ref().map(|url| format!(r#""link":{},"#, json!([{"relation": "next", "url": url}])));
    let (next, entries) = (next.unwrap_or_default(), entries.join(","));
    let head = format!(r#""resourceType":"Bundle","meta":{meta},"type":"{kind}","timestamp":"{now}""#);
    Ok(format!(r#"{{{head},{next}"entry":[{entries}]}}"#).into_bytes())
}

fn status_entry(core: &Core, live: &Live, told: &Told<'_>) -> Result<String, VaultError> {
    let id = crate::ids::ResourceId::from_bytes(random_bytes(&system_random)?);
    let url = format!("{}/Subscription/{}", core.base, live.kept.id);
    let resource = status(core, live, told);
    let mut entry = json!({"fullUrl": format!("urn:uuid:{id}"), "resource": resource});
    if told.why == Why::Status {
        entry["search"] = json!({"mode": "match"});
    } else {
        entry["request"] = json!({"method": "GET", "url": format!("{url}/$status")});
        entry["response"] = json!({"status": "200"});
    }
    Ok(entry.to_string())
}

/// SubscriptionStatus, as R4 has it: Parameters.
pub fn status(core: &Core, live: &Live, told: &Told<'_>) -> Value {
    let Told { why, events, content, .. } = told;
    // What follows a handshake that went well is an active subscription.
    let state = if *why == Why::Handshake { Status::Requested } else { live.wanted.status };
    let last = events.last().map(|event| event.notice.number);
    // Who asks for some events is told how many there are in all: by that he sees whether he has them.
    let number = if *why == Why::Event { last } else { last.max(Some(live.kept.events)) };
    let number = number.unwrap_or(live.kept.events);
    let mut parameters = vec![
        json!({"name": "subscription", "valueReference": {"reference": format!("{}/Subscription/{}", core.base, live.kept.id)}}),
    ];
    if let Form::Topic { topic, .. } = live.wanted.form {
        parameters.push(json!({"name": "topic", "valueCanonical": topic.url}));
    }
    parameters.extend([
        json!({"name": "status", "valueCode": state.code()}),
        json!({"name": "type", "valueCode": why.code()}),
        json!({"name": "events-since-subscription-start", "valueString": number.to_string()}),
    ]);
    parameters.extend(events.iter().map(|event| notice(core, event, *content)));
    let profile = format!("{PROFILES}backport-subscription-status-r4");
    json!({"resourceType": "Parameters", "meta": {"profile": [profile]}, "parameter": parameters})
}

fn notice(core: &Core, event: &Event, content: Content) -> Value {
    let made = Timestamp::from_millisecond(event.notice.made).unwrap_or_default();
    let mut part = vec![
        json!({"name": "event-number", "valueString": event.notice.number.to_string()}),
        json!({"name": "timestamp", "valueInstant": instant(made)}),
    ];
    if content != Content::Empty {
        let reference = format!("{}/{}", core.base, event.stored.name);
        part.push(json!({"name": "focus", "valueReference": {"reference": reference}}));
    }
    json!({"name": "notification-event", "part": part})
}

fn entry(core: &Core, event: &Event, content: Content) -> String {
    let stored = &event.stored;
    let first = stored.version == crate::ids::Version(1);
    let (method, url, status) =
        if first { ("POST", stored.name.kind.to_string(), "201") } else { ("PUT", stored.name.to_string(), "200") };
    let request = json!({"method": method, "url": url});
    let full_url = format!("{}/{}", core.base, stored.name);
    let resource = match content {
        Content::Resources => format!(r#","resource":{}"#, raw(&event.resource).get()),
        _ => String::new(),
    };
    format!(r#"{{"fullUrl":{}{resource},"request":{request},"response":{{"status":"{status}"}}}}"#, json!(full_url))
}

fn raw(resource: &[u8]) -> Box<RawValue> {
    RawValue::from_string(String::from_utf8_lossy(resource).into_owned()).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
