//! `GET /auth/authorize` (RFC 6749, section 4.1.1; SMART App Launch 2.2, section 2.1): an app asks to be let in, and the person answers.
//! Nothing is kept between the two: the answer bears the question, which is checked again.

use super::guard::{form, signed_in};
use super::refusal::Refusal;
use super::visit::caller;
use super::{at_desk, letting, news, page_going_to, pages, see_other, session, site};
use crate::app::App;
use crate::audit::seen::Seen;
use crate::http::fhir::may;
use crate::http::query::{encode, pairs};
use crate::http::reply::Reply;
use crate::http::routes::Request;
use crate::ids::Name;
use crate::index::clients::Client;
use crate::limits::CLOCK_SKEW;
use crate::people::enrol::Desk;
use crate::people::secrets::Bearer;
use crate::people::session::Session;
use crate::people::site::own_path;
use crate::people::{Refused, Role};
use crate::read::read;
use crate::secret::{bytes, system_random};
use crate::smart::grant::{CODE_LIFE, Code, Grant, Handle, allowed, asks_for_patient, has, is_challenge};
use crate::smart::launch::Launch;
use crate::smart::scopes::{self, Interaction, Scope};
use crate::smart::token::Server;
use std::collections::HashMap;
use std::sync::Arc;
use warp::http::{StatusCode, Uri};

/// The longest `state` and `nonce`: names, no letters.
const MAX_STATE: usize = 1_024;

/// What an app asks, once it is known who is to be told about it, and where.
struct Question {
    client: Client,
    redirect: String,
    parameters: HashMap<String, String>,
}

/// Nothing is let in under the name of who has died. The app is not told why: it was let in by nobody.
const NOBODY: Denial = ("access_denied", "nobody can let an app in here");

/// Where the house wants a Consent, there is none: an app that somebody approved by a form of his own, or that none can be signed for.
const UNSIGNED: Denial = ("access_denied", "here patients let an app in by a consent that they sign");

const UNKNOWN: Refusal = Refusal::App("there is no patient of this id: go back and look at it");

/// Why an app is not let in, as it is told (RFC 6749, section 4.1.2.1).
type Denial = (&'static str, &'static str);

/// A question that holds.
struct Wanted {
    scopes: Vec<Scope>,
    code: Code,
    /// What the app was opened from.
    launch: Option<Launch>,
}

/// `GET /auth/authorize`.
pub(super) async fn ask(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let question = question(app, &request.query).await?;
    let wanted = match question.wanted(app) {
        Ok(wanted) => wanted,
        Err(denial) => return Ok(question.denied(app, denial)),
    };
    let silent = question.get("prompt").split(' ').any(|prompt| prompt == "none");
    let Some(session) = session::of(app, &request.headers).await else {
        if silent {
            return Ok(question.denied(app, ("login_required", "nobody is signed in")));
        }
        let here = format!("/auth/authorize?{}", request.query);
        let next = own_path(&here).ok_or(Refusal::App("what the app asks for is too long"))?;
        return Ok(see_other(&site(app).path(&format!("/auth/login?next={}", encode(next)))));
    };
    let granted = match question.granted(&wanted, &session) {
        Ok(_) if silent => return Ok(question.denied(app, ("interaction_required", "people are always asked"))),
        Ok(granted) => granted,
        Err(denial) => return Ok(question.denied(app, denial)),
    };
    if app.core.has_died(session.account.person.resource.as_ref()).await? {
        return Ok(question.denied(app, NOBODY));
    }
    let (client, redirect, launch) = (&question.client, &question.redirect, wanted.launch.as_ref());
    let asked = pages::apps::Asked { client, redirect, granted: &granted, launch };
    let mut ways = letting::ways(app, &session, client, &granted).await?;
    // What was signed before and still holds is not signed again.
    ways.unsigned = letting::suffices(app, request, &ways).await?;
    let content = pages::apps::approval(&site(app), &session, &asked, &ways, &request.query);
    Ok(page_going_to(StatusCode::OK, &content, &origin(&question.redirect)))
}

