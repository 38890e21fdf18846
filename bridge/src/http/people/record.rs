//! A patient's record: all of it by kinds, one kind, one entry, its receipt, who looked, a summary to print, everything to keep.
//! The same pages for the patient and, under another address, for a clinician.

use super::record_pages as pages;
use super::refusal::Refusal;
use super::visit::Visit;
use super::words::{GROUPS, Group};
use super::{emergency, files, launch, page, trail};
use crate::anchor;
use crate::app::App;
use crate::fhir::membership::is_shown_to;
use crate::fhir::view::View;
use crate::http::fhir::page::{Entry, Page as Bundle};
use crate::http::fhir::{may, parse_name, receipt};
use crate::http::reply::{Reply, with_header};
use crate::http::routes::Request;
use crate::http::{report, search};
use crate::ids::{Name, TypeName};
use crate::limits::MAX_PAGE;
use crate::people::Role;
use crate::read::{self, Opened};
use crate::search::compartment::{Wanted, everything};
use crate::smart::scopes::Interaction;
use maud::Markup;
use notary::anchor::ChainKind;
use notary::canonical::Json;
use notary::receipt::Receipt;
use std::sync::Arc;
use warp::http::{StatusCode, header};

/// What a list shows at a time, and what the overview shows of each kind.
const LIST: usize = 50;
pub(super) const GLIMPSE: usize = 5;
/// The largest record that is given in one file: it is held in memory, and a phone must take it.
const MAX_DOWNLOAD: usize = 64 << 20;

/// Whose record is looked at, and where its pages are.
pub(super) struct Chart<'c> {
    pub(super) visit: &'c Visit<'c>,
    pub(super) patient: Opened,
    /// `/me/records`, or `/me/patients/{id}`.
    pub(super) home: String,
}

/// `GET /me/records/...`: one's own; `GET /me/wards/{id}/...`: of whom one acts for.
pub(super) async fn of_own(
    app: &Arc<App>,
    request: &Request,
    ward: Option<&str>,
    rest: &[&str],
) -> Result<Reply, Refusal> {
    let visit = match Visit::of_patient(app, request, ward).await? {
        Ok(visit) => visit,
        Err(door) => return Ok(door),
    };
    let patient = visit.resource()?.clone();
    chart(&visit, patient, visit.records()).await?.answer(rest).await
}

/// Whether there are pages at such an address.
pub(super) fn is_page(rest: &[&str]) -> bool {
    matches!(rest, [] | [_] | [_, _] | [_, _, "receipt"] | [_, _, "file", _])
}

/// The record of a patient whom the visitor may read.
pub(super) async fn chart<'c>(visit: &'c Visit<'c>, patient: Name, home: String) -> Result<Chart<'c>, Refusal> {
    let permit = may(&visit.caller, Interaction::Read, Some(patient.kind))?;
    let patient = read::read(&visit.app.core, &permit, &patient, None).await?;
    let patient = patient.filter(|opened| !opened.stored.deleted).ok_or(Refusal::Nothing)?;
    Ok(Chart { visit, patient, home })
}

/// Where an entry stands.
pub(super) enum Standing {
    /// In no signed checkpoint yet.
    Waiting,
    Logged,
    /// On the ledger that the custodian itself keeps.
    Local,
    /// On a chain of others.
    Anchored,
}

