//! Somebody's visit to a page of the portal: the caller that his role makes him. What he sees goes the same way, and is told in the
//! same trail, as what any program reads.

use super::refusal::Refusal;
use super::{guardians, see_other, session, site};
use crate::app::App;
use crate::consent::grant::Choice;
use crate::fhir::search::query::{Faulty, read_as};
use crate::http::cursor::Cursor;
use crate::http::fhir::parse_name;
use crate::http::query::encode;
use crate::http::reply::{Reply, unreadable};
use crate::http::routes::{Call, Request};
use crate::ids::{Name, TypeName};
use crate::people::session::Session;
use crate::people::site::Site;
use crate::people::{Account, Person, Role};
use crate::search::{Page, Position, search};
use crate::secret::system_random;
use crate::smart::grant::purpose;
use crate::smart::scopes;
use crate::smart::token::Caller;
use bytes::Bytes;
use jiff::civil::Date;
use std::sync::Arc;

static NOTHING: Bytes = Bytes::new();

/// Who is signed in, and what he may.
pub(super) struct Visit<'v> {
    pub(super) app: &'v Arc<App>,
    pub(super) request: &'v Request,
    pub(super) session: Session,
    pub(super) site: Site,
    pub(super) caller: Caller,
    /// The patient for whom a guardian visits.
    pub(super) ward: Option<Name>,
    /// The last day on which he may.
    acts_until: Option<Date>,
}

/// What a guardian asks for (v3-ActReason).
const FAMILY: &str = "FAMRQT";

/// What a role may read; nothing of a record for an administrator.
fn scope(role: Role) -> &'static str {
    match role {
        Role::Patient => "patient/*.rs",
        Role::Clinician => "user/*.rs",
        Role::Auditor => "system/AuditEvent.rs",
        Role::Administrator => "",
    }
}

/// As what somebody visits; `otherwise`: the purpose where the role has none of its own.
pub(super) fn caller(account: &Account, otherwise: &str) -> Caller {
    let Person { role, resource, .. } = &account.person;
    let scopes = scopes::parse_known(scope(*role));
    let patient = resource.clone().filter(|_| *role == Role::Patient);
    let purpose = Some(purpose(None, *role, otherwise));
    Caller { patient, user: resource.clone(), purpose, ..Caller::new(&format!("portal/{}", account.id), scopes) }
}

