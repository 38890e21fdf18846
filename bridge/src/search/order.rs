//! An order other than that of the rows (`_sort`): blind tokens have none, so everything that fits is opened, its keys are
//! kept, and the page is cut out of the sorted whole.

use super::{AT_ONCE, Included, Page, Plan, Position, Result, Run, SearchError};
use crate::consent::decide::Permit;
use crate::fhir::search::check::found;
use crate::fhir::search::query::{Sort, SortKey};
use crate::fhir::search::text::fold;
use crate::fhir::search::value::Value;
use crate::index::store::Stored;
use crate::limits::MAX_SORTED;
use crate::read::Opened;
use notary::canonical::Json;
use rust_decimal::Decimal;
use std::cmp::Ordering;

/// What a resource is sorted by.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Number(Decimal),
    Time(i64),
    Text(String),
    /// Without a value: after all others, in either direction.
    Nothing,
}

pub(super) async fn page(
    run: &Run<'_>,
    permit: &Permit,
    plan: Plan,
    sort: &[Sort],
    count: usize,
    from: Option<Position>,
) -> Result<Page> {
    let sorted = sorted(run, permit, &plan, sort).await?;
    let total = sorted.len();
    let start = from.map_or(0, |p| usize::try_from(p.after).unwrap_or(0)).min(total);
    let end = start.saturating_add(count).min(total);
    let matches = run.open(permit, &sorted[start..end]).await?;
    let position = Position { upto: plan.scan.upto, after: end as i64, total: Some(total as u64) };
    let next = (end < total && count > 0).then_some(position);
    Ok(Page { matches, included: Included::default(), total: Some(total as u64), next })
}

async fn sorted(run: &Run<'_>, permit: &Permit, plan: &Plan, sort: &[Sort]) -> Result<Vec<Stored>> {
    let mut keyed: Vec<(Vec<Key>, Stored)> = Vec::new();
    let rest = run.walk(permit, plan, 0, AT_ONCE, |opened| {
        keyed.push((keys(&opened, sort), opened.stored));
        keyed.len() <= MAX_SORTED
    });
    if rest.await?.is_some() {
        return Err(SearchError::TooCostly("too many resources to sort: narrow the search, or leave _sort out"));
    }
    keyed.sort_by(|(a, first), (b, second)| compare(a, b, sort).then(first.row.cmp(&second.row)));
    Ok(keyed.into_iter().map(|(_, stored)| stored).collect())
}

fn compare(a: &[Key], b: &[Key], sort: &[Sort]) -> Ordering {
    let one = |((a, b), sort): ((&Key, &Key), &Sort)| match (a, b) {
        (Key::Nothing, _) | (_, Key::Nothing) => a.cmp(b),
        _ if sort.descending => b.cmp(a),
        _ => a.cmp(b),
    };
    a.iter().zip(b).zip(sort).map(one).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
}

fn keys(opened: &Opened, sort: &[Sort]) -> Vec<Key> {
    let json = opened.json();
    sort.iter().map(|sort| key(opened, &json, sort)).collect()
}

/// The smallest value, or for a descending order the largest.
fn key(opened: &Opened, json: &Json, sort: &Sort) -> Key {
    let parameter = match sort.key {
        SortKey::Updated => return Key::Time(opened.stored.updated),
        SortKey::Id => return Key::Text(opened.stored.name.id.to_string()),
        SortKey::Parameter(parameter) => parameter,
    };
    let keys = found(parameter, json).into_iter().filter_map(|value| of_value(&value, sort.descending));
    let best = if sort.descending { keys.max() } else { keys.min() };
    best.unwrap_or(Key::Nothing)
}

fn of_value(value: &Value<'_>, descending: bool) -> Option<Key> {
    Some(match value {
        Value::Token { code, system } => Key::Text(format!("{}|{}", code.unwrap_or(""), system.unwrap_or(""))),
        Value::Text(text) => Key::Text(fold(text)),
        Value::Uri(uri) => Key::Text((*uri).to_owned()),
        Value::Span(span) => Key::Time(if descending { span.to } else { span.from }),
        Value::Number(n) | Value::Quantity { number: n, .. } => Key::Number(n.low.or(n.high)?),
        Value::Reference { literal, .. } => Key::Text((*literal)?.to_owned()),
        Value::Entry { kind, id } => Key::Text(format!("{kind}/{id}")),
        Value::Present => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_value_comes_last_in_either_direction() {
        let sort = |descending| [Sort { key: SortKey::Id, descending }];
        let (a, b, none) = ([Key::Time(1)], [Key::Time(2)], [Key::Nothing]);
        assert_eq!(compare(&a, &b, &sort(false)), Ordering::Less);
        assert_eq!(compare(&a, &b, &sort(true)), Ordering::Greater);
        for descending in [false, true] {
            assert_eq!(compare(&a, &none, &sort(descending)), Ordering::Less);
        }
    }
}
