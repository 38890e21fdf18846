//! What documents hold: a Binary here that a DocumentReference's attachment leads to goes where the document goes. Whether it may is decided
//! as part of the document, and only where it is nobody else's.

use super::error::ExchangeError;
use super::rules::is_foreign;
use crate::app::Core;
use crate::consent::decide::decide;
use crate::consent::outside::PARCEL;
use crate::fhir::membership;
use crate::fhir::search::criterion::normal;
use crate::fhir::search::query;
use crate::ids::{Name, TypeName, Version};
use crate::limits::{MAX_CONTENTS, MAX_PAGE, MAX_PARCEL_BYTES};
use crate::notify::open_or_leave;
use crate::read::{Opened, in_background};
use crate::search::search;
use crate::smart::scopes::{self, Interaction};
use crate::smart::token::Caller;
use notary::canonical::Json;
use std::collections::HashSet;

const DOCUMENT: &str = "DocumentReference";
const CONTENT: &str = "Binary";

/// Whether a resource may hold others.
pub fn is_document(name: &Name) -> bool {
    name.kind.as_str() == DOCUMENT
}

/// Whether a resource is what a document may hold.
pub fn is_content(name: &Name) -> bool {
    name.kind.as_str() == CONTENT
}

/// The Binaries at an address that the attachments of a DocumentReference lead to, and the version where one is named: the first of them.
pub fn attached(document: &Json, base: &str) -> Vec<(Name, Option<Version>)> {
    if document.text("resourceType") != Some(DOCUMENT) {
        return Vec::new();
    }
    let contents = document.get("content").map_or(&[][..], Json::items);
    let urls = contents.iter().filter_map(|content| content.get("attachment")?.text("url"));
    urls.filter_map(|url| binary(url, base)).take(MAX_CONTENTS).collect()
}

/// A Binary at an address, by a url.
fn binary(url: &str, base: &str) -> Option<(Name, Option<Version>)> {
    let name = Name::parse(normal(url, base)).filter(is_content)?;
    match url.split_once("/_history/") {
        Some((_, version)) => Some((name, Some(Version::parse(version)?))),
        None => Some((name, None)),
    }
}

/// Turns the urls of a document's contents to where those are: what they are called there, or their address at `base`, where they are from.
pub fn readdress(document: &mut Json, base: &str, called: impl Fn(&Name) -> Option<String>) {
    if document.text("resourceType") != Some(DOCUMENT) {
        return;
    }
    let Some(Json::Array(contents)) = document.get_mut("content") else { return };
    for attachment in contents.iter_mut().filter_map(|content| content.get_mut("attachment")) {
        let Some(url) = attachment.text("url") else { continue };
        let Some((name, version)) = binary(url, base) else { continue };
        let whole = || version.map_or(format!("{base}/{name}"), |version| format!("{base}/{name}/_history/{version}"));
        let new = called(&name).unwrap_or_else(whole);
        attachment.set("url", Json::from(new.as_str()));
    }
}

/// The contents of the documents among what is sent, as far as they may go with them, up to what one parcel holds; whether there is more.
pub async fn contents(
    core: &Core,
    caller: &Caller,
    patient: &Name,
    sent: &[Opened],
) -> Result<(Vec<Opened>, bool), ExchangeError> {
    let (mut found, mut known) = (Vec::new(), HashSet::new());
    let mut bytes: usize = sent.iter().map(|one| one.resource.len()).sum();
    for document in sent {
        for (name, version) in attached(&document.json(), &core.base) {
            if known.contains(&name) {
                continue;
            }
            let Some(one) = content(core, caller, (patient, document), &name, version).await? else { continue };
            bytes += one.resource.len();
            if bytes > MAX_PARCEL_BYTES {
                return Ok((found, true));
            }
            known.insert(name);
            found.push(one);
        }
    }
    Ok((found, false))
}

/// The same for one that was chosen before: nothing where it may not go with any of the documents now.
pub async fn again(
    core: &Core,
    caller: &Caller,
    patient: &Name,
    sent: &[Opened],
    (name, version): (&Name, Version),
) -> Result<Option<Opened>, ExchangeError> {
    for document in sent {
        if attached(&document.json(), &core.base).iter().any(|(attached, _)| attached == name)
            && let Some(one) = content(core, caller, (patient, document), name, Some(version)).await?
        {
            return Ok(Some(one));
        }
    }
    Ok(None)
}

/// A Binary, where it may go with this document: it, and what it is now, is nobody else's, and the patient consents to the document with the
/// labels of both. It is told as the document is.
async fn content(
    core: &Core,
    caller: &Caller,
    (patient, document): (&Name, &Opened),
    name: &Name,
    version: Option<Version>,
) -> Result<Option<Opened>, ExchangeError> {
    let Some(current) = opened(core, name, None).await? else { return Ok(None) };
    let wanted = match version.filter(|version| *version != current.stored.version) {
        Some(version) => opened(core, name, Some(version)).await?,
        None => Some(current.clone()),
    };
    let Some(wanted) = wanted else { return Ok(None) };
    let permit = decide(caller, Interaction::Read, Some(document.stored.name.kind));
    let permit = permit.map_err(|denied| ExchangeError::Forbidden(denied.to_string()))?;
    for one in [&current, &wanted] {
        let asked = labelled(document.json(), &one.json());
        let is_given = is_his(core, (patient, document), one).await?
            && permit.covers(&document.stored.name, &asked, &core.around())
            && core.consents_to(&permit, &document.stored.name, &asked).await?;
        if !is_given {
            return Ok(None);
        }
    }
    caller.seen.shows([(document.owner.clone(), name.clone(), wanted.stored.version)]);
    Ok(Some(wanted))
}