/// `POST /auth/authorize/answer`: the person approves or refuses.
pub(super) async fn answer(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let form = form(app, request)?;
    let session = signed_in(app, request, form.get("token").map(String::as_str)).await?;
    let question = question(app, form.get("request").map_or("", String::as_str)).await?;
    let granted = question.wanted(app).and_then(|wanted| {
        let granted = question.granted(&wanted, &session)?;
        let left = left(&wanted, granted, &form, &session);
        Ok((wanted, left))
    });
    let (wanted, granted) = match granted {
        Ok(both) => both,
        Err(denial) => return Ok(question.denied(app, denial)),
    };
    let signs = match form.get("answer").map(String::as_str) {
        Some("approve") => false,
        Some("sign") => true,
        Some("refuse") => return Ok(question.denied(app, ("access_denied", "the person refused"))),
        _ => return Err(Refusal::Form),
    };
    if granted.is_empty() {
        return Ok(question.denied(app, ("access_denied", "the person left nothing of it")));
    }
    if app.core.has_died(session.account.person.resource.as_ref()).await? {
        return Ok(question.denied(app, NOBODY));
    }
    let ways = letting::ways(app, &session, &question.client, &granted).await?;
    if signs {
        let onward = pages::apps::onward(&site(app), &session, &question.client.name, &form);
        let consent = ways.consent.ok_or(Refusal::Form)?;
        return letting::terms(app, request, consent, (&onward, &question.redirect)).await;
    }
    if !letting::suffices(app, request, &ways).await? {
        return Ok(question.denied(app, UNSIGNED));
    }
    let patient = match (&wanted.launch, asks_for_patient(&granted)) {
        (_, false) => None,
        (Some(launch), true) => Some(shown(app, (&session, &request.seen), launch.patient.clone()).await?),
        (None, true) => Some(patient(app, (&session, &request.seen), form.get("patient").map(String::as_str)).await?),
    };
    let id = hex::encode(bytes::<16>(&system_random).map_err(|_| Refused::Secret)?);
    let done = let_in(app, &session, &question, wanted, (id.clone(), granted, patient)).await?;
    // What is withdrawn from now on ends the app; what was meanwhile has not seen it.
    if !letting::suffices(app, request, &ways).await? {
        let account = session.account.id.clone();
        at_desk(app, move |desk| Ok(desk.store.end_own_grant(&account, &id)?)).await?;
        return Ok(question.denied(app, UNSIGNED));
    }
    Ok(done)
}

/// The app gets a code, for what is granted of a patient's record or of none.
async fn let_in(
    app: &Arc<App>,
    session: &Session,
    question: &Question,
    wanted: Wanted,
    (id, granted, patient): (String, Vec<Scope>, Option<Name>),
) -> Result<Reply, Refusal> {
    let (code, now) = (Handle::new(&system_random)?, app.core.clock.now().as_millisecond());
    let grant = Grant {
        id,
        client: question.client.id.clone(),
        account: session.account.id.clone(),
        session: (!has(&granted, "offline_access")).then(|| Bearer::digest(session.bearer())),
        scope: scopes::text(&granted),
        encounter: encounter(&wanted, &granted).filter(|_| patient.is_some()),
        patient,
        code: Some(wanted.code),
        made: now,
        expires: now + CODE_LIFE.as_millis() as i64,
    };
    let given = code.expose();
    if !at_desk(app, move |desk| kept(desk, wanted.launch.as_ref(), &grant, &code, now)).await? {
        return Ok(question.denied(app, ("invalid_request", "this launch was used before: open the app again")));
    }
    news(&session.account.id, "an app was let in");
    Ok(question.told(app, &[("code", &given)]))
}

