//! Pages about apps: whether to let one in, and which are in.

use super::{Frame, time};
use crate::http::people::letting::Ways;
use crate::index::clients::Client;
use crate::people::Role;
use crate::people::session::Session;
use crate::people::site::Site;
use crate::smart::grant::{Grant, asks_for_patient, has};
use crate::smart::launch::Launch;
use crate::smart::scopes::{self, Access, Context, EMERGENCY, Interaction, Scope};
use maud::{Markup, html};
use std::collections::HashMap;

/// An app that asks to be let in.
pub(in crate::http::people) struct Asked<'a> {
    pub(in crate::http::people) client: &'a Client,
    pub(in crate::http::people) redirect: &'a str,
    pub(in crate::http::people) granted: &'a [Scope],
    /// What it was opened from.
    pub(in crate::http::people) launch: Option<&'a Launch>,
}

/// `GET /auth/authorize`. `request` is the question, which the answer bears.
pub(in crate::http::people) fn approval(
    site: &Site,
    session: &Session,
    asked: &Asked<'_>,
    ways: &Ways,
    request: &str,
) -> Markup {
    let Asked { client, redirect, granted, launch } = asked;
    let role = session.account.person.role;
    let choose = launch.is_none() && asks_for_patient(granted) && role != Role::Patient;
    let content = html! {
        p.lead { "The app " strong { (client.name) } " asks to be let in. It is at " code { (host(redirect)) } "." }
        @if client.by_itself {
            p.notice { "Nobody here has looked at this app: it registered itself. Its name is its own word." }
        }
        @if let Some(launch) = launch { p { (opened(launch, role)) } }
        form #answer method="post" action=(site.path("/auth/authorize/answer")) {
        section.panel aria-labelledby="what-title" {
            h2 #what-title { "What it could do" }
            p { "Untick what it shall not do." @if has(granted, EMERGENCY) { " Tick that it may declare emergencies, if you want it to." } }
            @for (n, scope) in granted.iter().enumerate() {
                label.check { input type="checkbox" name=(format!("scope-{n}")) checked[*scope != Scope::Word(EMERGENCY)]; " " (words(scope, role)) }
            }
            @if has(granted, "offline_access") {
                p { "This lasts until you end it on the page " a href=(site.path("/me")) { "My account" } ", or until the app was not "
                    "used for 30 days." }
            } @else { p { "This ends when you sign out." } }
        }
            input type="hidden" name="token" value=(session.token());
            input type="hidden" name="request" value=(request);
            @if choose {
                p { label for="patient" { "Id of the patient whose record the app may open" } " "
                    input #patient name="patient" type="text" autocomplete="off" maxlength="72"; }
            }
            @if ways.consent.is_some() {
                p { "Sign a consent, and it is written to the chain that you have let this app in, and until when. You get a code by which that "
                    "can be ended without this service. What you have signed for this app before is withdrawn then." }
            }
            @if ways.unsigned { button type="submit" name="answer" value="approve" { "Approve" } " " }
            @else if ways.consent.is_none() { p.notice { "Here patients let an app in by a consent that they sign, and for this one you cannot." } }
            @if ways.consent.is_some() { button type="submit" name="answer" value="sign" { "Sign a consent" } " " }
            button.quiet type="submit" name="answer" value="refuse" { "Refuse" }
        }
        p.hint { "Approve only what you have started yourself. The app is not part of this service: what it has read, it has." }
    };
    Frame { site, title: "Let an app in?", here: "", script: false, role: None }.around(&content)
}

/// What leads to the app once the Consent is signed: the same answer, approved.
pub(in crate::http::people) fn onward(
    site: &Site,
    session: &Session,
    app: &str,
    form: &HashMap<String, String>,
) -> Markup {
    html! {
        form method="post" action=(site.path("/auth/authorize/answer")) {
            input type="hidden" name="token" value=(session.token());
            input type="hidden" name="request" value=(form.get("request").map_or("", String::as_str));
            @for scope in form.keys().filter(|name| name.starts_with("scope-")) { input type="hidden" name=(scope) value="on"; }
            button type="submit" name="answer" value="approve" { "Go on to " (app) }
        }
    }
}

