//! A patient under all the numbers that were merged with his: what one of those records says of him holds for each.

use crate::app::Core;
use crate::error::VaultError;
use crate::fhir::search::criterion::normal;
use crate::ids::Name;
use crate::index::store::StoreError;
use crate::limits::MAX_MERGED;
use crate::people::age;
use crate::read::in_background;
use notary::canonical::Json;

/// What belongs to one person.
pub(crate) struct Merged {
    /// The number that was asked for comes first.
    pub names: Vec<Name>,
    /// The Patients of these names that are here.
    pub patients: Vec<Json>,
}

crate::redacted_debug!(Merged);

impl Merged {
    /// Whether one of them says that the patient has died.
    pub fn has_died(&self) -> bool {
        self.patients.iter().any(age::has_died)
    }
}

impl Core {
    /// A patient, and those whose records were merged with his, over any number of steps.
    pub(crate) async fn merged(&self, patient: &Name) -> Result<Merged, VaultError> {
        let (mut names, mut next, mut patients) = (vec![patient.clone()], 0, Vec::new());
        while let Some(one) = names.get(next).cloned() {
            next += 1;
            let store = self.store.clone();
            let Some(stored) = in_background(move || store.current(&one)).await? else { continue };
            let Some(opened) = self.open_unless_erased(&stored).await?.filter(|_| !stored.deleted) else { continue };
            let json = opened.json();
            for other in merged_with(&json, &self.base) {
                if !names.contains(&other) {
                    names.push(other);
                }
            }
            patients.push(json);
            if names.len() > 1 + MAX_MERGED {
                return Err(StoreError::Nonsense("a patient was merged with too many others").into());
            }
        }
        Ok(Merged { names, patients })
    }

    /// Whether somebody is a patient of whom the record says that he has died: what he let in has ended, and nobody lets anything in
    /// under his name.
    pub(crate) async fn has_died(&self, person: Option<&Name>) -> Result<bool, VaultError> {
        match person.filter(|name| name.kind.as_str() == "Patient") {
            Some(patient) => Ok(self.merged(patient).await?.has_died()),
            None => Ok(false),
        }
    }
}

/// Whom a Patient replaces, or is replaced by.
fn merged_with(patient: &Json, base: &str) -> Vec<Name> {
    let links = patient.get("link").map_or(&[][..], Json::items).iter();
    let merged = links.filter(|link| matches!(link.text("type"), Some("replaces" | "replaced-by")));
    let others = merged.filter_map(|link| link.get("other").and_then(|other| other.text("reference")));
    others.filter_map(|reference| Name::parse(normal(reference, base))).collect()
}
