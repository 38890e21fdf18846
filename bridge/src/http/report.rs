//! `Patient/[id]/$report`: the record as a page for people, to read and to print; for programs the FHIR document behind it.

use super::accept::{Wanted, refused as not_acceptable};
use super::everything::there;
use super::fhir::parse_name;
use super::parameters::Given;
use super::reply::{Reply, body, with_header};
use super::routes::{Call, Request, not_found};
use super::search::{self, surroundings};
use super::summary::document_of;
use crate::clock::instant;
use crate::fhir::report::{Parts, STYLE, Version, page};
use crate::ids::TypeName;
use crate::read::Opened;
use crate::summary::{Gathered, gather};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use notary::canonical::Json;
use notary::commitment::Digest;
use notary::tree::LeafHash;
use warp::http::{StatusCode, header};

/// Points of a chart.
const SERIES: usize = 40;

/// `GET /fhir/Patient/{id}/$report`.
pub async fn answer(call: Call<'_>, id: &str) -> Result<Reply, Reply> {
    let name = parse_name("Patient", id).ok_or_else(not_found)?;
    let patient = there(&call, &name).await?;
    Given::read(&call, &[]).await?;
    if Form::of(call.request)? == Form::Document {
        return document_of(&call, &patient, Some(SERIES)).await;
    }
    let core = &call.app.core;
    let around = surroundings(call.app);
    let found = gather(core, &call.caller, around, &patient, Some(SERIES)).await.map_err(search::refused)?;
    let withheld: Vec<&str> = found.withheld.iter().map(|kind| TypeName::as_str(*kind)).collect();
    let referred: Vec<Json> = found.referred.iter().map(Opened::json).collect();
    let made = page(&Parts {
        base: &core.base,
        custodian: &core.custodian,
        now: &instant(core.clock.now()),
        patient: &patient.json(),
        chosen: &found.json(),
        referred: &referred,
        withheld: &withheld,
        versions: &versions(&patient, &found),
        log_key: &core.signer.key().to_string(),
    });
    Ok(secured(body(StatusCode::OK, "text/html; charset=utf-8", made)))
}

/// What of the report is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Page,
    Document,
}

impl Form {
    /// What is named first; a page for who names nothing.
    fn of(request: &Request) -> Result<Self, Reply> {
        let wanted = Wanted::of(request);
        match wanted.first_of(&["html", "json"]) {
            Some("json") => Ok(Self::Document),
            Some(_) => Ok(Self::Page),
            None if wanted.is_open() || wanted.names(&["text/*"]) => Ok(Self::Page),
            None => Err(not_acceptable("a report is text/html, or a FHIR document as application/fhir+json")),
        }
    }
}

/// Whether a request asks for a report, which may be a page.
pub(super) fn is_asked(rest: &[&str]) -> bool {
    matches!(rest, ["Patient", _, "$report"])
}

fn versions(patient: &Opened, found: &Gathered) -> Vec<Version> {
    let shown = std::iter::once(patient).chain(found.chosen.iter().flatten());
    let one = |opened: &Opened| Version {
        reference: format!("{}/_history/{}", opened.stored.name, opened.stored.version),
        leaf: opened.stored.entry.as_deref().map(|entry| hex::encode(LeafHash::of_bytes(entry).0)),
    };
    shown.map(one).collect()
}

/// The page may show itself and nothing else: no script, no picture, no frame around it, no word of where it was read.
fn secured(reply: Reply) -> Reply {
    let style = STANDARD.encode(Digest::of(STYLE.as_bytes()).0);
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let reply = with_header(reply, header::CONTENT_SECURITY_POLICY, &policy);
    with_header(reply, header::REFERRER_POLICY, "no-referrer")
}
