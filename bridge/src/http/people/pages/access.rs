//! Pages about who has access: the list, the form, the terms that are signed, and withdrawing by a code.

use crate::consent::grant::{Choice, MAX_YEARS, Purpose, Recipient, Sensitive};
use crate::consent::policy::Effect;
use crate::http::people::access::{Beginning, HOME, Shown, State};
use crate::http::people::frame::Frame;
use crate::http::people::visit::Visit;
use crate::http::people::words::{GROUPS, title};
use crate::ids::Name;
use crate::people::Role;
use crate::people::site::Site;
use jiff::civil::Date;
use maud::{Markup, html};

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Waiting => "Waiting",
            Self::Stands => "Stands",
            Self::Doubted => "Held back",
            Self::Ended => "Ended",
            Self::Revoked { .. } => "Withdrawn",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Waiting => "It is on its way to the chain, and counts when it stands there for good.",
            Self::Stands => "It stands on the chain, and counts.",
            Self::Doubted => {
                "It stands on the chain, but the chain was not read lately: until it is, nothing is shown."
            }
            Self::Ended => "Its last day is over.",
            Self::Revoked { on_chain: true, .. } => "It is withdrawn, here and on the chain. That cannot be undone.",
            Self::Revoked { at_hand: true, .. } => "It is withdrawn here. The chain will show it in a moment.",
            Self::Revoked { .. } => "It is withdrawn here. The chain will show it when you give your code.",
        }
    }

    pub(in crate::http::people) fn is_over(self) -> bool {
        matches!(self, Self::Ended | Self::Revoked { .. })
    }
}

/// `/me/access`.
pub(in crate::http::people) fn overview(
    visit: &Visit<'_>,
    (all, guardians): (&[Shown], &[Name]),
    is_set_up: bool,
) -> Markup {
    let path = |path: &str| visit.site.path(path);
    let (over, running): (Vec<_>, Vec<_>) = all.iter().partition(|shown| shown.state.is_over());
    let content = html! {
        p.lead { "Here you see who was given access to " (whose(visit)) " record, and take it back with one click. "
            a href=(path(&format!("{}/access", visit.records()))) { "Who looked" } " is another page, and "
            a href=(path("/me")) { "My account" } " has the apps that you have let in."
            " " a href=(path(&visit.explain(None))) { "Why somebody sees an entry" } " can be asked." }
        @if let Some(ward) = &visit.ward { p.notice { "You act for " code { (ward) } "." } }
        @else if !guardians.is_empty() { (guarded(guardians)) }
        @if is_set_up { p { a.button href=(path(&format!("{}/new", visit.grants()))) { "Give access" } } }
        @else { p.notice { "Access cannot be given here yet: no registry for it is set up." } }
        section.panel aria-labelledby="running-title" {
            h2 #running-title { "Who has access, and why" }
            @if running.is_empty() { p { "Nobody by your own signature. What else is in force is among your "
                a href=(path(&format!("{}/Consent", visit.records()))) { "consents" } "." } }
            @for shown in running { (entry(visit, shown)) }
            p.hint { (otherwise(visit)) }
        }
        @if !over.is_empty() {
            section.panel aria-labelledby="over-title" {
                h2 #over-title { "Who had access" }
                @for shown in over { (entry(visit, shown)) }
            }
        }
        p.hint { "You have a revocation code as a file or on paper? " a href=(path("/withdraw")) { "Withdraw by it" }
            ". Anybody who has it can, also without this service." }
    };
    let here = if visit.ward.is_some() { "/me" } else { HOME };
    Frame { site: &visit.site, title: "Who has access", here, script: false, role: Some(Role::Patient) }
        .around(&content)
}

