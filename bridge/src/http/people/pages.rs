//! The pages. `maud` escapes whatever is put into them.

pub(super) mod access;
pub(super) mod apps;

use super::frame::Frame;
use super::refusal::Refusal;
use crate::people::enrol::Shown;
use crate::people::secrets::Bearer;
use crate::people::session::Session;
use crate::people::site::Site;
use crate::people::{Kind, Person, Role};
use jiff::Timestamp;
use maud::{Markup, html};

/// What the script of a page works on: where it asks, and what it bears.
struct Door<'d> {
    at: &'d str,
    next: &'d str,
    code: Option<&'d str>,
    token: Option<&'d str>,
    passkey: &'d str,
    wallet: &'d str,
    /// Outside providers, and what stands before their names.
    providers: &'d [&'d str],
    provider: &'d str,
}

impl Door<'_> {
    fn markup(&self, site: &Site) -> Markup {
        html! {
            noscript { p.notice { "This page needs JavaScript." } }
            @if !site.takes_passkeys() {
                p.notice { "Browsers take passkeys only over https and by a host’s name. This address is neither." }
            }
            div #door.door data-at=(site.path(self.at)) data-next=(self.next) data-code=[self.code]
                data-token=[self.token] {
                button type="button" data-with="passkey" disabled[!site.takes_passkeys()] { (self.passkey) }
                button.quiet type="button" data-with="wallet" { (self.wallet) }
                @for name in self.providers {
                    button.quiet type="button" data-with="provider" data-provider=(name) { (self.provider) (name) }
                }
            }
            p #trouble.notice role="alert" hidden {}
            p #told.hint role="status" aria-live="polite" {}
        }
    }
}

/// `/auth/login`.
pub(super) fn login(site: &Site, providers: &[&str], next: &str) -> Markup {
    let door = Door {
        at: "/auth/login",
        next,
        code: None,
        token: None,
        passkey: "Sign in with a passkey",
        wallet: "Sign in with a wallet",
        providers,
        provider: "",
    };
    let content = html! {
        p.lead { "With the passkey of this device, of your phone or of a security key, or with an Ethereum wallet. "
            strong { "There is no password" } " that anybody could steal." }
        (door.markup(site))
        section.about {
            h2 { "You are here for the first time?" }
            p { "Ask your practice or hospital for an invitation. It is a link that counts once, for you alone." }
            h2 { "You have lost your passkey?" }
            p { "A new invitation lets you add another one to the account that you have." }
        }
    };
    Frame { site, title: "Sign in", here: "/me", script: true, role: None }.around(&content)
}

/// `/auth/join`.
pub(super) fn join(site: &Site, providers: &[&str], person: &Person, code: &Bearer) -> Markup {
    let door = Door {
        at: "/auth/join",
        next: "/me",
        code: Some(code.expose()),
        token: None,
        passkey: "Make a passkey",
        wallet: "Use my wallet",
        providers,
        provider: "",
    };
    let content = html! {
        p.lead { "You are invited as " strong { (article(person.role)) }
            @if let Some(organisation) = &person.organisation { " of " code { (organisation) } }
            ". Choose what you will sign in with. You can add more later." }
        (door.markup(site))
        section.about {
            h2 { "What is a passkey?" }
            p { "A key that your device keeps, and that your finger, your face or a PIN opens. "
                "It works for this site alone, so that no other site can trick it out of you." }
        }
    };
    Frame { site, title: "Welcome", here: "/me", script: true, role: None }.around(&content)
}

/// `/me`.
pub(super) fn me(
    site: &Site,
    providers: &[&str],
    session: &Session,
    keys: &[Shown],
    fresh: bool,
    apps: &Markup,
) -> Markup {
    let account = &session.account;
    let token = session.token();
    let door = Door {
        at: "/auth/keys",
        next: "/me",
        code: None,
        token: Some(&token),
        passkey: "Add a passkey",
        wallet: "Add a wallet",
        providers,
        provider: "Add: ",
    };
    let content = html! {
        p.lead { "You are signed in as " strong { (article(account.person.role)) } "." }
        dl.facts {
            @if let Some(resource) = &account.person.resource { dt { "My record" } dd { (resource) } }
            @if let Some(organisation) = &account.person.organisation { dt { "Organisation" } dd { (organisation) } }
            dt { "Account" } dd { (account.id) }
            dt { "Signed in" } dd { (time(session.made)) }
        }
        section.panel aria-labelledby="keys-title" {
            h2 #keys-title { "What I sign in with" }
            (table(site, session, keys, &token, fresh))
            @if fresh { (door.markup(site)) } @else {
                p.notice { "To add or remove something here, sign out and in again first." }
            }
        }
        (apps)
        section.panel { (sign_out(site, &token)) }
    };
    Frame { site, title: "My account", here: "/me", script: fresh, role: Some(account.person.role) }.around(&content)
}

fn table(site: &Site, session: &Session, keys: &[Shown], token: &str, fresh: bool) -> Markup {
    html! {
        div.table tabindex="0" role="region" aria-labelledby="keys-title" {
            table {
                thead { tr {
                    th scope="col" { "Kind" } th scope="col" { "Which" } th scope="col" { "Added" }
                    th scope="col" { "Last used" } th scope="col" { span.unseen { "Remove" } }
                } }
                tbody {
                    @for key in keys {
                        tr {
                            td { (kind(key.kind)) }
                            td.mono {
                                (key.what)
                                @if key.name == session.credential { span.hint { " signed in with now" } }
                            }
                            td.time { (time(key.made)) }
                            td.time { @if key.used == 0 { "never" } @else { (time(key.used)) } }
                            td { @if fresh && keys.len() > 1 { (remove(site, key, token)) } }
                        }
                    }
                }
            }
        }
    }
}

fn remove(site: &Site, key: &Shown, token: &str) -> Markup {
    html! {
        form method="post" action=(site.path("/auth/keys/remove")) {
            input type="hidden" name="token" value=(token);
            input type="hidden" name="key" value=(key.name.0);
            button.quiet type="submit" {
                "Remove" span.unseen { " the " (kind(key.kind)) " " (key.what) " of " (time(key.made)) }
            }
        }
    }
}

/// `GET /auth/logout`.
pub(super) fn leaving(site: &Site, session: &Session) -> Markup {
    let content = html! { p.lead { "You are signed in." } (sign_out(site, &session.token())) };
    Frame { site, title: "Sign out", here: "/me", script: false, role: Some(session.account.person.role) }
        .around(&content)
}

fn sign_out(site: &Site, token: &str) -> Markup {
    html! {
        form method="post" action=(site.path("/auth/logout")) {
            input type="hidden" name="token" value=(token);
            button.quiet type="submit" { "Sign out" }
        }
    }
}

/// What was refused, and where to go from there.
pub(super) fn refused(site: &Site, refusal: &Refusal) -> Markup {
    let content = html! {
        p.notice role="alert" { (refusal.text()) }
        p { a href=(site.path("/me")) { "My account" } }
    };
    Frame { site, title: "This did not work", here: "", script: false, role: None }.around(&content)
}

pub(super) fn article(role: Role) -> &'static str {
    match role {
        Role::Patient => "a patient",
        Role::Clinician => "a clinician",
        Role::Administrator => "an administrator",
        Role::Auditor => "an auditor",
    }
}

pub(super) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Passkey => "Passkey",
        Kind::Wallet => "Wallet",
        Kind::OpenId => "Other account",
    }
}

pub(super) fn time(milliseconds: i64) -> String {
    Timestamp::from_millisecond(milliseconds).unwrap_or_default().strftime("%Y-%m-%d %H:%M UTC").to_string()
}
