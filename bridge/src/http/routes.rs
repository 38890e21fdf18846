//! ALL ROUTES but those of operations, on one page. Path before method, so that an unknown path is a 404 and a known one with another method a
//! 405 with `Allow`. Everything but what is public takes a bearer token.

use super::reply::{Reply, body, failure, with_header};
use super::{audit, auth, edge, exchange, fhir, hl7v2, ledger, log, login, measured, metrics, operations};
use super::{people, portal, smart, witness};
use crate::app::App;
use crate::audit::seen::Seen;
use crate::error::Issue;
use crate::ids::TypeName;
use crate::limits::MAX_BODY_BYTES;
use crate::smart::token::Caller;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use warp::http::{HeaderMap, Method, StatusCode, header};

/// A request that was read whole.
pub struct Request {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Result<Bytes, BadBody>,
    /// What the answer shows.
    pub seen: Seen,
}

/// Why a body cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadBody {
    /// Longer than [`MAX_BODY_BYTES`], packed or unpacked, or too slow.
    TooLong,
    /// Packed in a way that this server does not know.
    Encoding,
    /// Said to be packed, and not.
    Broken,
    /// Not read: its client has sent more than it may, and is to come back after this time.
    Late(Duration),
    /// Not read to its end: there is no room for it now.
    Full,
}

/// An allowed request: what a handler gets.
pub struct Call<'r> {
    pub app: &'r Arc<App>,
    pub caller: Caller,
    pub request: &'r Request,
    pub body: &'r Bytes,
}

/// Where HTTP speaks TLS here, browsers come back by nothing else for a year.
const TLS_ALONE: &str = "max-age=31536000";