/// What holds where the patient has said nothing.
fn otherwise(visit: &Visit<'_>) -> &'static str {
    let gate = &visit.app.core.gate;
    match gate.policy.default_for(&gate.purpose) {
        Effect::Permit => {
            "Where no consent says otherwise, all who treat patients in this house see the record, and so do its programs."
        }
        Effect::Deny => "Where no consent says so, nobody but the patient and who acts for him sees the record.",
    }
}

/// Whose record it is.
fn whose(visit: &Visit<'_>) -> &'static str {
    if visit.ward.is_some() { "this" } else { "your" }
}

/// Who acts for the patient whose page it is.
fn guarded(guardians: &[Name]) -> Markup {
    html! { p.notice {
        @for (n, one) in guardians.iter().enumerate() { @if n > 0 { ", " } code { (one) } }
        @if guardians.len() == 1 { " acts for you: sees" } @else { " act for you: they see" }
        " your record, and can give and withdraw access to it, until you are of age or an administrator ends it."
    } }
}

fn entry(visit: &Visit<'_>, Shown { key, consent, choice, state, .. }: &Shown) -> Markup {
    let name = &choice.recipient.called;
    html! {
        article.grant {
            h3 { (name) " " span.hint { (choice.recipient.reference) } }
            p { strong { (state.word()) ". " } (state.words()) }
            (facts(choice))
            p.hint {
                @if let Some((who, _)) = &choice.recorded_by { "You said so to " (who) ", who wrote it down. You have not signed it. " }
                @else if let Some(who) = &choice.acted_by { "Signed by " (who) ", who acted for the patient. " }
                @else { "You have signed it. " }
                a href=(visit.site.path(&format!("{}/{consent}", visit.records()))) { "The consent" } " · on the chain " code { (key) }
            }
            @if !state.is_over() && choice.recorded_by.is_some() {
                form method="post" action=(visit.site.path(&format!("{}/take", visit.grants()))) {
                    input type="hidden" name="token" value=(visit.session.token());
                    input type="hidden" name="grant" value=(key);
                    button.quiet type="submit" { "Sign it myself" span.unseen { ": the access of " (name) } }
                }
            }
            @if !state.is_over() {
                form method="post" action=(visit.site.path(&format!("{}/revoke", visit.grants()))) {
                    input type="hidden" name="token" value=(visit.session.token());
                    input type="hidden" name="grant" value=(key);
                    button type="submit" { "Withdraw" span.unseen { " the access of " (name) } } " "
                    @if choice.purpose != Purpose::Own {
                        a href=(visit.site.path(&format!("{}/new?instead={key}", visit.grants()))) { "Give less" span.unseen { " to " (name) } }
                    }
                }
            }
        }
    }
}

fn facts(choice: &Choice) -> Markup {
    html! {
        dl.facts.plain {
            dt { "May see" } dd { (choice.records(|kind| title(kind).to_owned())) }
            dt { "For" } dd { (choice.purpose.words()) }
            dt { "Until" } dd { (choice.ends()) }
        }
    }
}

/// What is chosen. `at`: where the form is sent.
pub(in crate::http::people) fn form(
    visit: &Visit<'_>,
    recipients: &[Recipient],
    beginning: Beginning<'_>,
    at: &str,
    until: Date,
) -> Markup {
    let instead = if let Beginning::Less(old) = beginning { Some(old) } else { None };
    let wish = if let Beginning::Asked(wish) = beginning { Some(wish) } else { None };
    let purpose_of = instead.map(|old| old.choice.purpose).or(wish.and_then(|wish| wish.purpose));
    let role = visit.session.account.person.role;
    let content = html! {
        p.lead {
            @if let Some(old) = instead { "You give " strong { (old.choice.recipient.called) } " less than before. "
                "When you have signed, the old access is withdrawn." }
            @else if role == Role::Patient { "Say who may see what. On the next page you read it once more, and sign it." }
            @else { "Write down what the patient has told you. It is marked as that, and the patient sees it and can withdraw it." }
        }
        form method="post" action=(visit.site.path(at)) {
            input type="hidden" name="token" value=(visit.session.token());
            @if let Some(old) = instead { input type="hidden" name="instead" value=(old.key); }
            section.panel { h2 { "Who" } (who(recipients, instead.map(|old| &old.choice.recipient).or(wish.and_then(|wish| wish.recipient.as_ref())))) }
            section.panel { h2 { "What" } (what(instead.map(|old| &old.choice), wish.map_or(&[], |wish| &wish.kinds))) }
            section.panel { h2 { "What for, and until when" }
                label for="purpose" { "For" }
                select #purpose name="purpose" { @for purpose in Purpose::OFFERED {
                    option selected[purpose_of == Some(purpose)] { (purpose.words()) }
                } }
                label for="until" { "Until (last day)" }
                input #until type="text" name="until" value=(until) required inputmode="numeric" autocomplete="off"
                    aria-describedby="until-hint";
                p.hint #until-hint { "As 2027-12-31, at most " (MAX_YEARS) " years from now." }
            }
            button type="submit" { "Read it once more" }
        }
    };
    let here = if role == Role::Patient { HOME } else { "/me/patients" };
    Frame { site: &visit.site, title: "Give access", here, script: false, role: Some(role) }.around(&content)
}

fn who(recipients: &[Recipient], fixed: Option<&Recipient>) -> Markup {
    if let Some(one) = fixed {
        return html! {
            p { (one.called) " " span.hint { (one.reference) } }
            input type="hidden" name="who" value=(one.reference);
        };
    }
    html! {
        label for="who" { "Organisation, person or program" }
        select #who name="who" { @for one in recipients {
            option value=(one.reference) { (one.called) " (" (kind(&one.reference)) ")" }
        } }
        details {
            summary { "Somebody who is not in the list" }
            label for="other" { "Reference" }
            input #other type="text" name="other" autocomplete="off" placeholder="Practitioner/...";
        }
    }
}

