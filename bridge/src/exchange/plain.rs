//! A push to a server that speaks FHIR and knows nothing of medseal: one transaction, under ids that follow from ours, so that the same
//! push again changes nothing there. It proves nothing, and signs for nothing.

use super::contents::readdress;
use super::error::ExchangeError;
use super::respond::derived;
use crate::app::App;
use crate::config::PlainServer;
use crate::fhir::references;
use crate::ids::Name;
use crate::limits::{EXCHANGE_TIMEOUT, MAX_ANSWER_BYTES};
use crate::outgoing::{Bounds, Outbound};
use crate::read::Opened;
use notary::canonical::Json;
use std::collections::HashMap;
use std::convert::Infallible;
use warp::http::{HeaderMap, HeaderValue, Method, header};

/// Sends it.
pub async fn send(app: &App, to: &PlainServer, opened: &[Opened]) -> Result<(), ExchangeError> {
    let mut headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/fhir+json"))]);
    if let Some(token) = &to.token {
        let value = HeaderValue::from_str(&format!("Bearer {}", token.0));
        headers.insert(header::AUTHORIZATION, value.map_err(|_| ExchangeError::Malformed("the receiver's token"))?);
    }
    let body = bundle(&app.core.base, opened).compact();
    let url = to.endpoint.trim_end_matches('/').to_owned();
    let outbound = Outbound { method: Method::POST, url, headers, body: body.into() };
    let answer =
        app.receivers.send_within(outbound, Bounds { answer: MAX_ANSWER_BYTES, time: EXCHANGE_TIMEOUT }).await?;
    match answer.status.is_success() {
        true => Ok(()),
        false => Err(ExchangeError::Refused { status: answer.status, text: "it took no transaction".to_owned() }),
    }
}

/// The transaction: each resource is put under an id that follows from its name here.
fn bundle(base: &str, opened: &[Opened]) -> Json {
    let id = |name: &Name| derived("plain", &[base, &name.to_string()]);
    let names: HashMap<String, String> = opened
        .iter()
        .map(|one| (one.stored.name.to_string(), format!("{}/{}", one.stored.name.kind, id(&one.stored.name))))
        .collect();
    let entries = opened.iter().filter_map(|one| {
        let url = names.get(&one.stored.name.to_string())?;
        let mut resource = one.json();
        resource.set("id", Json::from(id(&one.stored.name).as_str()));
        // Where it is from: by that a bridge there knows that it need not pass it on.
        let source = format!("{base}/{}/_history/{}", one.stored.name, one.stored.version);
        let mut meta = resource.remove("meta").unwrap_or(Json::Object(Vec::new()));
        ["versionId", "lastUpdated"].into_iter().for_each(|stamp| _ = meta.remove(stamp));
        meta.set("source", Json::from(source.as_str()));
        resource.set("meta", meta);
        let Ok(()) = references::rewrite(&mut resource, &mut |text| Ok::<_, Infallible>(turned(text, base, &names)));
        readdress(&mut resource, base, |name| names.get(&name.to_string()).cloned());
        let request = Json::from(serde_json::json!({"method": "PUT", "url": url}));
        Some(Json::Object(vec![("resource".to_owned(), resource), ("request".to_owned(), request)]))
    });
    Json::Object(vec![
        ("resourceType".to_owned(), Json::from("Bundle")),
        ("type".to_owned(), Json::from("transaction")),
        ("entry".to_owned(), Json::Array(entries.collect())),
    ])
}

/// What is sent beside it is referred to by its id there; the rest by its address here.
fn turned(text: &str, base: &str, names: &HashMap<String, String>) -> Option<String> {
    let rest = text.strip_prefix(base).and_then(|rest| rest.strip_prefix('/')).unwrap_or(text);
    let plain = rest.split("/_history/").next().unwrap_or(rest);
    Name::parse(plain)?;
    Some(names.get(plain).cloned().unwrap_or_else(|| format!("{base}/{rest}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_lead_to_what_is_sent_or_back_here() {
        let names = HashMap::from([("Patient/p".to_owned(), "Patient/q".to_owned())]);
        for (text, expected) in [
            ("Patient/p", Some("Patient/q")),
            ("https://a/fhir/Patient/p/_history/2", Some("Patient/q")),
            ("Encounter/e", Some("https://a/fhir/Encounter/e")),
            ("#contained", None),
            ("https://elsewhere/fhir/Patient/p", None),
        ] {
            assert_eq!(turned(text, "https://a/fhir", &names).as_deref(), expected, "{text}");
        }
    }
}
