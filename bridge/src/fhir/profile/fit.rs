//! `fixed[x]` and `pattern[x]` (R4, ElementDefinition).

use notary::canonical::Json;

/// Whether a value is the fixed one: the same members, whatever their order.
pub fn is_fixed(fixed: &Json, value: &Json) -> bool {
    match (fixed, value) {
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, fixed)| value.get(name).is_some_and(|v| is_fixed(fixed, v)))
        }
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_fixed(a, b)),
        _ => fixed == value,
    }
}

/// Whether a value has all that the pattern has: each member, and for each item of an array one that fits.
pub fn fits(pattern: &Json, value: &Json) -> bool {
    match (pattern, value) {
        (Json::Object(members), _) => {
            members.iter().all(|(name, pattern)| value.get(name).is_some_and(|value| fits(pattern, value)))
        }
        (Json::Array(patterns), Json::Array(values)) => {
            patterns.iter().all(|pattern| values.iter().any(|value| fits(pattern, value)))
        }
        _ => pattern == value,
    }
}
