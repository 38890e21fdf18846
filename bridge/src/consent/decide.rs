//! Decides, and nothing else: pure. The read path takes the [`Permit`] that only this module makes, so that a read
//! without a decision does not compile.

use crate::ids::TypeName;
use crate::smart::scopes::{Interaction, allow};
use crate::smart::token::Caller;

/// The proof that an access was decided.
#[derive(Debug)]
pub struct Permit {
    _private: (),
}

/// Why an access is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the token's scopes do not allow this: it needs `system/{}.{}`", .kind.map_or("*", TypeName::as_str), .letter)]
pub struct Denied {
    kind: Option<TypeName>,
    letter: char,
}

/// Whether the caller may do this with resources of a type; no type: with any.
pub fn decide(caller: &Caller, interaction: Interaction, kind: Option<TypeName>) -> Result<Permit, Denied> {
    if allow(&caller.scopes, interaction, kind) {
        return Ok(Permit { _private: () });
    }
    let letter = match interaction {
        Interaction::Create => 'c',
        Interaction::Read => 'r',
        Interaction::Update => 'u',
        Interaction::Delete => 'd',
        Interaction::Search => 's',
    };
    Err(Denied { kind, letter })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smart::scopes;

    #[test]
    fn a_permit_needs_the_scope() {
        let caller = Caller { subject: "x".into(), scopes: scopes::parse("system/Patient.r").unwrap() };
        let patient = TypeName::parse("Patient");
        assert!(decide(&caller, Interaction::Read, patient).is_ok());
        let denied = decide(&caller, Interaction::Update, patient).unwrap_err();
        assert_eq!(denied.to_string(), "the token's scopes do not allow this: it needs `system/Patient.u`");
    }
}