fn kind(reference: &str) -> &'static str {
    match reference.split('/').next() {
        Some("Organization") => "organisation",
        Some("Practitioner") => "person",
        _ => "program",
    }
}

/// `asked`: the types that somebody asks for; what there was before bounds what there can be.
fn what(before: Option<&Choice>, asked: &[String]) -> Markup {
    let bounded = before.is_some_and(|choice| !choice.kinds.is_empty());
    let some = bounded || !asked.is_empty();
    let had = |kind: &str| before.map_or(asked, |choice| &choice.kinds).iter().any(|had| had == kind);
    html! {
        fieldset {
            legend { "Which entries" }
            @if !bounded { label.check { input type="radio" name="what" value="all" checked[!some]; " Everything" } }
            label.check { input type="radio" name="what" value="some" checked[some]; " Only these:" }
            @for group in GROUPS {
                label.check.inner { input type="checkbox" name=(format!("kind-{}", group.kind)) checked[had(group.kind)]; " " (group.title) }
            }
        }
        fieldset {
            legend { "But nothing about" }
            @for sensitive in Sensitive::ALL {
                label.check {
                    input type="checkbox" name=(format!("without-{sensitive:?}"))
                        checked[before.is_some_and(|choice| choice.without.contains(&sensitive))];
                    " " (sensitive.words())
                }
            }
        }
    }
}

/// The terms, to be signed; or to be written down. `onward`: what goes on from there, where that is not the list.
pub(in crate::http::people) fn terms(
    visit: &Visit<'_>,
    choice: &Choice,
    draft: &str,
    onward: Option<&Markup>,
) -> Markup {
    let recorded = choice.recorded_by.is_some();
    let role = visit.session.account.person.role;
    let content = html! {
        p.lead { strong { (choice.recipient.called) } " (" (choice.recipient.reference) ") gets access to the record." }
        section.panel { (facts(choice)) }
        section.panel aria-labelledby="sign-title" {
            h2 #sign-title { @if recorded { "Write it down" } @else { "Sign it" } }
            p { "Your browser makes a " strong { "revocation code" } ". Whoever has it can withdraw this access, also without this "
                "service. You get it as a file." }
            label.check { input #keep type="checkbox" checked; " Keep a copy here, so that one click withdraws it on the chain, too" }
            noscript { p.notice { "This page needs JavaScript." } }
            div #grant.door data-at=(visit.site.path(HOME)) data-token=(visit.session.token()) data-draft=(draft) {
                @if recorded { button type="button" data-with="record" { "The patient has told me so" } } @else {
                    button type="button" data-with="passkey" disabled[!visit.site.takes_passkeys()] { "Sign with my passkey" }
                    button.quiet type="button" data-with="wallet" { "Sign with my wallet" }
                }
            }
            p #trouble.notice role="alert" hidden {}
            p #told.hint role="status" aria-live="polite" {}
        }
        section #code.panel aria-labelledby="code-title" tabindex="-1" hidden {
            h2 #code-title { "The revocation code" }
            p { "Keep it where you keep your papers. It is not shown again." }
            p { a #code-file.button download="revocation-code.txt" { "Save the file" } }
            label for="code-text" { "What stands in it" }
            textarea #code-text readonly rows="14" {}
            @if let Some(onward) = onward { (onward) } @else {
                @let next = if recorded { "/me/patients".to_owned() } else { visit.grants() };
                p { a href=(visit.site.path(&next)) { "Go on" } }
            }
        }
    };
    let here = if role == Role::Patient { HOME } else { "/me/patients" };
    Frame { site: &visit.site, title: "Read it once more", here, script: true, role: Some(role) }.around(&content)
}

/// `/withdraw`.
pub(in crate::http::people) fn code(site: &Site, withdrawn: Option<usize>) -> Markup {
    let content = html! {
        @if withdrawn.is_some() { p.notice role="status" { "The access is withdrawn. Nobody sees anything by it any more." } }
        p.lead { "With a revocation code an access is withdrawn for good, whoever you are." }
        form method="post" action=(site.path("/withdraw")) {
            label for="code-given" { "The code: all that stands in the file, or its line that begins with MSR1" }
            textarea #code-given name="code" rows="6" required autocomplete="off" spellcheck="false" {}
            button type="submit" { "Withdraw" }
        }
    };
    Frame { site, title: "Withdraw access", here: "", script: false, role: None }.around(&content)
}
