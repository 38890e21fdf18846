//! What a Subscription asks for: R4's own form, whose criteria are a search, and the R5 backport's, whose criteria name a
//! topic (Subscriptions R5 Backport 1.1). Pure.

mod channel;

use super::search::check::holds;
use super::search::criterion::Surroundings;
use super::search::query::{self, Filter};
use super::topics::{Topic, topic};
use crate::error::Issue;
use crate::http::query::pairs;
use crate::ids::TypeName;
use crate::limits::{MAX_HEARTBEAT, MIN_HEARTBEAT, OUTGOING_TIMEOUT};
use notary::canonical::Json;
use std::time::Duration;
use warp::http::{HeaderMap, HeaderValue};

const BACKPORT: &str = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/";
/// Who made it and what he may read, sealed by this server: written over whatever a client sends.
pub const MAKER: &str = "urn:medseal:subscription-maker";
/// A Subscription as it was understood.
#[derive(Clone)]
pub struct Wanted {
    pub form: Form,
    pub kind: TypeName,
    /// Criteria and their extensions, as they stand in the resource.
    asked: [Option<Json>; 2],
    /// All must hold.
    filters: Vec<Filter>,
    pub endpoint: String,
    /// May hold secrets.
    pub headers: HeaderMap,
    /// What a body is sent as.
    pub media: HeaderValue,
    pub content: Content,
    /// Milliseconds since 1970.
    pub end: Option<i64>,
    pub status: Status,
    pub maker: Option<String>,
}

/// Criteria alone: a search in one type, without chains.
#[derive(Debug, Clone)]
pub struct Criteria {
    pub kind: TypeName,
    filters: Vec<Filter>,
}

impl Criteria {
    /// Reads them.
    pub fn read(text: &str, around: &Surroundings<'_>) -> Result<Self, Issue> {
        let (kind, filters, _) = searched(text, around)?;
        Ok(Self { kind, filters })
    }

    /// Whether a resource of the type fits.
    pub fn takes(&self, resource: &Json, around: &Surroundings<'_>) -> bool {
        self.filters.iter().all(|filter| holds(filter, resource, around))
    }
}

/// The two forms.
#[derive(Clone, Copy)]
pub enum Form {
    Search,
    Topic {
        topic: &'static Topic,
        heartbeat: Option<u32>,
        at_once: usize,
        /// How long a notification may take.
        timeout: Duration,
    },
}

/// What a notification tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    Empty,
    Ids,
    Resources,
}

/// R4's states of a Subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Requested,
    Active,
    Error,
    Off,
}

crate::redacted_debug!(Wanted);

impl Status {
    /// Its code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Active => "active",
            Self::Error => "error",
            Self::Off => "off",
        }
    }

    fn of(code: Option<&str>) -> Self {
        let all = [Self::Requested, Self::Active, Self::Error];
        all.into_iter().find(|s| Some(s.code()) == code).unwrap_or(Self::Off)
    }
}

fn at(code: &'static str, element: &str, text: impl Into<String>) -> Issue {
    Issue::at(code, &format!("Subscription.{element}"), text)
}

impl Content {
    /// Its code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Ids => "id-only",
            Self::Resources => "full-resource",
        }
    }

    /// The one of that code.
    pub fn of(code: &str) -> Option<Self> {
        [Self::Empty, Self::Ids, Self::Resources].into_iter().find(|content| content.code() == code)
    }
}

impl Wanted {
    /// Reads a Subscription. It was validated against R4 before.
    pub fn read(resource: &Json, around: &Surroundings<'_>) -> Result<Self, Issue> {
        let channel = resource.get("channel").ok_or_else(|| at("required", "channel", "is required"))?;
        channel::is_rest_hook(channel)?;
        let endpoint = channel.text("endpoint").ok_or_else(|| at("required", "channel.endpoint", "is required"))?;
        let criteria = resource.text("criteria").unwrap_or("");
        let (kind, filters, form) = match topic(criteria) {
            Some(topic) => topical(resource, channel, topic, around)?,
            None => searched(criteria, around)?,
        };
        Ok(Self {
            form,
            kind,
            asked: ["criteria", "_criteria"].map(|name| resource.get(name).cloned()),
            filters,
            endpoint: endpoint.to_owned(),
            headers: channel::headers(channel)?,
            media: channel::media(channel)?,
            content: channel::content(channel, form)?,
            end: end(resource)?,
            status: Status::of(resource.text("status")),
            maker: extension(resource, MAKER).next().and_then(|e| e.text("valueString")).map(str::to_owned),
        })
    }

