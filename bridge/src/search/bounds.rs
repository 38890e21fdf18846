//! What the index is asked beside a search where the caller may see a part of the resources: to open all patients' results in
//! order to show one patient's would be slow, and would tell by its slowness how many there are. Whatever it proposes is held
//! against the permit when it is opened.

use crate::consent::decide::Permit;
use crate::fhir::membership;
use crate::fhir::search::criterion::{Criterion, Surroundings, Target};
use crate::fhir::search::query::Filter;
use crate::fhir::search::table::parameter;
use crate::ids::{Name, ResourceId, TypeName};
use crate::index::blind::Clause;
use crate::index::scan::Scan;
use crate::index::tokens::Tokenizer;

/// Narrows a scan to what the permit may be for.
pub(crate) fn narrow(tokens: &Tokenizer, permit: &Permit, around: &Surroundings<'_>, scan: &mut Scan) {
    let bounds = permit.bounds();
    let Some(first) = bounds.first() else { return };
    if let Some(patient) = first.patient.as_ref().filter(|p| bounds.iter().all(|b| b.patient.as_ref() == Some(p))) {
        to_patient(tokens, patient, scan);
    }
    if let ([_], Some(only)) = (bounds, &first.only) {
        let filters = only.beside_labels().filters(scan.kind, around).unwrap_or_default();
        scan.clauses.extend(filters.iter().flat_map(|filter| tokens.clauses(scan.kind, filter, around.now).clauses));
    }
}

/// Narrows a scan to what one patient's record may hold.
fn to_patient(tokens: &Tokenizer, patient: &Name, scan: &mut Scan) {
    let kind = scan.kind;
    if kind == patient.kind {
        return keep(&mut scan.ids, &patient.id);
    }
    if membership::supports(kind) {
        return;
    }
    scan.clauses.push(of_patient(tokens, patient, kind, scan.now));
}

fn keep(ids: &mut Option<Vec<ResourceId>>, only: &ResourceId) {
    match ids {
        Some(ids) => ids.retain(|id| id == only),
        None => *ids = Some(vec![only.clone()]),
    }
}

/// Refers to the patient by a parameter of the compartment, or by the one that says whom it is about.
fn of_patient(tokens: &Tokenizer, patient: &Name, kind: TypeName, now: i64) -> Clause {
    let target = Criterion::Reference(Target::Local(vec![patient.clone()]));
    let by = membership::by(kind, "Patient").into_iter().chain(parameter(kind, "patient"));
    let asked = by.flat_map(|parameter| {
        let filter = Filter::Values { parameter, negated: false, alternatives: vec![target.clone()] };
        tokens.clauses(kind, &filter, now).clauses
    });
    // References can always be looked up, each by its own mark.
    Clause::looked_up(asked.filter_map(Clause::into_lookups).flatten())
}
