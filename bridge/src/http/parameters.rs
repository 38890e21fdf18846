//! The parameters of an operation (R4 3.2.0): in the query of a GET, in a Parameters resource of a POST.

use super::query::{pairs, shown};
use super::reply::{Reply, failure};
use super::routes::Call;
use crate::error::Issue;
use crate::fhir::search::span::{Span, moment};
use notary::canonical::Json;
use warp::http::StatusCode;

/// Parameters that steer the form of every reply; no operation needs to know them.
const FORM: &[&str] = &["_format", "_pretty"];

/// What was given, by name.
pub(super) struct Given(Vec<(String, String)>);

impl Given {
    /// Those of the query, and the primitives of the body; a name that the operation does not know is refused.
    pub(super) async fn read(call: &Call<'_>, known: &[&str]) -> Result<Self, Reply> {
        if call.body.is_empty() {
            Self::of(call, &Json::Null, known)
        } else {
            Self::of(call, &resource(call).await?, known)
        }
    }

    /// Those of the query, and the primitives of these Parameters.
    pub(super) fn of(call: &Call<'_>, parameters: &Json, known: &[&str]) -> Result<Self, Reply> {
        let mut given = pairs(&call.request.query).map_err(|text| refused(Issue::new("value", text)))?;
        given.extend(primitives(parameters)?);
        given.retain(|(name, _)| !FORM.contains(&name.as_str()));
        match given.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, _)) => {
                let text =
                    format!("{}: this operation has no such parameter; it takes {}", shown(name), known.join(", "));
                Err(refused(Issue::new("not-supported", text)))
            }
            None => Ok(Self(given)),
        }
    }

    /// What a cursor holds.
    pub(super) fn from_pairs(given: Vec<(String, String)>) -> Self {
        Self(given)
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Every value: of a parameter that is given twice, and between commas.
    pub(super) fn list(&self, name: &str) -> Vec<&str> {
        let named = self.0.iter().filter(|(n, _)| n == name);
        named.flat_map(|(_, value)| value.split(',')).filter(|v| !v.is_empty()).collect()
    }

    /// Whether a value is among those given, or none is given.
    pub(super) fn has_one_of(&self, name: &str, value: &str) -> bool {
        let given = self.list(name);
        given.is_empty() || given.contains(&value)
    }

    /// A date or time as the span that it covers.
    pub(super) fn span(&self, name: &str) -> Result<Option<Span>, Reply> {
        let bad = || refused(Issue::new("value", format!("{name}: a date or an instant")));
        self.get(name).map(|text| moment(text).ok_or_else(bad)).transpose()
    }

    pub(super) fn count(&self, name: &str) -> Result<Option<usize>, Reply> {
        let bad = || refused(Issue::new("value", format!("{name}: a whole number")));
        self.get(name).map(|text| text.parse().map_err(|_| bad())).transpose()
    }

    pub(super) fn truth(&self, name: &str) -> Result<bool, Reply> {
        let bad = || refused(Issue::new("value", format!("{name}: true or false")));
        self.get(name).map_or(Ok(false), |text| text.parse().map_err(|_| bad()))
    }
}

/// The Parameters that a POST brings.
pub(super) async fn resource(call: &Call<'_>) -> Result<Json, Reply> {
    parameters(super::fhir::read_json(call).await?)
}

/// A body that is Parameters.
pub(super) fn parameters(json: Json) -> Result<Json, Reply> {
    if json.text("resourceType") == Some("Parameters") {
        return Ok(json);
    }
    let text = "an operation takes a Parameters resource; put another resource into its parameter `resource`";
    Err(refused(Issue::at("structure", "resourceType", text)))
}

/// The parameter of that name.
pub(super) fn named<'j>(parameters: &'j Json, name: &str) -> Option<&'j Json> {
    let list = parameters.get("parameter").map_or(&[][..], Json::items);
    list.iter().find(|parameter| parameter.text("name") == Some(name))
}

/// The Parameters without those of a name.
pub(super) fn without(mut parameters: Json, name: &str) -> Json {
    let list = parameters.get("parameter").map_or(&[][..], Json::items);
    let others = list.iter().filter(|parameter| parameter.text("name") != Some(name)).cloned().collect();
    parameters.set("parameter", Json::Array(others));
    parameters
}

/// Those of a Parameters resource that have a plain value.
pub(super) fn primitives(parameters: &Json) -> Result<Vec<(String, String)>, Reply> {
    let list = parameters.get("parameter").map_or(&[][..], Json::items).iter();
    list.filter(|parameter| parameter.get("resource").is_none()).map(primitive).collect()
}

fn primitive(parameter: &Json) -> Result<(String, String), Reply> {
    let bad = || refused(Issue::new("structure", "a parameter has a name and one value that is no list and no object"));
    let name = parameter.text("name").ok_or_else(bad)?;
    let value = parameter.members().iter().find(|(key, _)| key.starts_with("value")).map(|(_, value)| value);
    let text = match value.ok_or_else(bad)? {
        Json::String(text) => text.clone(),
        Json::Number(lexeme) => lexeme.to_string(),
        Json::Bool(truth) => truth.to_string(),
        _ => return Err(bad()),
    };
    Ok((name.to_owned(), text))
}

/// A 400.
pub(super) fn refused(issue: Issue) -> Reply {
    failure(StatusCode::BAD_REQUEST, issue)
}
