//! Read, version read, and the receipt of a version.

use super::super::reply::{Reply, body, empty, failure, fhir, unreadable, versioned};
use super::super::routes::{Call, Request, not_found};
use super::binary::{content, content_wanted, is_binary};
use super::{may, one_view, parse_name, provenance, text};
use crate::anchor;
use crate::clock::{instant, parse_http_date};
use crate::error::{Issue, VaultError};
use crate::fhir::view::View;
use crate::fhir::write::if_match;
use crate::http::query;
use crate::ids::{Name, Version};
use crate::read::{self, Opened};
use crate::smart::scopes::Interaction;
use warp::http::{HeaderMap, StatusCode, header};

/// `GET /fhir/{type}/{id}`.
pub(super) async fn read(call: &Call<'_>, name: Name) -> Result<Reply, Reply> {
    let permit = may(&call.caller, Interaction::Read, Some(name.kind))?;
    let view = one_view(call.request)?;
    answer(read::read(&call.app.core, &permit, &name, None).await, call.request, &view)
}

/// `GET /fhir/{type}/{id}/_history/{version}`.
pub async fn of_version(call: Call<'_>, kind: &str, id: &str, version: &str) -> Result<Reply, Reply> {
    let name = parse_name(kind, id).ok_or_else(not_found)?;
    self::version(&call, name, Version::parse(version).ok_or_else(not_found)?).await
}

pub(super) async fn version(call: &Call<'_>, name: Name, version: Version) -> Result<Reply, Reply> {
    let permit = may(&call.caller, Interaction::Read, Some(name.kind))?;
    let view = one_view(call.request)?;
    answer(read::read(&call.app.core, &permit, &name, Some(version)).await, call.request, &view)
}

/// `GET .../$receipt`.
pub async fn receipt(call: Call<'_>, kind: &str, id: &str, version: Option<&str>) -> Result<Reply, Reply> {
    let form = Form::asked(call.request)?;
    let name = parse_name(kind, id).ok_or_else(not_found)?;
    let version = version.map(|v| Version::parse(v).ok_or_else(not_found)).transpose()?;
    let permit = may(&call.caller, Interaction::Read, Some(name.kind))?;
    let made = match read::read(&call.app.core, &permit, &name, version).await {
        // For who sees a part it is not there: whose it was nobody can tell.
        Err(VaultError::Erased) => anchor::erased_receipt(&call.app.core, &name, version).await,
        Err(error) => return Err(unreadable(&error)),
        Ok(None) => return Err(not_found()),
        Ok(Some(opened)) => {
            let core = call.app.core.clone();
            let made = tokio::task::spawn_blocking(move || anchor::receipt(&core, &opened)).await;
            made.unwrap_or(Err(anchor::AnchorError::CutShort))
        }
    };
    match made.map(|made| made.map(|receipt| if form.opening { receipt } else { receipt.without_opening() })) {
        Ok(Some(receipt)) if form.as_fhir => {
            let now = instant(call.app.core.clock.now());
            Ok(fhir(StatusCode::OK, provenance::of(&receipt, &call.app.core.base, &now).to_string()))
        }
        Ok(Some(receipt)) => Ok(body(StatusCode::OK, "application/json", receipt.to_json())),
        Ok(None) => {
            let text = "this version is not in a signed checkpoint yet: ask again in a moment";
            Err(failure(StatusCode::SERVICE_UNAVAILABLE, Issue::new("transient", text)))
        }
        Err(error) => {
            tracing::error!(%error, "a receipt could not be made");
            Err(failure(StatusCode::INTERNAL_SERVER_ERROR, Issue::new("exception", "the receipt cannot be made")))
        }
    }
}

/// What a receipt is asked for as.
#[derive(Debug, PartialEq, Eq)]
struct Form {
    /// By `_format` alone: what clients of FHIR always accept asks for nothing.
    as_fhir: bool,
    opening: bool,
}

impl Form {
    /// A parameter that is not known is refused: who misspells `opening=false` would hand on what he wanted to keep.
    fn asked(request: &Request) -> Result<Self, Reply> {
        let pairs = query::pairs(&request.query);
        pairs
            .and_then(|pairs| Self::of(&pairs))
            .map_err(|what| failure(StatusCode::BAD_REQUEST, Issue::new("value", what)))
    }

    fn of(pairs: &[(String, String)]) -> Result<Self, String> {
        let mut form = Self { as_fhir: false, opening: true };
        for (name, value) in pairs {
            match (name.as_str(), value.as_str()) {
                ("_format", value) => form.as_fhir = value == "application/fhir+json",
                ("_pretty", _) => {}
                ("opening", "true" | "false") => form.opening = value == "true",
                ("opening", _) => return Err("opening is true or false".to_owned()),
                _ => return Err("the parameters of $receipt are opening and _format".to_owned()),
            }
        }
        Ok(form)
    }
}

fn answer(read: Result<Option<Opened>, VaultError>, request: &Request, view: &View) -> Result<Reply, Reply> {
    let opened = read.map_err(|error| unreadable(&error))?.ok_or_else(not_found)?;
    let stored = &opened.stored;
    let reply = if stored.deleted {
        failure(StatusCode::GONE, Issue::new("deleted", "the resource was deleted"))
    } else if not_modified(&request.headers, stored.version, stored.updated) {
        empty(StatusCode::NOT_MODIFIED)
    } else if is_binary(stored.name.kind) && content_wanted(request)? {
        content(&opened.resource)
    } else {
        fhir(StatusCode::OK, view.show(&opened.resource).into_owned())
    };
    Ok(versioned(reply, stored.version, stored.updated))
}

/// If-None-Match goes before If-Modified-Since (RFC 9110 section 13.2.2).
fn not_modified(headers: &HeaderMap, version: Version, updated: i64) -> bool {
    if let Some(tags) = text(headers, header::IF_NONE_MATCH) {
        return tags.split(',').any(|tag| tag.trim() == "*" || if_match(tag) == Some(version));
    }
    let since = text(headers, header::IF_MODIFIED_SINCE).and_then(parse_http_date);
    since.is_some_and(|since| updated.div_euclid(1_000) <= since.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_receipt_is_asked_for_as_is_read_or_refused() {
        let of = |text: &str| Form::of(&query::pairs(text).unwrap()).ok().map(|form| (form.as_fhir, form.opening));
        assert_eq!(of(""), Some((false, true)));
        assert_eq!(of("_format=json&opening=true"), Some((false, true)));
        assert_eq!(of("opening=false&_format=application%2Ffhir%2Bjson"), Some((true, false)));
        for bad in ["opening=no", "opening=", "openning=false", "Opening=false", "salt=false"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