/// The visit that the app was opened from: where it asked for that by name, only if that was granted.
fn encounter(wanted: &Wanted, granted: &[Scope]) -> Option<Name> {
    const NAMED: &str = "launch/encounter";
    let told = has(granted, NAMED) || (has(granted, "launch") && !has(&wanted.scopes, NAMED));
    wanted.launch.as_ref().filter(|_| told)?.encounter.clone()
}

/// Uses the launch up, and keeps what is allowed; false: it was used before.
fn kept(desk: &Desk, launch: Option<&Launch>, grant: &Grant, code: &Handle, now: i64) -> Result<bool, Refused> {
    if let Some(launch) = launch {
        // Clocks of replicas differ: it is remembered a little longer than it holds.
        let until = launch.expires + 6 * CLOCK_SKEW.as_secs();
        if !desk.store.spend(&launch.digest(), until, (now / 1_000).max(0) as u64)? {
            return Ok(false);
        }
    }
    desk.store.allow(grant, code, now)?;
    Ok(true)
}

/// Who asks, and where he is answered. Whoever cannot be told apart from a stranger is told nothing: the person sees a page.
async fn question(app: &Arc<App>, query: &str) -> Result<Question, Refusal> {
    let pairs = pairs(query).map_err(|_| Refusal::App("what the app asks for cannot be read"))?;
    let count = pairs.len();
    let parameters: HashMap<String, String> = pairs.into_iter().collect();
    if parameters.len() != count {
        return Err(Refusal::App("the app asks for something twice"));
    }
    let id = parameters.get("client_id").cloned().unwrap_or_default();
    let found = at_desk(app, move |desk| Ok(desk.store.client(&id)?)).await?;
    let client = found.ok_or(Refusal::App("the app that sent you here is not known here"))?;
    let redirect = parameters.get("redirect_uri").filter(|uri| client.redirects.contains(uri)).cloned();
    let redirect = redirect.ok_or(Refusal::App("the app wants to be answered at an address that is not registered"))?;
    Ok(Question { client, redirect, parameters })
}

/// Whose record is opened: a patient's own, or one that a clinician names and may see.
async fn patient(app: &Arc<App>, who: (&Session, &Seen), named: Option<&str>) -> Result<Name, Refusal> {
    let person = &who.0.account.person;
    if person.role == Role::Patient {
        return person.resource.clone().ok_or(UNKNOWN);
    }
    let id = named.unwrap_or_default().trim();
    let name = Name::parse(&format!("Patient/{}", id.strip_prefix("Patient/").unwrap_or(id))).ok_or(UNKNOWN)?;
    shown(app, who, name).await
}

/// A patient who is shown to the person. One who withholds the record is like one who is not here: a code would tell that there is one.
async fn shown(app: &Arc<App>, (session, seen): (&Session, &Seen), name: Name) -> Result<Name, Refusal> {
    let caller = caller(&session.account, &app.core.gate.purpose.code).asks(seen);
    let permit = may(&caller, Interaction::Read, Some(name.kind))?;
    match read(&app.core, &permit, &name, None).await {
        Ok(found) => found.filter(|opened| !opened.stored.deleted).map(|_| name).ok_or(UNKNOWN),
        Err(error) if error.is_erased() => Err(UNKNOWN),
        Err(error) => Err(error.into()),
    }
}

/// What a page may lead to: scheme, host and port of a registered address.
pub(super) fn origin(redirect: &str) -> String {
    let uri: Uri = redirect.parse().unwrap_or_default();
    match (uri.scheme_str(), uri.authority()) {
        (Some(scheme), Some(authority)) => format!("{scheme}://{authority}"),
        _ => String::new(),
    }
}