    /// Whether a version fits, and for a topic that asks for a change, the one before did not.
    pub fn takes(&self, now: &Json, before: Option<&Json>, around: &Surroundings<'_>) -> bool {
        let fits = |resource: &Json| self.filters.iter().all(|filter| holds(filter, resource, around));
        match self.form {
            Form::Search => fits(now),
            Form::Topic { topic, .. } => {
                topic.holds(now, around)
                    && fits(now)
                    && !before.is_some_and(|b| topic.changes && topic.holds(b, around))
            }
        }
    }

    /// Whether the same versions are events for both.
    pub fn asks_the_same(&self, other: &Self) -> bool {
        self.asked == other.asked
    }

    /// Whether the version before must be known.
    pub fn compares(&self) -> bool {
        matches!(self.form, Form::Topic { topic, .. } if topic.changes)
    }
}

/// `Observation?code=x`.
fn searched(criteria: &str, around: &Surroundings<'_>) -> Result<(TypeName, Vec<Filter>, Form), Issue> {
    let (kind, search) = criteria.split_once('?').unwrap_or((criteria, ""));
    let kind = TypeName::parse(kind).ok_or_else(|| {
        let text = "must be a search, `Observation?code=...`, or a topic of this server";
        at("value", "criteria", text)
    })?;
    Ok((kind, filters(kind, search, "criteria", around)?, Form::Search))
}

fn filters(kind: TypeName, search: &str, element: &str, around: &Surroundings<'_>) -> Result<Vec<Filter>, Issue> {
    let given = pairs(search).map_err(|text| at("value", element, text))?;
    let read = query::read(kind, &given, around).map_err(|e| at("value", element, e.to_string()))?;
    let refuse = |text: String| Err(at("not-supported", element, text));
    if let Some(name) = read.unknown.first() {
        return refuse(format!("{kind} has no search parameter {name}"));
    }
    if read.filters.len() < given.len() {
        return refuse("takes search parameters and nothing else".to_owned());
    }
    if read.filters.iter().any(|f| matches!(f, Filter::Chain { .. } | Filter::Has { .. })) {
        return refuse("takes no chained parameters: what is referred to may change unseen".to_owned());
    }
    Ok(read.filters)
}

fn topical(
    resource: &Json,
    channel: &Json,
    topic: &'static Topic,
    around: &Surroundings<'_>,
) -> Result<(TypeName, Vec<Filter>, Form), Issue> {
    let element = "criteria.extension";
    let kind = topic.kind();
    let mut all = Vec::new();
    let criteria = resource.get("_criteria");
    for one in criteria.into_iter().flat_map(|c| extension(c, &format!("{BACKPORT}backport-filter-criteria"))) {
        let text = one.text("valueString").unwrap_or("");
        let (named, search) = text.split_once('?').unwrap_or((kind.as_str(), text));
        if named != kind.as_str() {
            return Err(at("value", element, format!("this topic is about {kind}")));
        }
        all.extend(filters(kind, search, element, around)?);
    }
    let number = |name: &str, kind: &str| {
        let found = extension(channel, &format!("{BACKPORT}{name}")).next()?;
        if let Json::Number(number) = found.get(kind)? { number.parse::<u32>().ok() } else { None }
    };
    let heartbeat = number("backport-heartbeat-period", "valueUnsignedInt").filter(|s| *s > 0);
    let at_once = number("backport-max-count", "valuePositiveInt").unwrap_or(1).clamp(1, 100) as usize;
    let heartbeat = heartbeat.map(|seconds| seconds.clamp(MIN_HEARTBEAT, MAX_HEARTBEAT));
    let timeout = number("backport-timeout", "valueUnsignedInt").filter(|s| *s > 0);
    let timeout = timeout.map_or(OUTGOING_TIMEOUT, |seconds| Duration::from_secs(seconds.into()).min(OUTGOING_TIMEOUT));
    Ok((kind, all, Form::Topic { topic, heartbeat, at_once, timeout }))
}