impl Chart<'_> {
    pub(super) async fn answer(&self, rest: &[&str]) -> Result<Reply, Refusal> {
        match rest {
            [] => self.overview().await,
            ["access"] if self.visit.session.account.person.role == Role::Patient => {
                Ok(self.shown(&trail::of_record(self).await?))
            }
            ["apps"] if self.visit.ward.is_none() => launch::page(self).await,
            ["summary"] => self.summary().await,
            ["download"] => self.download().await,
            [kind] => self.list(TypeName::parse(kind).ok_or(Refusal::Nothing)?).await,
            [kind, id] => self.entry(parse_name(kind, id).ok_or(Refusal::Nothing)?).await,
            [kind, id, "receipt"] => self.receipt(parse_name(kind, id).ok_or(Refusal::Nothing)?).await,
            [kind, id, "file", number] => {
                files::open(self, &parse_name(kind, id).ok_or(Refusal::Nothing)?, number).await
            }
            _ => Err(Refusal::Nothing),
        }
    }

    pub(super) fn name(&self) -> &Name {
        &self.patient.stored.name
    }

    fn shown(&self, content: &Markup) -> Reply {
        page(StatusCode::OK, content)
    }

    /// What is asked for one kind, newest first.
    fn asked(&self, group: Option<&Group>, count: usize) -> Vec<(&'static str, String)> {
        let mut asked = vec![("patient", self.name().to_string()), ("_count", count.to_string())];
        asked.extend(group.map(|group| ("_sort", format!("-{}", group.order))));
        asked
    }

    async fn overview(&self) -> Result<Reply, Refusal> {
        let mut found: Vec<(&Group, Vec<Json>)> = Vec::with_capacity(GROUPS.len());
        for group in GROUPS {
            let kind = TypeName::parse(group.kind).ok_or(Refusal::Nothing)?;
            // A trend needs more than a glimpse.
            let count = if group.kind == "Observation" { LIST } else { GLIMPSE + 1 };
            let page = self.visit.search(kind, &self.asked(Some(group), count), None).await?;
            found.push((group, page.matches.iter().map(Opened::json).collect()));
        }
        let (apps, notices) = (launch::are_there(self).await?, emergency::notices(self).await?);
        Ok(self.shown(&pages::overview(self, &found, (apps, &notices))))
    }

    async fn list(&self, kind: TypeName) -> Result<Reply, Refusal> {
        let group = GROUPS.iter().find(|group| group.kind == kind.as_str()).ok_or(Refusal::Nothing)?;
        let from = self.visit.position(kind)?;
        let found = self.visit.search(kind, &self.asked(Some(group), LIST), from).await?;
        let after = self.visit.after(kind, found.next)?;
        let entries: Vec<Json> = found.matches.iter().map(Opened::json).collect();
        Ok(self.shown(&pages::list(self, group, &entries, after.as_deref())))
    }

    /// An entry of this very record. Who may read others' finds them under their own names.
    pub(super) async fn opened(&self, name: &Name) -> Result<Opened, Refusal> {
        let core = &self.visit.app.core;
        let permit = may(&self.visit.caller, Interaction::Read, Some(name.kind))?;
        let opened = read::read(core, &permit, name, None).await?;
        let opened = opened.filter(|opened| !opened.stored.deleted).ok_or(Refusal::Nothing)?;
        let ours = is_shown_to(self.name(), name, &opened.json(), &core.base);
        ours.then_some(opened).ok_or(Refusal::Nothing)
    }

    async fn entry(&self, name: Name) -> Result<Reply, Refusal> {
        let opened = self.opened(&name).await?;
        let json = opened.json();
        let stands = standing(proof(self.visit.app, opened).await.as_ref());
        let apps = name.kind.as_str() == "Encounter" && launch::are_there(self).await?;
        Ok(self.shown(&pages::entry(self, (&name, &json), &stands, apps)))
    }

    /// The receipt as a file, for `/verify`.
    async fn receipt(&self, name: Name) -> Result<Reply, Refusal> {
        self.opened(&name).await?;
        let reply = receipt(self.visit.call(), name.kind.as_str(), name.id.as_str(), None).await?;
        Ok(as_file(reply, "receipt.json"))
    }

    async fn summary(&self) -> Result<Reply, Refusal> {
        Ok(report::answer(self.visit.call(), self.name().id.as_str()).await?)
    }

    /// All of it as one Bundle.
    async fn download(&self) -> Result<Reply, Refusal> {
        let core = &self.visit.app.core;
        let wanted = Wanted { focus: self.name().clone(), types: None, since: None, care: None };
        let (mut entry, mut start): (Vec<Entry>, _) = (Vec::new(), None);
        let mut bytes = 0;
        loop {
            let found = everything(core, &self.visit.caller, core.around(), &wanted, start, MAX_PAGE).await?;
            let part = found.members.iter().map(|o| (o, "match")).chain(found.referred.iter().map(|o| (o, "include")));
            for (opened, mode) in part {
                bytes += opened.resource.len();
                entry.push(search::one(self.visit.app, opened, mode, &View::Whole));
            }
            if bytes > MAX_DOWNLOAD {
                return Err(Refusal::TooLarge);
            }
            start = match found.next {
                Some(next) => Some(next),
                None => break,
            };
        }
        let bundle = Bundle { resource_type: "Bundle", kind: "searchset", total: None, link: Vec::new(), entry };
        Ok(as_file(bundle.reply(), "record.json"))
    }
}

/// A receipt, where one can be made now.
async fn proof(app: &App, opened: Opened) -> Option<Receipt> {
    let core = app.core.clone();
    let made = tokio::task::spawn_blocking(move || anchor::receipt(&core, &opened)).await;
    made.unwrap_or(Err(anchor::AnchorError::CutShort)).unwrap_or_else(|error| {
        tracing::error!(%error, "a receipt could not be made");
        None
    })
}

fn standing(receipt: Option<&Receipt>) -> Standing {
    match receipt.map(|receipt| receipt.anchor.as_ref()) {
        None => Standing::Waiting,
        Some(None) => Standing::Logged,
        Some(Some(anchor)) if anchor.kind == ChainKind::Embedded => Standing::Local,
        Some(Some(_)) => Standing::Anchored,
    }
}

fn as_file(reply: Reply, name: &str) -> Reply {
    with_header(reply, header::CONTENT_DISPOSITION, &format!("attachment; filename=\"{name}\""))
}
