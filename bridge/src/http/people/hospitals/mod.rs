//! Other hospitals, for a clinician: who takes part, what they have of a patient of ours, and a look at it that leaves nothing here.
//! What is shown is proved first; what is refused is told with what is missing.

pub(super) mod ask;
mod asked;
pub(super) mod look;
mod pages;
mod shown;

use super::refusal::Refusal;
use super::visit::Visit;
use super::{page, record};
use crate::app::App;
use crate::exchange::participants::Participant;
use crate::http::exchange::own;
use crate::http::fhir::parse_name;
use crate::http::reply::{Reply, with_header};
use crate::http::routes::Request;
use crate::people::Role;
use crate::read::Opened;
use crate::{exchange, http::people::parameter};
use maud::Markup;
use notary::chain::participants::Status;
use std::collections::HashMap;
use std::sync::Arc;
use warp::http::{HeaderName, StatusCode};

/// The first of these pages.
pub(super) const HOME: &str = "/me/hospitals";
/// Who looks, and when: on each page of a look.
const WATERMARK: HeaderName = HeaderName::from_static("medseal-watermark");
/// Who has no part in a network.
pub(super) const ALONE: Refusal =
    Refusal::App("this service exchanges nothing with others: the administrator can set that up");

/// What a clinician may ask for: what a patient can consent to.
pub(super) const PURPOSES: &[(&str, &str)] =
    &[("TREAT", "treatment"), ("HPAYMT", "payment and insurance"), ("HRESCH", "research")];

/// A purpose of use in plain words.
pub(super) fn purpose(code: &str) -> &str {
    PURPOSES.iter().find(|(known, _)| *known == code).map_or(code, |(_, words)| words)
}

/// What a page lists of the network.
enum Network {
    /// There is none.
    Alone,
    /// It cannot be asked now.
    Away,
    Of(Vec<(Participant, Option<Arc<exchange::document::Document>>)>),
}

/// `GET /me/hospitals?name=&place=&service=&patient=`.
pub(super) async fn form(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let visit = match Visit::of(app, request, Role::Clinician).await? {
        Ok(visit) => visit,
        Err(door) => return Ok(door),
    };
    let patient = match parameter(request, "patient") {
        Some(id) => Some(patient(&visit, &id).await?),
        None => None,
    };
    let network = network(&visit).await;
    let lately = if matches!(network, Network::Alone) { None } else { Some(asked::lately(&visit).await?) };
    let status = if matches!(network, Network::Away) { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    Ok(page(status, &pages::form(&visit, &network, patient.as_ref(), lately.as_ref())))
}

/// One of our patients, whom the visitor may read.
async fn patient(visit: &Visit<'_>, id: &str) -> Result<Opened, Refusal> {
    let name = parse_name("Patient", id).ok_or(Refusal::Nothing)?;
    Ok(record::chart(visit, name, String::new()).await?.patient)
}

/// The others who take part, or did; not who only applies.
async fn network(visit: &Visit<'_>) -> Network {
    let Some(settings) = visit.app.exchange.as_ref().map(|exchange| &exchange.settings) else { return Network::Alone };
    let given = |name: &str| parameter(visit.request, name).map(|value| (name.to_owned(), value.trim().to_owned()));
    let asked: HashMap<String, String> =
        ["name", "place", "service"].into_iter().filter_map(given).filter(|(_, value)| !value.is_empty()).collect();
    match own::listed(visit.app, &asked).await {
        Ok(found) => {
            let others = found
                .into_iter()
                .filter(|(one, _)| one.id != settings.id && matches!(one.status, Status::Active | Status::Suspended));
            Network::Of(others.collect())
        }
        Err(error) => {
            tracing::warn!(%error, "the network cannot be shown");
            Network::Away
        }
    }
}

/// A page of what belongs to somebody else: with who looks, and when.
fn marked(status: StatusCode, content: &Markup, mark: &str) -> Reply {
    with_header(page(status, content), WATERMARK, mark)
}
