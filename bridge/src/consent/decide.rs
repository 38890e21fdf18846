//! Decides, and nothing else: pure. The read path takes the [`Permit`] that only this module makes, so that a read
//! without a decision does not compile; and the permit is asked about each resource that was opened.

use super::outside::Outside;
use super::policy::{Action, Ask, Coding};
use crate::audit::seen::Seen;
use crate::config::PURPOSES;
use crate::fhir::membership;
use crate::fhir::search::check::holds;
use crate::fhir::search::criterion::Surroundings;
use crate::fhir::write::Criteria;
use crate::ids::{Name, TypeName};
use crate::smart::scopes::{Access, Context, Interaction, for_this};
use crate::smart::token::Caller;
use notary::canonical::Json;
use std::sync::Arc;

/// The proof that an access was decided, and which resources it is for.
#[derive(Debug)]
pub struct Permit {
    interaction: Interaction,
    /// One of them must let a resource through.
    bounds: Vec<Bound>,
    /// Who is asked of patients' Consents; none: nobody is, for a write or for this machine's administrator.
    asker: Option<Asker>,
    /// Where what is shown by it is told.
    seen: Seen,
}

/// Who asks, as Consents may speak of him.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    user: Option<Name>,
    client: Option<String>,
    /// The patient for whom, or by whose own grant, it is asked: his own record is his.
    own: Option<Name>,
    /// His scopes are for the whole system: the audit trail is for him.
    audits: bool,
    /// What for, where his token says it.
    purpose: Option<Coding>,
    /// Another organisation that asks.
    outside: Option<Arc<Outside>>,
}

impl Asker {
    /// Of a caller whose token was issued to a client or names a person. A token that was minted at the machine and names nobody is
    /// its administrator's, who has the keys anyway.
    fn of(caller: &Caller) -> Option<Self> {
        let Caller { user, client, .. } = caller;
        let patient = caller.patient.as_ref().filter(|_| !caller.narrowed);
        if let Some(outside) = &caller.outside {
            // Its token names a patient because it may see no other, and not because it is his.
            let outside = Some(outside.clone());
            return Some(Self { user: None, client: None, own: None, audits: false, purpose: None, outside });
        }
        let is_patient = |user: &Name| user.kind.as_str() == "Patient";
        let own = match user {
            _ if caller.guards => patient.cloned(),
            Some(user) => Some(user.clone()).filter(is_patient),
            None => patient.cloned(),
        };
        let somebody = user.is_some() || client.is_some() || patient.is_some();
        let purpose = caller.purpose.as_ref().map(|code| Coding::new(PURPOSES, code));
        let (user, client) = (user.clone(), client.clone());
        somebody.then_some(Self { user, client, own, audits: false, purpose, outside: None })
    }

    /// Whether the audit trail is for him, whatever patients consent to.
    pub fn audits(&self) -> bool {
        self.audits
    }

    /// Whether it is the same one as a caller of before.
    pub fn is_caller(&self, caller: &Caller) -> bool {
        let same = |other| Self { audits: self.audits, purpose: self.purpose.clone(), ..other } == *self;
        Self::of(caller).is_some_and(same)
    }

    /// Whether it is the patient himself.
    pub fn is(&self, patient: &Name) -> bool {
        self.own.as_ref() == Some(patient)
    }

    /// Another organisation, where one asks.
    pub fn outside(&self) -> Option<&Outside> {
        self.outside.as_deref()
    }

    /// What for; where he does not say it, this.
    pub fn purpose<'p>(&'p self, otherwise: &'p Coding) -> &'p Coding {
        let outside = self.outside.as_deref().map(|outside| &outside.purpose);
        outside.or(self.purpose.as_ref()).unwrap_or(otherwise)
    }

    /// A clinician of ours, who may have declared an emergency.
    pub fn clinician(&self) -> Option<&Name> {
        let is_clinician = |name: &&Name| matches!(name.kind.as_str(), "Practitioner" | "PractitionerRole");
        self.user.as_ref().filter(is_clinician).filter(|_| self.outside.is_none())
    }

