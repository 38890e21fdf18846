//! What every page has around it.

use crate::people::Role;
use crate::people::site::Site;
use maud::{DOCTYPE, Markup, html};

/// A page without its content.
pub(super) struct Frame<'f> {
    pub(super) site: &'f Site,
    pub(super) title: &'f str,
    /// The page of the bar on top that this is.
    pub(super) here: &'f str,
    /// Whether it has a script.
    pub(super) script: bool,
    /// What who is signed in is here.
    pub(super) role: Option<Role>,
}

/// Each looks for what it works on.
const SCRIPTS: [&str; 2] = ["/portal/people.js", "/portal/access.js"];

/// The bar on top: what there is for a role.
fn bar(role: Option<Role>) -> &'static [(&'static str, &'static str)] {
    match role {
        None => &[("/verify", "Verify"), ("/ledger", "Ledger"), ("/me", "My account")],
        Some(Role::Patient) => &[
            ("/me/records", "My record"),
            ("/me/access", "Who has access"),
            ("/me/records/access", "Who looked"),
            ("/me/shares", "Sharing"),
            ("/verify", "Verify"),
            ("/me", "My account"),
        ],
        Some(Role::Clinician) => &[
            ("/me/patients", "Patients"),
            ("/me/hospitals", "Other hospitals"),
            ("/me/emergency", "Emergency"),
            ("/verify", "Verify"),
            ("/me", "My account"),
        ],
        Some(Role::Auditor) => &[
            ("/me/log", "Access log"),
            ("/me/explain", "Why"),
            ("/ledger", "Ledger"),
            ("/verify", "Verify"),
            ("/me", "My account"),
        ],
        Some(Role::Administrator) => &[
            ("/me/feeds", "Feeds"),
            ("/me/quarantine", "Quarantine"),
            ("/me/people", "People"),
            ("/me/guardians", "Guardians"),
            ("/me/emergencies", "Emergencies"),
            ("/me/clients", "Programs"),
            ("/me/keys", "Keys"),
            ("/me/backups", "Backups"),
            ("/me/network", "Network"),
            ("/ledger", "Ledger"),
            ("/me", "My account"),
        ],
    }
}

impl Frame<'_> {
    /// The page.
    pub(super) fn around(&self, content: &Markup) -> Markup {
        let path = |path: &str| self.site.path(path);
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="referrer" content="same-origin";
                    title { (self.title) " · medseal" }
                    link rel="icon" href=(path("/portal/icon.svg")) type="image/svg+xml";
                    link rel="stylesheet" href=(path("/portal/page.css"));
                    @if self.script { @for script in SCRIPTS { script type="module" src=(path(script)) {} } }
                }
                body {
                    a.skip href="#main" { "Skip to the content" }
                    header.top {
                        div.wide {
                            span.brand { "medseal" }
                            nav aria-label="Pages" {
                                @for (to, word) in bar(self.role) {
                                    a href=(path(to)) aria-current=[(*to == self.here).then_some("page")] { (word) }
                                }
                            }
                        }
                    }
                    main #main.wide { h1 { (self.title) } (content) }
                }
            }
        }
    }
}
