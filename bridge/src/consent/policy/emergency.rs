//! What an emergency that somebody has declared opens, and what it does not. Pure.

use super::consent::{Consent, Effect, Matter, Provision, Rule};
use super::decide::{Because, Decision, Policy, Stands, decide_by};
use super::facts::Facts;
use super::fit::{Ask, Fit};
use super::terms::is_kind_of;
use super::{Coding, PURPOSE_OF_USE};

/// The code of treatment in an emergency, of which breaking the glass is a kind.
const EMERGENCY: &str = "ETREAT";

/// Whether a purpose is that of emergencies.
pub fn is_emergency(purpose: &Coding) -> bool {
    is_kind_of(purpose, &Coding::new(PURPOSE_OF_USE, EMERGENCY))
}

/// What an emergency goes before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overrides {
    /// Nothing: there is no emergency access.
    Nothing,
    /// What withholds, but for what a patient refuses for emergencies in so many words, and what is not understood: it might.
    Unrefused,
    /// That, too.
    All,
}

/// An emergency that counts now, for the user who asks and the patient who is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// The AuditEvent that tells of it, `AuditEvent/x`.
    pub event: String,
    /// A kind of emergency treatment.
    pub purpose: Coding,
}

/// Decides anew, in an emergency, what was refused. `ask` has the purpose of the emergency.
pub fn decide_in_emergency(
    (consents, refused): (&[Consent], Decision),
    (ask, facts): (&Ask, &Facts),
    (policy, stands): (&Policy, Stands<'_>),
    (overrides, declared): (Overrides, &Declared),
) -> Decision {
    let opened = match overrides {
        Overrides::Nothing => return refused,
        Overrides::All => true,
        Overrides::Unrefused => {
            let permitted = || decide_by(consents, ask, facts, policy, stands).effect == Effect::Permit;
            permitted() || !consents.iter().any(|consent| consent.refuses(ask, facts))
        }
    };
    if !opened {
        return refused;
    }
    let over = refused.because.to_string();
    let (event, purpose) = (declared.event.clone(), declared.purpose.clone());
    Decision { effect: Effect::Permit, because: Because::Emergency { event, purpose, over }, ..refused }
}

/// Whether an emergency opens anything at all. It tells nothing of what there is.
pub fn opens_in_emergency(consents: &[Consent], ask: &Ask, overrides: Overrides) -> bool {
    match overrides {
        Overrides::Nothing => false,
        Overrides::All => true,
        Overrides::Unrefused => !consents.iter().any(|consent| consent.refuses_all(ask)),
    }
}

impl Consent {
    /// Whether it refuses an emergency: it says so, or something in it is not understood.
    fn refuses(&self, ask: &Ask, facts: &Facts) -> bool {
        match &self.rule {
            Rule::Dark(_) => true,
            Rule::Provisions { root, .. } => root.refuses(ask, facts, &Matter::default(), (Fit::Yes, false)),
        }
    }

    /// The same for everything.
    fn refuses_all(&self, ask: &Ask) -> bool {
        match &self.rule {
            Rule::Dark(_) => true,
            Rule::Provisions { root, .. } => {
                let named = root.effect == Effect::Deny && root.names_emergencies();
                named && root.exceptions.is_empty() && root.matter.is_everything() && root.frame.fit(ask) != Fit::No
            }
        }
    }
}

impl Provision {
    /// Whether it, or an exception in it, denies this and speaks of emergencies, itself or in what is around it.
    fn refuses(&self, ask: &Ask, facts: &Facts, around: &Matter, (frame, named): (Fit, bool)) -> bool {
        let (frame, named) = (frame.min(self.frame.fit(ask)), named || self.names_emergencies());
        if frame == Fit::No {
            return false;
        }
        let matter = self.matter.or(around);
        if self.exceptions.iter().any(|one| one.refuses(ask, facts, &matter, (frame, named))) {
            return true;
        }
        let excepted = self.exceptions.iter().any(|one| one.say(ask, facts, &matter, frame).is_some());
        named && !excepted && self.effect == Effect::Deny && frame.min(matter.fit(facts)) != Fit::No
    }

    /// Whether emergencies are among its purposes; a purpose that is not understood may be one.
    fn names_emergencies(&self) -> bool {
        self.frame.purposes.iter().any(|listed| listed.as_ref().is_none_or(is_emergency))
    }
}

impl Matter {
    fn is_everything(&self) -> bool {
        let lists = self.classes.is_empty() && self.codes.is_empty() && self.data.is_empty();
        lists && self.labels.is_none() && self.period.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consent::policy::{Action, Combining};
    use notary::canonical::Json;
    use serde_json::{Value, json};

    const BASE: &str = "http://here/fhir";

    fn code(code: &str) -> Value {
        json!([{"system": PURPOSE_OF_USE, "code": code}])
    }

    fn consent(provision: Value) -> Consent {
        let scope = json!({"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}]});
        let json =
            json!({"resourceType": "Consent", "id": "c", "status": "active", "scope": scope, "provision": provision});
        Consent::read(&Json::from(json), BASE).unwrap()
    }

    /// What holds in an emergency of BTG, of a result: by what the patient may refuse, and by nothing.
    fn decided(consents: &[Consent]) -> (bool, bool) {
        let purpose = |code| Coding::new(PURPOSE_OF_USE, code);
        let ask = |code| Ask {
            actors: vec!["Practitioner/d".into()],
            identifiers: Vec::new(),
            purpose: purpose(code),
            action: Action::Access,
            now: 0,
        };
        let result = json!({"resourceType": "Observation", "id": "o", "subject": {"reference": "Patient/p"}});
        let facts = Facts::of(&Json::from(result), BASE);
        let policy = Policy { purposes: Vec::new(), otherwise: Effect::Deny, combining: Combining::DenyWins };
        let stands = |_: &notary::consent::GrantKey| Ok(());
        let declared = Declared { event: "AuditEvent/e".into(), purpose: purpose("BTG") };
        let of = |overrides| {
            let refused = decide_by(consents, &ask("TREAT"), &facts, &policy, &stands);
            assert_eq!(refused.effect, Effect::Deny, "the situations are refusals");
            let why = refused.because.to_string();
            let end = decide_in_emergency(
                (consents, refused),
                (&ask("BTG"), &facts),
                (&policy, &stands),
                (overrides, &declared),
            );
            match end.effect {
                Effect::Permit => {
                    assert_eq!(end.because.to_string(), format!("the emergency AuditEvent/e (BTG) goes before: {why}"))
                }
                Effect::Deny => assert_eq!(end.because.to_string(), why),
            }
            end.effect == Effect::Permit
        };
        assert!(!of(Overrides::Nothing));
        (of(Overrides::Unrefused), of(Overrides::All))
    }

    #[test]
    fn an_emergency_goes_before_what_withholds_and_not_before_what_speaks_of_emergencies() {
        let class = json!([{"system": "http://hl7.org/fhir/resource-types", "code": "Observation"}]);
        let other = json!([{"system": "http://hl7.org/fhir/resource-types", "code": "Condition"}]);
        let deny = |purpose: &str| json!({"type": "deny", "purpose": code(purpose)});
        let denies_but = |inner: Value| json!({"type": "deny", "provision": [inner]});
        for (what, provision, opened) in [
            ("a denial", json!({"type": "deny"}), true),
            ("of treatment", deny("TREAT"), true),
            ("a permission for something else", json!({"type": "permit", "class": other}), true),
            ("emergencies are permitted", denies_but(json!({"type": "permit", "purpose": code("BTG")})), true),
            ("of breaking the glass", denies_but(deny("BTG")), false),
            ("of emergencies", denies_but(deny("ETREAT")), false),
            (
                "of this in emergencies",
                denies_but(json!({"type": "deny", "purpose": code("ETREAT"), "class": class})),
                false,
            ),
            (
                "of something else in emergencies",
                denies_but(json!({"type": "deny", "purpose": code("ETREAT"), "class": other})),
                true,
            ),
            (
                "beside a denial that says nothing of it",
                json!({"type": "deny", "provision": [{"type": "deny", "class": class}, {"type": "deny", "purpose": code("BTG"), "class": class}]}),
                false,
            ),
            (
                "an exception within emergencies",
                json!({"type": "deny", "provision": [{"type": "permit", "purpose": code("BTG"), "provision": [{"type": "deny", "class": class}]}]}),
                false,
            ),
            (
                "of another doctor in emergencies",
                denies_but(json!({"type": "deny", "purpose": code("BTG"),
                "actor": [{"role": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "IRCP"}]},
                    "reference": {"reference": "Practitioner/other"}}]})),
                true,
            ),
        ] {
            assert_eq!(decided(&[consent(provision)]), (opened, true), "{what}");
        }
        assert_eq!(decided(&[]), (true, true), "nothing was said, and the default withholds");
        assert_eq!(decided(&[Consent::unknown("damaged")]), (false, true), "what is not understood might refuse");
        let both = [consent(denies_but(json!({"type": "permit", "purpose": code("BTG")}))), consent(deny("BTG"))];
        assert_eq!(decided(&both), (false, true), "one that refuses is enough");
    }

    #[test]
    fn whether_it_opens_anything_tells_nothing_of_what_there_is() {
        let ask = Ask {
            actors: Vec::new(),
            identifiers: Vec::new(),
            purpose: Coding::new(PURPOSE_OF_USE, "ETREAT"),
            action: Action::Access,
            now: 0,
        };
        let opens = |consents: &[Consent], overrides| opens_in_emergency(consents, &ask, overrides);
        let refusal = [consent(json!({"type": "deny", "purpose": code("ETREAT")}))];
        let part = [consent(json!({"type": "deny", "purpose": code("ETREAT"),
            "class": [{"system": "http://hl7.org/fhir/resource-types", "code": "Condition"}]}))];
        assert!(
            !opens(&refusal, Overrides::Unrefused)
                && opens(&part, Overrides::Unrefused)
                && opens(&[], Overrides::Unrefused)
        );
        assert!(!opens(&[Consent::unknown("damaged")], Overrides::Unrefused));
        assert!(opens(&refusal, Overrides::All) && !opens(&[], Overrides::Nothing));
    }
}