impl<'v> Visit<'v> {
    /// The visit of somebody with this role; who is not signed in is sent to the door, and anybody else refused.
    pub(super) async fn of(
        app: &'v Arc<App>,
        request: &'v Request,
        role: Role,
    ) -> Result<Result<Visit<'v>, Reply>, Refusal> {
        let Some(session) = session::of(app, &request.headers).await else {
            let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
            let next = encode(&format!("{}{query}", request.path));
            return Ok(Err(see_other(&site(app).path(&format!("/auth/login?next={next}")))));
        };
        let caller = caller(&session.account, &app.core.gate.purpose.code).asks(&request.seen);
        if session.account.person.role != role {
            return Err(Refusal::Role);
        }
        Ok(Ok(Self { app, request, session, site: site(app), caller, ward: None, acts_until: None }))
    }

    /// The visit of a patient; where a ward is named, of a guardian to that patient's pages.
    pub(super) async fn of_patient(
        app: &'v Arc<App>,
        request: &'v Request,
        ward: Option<&str>,
    ) -> Result<Result<Visit<'v>, Reply>, Refusal> {
        let visit = match Self::of(app, request, Role::Patient).await? {
            Ok(visit) => visit,
            Err(door) => return Ok(Err(door)),
        };
        let Some(id) = ward else { return Ok(Ok(visit)) };
        let ward = parse_name("Patient", id).ok_or(Refusal::Nothing)?;
        let acts_until = Some(guardians::check(&visit, &ward).await?);
        let purpose = Some(FAMILY.to_owned());
        let caller = Caller { patient: Some(ward.clone()), guards: true, purpose, ..visit.caller };
        Ok(Ok(Self { caller: caller.asks(&request.seen), ward: Some(ward), acts_until, ..visit }))
    }

    /// The same as a request to the FHIR API.
    pub(super) fn call(&self) -> Call<'_> {
        Call { app: self.app, caller: self.caller.clone(), request: self.request, body: &NOTHING }
    }

    /// A page of a search, from where the address says.
    pub(super) async fn search(
        &self,
        kind: TypeName,
        pairs: &[(&str, String)],
        from: Option<Position>,
    ) -> Result<Page, Refusal> {
        self.search_as(&self.caller, kind, pairs, from).await
    }

    /// The same with other rights than the role's.
    pub(super) async fn search_as(
        &self,
        caller: &Caller,
        kind: TypeName,
        pairs: &[(&str, String)],
        from: Option<Position>,
    ) -> Result<Page, Refusal> {
        let core = &self.app.core;
        let pairs: Vec<(String, String)> = pairs.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect();
        let asked = read_as(kind, &pairs, &core.around(), Faulty::Refused).map_err(|_| Refusal::Form)?;
        Ok(search(core, caller, core.around(), &asked, from).await?)
    }

    /// Where a list goes on, of the address.
    pub(super) fn position(&self, kind: TypeName) -> Result<Option<Position>, Refusal> {
        let Some(text) = super::parameter(self.request, "after") else { return Ok(None) };
        let cursor = Cursor::open(&text, &self.app.core.cursor_key, kind).ok_or(Refusal::Form)?;
        Ok(Some(cursor.position))
    }

    /// The same for the next page.
    pub(super) fn after(&self, kind: TypeName, next: Option<Position>) -> Result<Option<String>, Refusal> {
        let Some(position) = next else { return Ok(None) };
        let sealed = Cursor::new(kind, String::new(), position).seal(&self.app.core.cursor_key, &system_random);
        Ok(Some(sealed.map_err(|error| unreadable(&error.into()))?))
    }

    /// Whom the account is, or whom it acts for.
    pub(super) fn resource(&self) -> Result<&Name, Refusal> {
        self.ward.as_ref().or(self.session.account.person.resource.as_ref()).ok_or(Refusal::Role)
    }

    /// Who acts for the patient, where somebody does.
    fn guardian(&self) -> Option<String> {
        self.ward.as_ref().and(self.session.account.person.resource.as_ref()).map(Name::to_string)
    }

    /// What the visitor is to sign: a guardian says that it is he, and gives nothing for longer than he may act.
    pub(super) fn to_sign(&self, choice: Choice) -> Choice {
        Choice { acted_by: self.guardian(), until: self.by_then(choice.until), ..choice }
    }

    /// A day, or the last one on which a guardian may act where that comes before.
    pub(super) fn by_then(&self, day: Date) -> Date {
        self.acts_until.map_or(day, |last| last.min(day))
    }

    /// Where the pages of the record are that this is about.
    pub(super) fn records(&self) -> String {
        self.ward.as_ref().map_or_else(|| "/me/records".to_owned(), |ward| format!("/me/wards/{}", ward.id))
    }

    /// Where the pages about its grants are.
    pub(super) fn grants(&self) -> String {
        self.ward.as_ref().map_or_else(|| "/me/access".to_owned(), |ward| format!("/me/wards/{}/grants", ward.id))
    }

    /// Where a patient, or who acts for one, asks why somebody sees an entry, if one is named.
    pub(super) fn explain(&self, record: Option<&Name>) -> String {
        let ward = self.ward.iter().map(|ward| format!("ward={}", ward.id));
        let asked: Vec<String> = ward.chain(record.map(|name| format!("record={name}"))).collect();
        if asked.is_empty() { "/me/explain".to_owned() } else { format!("/me/explain?{}", asked.join("&")) }
    }
}
