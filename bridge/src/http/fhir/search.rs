//! Search over one type, and over one type in the compartment of a patient.

use super::super::reply::{Reply, failure};
use super::super::routes::Call;
use super::super::search::{Handling, Way, answer};
use super::page::Page;
use super::{media_type, parse_name, text, unknown_type};
use crate::error::Issue;
use crate::fhir::search::table::{COMPARTMENT, belonging};
use crate::ids::TypeName;
use std::borrow::Cow;
use warp::http::{Method, StatusCode, header};

/// `POST /fhir/{type}/_search`.
pub async fn posted_search(call: Call<'_>, kind: &str) -> Result<Reply, Reply> {
    let kind = TypeName::parse(kind).ok_or_else(unknown_type)?;
    let form = form(&call)?;
    search(&call, kind, &format!("{}&{form}", call.request.query)).await
}

/// What a posted search asks for.
fn form<'c>(call: &'c Call<'_>) -> Result<Cow<'c, str>, Reply> {
    if !call.body.is_empty() && media_type(&call.request.headers) != "application/x-www-form-urlencoded" {
        let text = "a search is posted as a form: application/x-www-form-urlencoded";
        return Err(failure(StatusCode::UNSUPPORTED_MEDIA_TYPE, Issue::new("not-supported", text)));
    }
    Ok(String::from_utf8_lossy(call.body))
}

/// `GET /fhir/Patient/{id}/{type}` and `POST /fhir/Patient/{id}/{type}/_search`: a search in the patient's compartment.
pub async fn of_patient(call: Call<'_>, id: &str, kind: &str) -> Result<Reply, Reply> {
    let name = parse_name("Patient", id).ok_or_else(unknown_type)?;
    let kind = TypeName::parse(kind).filter(|kind| belonging(*kind).is_some()).ok_or_else(|| {
        let text =
            "no resource type of FHIR R4 whose resources belong to patients; for all of them there is $everything";
        failure(StatusCode::NOT_FOUND, Issue::new("not-supported", text))
    })?;
    let form = form(&call)?;
    search(&call, kind, &format!("{}&{form}&{COMPARTMENT}={name}", call.request.query)).await
}

pub(super) async fn search(call: &Call<'_>, kind: TypeName, text_query: &str) -> Result<Reply, Reply> {
    let prefer = text(&call.request.headers, header::HeaderName::from_static("prefer"));
    let way = if call.request.method == Method::POST { Way::Post } else { Way::Get };
    answer(call.app, &call.caller, kind, text_query, Handling::of(prefer), way).await.map(Page::reply)
}
