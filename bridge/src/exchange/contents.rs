//! What documents hold: a Binary here that a DocumentReference's attachment leads to goes where the document goes. Whether it may is decided
//! as part of the document, and only where it is nobody else's.

use super::error::ExchangeError;
use crate::app::Core;
use crate::consent::decide::decide;
use crate::consent::outside::PARCEL;
use crate::fhir::search::criterion::normal;
use crate::ids::{Name, Version};
use crate::limits::{MAX_CONTENTS, MAX_PARCEL_BYTES};
use crate::notify::open_or_leave;
use crate::read::{Opened, in_background};
use crate::smart::scopes::Interaction;
use crate::smart::token::Caller;
use notary::canonical::Json;
use std::collections::HashSet;

const DOCUMENT: &str = "DocumentReference";
const CONTENT: &str = "Binary";
/// What stands before the version in an address.
pub const VERSION: &str = "/_history/";

/// Whether a resource may hold others.
pub fn is_document(name: &Name) -> bool {
    name.kind.as_str() == DOCUMENT
}

/// Whether a resource is what a document may hold.
pub fn is_content(name: &Name) -> bool {
    name.kind.as_str() == CONTENT
}

/// The Binaries at an address that the attachments of a DocumentReference lead to: the first of them. A url that names a version stays
/// where it is: there would be another version behind it some day.
pub fn attached(document: &Json, base: &str) -> Vec<Name> {
    if document.text("resourceType") != Some(DOCUMENT) {
        return Vec::new();
    }
    let contents = document.get("content").map_or(&[][..], Json::items);
    let urls = contents.iter().filter_map(|content| content.get("attachment")?.text("url"));
    urls.filter(|url| !url.contains(VERSION)).filter_map(|url| binary(url, base)).take(MAX_CONTENTS).collect()
}

/// Whether an attachment of a document leads to a Binary at an address that is not among those that go.
pub fn stays(document: &Json, base: &str, going: &[Opened]) -> bool {
    let contents = document.get("content").map_or(&[][..], Json::items);
    let mut urls = contents.iter().filter_map(|content| content.get("attachment")?.text("url"));
    let goes = |url: &str, name: &Name| !url.contains(VERSION) && going.iter().any(|one| one.stored.name == *name);
    urls.any(|url| binary(url, base).is_some_and(|name| !goes(url, &name)))
}

/// A Binary at an address, by a url, of whatever version.
pub fn binary(url: &str, base: &str) -> Option<Name> {
    Name::parse(normal(url, base)).filter(is_content)
}

/// Turns the urls of a document's contents to where those are: what they are called there, or their address at `base`, where they are from.
pub fn readdress(document: &mut Json, base: &str, called: impl Fn(&Name) -> Option<String>) {
    if document.text("resourceType") != Some(DOCUMENT) {
        return;
    }
    let Some(Json::Array(contents)) = document.get_mut("content") else { return };
    for attachment in contents.iter_mut().filter_map(|content| content.get_mut("attachment")) {
        let Some(url) = attachment.text("url") else { continue };
        let Some(name) = binary(url, base) else { continue };
        let new = match url.split_once(VERSION) {
            Some((_, version)) => format!("{base}/{name}{VERSION}{version}"),
            None => called(&name).unwrap_or_else(|| format!("{base}/{name}")),
        };
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
        for name in attached(&document.json(), &core.base) {
            if known.contains(&name) {
                continue;
            }
            let Some(one) = content(core, caller, (patient, document), &name, None).await? else { continue };
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
        if attached(&document.json(), &core.base).contains(name)
            && let Some(one) = content(core, caller, (patient, document), name, Some(version)).await?
        {
            return Ok(Some(one));
        }
    }
    Ok(None)
}

/// A Binary, where it may go with this document: it, and what it is now, is nobody else's, and the patient consents to the document with
/// it. It is told as the document is.
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
        let asked = holding(document.json(), &one.json());
        let is_given = is_his(core, patient, one).await?
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

/// The document as one that contains what it holds: what a Consent forbids of that, by its type, its id or its labels, it forbids then.
fn holding(mut document: Json, content: &Json) -> Json {
    let part = |name: &str| content.get(name).map(|value| (name.to_owned(), value.clone()));
    let held = Json::Object(["resourceType", "id", "meta"].into_iter().filter_map(part).collect());
    let mut contained = document.get("contained").map_or(Vec::new(), |all| all.items().to_vec());
    contained.push(held);
    document.set("contained", Json::Array(contained));
    document
}

/// Whether a Binary says that it is this patient's alone. One that says nothing may be anybody's: whoever may write documents into one
/// record can name any Binary in it. A parcel that was kept never leaves: what came from elsewhere lies in it whole.
async fn is_his(core: &Core, patient: &Name, content: &Opened) -> Result<bool, ExchangeError> {
    let is_parcel = content.json().text("contentType") == Some(PARCEL);
    Ok(!is_parcel && core.is_only_of(content, patient).await? == Some(true))
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
        for (url, name, turned, left) in [
            ("Binary/b", Some("Binary/b"), "Binary/new", "https://a/fhir/Binary/b"),
            ("https://a/fhir/Binary/b", Some("Binary/b"), "Binary/new", "https://a/fhir/Binary/b"),
            ("Binary/b/_history/2", None, "https://a/fhir/Binary/b/_history/2", "https://a/fhir/Binary/b/_history/2"),
            ("https://b/fhir/Binary/b", None, "https://b/fhir/Binary/b", "https://b/fhir/Binary/b"),
            ("Patient/p", None, "Patient/p", "Patient/p"),
        ] {
            let found = attached(&document(url), BASE);
            let expected: Vec<_> = name.into_iter().map(|name| Name::parse(name).unwrap()).collect();
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
