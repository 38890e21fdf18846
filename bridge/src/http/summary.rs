//! `Patient/[id]/$summary`: the International Patient Summary.

use super::everything::there;
use super::fhir::parse_name;
use super::parameters::{Given, refused};
use super::reply::{Reply, fhir, unreadable};
use super::routes::{Call, not_found};
use super::search::{self, surroundings};
use crate::clock::instant;
use crate::error::Issue;
use crate::fhir::summary::{FRESH_IDS, Parts, document, profile};
use crate::ids::{ResourceId, TypeName};
use crate::read::Opened;
use crate::secret::{self, NoRandomness, system_random};
use crate::summary::gather;
use notary::canonical::Json;
use warp::http::StatusCode;

/// `GET /fhir/Patient/{id}/$summary`.
pub async fn answer(call: Call<'_>, id: &str) -> Result<Reply, Reply> {
    let name = parse_name("Patient", id).ok_or_else(not_found)?;
    let patient = there(&call, &name).await?;
    let given = Given::read(&call, &["profile"]).await?;
    if given.get("profile").is_some_and(|asked| asked != profile::BUNDLE) {
        return Err(refused(Issue::new("not-supported", format!("profile: the only one is {}", profile::BUNDLE))));
    }
    document_of(&call, &patient, None).await
}

/// The document of a patient; of results that repeat, the newest so many of each code, or as many as a summary has.
pub(super) async fn document_of(call: &Call<'_>, patient: &Opened, per_code: Option<usize>) -> Result<Reply, Reply> {
    let core = &call.app.core;
    let around = surroundings(call.app);
    let found = gather(core, &call.caller, around, patient, per_code).await.map_err(search::refused)?;
    let ids = fresh_ids().map_err(|error| unreadable(&error.into()))?;
    let withheld: Vec<&str> = found.withheld.iter().map(|kind| TypeName::as_str(*kind)).collect();
    let referred: Vec<Json> = found.referred.iter().map(Opened::json).collect();
    let made = document(&Parts {
        base: &core.base,
        custodian: &core.custodian,
        now: &instant(core.clock.now()),
        patient: &patient.json(),
        chosen: &found.json(),
        referred: &referred,
        withheld: &withheld,
        ids: &ids,
    });
    Ok(fhir(StatusCode::OK, made.compact()))
}

fn fresh_ids() -> Result<[ResourceId; FRESH_IDS], NoRandomness> {
    let random = secret::bytes::<{ 16 * FRESH_IDS }>(&system_random)?;
    let mut parts = random.as_chunks::<16>().0.iter();
    Ok(std::array::from_fn(|_| ResourceId::from_bytes(parts.next().copied().unwrap_or_default())))
}