/// What it was opened from.
fn opened(launch: &Launch, role: Role) -> Markup {
    html! {
        @if role == Role::Patient { "You have opened it from your record" }
        @else { "You have opened it from the record of " code { (launch.patient) } ", and it is told whose that is" }
        @if let Some(encounter) = &launch.encounter { ", for the visit " code { (encounter) } }
        "."
    }
}

/// What of `/me` is about apps.
pub(in crate::http::people) fn section(site: &Site, session: &Session, apps: &[(Grant, String)]) -> Markup {
    html! {
        section.panel aria-labelledby="apps-title" {
            h2 #apps-title { "Apps that I have let in" }
            @if apps.is_empty() { p { "None." } }
            @for (grant, name) in apps {
                h3 { (name) }
                p.hint { "since " (time(grant.made)) @if let Some(patient) = &grant.patient { ", " (patient) } }
                (list(&scopes::parse_known(&grant.scope), session.account.person.role))
                form method="post" action=(site.path("/auth/apps/end")) {
                    input type="hidden" name="token" value=(session.token());
                    input type="hidden" name="grant" value=(grant.id);
                    button.quiet type="submit" { "End" span.unseen { " the access of " (name) } }
                }
            }
        }
    }
}

fn list(granted: &[Scope], role: Role) -> Markup {
    html! { ul { @for scope in granted { li { (words(scope, role)) } } } }
}

/// A scope in plain words.
fn words(scope: &Scope, role: Role) -> String {
    let own = role == Role::Patient;
    match scope {
        Scope::Access(access) => access_words(access, own),
        Scope::Word("openid") => "know that it is you, by a number".into(),
        Scope::Word("fhirUser") => "know which record here is yours as a person".into(),
        Scope::Word("launch") => "know which record you have opened it from".into(),
        Scope::Word("launch/encounter") => "know which visit you have opened it from".into(),
        Scope::Word("launch/patient") if own => "know which patient you are".into(),
        Scope::Word("launch/patient") => "know which patient you have chosen".into(),
        Scope::Word("offline_access") => "come again without you, until you end it".into(),
        Scope::Word("online_access") => "come again while you are signed in".into(),
        Scope::Word(EMERGENCY) => "declare emergencies in your name, and so open records that are closed to you".into(),
        Scope::Word(word) => (*word).to_owned(),
    }
}

fn access_words(access: &Access, own: bool) -> String {
    const VERBS: [(Interaction, &str); 5] = [
        (Interaction::Read, "see"),
        (Interaction::Search, "search"),
        (Interaction::Create, "add"),
        (Interaction::Update, "change"),
        (Interaction::Delete, "delete"),
    ];
    let verbs: Vec<&str> = VERBS.iter().filter(|(i, _)| access.allowed.contains(i)).map(|(_, verb)| *verb).collect();
    let what = access.kind.map_or("everything".into(), |kind| format!("all of kind {kind}"));
    let of = match access.context {
        Context::Patient if own => "in your record",
        Context::Patient => "in the record of the patient",
        Context::User | Context::System => "that you may see yourself",
    };
    let only =
        access.only.iter().flat_map(|only| &only.pairs).map(|(name, value)| format!(", only where {name} is {value}"));
    let verbs = match verbs.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, before)) => format!("{} and {last}", before.join(", ")),
        None => String::new(),
    };
    format!("{verbs} {what} {of}{}", only.collect::<String>())
}

/// Host and port of a registered address.
fn host(redirect: &str) -> &str {
    let rest = redirect.split_once("://").map_or(redirect, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_said_in_plain_words() {
        for (scope, role, expected) in [
            ("patient/*.rs", Role::Patient, "see and search everything in your record"),
            (
                "patient/Observation.r?category=lab",
                Role::Clinician,
                "see all of kind Observation in the record of the patient, only where category is lab",
            ),
            (
                "user/*.cruds",
                Role::Clinician,
                "see, search, add, change and delete everything that you may see yourself",
            ),
        ] {
            assert_eq!(words(&scopes::parse(scope).unwrap()[0], role), expected);
        }
        assert_eq!((host("https://a.example:9/cb?x"), host("http://localhost")), ("a.example:9", "localhost"));
    }
}
