//! Binary: content of any type, in as it is and out as it is (R4 2.35). What is stored is the FHIR resource.

use super::super::accept::{Wanted, refused};
use super::super::reply::{Reply, body, failure, with_header};
use super::super::routes::{Call, Request};
use super::{is_fhir_json, parsed, text};
use crate::error::Issue;
use crate::ids::{ResourceId, TypeName};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use notary::canonical::Json;
use warp::http::header::{self, HeaderName};
use warp::http::{Method, StatusCode};

/// What access to the content goes by (R4 2.35).
const SECURITY_CONTEXT: HeaderName = HeaderName::from_static("x-security-context");

pub(super) fn is_binary(kind: TypeName) -> bool {
    kind.as_str() == "Binary"
}

/// Whether a request reads a Binary, or a version of one: it may ask for any media type.
pub(in crate::http) fn is_read(request: &Request, rest: &[&str]) -> bool {
    request.method == Method::GET && matches!(rest, ["Binary", _] | ["Binary", _, "_history", _])
}

/// The resource that a request brings: itself, or made of the content. JSON is content too unless it is a Binary.
pub(super) async fn brought(call: &Call<'_>, id: Option<&ResourceId>) -> Result<Json, Reply> {
    let media_type = text(&call.request.headers, header::CONTENT_TYPE).unwrap_or("").trim();
    let unsupported = |text| failure(StatusCode::UNSUPPORTED_MEDIA_TYPE, Issue::new("not-supported", text));
    if media_type.is_empty() {
        return Err(unsupported("Content-Type: say what the content is"));
    }
    if media_type.to_ascii_lowercase().starts_with("application/fhir+xml") {
        return Err(unsupported(
            "a Binary in XML is not told from content in XML: send the content as application/xml",
        ));
    }
    if is_fhir_json(media_type) {
        let json = parsed(call.body.clone()).await?;
        if json.text("resourceType") == Some("Binary") {
            return Ok(json);
        }
    }
    Ok(resource(call, id, media_type))
}

fn resource(call: &Call<'_>, id: Option<&ResourceId>, media_type: &str) -> Json {
    let string = |text: &str| Json::String(text.to_owned());
    let mut members = vec![("resourceType".to_owned(), string("Binary"))];
    members.extend(id.map(|id| ("id".to_owned(), string(id.as_str()))));
    members.push(("contentType".to_owned(), string(media_type)));
    let context = text(&call.request.headers, SECURITY_CONTEXT);
    let reference = |context| Json::Object(vec![("reference".to_owned(), string(context))]);
    members.extend(context.map(|context| ("securityContext".to_owned(), reference(context))));
    if !call.body.is_empty() {
        members.push(("data".to_owned(), Json::String(STANDARD.encode(call.body))));
    }
    Json::Object(members)
}

/// Whether the content itself is wanted: so it is unless FHIR is asked for by name (R4 2.35).
pub(super) fn content_wanted(request: &Request) -> Result<bool, Reply> {
    let wanted = Wanted::of(request);
    if wanted.names(&["json"]) {
        return Ok(false);
    }
    if wanted.names(&["fhir+xml"]) && !wanted.is_open() {
        return Err(refused(
            "this server speaks FHIR in JSON: application/fhir+json; without it the content comes as it is",
        ));
    }
    Ok(true)
}

/// The content.
pub(super) fn content(resource: &[u8]) -> Reply {
    let json = Json::parse(resource).unwrap_or(Json::Null);
    let Some(bytes) = unpacked(json.text("data").unwrap_or("")) else {
        let text = "Binary.data is no base64 that can be read; ask for application/fhir+json";
        return failure(StatusCode::NOT_ACCEPTABLE, Issue::new("exception", text));
    };
    let mut reply = body(StatusCode::OK, "application/octet-stream", bytes);
    if let Some(media_type) = json.text("contentType") {
        reply = with_header(reply, header::CONTENT_TYPE, media_type);
    }
    if let Some(context) = json.get("securityContext").and_then(|context| context.text("reference")) {
        reply = with_header(reply, SECURITY_CONTEXT, context);
    }
    to_save(reply, "attachment")
}

/// What base64 holds, in however many lines it stands.
pub(in crate::http) fn unpacked(data: &str) -> Option<Vec<u8>> {
    let packed: String = data.split_ascii_whitespace().collect();
    STANDARD.decode(packed).ok()
}

/// What anybody may have written: a browser may save it, and neither guess what it is nor run it, nor show it in a frame.
pub(in crate::http) fn to_save(reply: Reply, disposition: &str) -> Reply {
    const POLICY: &str = "default-src 'none'; frame-ancestors 'none'; sandbox";
    let reply = with_header(reply, header::CONTENT_DISPOSITION, disposition);
    with_header(reply, header::CONTENT_SECURITY_POLICY, POLICY)
}