fn extension<'r>(element: &'r Json, url: &str) -> impl Iterator<Item = &'r Json> + use<'r> {
    let all = match element.get("extension") {
        Some(Json::Array(all)) => all.as_slice(),
        _ => &[],
    };
    let url = url.to_owned();
    all.iter().filter(move |e| e.text("url") == Some(url.as_str()))
}

fn end(resource: &Json) -> Result<Option<i64>, Issue> {
    let Some(text) = resource.text("end") else { return Ok(None) };
    let span = super::search::span::moment(text).ok_or_else(|| at("value", "end", "an instant"))?;
    Ok(Some(span.from.div_euclid(1_000)))
}

/// The same Subscription in another state; `error` says why, and only in that state.
pub fn with_status(mut resource: Json, status: Status, error: Option<&str>) -> Json {
    resource.set("status", Json::String(status.code().to_owned()));
    match error {
        Some(text) => resource.set("error", Json::String(text.to_owned())),
        None => drop(resource.remove("error")),
    }
    resource
}

/// The same Subscription with its maker.
pub fn with_maker(mut resource: Json, sealed: &str) -> Json {
    let text = |text: &str| Json::String(text.to_owned());
    let maker = Json::Object(vec![("url".to_owned(), text(MAKER)), ("valueString".to_owned(), text(sealed))]);
    let mut all = match resource.remove("extension") {
        Some(Json::Array(all)) => all,
        _ => Vec::new(),
    };
    all.retain(|e| e.text("url") != Some(MAKER));
    all.push(maker);
    resource.set("extension", Json::Array(all));
    resource
}

#[cfg(test)]
mod tests {
    use super::*;

    const AROUND: Surroundings<'static> = Surroundings { base: "http://here/fhir", now: 0, labels: None };

    fn read(criteria: &str, more: &str) -> Result<Wanted, Issue> {
        let text = format!(
            r#"{{"resourceType":"Subscription","status":"requested","criteria":"{criteria}","channel":{{"type":"rest-hook","endpoint":"https://x/"{more}}}}}"#
        );
        Wanted::read(&Json::parse(text.as_bytes()).unwrap(), &AROUND)
    }

