//! To whom access is given: the list to choose from, and whoever is named by a reference.

use super::at_desk;
use super::refusal::Refusal;
use crate::app::App;
use crate::config::ParticipantId;
use crate::consent::grant::{self, Recipient, is_recipient};
use crate::exchange::peers;
use crate::fhir::display::person;
use crate::fhir::search::query;
use crate::http::fhir::may;
use crate::ids::{Name, TypeName};
use crate::limits::MAX_PAGE;
use crate::read::read;
use crate::search::search;
use crate::smart::scopes::{self, Interaction};
use crate::smart::token::Caller;
use notary::canonical::Json;
use notary::chain::participants::Status;
use std::sync::Arc;

/// Whom somebody may choose from a list; anybody else by a reference. A program that registered itself calls itself what it likes: it is
/// let in on a page that says so, and given access to by nobody.
pub(super) async fn all(app: &Arc<App>) -> Result<Vec<Recipient>, Refusal> {
    let clients = at_desk(app, |desk| Ok(desk.store.clients()?)).await?;
    // What is known of some is no more than a name in a message, often of a system or of who gives out numbers: they come last.
    let (mut known, mut names) = (Vec::new(), Vec::new());
    for kind in ["Organization", "Practitioner"] {
        let kind = TypeName::parse(kind).ok_or(Refusal::Nothing)?;
        let caller = Caller::new("directory", scopes::parse_known("system/Organization.rs system/Practitioner.rs"));
        let core = &app.core;
        let asked = query::read(kind, &[("_count".into(), MAX_PAGE.to_string())], &core.around());
        let found = search(core, &caller, core.around(), &asked.map_err(|_| Refusal::Form)?, None).await?;
        let (authorities, others): (Vec<_>, Vec<_>) = found.matches.iter().partition(|one| is_authority(&one.json()));
        known.extend(others.iter().map(|one| recipient(&one.stored.name, &one.json())));
        names.extend(authorities.iter().map(|one| recipient(&one.stored.name, &one.json())));
    }
    let program = |id: &str, name: String| Recipient { reference: format!("Device/{id}"), called: name };
    let here = clients.into_iter().filter(|client| !client.by_itself);
    known.extend(here.take(MAX_PAGE).map(|client| program(&client.id, client.name)));
    known.append(&mut names);
    Ok(known)
}

/// Whether a message has named it only as who sends, or gives out numbers (HD): it has a name, the same as an identifier or with an
/// address of a registry of such names (HL7 table 0301), and nothing else.
fn is_authority(resource: &Json) -> bool {
    const KNOWN: [&str; 5] = ["resourceType", "id", "meta", "identifier", "name"];
    const KINDS: &str = "http://terminology.hl7.org/CodeSystem/v2-0301";
    let name = resource.text("name");
    let identifiers = resource.get("identifier").map_or(&[][..], Json::items);
    let bare = |one: &Json| {
        let kind = one.get("type").and_then(|kind| kind.get("coding")).and_then(|codings| codings.items().first());
        let of_registry = kind.and_then(|coding| coding.text("system")) == Some(KINDS);
        let alone = ["system", "type", "assigner"].iter().all(|member| one.get(member).is_none());
        of_registry || (alone && one.text("value") == name)
    };
    resource.members().iter().all(|(member, _)| KNOWN.contains(&member.as_str()))
        && !identifiers.is_empty()
        && identifiers.iter().all(bare)
}

fn recipient(name: &Name, resource: &Json) -> Recipient {
    let called = resource.text("name").map_or_else(|| person(resource), str::to_owned);
    let called = if called.is_empty() { name.kind.as_str().to_owned() } else { called };
    Recipient { reference: name.to_string(), called }
}

/// Whoever is named by a reference, if he is known here.
pub(super) async fn named(app: &Arc<App>, reference: &str) -> Result<Recipient, Refusal> {
    const UNKNOWN: Refusal = Refusal::App("nobody of this name is known here: choose from the list");
    if let Some(id) = grant::participant(reference.trim()) {
        return other(app, id).await;
    }
    let name = Name::parse(reference.trim()).filter(is_recipient).ok_or(UNKNOWN)?;
    if name.kind.as_str() == "Device" {
        let id = name.id.as_str().to_owned();
        let client = at_desk(app, move |desk| Ok(desk.store.client(&id)?)).await?;
        let client = client.filter(|client| !client.by_itself).ok_or(UNKNOWN)?;
        return Ok(Recipient { reference: name.to_string(), called: client.name });
    }
    let caller = Caller::new("directory", scopes::parse_known("system/Organization.rs system/Practitioner.rs"));
    let permit = may(&caller, Interaction::Read, Some(name.kind))?;
    let found = read(&app.core, &permit, &name, None).await?;
    let found = found.filter(|opened| !opened.stored.deleted).ok_or(UNKNOWN)?;
    Ok(recipient(&name, &found.json()))
}

/// Another organisation that takes part in the network now, by the name that the directory has.
async fn other(app: &Arc<App>, id: &str) -> Result<Recipient, Refusal> {
    const NOBODY: Refusal =
        Refusal::App("this organisation takes no part in the network now, or the network cannot be asked");
    let id = ParticipantId::parse(id).ok_or(NOBODY)?;
    let exchange = app.exchange.as_ref().ok_or(NOBODY)?;
    let found = exchange.directory.find(&id, peers::now(app)).await.map_err(|_| NOBODY)?;
    if found.status == Status::Active { Ok(Recipient::outside(id.as_str(), &found.name)) } else { Err(NOBODY) }
}