    /// The question; when, is to be added.
    pub fn ask(&self, otherwise: &Coding) -> Ask {
        let purpose = self.purpose(otherwise).clone();
        if let Some(outside) = &self.outside {
            let (actors, identifiers) = (outside.actors(), outside.identifiers());
            return Ask { actors, identifiers, purpose, action: Action::Access, now: 0 };
        }
        let user = self.user.as_ref().map(ToString::to_string);
        let device = self.client.as_ref().map(|client| format!("Device/{client}"));
        let actors = user.into_iter().chain(device).collect();
        Ask { actors, identifiers: Vec::new(), purpose, action: Action::Access, now: 0 }
    }
}

/// What a resource must be for one scope to speak for it; nothing said: any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// Of this patient's record.
    pub patient: Option<Name>,
    /// Found by this search.
    pub only: Option<Criteria>,
}

/// Why an access is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("the token's scopes do not allow this: it needs `system/{}.{letter}`", shown(*.kind))]
    Scope { kind: Option<TypeName>, letter: char },
    /// Where resources cannot be told apart.
    #[error(
        "this needs `system/{}.{letter}` without a constraint: a token for a part of the resources cannot do it",
        shown(*.kind)
    )]
    Part { kind: Option<TypeName>, letter: char },
}

fn shown(kind: Option<TypeName>) -> &'static str {
    kind.map_or("*", TypeName::as_str)
}

/// Whether the caller may do this with resources of a type; no type: with any. Which of them, the permit says.
pub fn decide(caller: &Caller, interaction: Interaction, kind: Option<TypeName>) -> Result<Permit, Denied> {
    let granting: Vec<&Access> = for_this(&caller.scopes, interaction, kind).collect();
    let audits = granting.iter().any(|access| access.context == Context::System);
    let bounds: Vec<Bound> = granting.into_iter().filter_map(|access| bound(caller, access)).collect();
    if bounds.is_empty() {
        return Err(Denied::Scope { kind, letter: interaction.letter() });
    }
    let asker = Asker::of(caller).filter(|_| interaction.only_reads()).map(|asker| Asker { audits, ..asker });
    Ok(Permit { interaction, bounds, asker, seen: caller.seen.clone() })
}

/// The same for who changes in his own name what is there: its patients are asked as if he read it.
pub fn decide_over(caller: &Caller, interaction: Interaction, kind: Option<TypeName>) -> Result<Permit, Denied> {
    Ok(Permit { asker: Asker::of(caller), ..decide(caller, interaction, kind)? })
}

/// The same where no resource can be looked at on its own: only for who may do this with all of them.
pub fn decide_whole(caller: &Caller, interaction: Interaction, kind: Option<TypeName>) -> Result<Permit, Denied> {
    let permit = decide(caller, interaction, kind)?;
    if permit.is_whole() { Ok(permit) } else { Err(Denied::Part { kind, letter: interaction.letter() }) }
}

/// What a scope opens to a caller; nothing where its context is not in the token.
fn bound(caller: &Caller, access: &Access) -> Option<Bound> {
    let patient = match access.context {
        Context::System => None,
        Context::Patient => Some(caller.patient.clone()?),
        Context::User => {
            let user = caller.user.as_ref()?;
            match user.kind.as_str() {
                "Practitioner" | "PractitionerRole" => None,
                "Patient" => Some(user.clone()),
                _ => return None,
            }
        }
    };
    Some(Bound { patient, only: access.only.clone() })
}

impl Permit {
    /// Where whoever shows something by this permit says so.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Who is asked of patients' Consents.
    pub fn asker(&self) -> Option<&Asker> {
        self.asker.as_ref()
    }