    #[test]
    fn both_forms_are_read() {
        let plain =
            read("Observation?code=a", r#","payload":"application/fhir+json","header":["X-Key: secret"]"#).unwrap();
        assert_eq!(
            (plain.kind.as_str(), plain.content, plain.status),
            ("Observation", Content::Resources, Status::Requested)
        );
        assert_eq!(plain.headers["x-key"], "secret");
        let fits = |code: &str| {
            let resource = format!(r#"{{"resourceType":"Observation","code":{{"coding":[{{"code":"{code}"}}]}}}}"#);
            plain.takes(&Json::parse(resource.as_bytes()).unwrap(), None, &AROUND)
        };
        assert!(fits("a") && !fits("b"));
        let beat = format!(r#","extension":[{{"url":"{BACKPORT}backport-heartbeat-period","valueUnsignedInt":60}}]"#);
        let topical = read("urn:medseal:topic:admission", &beat).unwrap();
        assert!(matches!(topical.form, Form::Topic { heartbeat: Some(60), at_once: 1, .. }) && topical.compares());
        assert_eq!(topical.content, Content::Ids);
    }

    // meets subscriptions 59 60 66 75 90
    #[test]
    fn what_cannot_be_held_is_refused_where_it_stands() {
        let content = |code: &str| {
            let url = format!("{BACKPORT}backport-payload-content");
            format!(
                r#","payload":"application/json","_payload":{{"extension":[{{"url":"{url}","valueCode":"{code}"}}]}}"#
            )
        };
        let url = format!("{BACKPORT}backport-channel-type");
        let socket = format!(r#","_type":{{"extension":[{{"url":"{url}","valueCoding":{{"code":"websocket"}}}}]}}"#);
        for (criteria, more, place) in [
            ("Cat?x=1", "", "Subscription.criteria"),
            ("Observation?cat=1", "", "Subscription.criteria"),
            ("Observation?subject.name=a", "", "Subscription.criteria"),
            ("Observation?_sort=date", "", "Subscription.criteria"),
            ("urn:medseal:topic:nothing", "", "Subscription.criteria"),
            ("Observation", r#","payload":"application/fhir+xml""#, "Subscription.channel.payload"),
            ("Observation", r#","payload":"application/fhir+json; fhirVersion=5.0""#, "Subscription.channel.payload"),
            (
                "Observation",
                r#","payload":"application/fhir+json; fhirVersion=4.0; x=y""#,
                "Subscription.channel.payload",
            ),
            ("urn:medseal:topic:result", &content("everything"), "Subscription.channel.payload.extension"),
            ("urn:medseal:topic:result", &socket, "Subscription.channel.type"),
            ("Observation", r#","header":["ok: 1","Host: x"]"#, "Subscription.channel.header[1]"),
            ("Observation", r#","header":["no-colon"]"#, "Subscription.channel.header[0]"),
            ("Observation", ",\"header\":[\"a: b\\nc: d\"]", "Subscription.channel.header[0]"),
        ] {
            let issue = read(criteria, more).err().unwrap();
            assert_eq!(issue.expression.as_deref(), Some(place), "{criteria}");
        }
    }

    // meets subscriptions 63 95 135
    #[test]
    fn a_topic_is_narrowed_by_all_its_filters() {
        let filters = |all: &[&str]| {
            let one = |text: &&str| format!(r#"{{"url":"{BACKPORT}backport-filter-criteria","valueString":"{text}"}}"#);
            format!(r#"}},"_criteria":{{"extension":[{}]"#, all.iter().map(one).collect::<Vec<_>>().join(","))
        };
        let wanted =
            read("urn:medseal:topic:observation", &filters(&["Observation?code=a", "subject=Patient/p"])).unwrap();
        let fits = |code: &str, patient: &str| {
            let text = format!(
                r#"{{"resourceType":"Observation","status":"final","code":{{"coding":[{{"code":"{code}"}}]}},"subject":{{"reference":"Patient/{patient}"}}}}"#
            );
            wanted.takes(&Json::parse(text.as_bytes()).unwrap(), None, &AROUND)
        };
        assert_eq!([fits("a", "p"), fits("a", "q"), fits("b", "p")], [true, false, false]);
        for bad in ["Observation?color=red", "Encounter?status=finished", "Observation?subject.name=x"] {
            let issue = read("urn:medseal:topic:observation", &filters(&[bad])).err().unwrap();
            assert_eq!(issue.expression.as_deref(), Some("Subscription.criteria.extension"), "{bad}");
        }
    }

    #[test]
    fn who_changes_the_criteria_asks_for_something_else() {
        let one = read("Observation?code=a", "").unwrap();
        assert!(one.asks_the_same(&read("Observation?code=a", r#","payload":"application/fhir+json""#).unwrap()));
        assert!(!one.asks_the_same(&read("Observation?code=b", "").unwrap()));
    }

    #[test]
    fn the_maker_is_the_servers_word() {
        let forged = format!(
            r#"{{"resourceType":"Subscription","extension":[{{"url":"{MAKER}","valueString":"x"}},{{"url":"b"}}]}}"#
        );
        let json = with_maker(Json::parse(forged.as_bytes()).unwrap(), "ours");
        let all: Vec<&str> = extension(&json, MAKER).filter_map(|e| e.text("valueString")).collect();
        assert_eq!((all, extension(&json, "b").count()), (vec!["ours"], 1));
    }
}
