//! The first page: what this is, and where to go.

use super::frame::Frame;
use super::site;
use crate::app::App;
use maud::{Markup, html};

/// Where to go, and what is there.
const PLACES: [(&str, &str); 8] = [
    ("/me", "sign in, and what you sign in with"),
    ("/verify", "check a receipt, in your browser"),
    ("/ledger", "log, anchors, and each record held against them"),
    ("/fhir/metadata", "what this FHIR R4 server does"),
    ("/openapi.yaml", "every address, described"),
    ("/log/key", "the key that signs the log"),
    ("/log/checkpoint", "the signed head of the log"),
    ("/readyz", "whether all is well"),
];

/// `GET /`.
pub(in crate::http) fn front(app: &App) -> String {
    let site = site(app);
    let content = html! {
        p.lead { "Records of " strong { (app.core.custodian) } ", sealed and notarised." }
        ul { @for (path, what) in PLACES { li { a href=(site.path(path)) { (path) } " " (what) } } }
        p.hint { "Programs need a token: run " code { "medseal token --scope 'system/*.rs'" } " at the machine." }
    };
    let page: Markup = Frame { site: &site, title: "medseal", here: "/", script: false, role: None }.around(&content);
    page.into_string()
}
