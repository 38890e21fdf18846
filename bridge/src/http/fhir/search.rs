//! Search over one type.

use super::super::reply::{Reply, failure};
use super::super::routes::Call;
use super::super::search::{Handling, Way, answer};
use super::page::Page;
use super::{media_type, text, unknown_type};
use crate::error::Issue;
use crate::ids::TypeName;
use warp::http::{Method, StatusCode, header};

/// `POST /fhir/{type}/_search`.
pub async fn posted_search(call: Call<'_>, kind: &str) -> Result<Reply, Reply> {
    let kind = TypeName::parse(kind).ok_or_else(unknown_type)?;
    if !call.body.is_empty() && media_type(&call.request.headers) != "application/x-www-form-urlencoded" {
        let text = "a search is posted as a form: application/x-www-form-urlencoded";
        return Err(failure(StatusCode::UNSUPPORTED_MEDIA_TYPE, Issue::new("not-supported", text)));
    }
    let form = String::from_utf8_lossy(call.body);
    search(&call, kind, &format!("{}&{form}", call.request.query)).await
}

pub(super) async fn search(call: &Call<'_>, kind: TypeName, text_query: &str) -> Result<Reply, Reply> {
    let prefer = text(&call.request.headers, header::HeaderName::from_static("prefer"));
    let way = if call.request.method == Method::POST { Way::Post } else { Way::Get };
    answer(call.app, &call.caller, kind, text_query, Handling::of(prefer), way).await.map(Page::reply)
}