    /// Whether nothing of the type is held back, whoever's it is: neither by scopes nor by a Consent.
    pub fn shows_all(&self) -> bool {
        self.asker.is_none() && self.is_whole()
    }

    /// Whether its scopes are for every resource of its type.
    pub fn is_whole(&self) -> bool {
        self.bounds.iter().any(|bound| bound.patient.is_none() && bound.only.is_none())
    }

    /// What resources must be, where it is not for all: only what fits one of these is worth looking for.
    pub fn bounds(&self) -> &[Bound] {
        if self.is_whole() { &[] } else { &self.bounds }
    }

    /// Whether it is for this very resource, as it is stored or about to be. THE place where a resource is let through or held
    /// back.
    pub fn covers(&self, name: &Name, resource: &Json, around: &Surroundings<'_>) -> bool {
        self.is_whole() || self.bounds.iter().any(|bound| self.fits(bound, name, resource, around))
    }

    fn fits(&self, bound: &Bound, name: &Name, resource: &Json, around: &Surroundings<'_>) -> bool {
        let of_patient = |patient: &Name| match self.interaction.only_reads() {
            true => membership::is_shown_to(patient, name, resource, around.base),
            false => membership::is_of_none_but(patient, name, resource, around.base),
        };
        // It was read when the scope was; for another type it may mean nothing, and lets nothing through.
        let found = |only: &Criteria| {
            // Where nobody has said by which rules, a scope that asks for labels lets nothing through.
            if only.asks_labels() && around.labels.is_none() {
                return false;
            }
            let labelled = around.labels.filter(|_| only.asks_labels()).map(|rules| rules.labelled(resource));
            let (resource, filters) = (labelled.as_ref().unwrap_or(resource), only.filters(name.kind, around));
            filters.is_ok_and(|filters| filters.iter().all(|filter| holds(filter, resource, around)))
        };
        bound.patient.as_ref().is_none_or(of_patient) && bound.only.as_ref().is_none_or(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consent::labels::Rules;
    use crate::smart::scopes;

    const AROUND: Surroundings<'_> = Surroundings { base: "http://here/fhir", now: 0, labels: None };

    fn caller(scope: &str, patient: Option<&str>, user: Option<&str>) -> Caller {
        let name = |text: Option<&str>| text.and_then(Name::parse);
        Caller { patient: name(patient), user: name(user), ..Caller::new("x", scopes::parse(scope).unwrap()) }
    }

    fn lab(of: &str, category: &str) -> Json {
        let text = format!(
            r#"{{"resourceType":"Observation","id":"o","subject":{{"reference":"{of}"}},
                "category":[{{"coding":[{{"system":"http://c","code":"{category}"}}]}}]}}"#
        );
        Json::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_permit_needs_the_scope() {
        let caller = caller("system/Patient.r", None, None);
        let patient = TypeName::parse("Patient");
        assert!(decide(&caller, Interaction::Read, patient).unwrap().is_whole());
        let denied = decide(&caller, Interaction::Update, patient).unwrap_err();
        assert_eq!(denied.to_string(), "the token's scopes do not allow this: it needs `system/Patient.u`");
    }

    /// A token (scopes, patient, user), and whether it reads p's laboratory result, p's other result, and q's result.
    type Reader = (&'static str, Option<&'static str>, Option<&'static str>, [bool; 3]);

    const READERS: &[Reader] = &[
        ("system/*.r", None, None, [true, true, true]),
        ("system/Observation.r?category=http://c|lab", None, None, [true, false, true]),
        ("system/Observation.r?category=lab system/Observation.r?category=vital", None, None, [true, true, true]),
        ("patient/*.r", Some("Patient/p"), None, [true, true, false]),
        ("patient/Observation.r?category=lab", Some("Patient/p"), None, [true, false, false]),
        ("patient/*.r", None, None, [false, false, false]),
        ("patient/*.r", None, Some("Patient/p"), [false, false, false]),
        ("user/*.r", None, Some("Practitioner/d"), [true, true, true]),
        ("user/*.r", None, Some("Patient/p"), [true, true, false]),
        ("user/*.r", Some("Patient/p"), None, [false, false, false]),
        ("user/*.r", None, Some("RelatedPerson/r"), [false, false, false]),
        ("system/Patient.r", None, None, [false, false, false]),
        ("openid launch/patient", Some("Patient/p"), None, [false, false, false]),
    ];

    #[test]
    fn a_resource_is_let_through_by_one_scope_that_speaks_for_it() {
        let name = Name::parse("Observation/o").unwrap();
        let resources = [lab("Patient/p", "lab"), lab("Patient/p", "vital"), lab("Patient/q", "lab")];
        for (scope, patient, user, expected) in READERS {
            let permit = decide(&caller(scope, *patient, *user), Interaction::Read, Some(name.kind));
            let read = |json: &Json| permit.as_ref().is_ok_and(|permit| permit.covers(&name, json, &AROUND));
            assert_eq!(resources.each_ref().map(read), *expected, "{scope} {patient:?} {user:?}");
        }
    }

    #[test]
    fn a_scope_knows_the_labels_that_rules_put_on() {
        let name = Name::parse("Condition/c").unwrap();
        let condition = |code: &str| {
            let coding = format!(r#"[{{"system":"http://snomed.info/sct","code":"{code}"}}]"#);
            let text = format!(r#"{{"resourceType":"Condition","id":"c","code":{{"coding":{coding}}}}}"#);
            Json::parse(text.as_bytes()).unwrap()
        };
        let (hiv, diabetes) = (condition("86406008"), condition("44054006"));
        for (constraint, expected) in [
            ("_security:not=R", [false, true]),
            ("_security:missing=true", [false, true]),
            ("_security=R", [true, false]),
            ("_security=http://terminology.hl7.org/CodeSystem/v3-ActCode|HIV", [true, false]),
            ("_security:not=V", [true, true]),
        ] {
            for interaction in [Interaction::Read, Interaction::Create] {
                let caller = caller(&format!("system/Condition.cr?{constraint}"), None, None);
                let permit = decide(&caller, interaction, Some(name.kind)).unwrap();
                let around = Surroundings { labels: Some(Rules::built_in()), ..AROUND };
                assert_eq!([&hiv, &diabetes].map(|one| permit.covers(&name, one, &around)), expected, "{constraint}");
                assert!(!permit.covers(&name, &diabetes, &AROUND), "by no rules nothing is let through");
            }
        }
    }

    #[test]
    fn where_resources_cannot_be_told_apart_all_must_be_allowed() {
        let whole = |scope| decide_whole(&caller(scope, Some("Patient/p"), None), Interaction::Read, None).is_ok();
        assert!(whole("system/*.r") && whole("patient/*.r system/*.r"));
        assert!(!whole("patient/*.r") && !whole("system/*.r?_tag=a") && !whole("system/Patient.r"));
    }

    #[test]
    fn who_writes_into_one_record_writes_into_no_other() {
        let name = Name::parse("Observation/o").unwrap();
        let shared = r#"{"resourceType":"Observation","subject":{"reference":"Patient/p"},
            "performer":[{"reference":"Patient/q"}]}"#;
        let shared = Json::parse(shared.as_bytes()).unwrap();
        let caller = caller("patient/*.cru", Some("Patient/p"), None);
        let covers = |interaction, json: &Json| {
            decide(&caller, interaction, Some(name.kind)).unwrap().covers(&name, json, &AROUND)
        };
        assert!(covers(Interaction::Read, &shared) && !covers(Interaction::Create, &shared));
        assert!(covers(Interaction::Update, &lab("Patient/p", "lab")));
        assert!(!covers(Interaction::Update, &lab("Patient/q", "lab")));
        assert!(!covers(Interaction::Create, &Json::parse(br#"{"resourceType":"Observation"}"#).unwrap()));
    }
}