/// A version, or the current one, that is there and can be read.
async fn opened(core: &Core, name: &Name, version: Option<Version>) -> Result<Option<Opened>, ExchangeError> {
    let (store, name) = (core.store.clone(), name.clone());
    let stored = in_background(move || match version {
        Some(version) => store.version(&name, version),
        None => store.current(&name),
    });
    match stored.await?.filter(|stored| !stored.deleted) {
        Some(stored) => Ok(open_or_leave(core, &stored).await?),
        None => Ok(None),
    }
}

/// The document with the labels of what it holds.
fn labelled(mut document: Json, content: &Json) -> Json {
    let labels = |resource: &Json| {
        resource.get("meta").and_then(|meta| meta.get("security")).map_or(Vec::new(), |all| all.items().to_vec())
    };
    let all = [labels(&document), labels(content)].concat();
    let mut meta = document.remove("meta").unwrap_or(Json::Object(Vec::new()));
    meta.set("security", Json::Array(all));
    document.set("meta", meta);
    document
}

/// Whether a Binary is this patient's alone: it says so, or it says nothing, the document was written here, and every other one that leads
/// to it is his, too. A parcel that was kept never leaves: what came from elsewhere lies in it whole.
async fn is_his(core: &Core, (patient, document): (&Name, &Opened), content: &Opened) -> Result<bool, ExchangeError> {
    let json = content.json();
    if json.text("contentType") == Some(PARCEL) {
        return Ok(false);
    }
    if let Some(is_his) = core.is_only_of(content, patient).await? {
        return Ok(is_his);
    }
    let says_nothing = json.get("securityContext").is_none() && !is_foreign(&document.json(), &core.base);
    Ok(says_nothing && is_in_his_documents(core, patient, &content.stored.name).await?)
}

/// Whether all documents here that lead to a Binary are this patient's. The service itself looks.
async fn is_in_his_documents(core: &Core, patient: &Name, content: &Name) -> Result<bool, ExchangeError> {
    const BAD: ExchangeError = ExchangeError::Malformed("documents cannot be searched for");
    let kind = TypeName::parse(DOCUMENT).ok_or(BAD)?;
    let own = Caller::new("exchange", scopes::parse("system/DocumentReference.rs").map_err(ExchangeError::Forbidden)?);
    let places = format!("{content},{}/{content}", core.base);
    let asked = [("location".to_owned(), places), ("_count".to_owned(), MAX_PAGE.to_string())];
    let asked = query::read(kind, &asked, &core.around()).map_err(|_| BAD)?;
    let found = search(core, &own, core.around(), &asked, None).await?;
    let is_his = |one: &Opened| membership::keeper(&one.stored.name, &one.json(), &core.base).as_ref() == Some(patient);
    Ok(found.next.is_none() && found.matches.iter().all(is_his))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "https://a/fhir";

    fn document(url: &str) -> Json {
        let text = format!(r#"{{"resourceType":"DocumentReference","content":[{{"attachment":{{"url":"{url}"}}}}]}}"#);
        Json::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_document_leads_to_a_binary_of_this_server_alone() {
        for (url, name, version, turned, left) in [
            ("Binary/b", Some("Binary/b"), None, "Binary/new", "https://a/fhir/Binary/b"),
            ("https://a/fhir/Binary/b", Some("Binary/b"), None, "Binary/new", "https://a/fhir/Binary/b"),
            (
                "Binary/b/_history/2",
                Some("Binary/b"),
                Some(Version(2)),
                "Binary/new",
                "https://a/fhir/Binary/b/_history/2",
            ),
            ("https://b/fhir/Binary/b", None, None, "https://b/fhir/Binary/b", "https://b/fhir/Binary/b"),
            ("Patient/p", None, None, "Patient/p", "Patient/p"),
            ("Binary/b/_history/x", None, None, "Binary/b/_history/x", "Binary/b/_history/x"),
        ] {
            let found = attached(&document(url), BASE);
            let expected: Vec<_> = name.into_iter().map(|name| (Name::parse(name).unwrap(), version)).collect();
            assert_eq!(found, expected, "{url}");
            let (mut with, mut without) = (document(url), document(url));
            readdress(&mut with, BASE, |_| Some("Binary/new".to_owned()));
            assert_eq!(with, document(turned), "{url}");
            readdress(&mut without, BASE, |_| None);
            assert_eq!(without, document(left), "{url}");
        }
        let media = Json::parse(br#"{"resourceType":"Media","content":{"url":"Binary/b"}}"#).unwrap();
        assert_eq!(attached(&media, BASE), []);
    }
}
