//! Reads the parameters that go by other resources: chains and `_has` (R4 3.1.1). Each is a parameter of the
//! resource at its end, read like any other.

use super::criterion::Surroundings;
use super::query::{Filter, Result, allows, bad, filter};
use super::table::{Kind, parameter};
use crate::ids::TypeName;

/// `subject.name`, `subject:Patient.name`.
pub(super) fn chain(
    kind: TypeName,
    head: &str,
    rest: &str,
    value: &str,
    around: &Surroundings<'_>,
    depth: usize,
) -> Result<Option<Filter>> {
    let (plain, target) = head.split_once(':').map_or((head, None), |(n, t)| (n, Some(t)));
    let Some(parameter) = parameter(kind, plain) else { return Ok(None) };
    if parameter.kind != Kind::Reference {
        return Err(bad(head, "only references can be followed"));
    }
    if !parameter.is_followed() {
        return Err(bad(head, "is a canonical URL, which is not followed here: search by the URL itself"));
    }
    let types: Vec<TypeName> = match target {
        Some(target) => {
            let kind = TypeName::parse(target).filter(|k| allows(parameter, *k));
            vec![kind.ok_or_else(|| bad(head, "the reference is never of that type"))?]
        }
        None if parameter.targets.is_empty() => {
            return Err(bad(head, format!("may refer to anything: name the type, `{plain}:Patient.{rest}`")));
        }
        None => parameter.targets.iter().filter_map(|t| TypeName::parse(t)).collect(),
    };
    let mut targets = Vec::new();
    for kind in types {
        targets.extend(filter(kind, rest, value, around, depth + 1)?.map(|inner| (kind, inner)));
    }
    if targets.is_empty() {
        return Ok(None);
    }
    Ok(Some(Filter::Chain { parameter, targets }))
}

/// `Observation:patient:code` after `_has:`.
pub(super) fn has(
    of: TypeName,
    name: &str,
    rest: &str,
    value: &str,
    around: &Surroundings<'_>,
    depth: usize,
) -> Result<Option<Filter>> {
    let mut parts = rest.splitn(3, ':');
    let (Some(kind), Some(reference), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(bad(name, "takes _has:Type:reference:parameter"));
    };
    let kind = TypeName::parse(kind).ok_or_else(|| bad(name, "names no resource type"))?;
    let reference = parameter(kind, reference).filter(|p| p.is_followed() && allows(p, of));
    let reference = reference.ok_or_else(|| bad(name, format!("{kind} has no such reference to {of}")))?;
    let inner = filter(kind, rest, value, around, depth + 1)?;
    let inner = inner.ok_or_else(|| bad(name, format!("{kind} has no such parameter")))?;
    Ok(Some(Filter::Has { kind, reference, inner: Box::new(inner) }))
}