/// What of it the person has left ticked.
fn left(wanted: &Wanted, granted: Vec<Scope>, form: &HashMap<String, String>, session: &Session) -> Vec<Scope> {
    let ticked = granted.into_iter().enumerate().filter(|(n, _)| form.contains_key(&format!("scope-{n}")));
    let ticked: Vec<Scope> = ticked.map(|(_, scope)| scope).collect();
    // Some mean nothing without others.
    allowed(&ticked, &ticked, &session.account, wanted.launch.as_ref())
}

impl Question {
    fn get(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }

    /// Checks what is asked.
    fn wanted(&self, app: &App) -> Result<Wanted, Denial> {
        let invalid = |what| ("invalid_request", what);
        if !(1..=MAX_STATE).contains(&self.get("state").len()) || self.get("nonce").len() > MAX_STATE {
            return Err(invalid("state is required, and is at most 1024 bytes long, as nonce is"));
        }
        if self.get("response_type") != "code" {
            return Err(("unsupported_response_type", "response_type: code alone"));
        }
        if self.parameters.contains_key("request") || self.parameters.contains_key("request_uri") {
            return Err(("request_not_supported", "send the parameters themselves"));
        }
        if self.get("aud").trim_end_matches('/') != app.core.base {
            return Err(invalid("aud must be the address of this server's FHIR API"));
        }
        let challenge = self.get("code_challenge").to_owned();
        if self.get("code_challenge_method") != "S256" || !is_challenge(&challenge) {
            return Err(invalid("PKCE is required: code_challenge, and code_challenge_method S256"));
        }
        let scopes = scopes::parse_known(self.get("scope"));
        if scopes.is_empty() {
            return Err(("invalid_scope", "name the scopes that are needed, such as patient/*.rs"));
        }
        let code = Code { redirect: self.redirect.clone(), challenge, nonce: self.get("nonce").to_owned() };
        Ok(Wanted { launch: self.launch(app, &scopes)?, scopes, code })
    }

    /// What the app was opened from, where it says that it was.
    fn launch(&self, app: &App, scopes: &[Scope]) -> Result<Option<Launch>, Denial> {
        let Some(text) = self.parameters.get("launch") else { return Ok(None) };
        if !has(scopes, "launch") || !has(&scopes::parse_known(&self.client.scope), "launch") {
            return Err((
                "invalid_scope",
                "who asks with a launch needs the scope launch, and must be registered for it",
            ));
        }
        let now = app.core.clock.now().as_second().max(0) as u64;
        let found = Launch::open(text, &self.client.id, &app.core.secrets, now);
        found
            .map(Some)
            .ok_or(("invalid_request", "this launch is not one for this app, or has ended: open the app again"))
    }

    /// What of it the person can allow.
    fn granted(&self, wanted: &Wanted, session: &Session) -> Result<Vec<Scope>, Denial> {
        let registered = scopes::parse_known(&self.client.scope);
        let launch = wanted.launch.as_ref();
        if launch.is_some_and(|launch| launch.account != session.account.id) {
            return Err(("access_denied", "somebody else opened the app: sign in as who did, or open it again"));
        }
        match allowed(&wanted.scopes, &registered, &session.account, launch) {
            granted if granted.is_empty() => {
                Err(("invalid_scope", "the app is not registered for these scopes, or the person has none of them"))
            }
            granted => Ok(granted),
        }
    }

    fn denied(&self, app: &App, (error, text): Denial) -> Reply {
        self.told(app, &[("error", error), ("error_description", text)])
    }

    /// Sends the person back to the app. `iss` says who answers, so that the app does not take it for another's (RFC 9207).
    fn told(&self, app: &App, what: &[(&str, &str)]) -> Reply {
        let server = Server::of(&app.core.base);
        let state = [("state", self.get("state")), ("iss", server.issuer.as_str())];
        let all = what.iter().chain(&state).filter(|(_, value)| !value.is_empty());
        let all: Vec<String> = all.map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let mark = if self.redirect.contains('?') { '&' } else { '?' };
        see_other(&format!("{}{mark}{}", self.redirect, all.join("&")))
    }
}
