//! Whose consent is asked before a resource is shown: more than R4's patient compartment, which leaves out what says only indirectly
//! whose it is.

use crate::app::Core;
use crate::error::VaultError;
use crate::fhir::search::criterion::normal;
use crate::fhir::{membership, references};
use crate::ids::{Name, Owner, ResourceId, TypeName};
use crate::limits::MAX_FOLLOWED;
use crate::read::{Opened, in_background};
use notary::canonical::Json;
use std::convert::Infallible;

/// What is to be shown.
pub(crate) struct About<'a> {
    /// Under whose key it is sealed, where it is.
    pub owner: Option<&'a Owner>,
    pub name: &'a Name,
    pub resource: &'a Json,
}

/// Whose a resource is.
pub(super) enum Whose {
    Of(Vec<Name>),
    /// By its type it is nobody's.
    Nobodys,
    /// It may be somebody's, and nobody can tell whose.
    Unknown,
}

impl Core {
    /// Whose a resource is: by the compartment, by what it is about, by the key that seals it, by the resources that it holds; else by
    /// those that it refers to.
    pub(super) async fn whose(&self, about: &About<'_>) -> Result<Whose, VaultError> {
        let mut patients = named(about.name, about.resource, &self.base);
        patients.extend(about.owner.and_then(Owner::as_patient));
        if patients.is_empty() {
            patients = self.followed(about.resource).await?;
        }
        patients.sort_by(|a, b| a.id.cmp(&b.id));
        patients.dedup();
        Ok(match patients.is_empty() {
            false => Whose::Of(patients),
            true if membership::is_nobodys(about.name.kind) => Whose::Nobodys,
            true => Whose::Unknown,
        })
    }

    /// Whether a resource is this patient's and nobody else's; nothing, where nobody can tell whose it is.
    pub(crate) async fn is_only_of(&self, opened: &Opened, patient: &Name) -> Result<Option<bool>, VaultError> {
        let resource = opened.json();
        let about = About { owner: Some(&opened.owner), name: &opened.stored.name, resource: &resource };
        Ok(match self.whose(&about).await? {
            Whose::Of(patients) => Some(patients.iter().all(|one| one == patient)),
            Whose::Nobodys => Some(false),
            Whose::Unknown => None,
        })
    }

    /// Whose the resources are that one refers to: a result that names an encounter alone, a Binary behind a document.
    async fn followed(&self, resource: &Json) -> Result<Vec<Name>, VaultError> {
        let mut patients = Vec::new();
        for name in referred(resource, &self.base).into_iter().take(MAX_FOLLOWED) {
            let (store, wanted) = (self.store.clone(), name.clone());
            let Some(stored) = in_background(move || store.current(&wanted)).await? else { continue };
            if let Some(opened) = self.open_unless_erased(&stored).await? {
                patients.extend(named(&name, &opened.json(), &self.base));
                patients.extend(opened.owner.as_patient());
            }
        }
        Ok(patients)
    }
}

/// The patients that a resource names, or one that it holds does.
fn named(name: &Name, resource: &Json, base: &str) -> Vec<Name> {
    let mut patients = membership::of(name, resource, base);
    patients.extend(membership::keeper(name, resource, base));
    let entries = resource.get("entry").map_or(&[][..], Json::items).iter().filter_map(|entry| entry.get("resource"));
    let parts = resource.get("parameter").map_or(&[][..], Json::items).iter().filter_map(|part| part.get("resource"));
    for held in entries.chain(parts) {
        if let Some(name) = name_of(held) {
            patients.extend(named(&name, held, base));
        }
    }
    patients
}

/// A resource in a Bundle; one without an id has any.
fn name_of(resource: &Json) -> Option<Name> {
    let kind = TypeName::parse(resource.text("resourceType")?)?;
    Some(Name { kind, id: ResourceId::parse(resource.text("id").unwrap_or("none"))? })
}

/// What a resource refers to on this server and may be somebody's, each once.
fn referred(resource: &Json, base: &str) -> Vec<Name> {
    let (mut names, mut json) = (Vec::<Name>::new(), resource.clone());
    let Ok(()) = references::rewrite(&mut json, &mut |reference| {
        let name = Name::parse(normal(reference, base));
        names.extend(name.filter(|name| !names.contains(name) && !membership::is_nobodys(name.kind)));
        Ok::<_, Infallible>(None)
    });
    names
}

/// The links of a Patient that lead to whom it was merged into.
pub fn replacing(patient: &Json) -> impl Iterator<Item = &Json> {
    let links = patient.get("link").map_or(&[][..], Json::items);
    links.iter().filter(|link| link.text("type") == Some("replaced-by"))
}

/// The record here that a Patient was merged into.
pub fn replaced_by(patient: &Json, base: &str) -> Option<Name> {
    let other = replacing(patient).next()?.get("other")?.text("reference")?;
    Name::parse(normal(other, base))
}
