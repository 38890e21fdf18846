//! Emergencies over exchange: whoever asks for one says his role and his reason in the signed request, and the side that answers has it in its
//! log before it shows anything.

use super::error::ExchangeError;
use super::peers::Requester;
use crate::app::{App, Core};
use crate::consent::emergency::{EmergencyError, Plea, begin, end, has_room, live_of, of};
use crate::consent::outside::Outside;
use crate::consent::policy::{Coding, Declared, Overrides, PURPOSE_OF_USE, is_emergency};
use crate::ids::{Name, ResourceId};
use crate::index::emergencies::Emergency;
use crate::limits::VIEW_LIFE;
use crate::smart::token::Caller;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What somebody says who asks in an emergency.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Urgent {
    pub role: String,
    pub reason: String,
}

crate::redacted_debug!(Urgent);

impl From<EmergencyError> for ExchangeError {
    fn from(error: EmergencyError) -> Self {
        match error {
            EmergencyError::Ingest(error) => Self::Ingest(error),
            EmergencyError::Vault(error) => Self::Vault(error),
            EmergencyError::Nobody => Self::NoPatient,
            EmergencyError::Plea(text) => Self::Plea(text),
            refused => Self::Forbidden(refused.to_string()),
        }
    }
}

/// Role and reason for a purpose: those of emergencies need them, and no other has them.
pub fn plea(purpose: &Coding, urgent: Option<&Urgent>) -> Result<Option<Plea>, ExchangeError> {
    match (is_emergency(purpose), urgent) {
        (false, None) => Ok(None),
        (true, Some(Urgent { role, reason })) => Ok(Some(Plea::new(role, reason, Some(&purpose.code), None)?)),
        (true, None) => Err(ExchangeError::Malformed(
            "a purpose of emergencies needs `emergency`: the `role` of the user, and the `reason`",
        )),
        (false, Some(_)) => Err(ExchangeError::Malformed("`emergency` needs the purpose BTG or ETREAT")),
    }
}

/// Lets an emergency begin that another organisation's user declares, if he does, and tells how Consents are to be asked then.
pub async fn declared(
    app: &Arc<App>,
    by: &Requester,
    (patient, plea): (&Name, Option<&Plea>),
    (caller, outside): (&Caller, Outside),
) -> Result<(Outside, Option<ResourceId>), ExchangeError> {
    let Some(plea) = plea else { return Ok((outside, None)) };
    if app.core.gate.terms.overrides == Overrides::Nothing {
        return Err(EmergencyError::Off.into());
    }
    let holder = holder(by)?;
    let now = app.core.clock.now();
    has_room(&app.core, &holder, now).await?;
    let begun = begin(app, (&caller.who(), &holder, String::new()), (patient, plea), (now, now + VIEW_LIFE)).await?;
    Ok((under(outside, &begun), Some(begun.id)))
}

/// The same for a view that was opened in one: while it counts.
pub async fn again(core: &Core, by: &Requester, id: &ResourceId, outside: Outside) -> Result<Outside, ExchangeError> {
    let one = that(core, by, id).await?.ok_or(ExchangeError::Ended)?;
    Ok(under(outside, &one))
}

/// The one of a view that is over: it counts no more.
pub async fn over(app: &Arc<App>, by: &Requester, id: &ResourceId, caller: &Caller) -> Result<(), ExchangeError> {
    if let Some(one) = that(&app.core, by, id).await? {
        end(app, &caller.who(), &one).await?;
    }
    Ok(())
}

async fn that(core: &Core, by: &Requester, id: &ResourceId) -> Result<Option<Emergency>, ExchangeError> {
    Ok(live_of(core, &holder(by)?).await?.into_iter().find(|one| one.id == *id))
}

/// Whom an emergency counts for: a person of that organisation. No name of one of ours has a bar in it.
fn holder(by: &Requester) -> Result<String, ExchangeError> {
    let user =
        by.user.as_ref().ok_or_else(|| ExchangeError::Forbidden("an emergency is declared by a person".into()))?;
    Ok(format!("{}|{user}", by.partner.id))
}

fn under(outside: Outside, one: &Emergency) -> Outside {
    let event = of(one).map(|event| event.to_string()).unwrap_or_default();
    let declared = Declared { event, purpose: Coding::new(PURPOSE_OF_USE, &one.purpose) };
    Outside { emergency: Some((one.patient.clone(), declared)), ..outside }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_of_emergencies_need_a_role_and_a_reason_and_others_take_none() {
        let of = |code, urgent: Option<(&str, &str)>| {
            let urgent = urgent.map(|(role, reason)| Urgent { role: role.into(), reason: reason.into() });
            plea(&Coding::new(PURPOSE_OF_USE, code), urgent.as_ref())
        };
        assert!(matches!(of("TREAT", None), Ok(None)));
        for code in ["BTG", "ETREAT"] {
            assert_eq!(of(code, Some(("r", "w"))).unwrap().unwrap().purpose, code);
            assert!(matches!(of(code, None), Err(ExchangeError::Malformed(_))));
            assert!(matches!(of(code, Some(("r", " "))), Err(ExchangeError::Plea(_))));
        }
        assert!(matches!(of("ERTREAT", Some(("r", "w"))), Err(ExchangeError::Plea(_))), "a kind that nobody declares");
        assert!(matches!(of("TREAT", Some(("r", "w"))), Err(ExchangeError::Malformed(_))));
    }
}