/// What a type and a resource take.
const OF_TYPE: &[Method] = &[Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
const OF_RESOURCE: &[Method] = &[Method::GET, Method::PUT, Method::PATCH, Method::DELETE];

/// Answers a request.
pub async fn dispatch(app: &Arc<App>, request: Request) -> Reply {
    measured::answered(&app.core.metrics, &request, answer(app, &request)).await
}

async fn answer(app: &Arc<App>, request: &Request) -> Reply {
    let origins = &app.config.cors;
    let reply = match edge::preflight(request, origins) {
        Some(reply) => reply,
        None => {
            // On the heap: all that a route may do would lie on the stack of a thread, in builds that are not optimised.
            let reply = Box::pin(route(app, request)).await.unwrap_or_else(|refused| refused);
            Box::pin(audit::told(app, request, reply)).await
        }
    };
    let reply = edge::marked(reply, request, origins);
    match app.core.feeds().doors.http {
        Some(_) => with_header(reply, header::STRICT_TRANSPORT_SECURITY, TLS_ALONE),
        None => reply,
    }
}

/// Whether the process is worth keeping: one whose committer has ended takes nothing any more until it is started anew.
fn alive(app: &App) -> Reply {
    match app.takes_work() {
        true => body(StatusCode::OK, "text/plain; charset=utf-8", "ok\n"),
        false => body(StatusCode::SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", "the committer has ended\n"),
    }
}

/// A refusal on the way is an answer too.
async fn route(app: &Arc<App>, request: &Request) -> Result<Reply, Reply> {
    if let Err(late @ BadBody::Late(_)) = request.body {
        return Err(bad_body(late));
    }
    let segments: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
    let get = || only(request, &[Method::GET]);
    match segments.as_slice() {
        [""] => get().map(|()| portal::landing(people::front(app))),
        ["healthz"] => get().map(|()| alive(app)),
        ["openapi.yaml"] => get().map(|()| body(StatusCode::OK, "application/yaml", OPENAPI)),
        ["readyz"] => {
            get()?;
            Ok(log::readiness(app).await)
        }
        ["metrics"] => metrics::beside_the_api(app, request).await,
        ["log", "checkpoint"] => {
            get()?;
            Ok(log::checkpoint(app).await)
        }
        ["log", "key"] => get().map(|()| log::key(app)),
        ["log", "status.json"] => {
            get()?;
            Ok(ledger::status(app).await)
        }
        ["witness", "key"] => get().map(|()| witness::key(app)),
        ["witness", "add-checkpoint"] => {
            only(request, &[Method::POST])?;
            Ok(witness::add_checkpoint(app, request).await)
        }
        ["log", "records.json"] => ledger::records(guard(app, request, &[Method::GET])?).await,
        ["log", "tile", rest @ ..] if !rest.is_empty() => {
            get()?;
            Ok(log::tile(app, rest).await)
        }
        [".well-known", "smart-configuration"] | ["fhir", ".well-known", "smart-configuration"] => {
            get().map(|()| smart::configuration(app))
        }
        [".well-known", "openid-configuration"] | ["fhir", ".well-known", "openid-configuration"] => {
            get().map(|()| smart::openid(app))
        }
        ["auth", "jwks"] => {
            get()?;
            Ok(auth::jwks(app).await)
        }
        ["auth", "register"] if app.config.registration.open => {
            only(request, &[Method::POST])?;
            Ok(auth::register::register(app, request).await)
        }
        ["auth", endpoint @ ("token" | "introspect" | "revoke")] => {
            only(request, &[Method::POST])?;
            Ok(auth::answer(app, request, endpoint).await)
        }
        ["me", ..]
        | ["withdraw"]
        | ["auth", "login" | "join" | "logout" | "keys" | "openid" | "authorize" | "apps", ..] => {
            Box::pin(people::answer(app, request, &segments)).await
        }
        [".well-known", "medseal-participant.json"] => get().and_then(|()| exchange::document(app)),
        ["exchange", rest @ ..] => Box::pin(exchange::answer(app, request, rest)).await,
        ["hl7v2"] => Ok(hl7v2::receive(guard(app, request, &[Method::POST])?).await),
        ["hl7v2", "messages", id] => Ok(hl7v2::message(guard(app, request, &[Method::GET])?, id).await),
        ["fhir", rest @ ..] => Box::pin(fhir_route(app, request, rest)).await,
        _ => {
            let file = portal::file(&request.path).ok_or_else(not_found)?;
            get().map(|()| file)
        }
    }
}

async fn fhir_route(app: &Arc<App>, request: &Request, rest: &[&str]) -> Result<Reply, Reply> {
    fhir::acceptable(request, rest)?;
    let reply = fhir_answer(app, request, rest).await;
    Ok(fhir::laid_out(request, reply.unwrap_or_else(|refused| refused)))
}

async fn fhir_answer(app: &Arc<App>, request: &Request, rest: &[&str]) -> Result<Reply, Reply> {
    let call = |methods: &[Method]| guard(app, request, methods);
    match rest {
        [] | [""] if request.method == Method::GET => Err(not_of_everything(StatusCode::METHOD_NOT_ALLOWED)),
        [] | [""] => Box::pin(fhir::bundle(call(&[Method::POST])?)).await,
        ["_search"] => Err(not_of_everything(StatusCode::NOT_FOUND)),
        ["metadata"] => {
            only(request, &[Method::GET])?;
            fhir::metadata(app, request)
        }
        ["_history"] => fhir::history::of_everything(call(&[Method::GET])?).await,
        rest if rest.iter().any(|segment| segment.starts_with('$')) => {
            Box::pin(operations::answer(app, request, rest)).await
        }
        [kind] => fhir::of_type(call(OF_TYPE)?, kind).await,
        [kind, "_history"] => fhir::history::of_type(call(&[Method::GET])?, kind).await,
        [kind, "_search"] => fhir::posted_search(call(&[Method::POST])?, kind).await,
        [kind, id] => fhir::of_resource(call(OF_RESOURCE)?, kind, id).await,
        ["Patient", id, kind] if *kind == "*" || TypeName::parse(kind).is_some() => {
            fhir::of_patient(call(&[Method::GET])?, id, kind).await
        }
        ["Patient", id, kind, "_search"] => fhir::of_patient(call(&[Method::POST])?, id, kind).await,
        [kind, id, "_history"] => fhir::history::of_resource(call(&[Method::GET])?, kind, id).await,
        [kind, id, "_history", version] => fhir::of_version(call(&[Method::GET])?, kind, id, version).await,
        _ => Err(not_found()),
    }
}

/// Method, then caller, then size: nothing is done for a stranger.
pub(super) fn guard<'r>(app: &'r Arc<App>, request: &'r Request, methods: &[Method]) -> Result<Call<'r>, Reply> {
    only(request, methods)?;
    let caller = login::caller(app, &request.headers)?;
    let body = request.body.as_ref().map_err(|bad| bad_body(*bad))?;
    let caller = caller.asks(&request.seen);
    Ok(Call { app, caller, request, body })
}

fn bad_body(bad: BadBody) -> Reply {
    let (status, code, text) = match bad {
        BadBody::TooLong => {
            let text = format!("a body is at most {MAX_BODY_BYTES} bytes, unpacked too, and arrives in time");
            (StatusCode::PAYLOAD_TOO_LARGE, "too-long", text)
        }
        BadBody::Encoding => {
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-supported", "Content-Encoding: gzip or none".into())
        }
        BadBody::Broken => (StatusCode::BAD_REQUEST, "structure", "the body is not gzip, as its header says".into()),
        BadBody::Full => {
            let text = "there is no room for so long a body now: others are arriving, of this client or in all";
            let reply = failure(StatusCode::SERVICE_UNAVAILABLE, Issue::new("transient", text));
            return with_header(reply, header::RETRY_AFTER, "5");
        }
        BadBody::Late(wait) => {
            let text = "this client, or its address, sends more requests than it may: come back when Retry-After says";
            let reply = failure(StatusCode::TOO_MANY_REQUESTS, Issue::new("throttled", text));
            let seconds = wait.as_secs_f64().ceil().max(1.0).to_string();
            return with_header(reply, header::RETRY_AFTER, &seconds);
        }
    };
    failure(status, Issue::new(code, text))
}

/// A 405 unless the method is one of those.
pub(super) fn only(request: &Request, methods: &[Method]) -> Result<(), Reply> {
    if methods.contains(&request.method) {
        return Ok(());
    }
    let allow = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    let reply =
        failure(StatusCode::METHOD_NOT_ALLOWED, Issue::new("not-supported", format!("this address takes {allow}")));
    Err(with_header(reply, header::ALLOW, &allow))
}

/// A search over all types would walk through all that there is.
fn not_of_everything(status: StatusCode) -> Reply {
    let text = "a search over all types is not held here: search a type, or send a batch with a search of each";
    let reply = failure(status, Issue::new("not-supported", text));
    with_header(reply, header::ALLOW, "POST")
}

/// Nothing is here.
pub fn not_found() -> Reply {
    failure(StatusCode::NOT_FOUND, Issue::new("not-found", "there is nothing at this address"))
}

/// The API's description, as served and as tested.
pub const OPENAPI: &str = include_str!("../../../openapi/medseal.yaml");
