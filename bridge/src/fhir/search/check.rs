//! The exact test of a resource against the filters: whatever the blind index let through, only what fits comes back.

use super::criterion::Surroundings;
use super::query::Filter;
use super::span::moment;
use super::table::{Kind, Parameter};
use super::value::{Value, values};
use crate::ids::ResourceId;
use notary::canonical::Json;

/// Whether a resource fits. Chains must have been resolved before: one that is left fits nothing.
pub fn holds(filter: &Filter, resource: &Json, around: &Surroundings<'_>) -> bool {
    match filter {
        Filter::Ids(ids) => resource.text("id").and_then(ResourceId::parse).is_some_and(|id| ids.contains(&id)),
        Filter::Updated(alternatives) => {
            let updated = resource.get("meta").and_then(|m| m.text("lastUpdated")).and_then(moment);
            updated.is_some_and(|at| alternatives.iter().any(|(prefix, asked)| asked.accepts(*prefix, at, around.now)))
        }
        Filter::Missing { parameter, missing } => found(parameter, resource).is_empty() == *missing,
        Filter::Values { parameter, negated, alternatives } => {
            let fits = if parameter.kind == Kind::Composite {
                alternatives.iter().any(|asked| asked.holds_together(resource, parameter, around))
            } else {
                let found = found(parameter, resource);
                alternatives.iter().any(|asked| found.iter().any(|value| asked.accepts(value, around)))
            };
            fits != *negated
        }
        Filter::Chain { .. } | Filter::Has { .. } => false,
    }
}

/// Every value that a parameter finds.
pub fn found<'r>(parameter: &Parameter, resource: &'r Json) -> Vec<Value<'r>> {
    parameter.paths.iter().flat_map(|path| values(resource, path)).collect()
}
