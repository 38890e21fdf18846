//! Whom somebody belongs to: Consents that speak of an organisation speak of its people.

use super::policy::Ask;
use crate::app::Core;
use crate::error::VaultError;
use crate::ids::Name;
use crate::read::in_background;

/// Who belongs to an organisation by an account.
const PEOPLE: [&str; 2] = ["Practitioner", "PractitionerRole"];

impl Core {
    /// The question with the organisations of who asks, as whoever invited him has said.
    pub(super) async fn belonging(&self, mut ask: Ask) -> Result<Ask, VaultError> {
        let people = ask.actors.iter().filter_map(|actor| Name::parse(actor));
        for person in people.filter(|name| PEOPLE.contains(&name.kind.as_str())).collect::<Vec<_>>() {
            let store = self.store.clone();
            ask.actors.extend(in_background(move || store.organisations(&person)).await?);
        }
        Ok(ask)
    }
}
