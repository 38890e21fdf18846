//! The patients of a clinician: whose general practitioner he is, whom he has seen lately, and who comes to him soon. What he is not
//! shown is not listed.

use super::refusal::Refusal;
use super::visit::Visit;
use crate::fhir::membership;
use crate::ids::{Name, TypeName};
use crate::read::Opened;
use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use notary::canonical::Json;

/// How far back visits count, and how far ahead appointments do.
const SEEN_DAYS: i64 = 30;
const SOON_DAYS: i64 = 14;
/// The most that are listed, and visits and appointments that are looked at for it: the page is to be quick.
pub(super) const MOST: usize = 50;

/// They, and whether there may be more.
pub(super) async fn patients(visit: &Visit<'_>) -> Result<(Vec<Json>, bool), Refusal> {
    let now = visit.app.core.clock.now();
    let mut more = false;
    let mut names = Vec::new();
    for (kind, by) in ways(visit.resource()?, now.to_zoned(TimeZone::UTC).date()) {
        let (found, left) = listed(visit, kind, by).await?;
        more |= left;
        names.extend(found.iter().flat_map(|one| whose(visit, one)));
    }
    names.sort();
    names.dedup();
    more |= names.len() > MOST;
    let ids: Vec<&str> = names.iter().take(MOST).map(|name| name.id.as_str()).collect();
    if ids.is_empty() {
        return Ok((Vec::new(), more));
    }
    let (found, _) = listed(visit, "Patient", vec![("_id", ids.join(","))]).await?;
    Ok((found.iter().map(Opened::json).collect(), more))
}

type Asked = Vec<(&'static str, String)>;

/// What names him, and how it is asked for.
fn ways(clinician: &Name, today: Date) -> [(&'static str, Asked); 3] {
    let (since, until) = (today.saturating_sub(SEEN_DAYS.days()), today.saturating_add(SOON_DAYS.days()));
    let him = clinician.to_string();
    [
        ("Appointment", vec![("actor", him.clone()), ("date", format!("ge{today}")), ("date", format!("le{until}"))]),
        ("Encounter", vec![("participant", him.clone()), ("date", format!("ge{since}"))]),
        ("Patient", vec![("general-practitioner", him)]),
    ]
}

async fn listed(visit: &Visit<'_>, kind: &str, by: Asked) -> Result<(Vec<Opened>, bool), Refusal> {
    let kind = TypeName::parse(kind).ok_or(Refusal::Nothing)?;
    let by: Asked = by.into_iter().chain([("_count", MOST.to_string())]).collect();
    let found = visit.search(kind, &by, None).await?;
    Ok((found.matches, found.next.is_some()))
}

fn whose(visit: &Visit<'_>, one: &Opened) -> Vec<Name> {
    membership::of(&one.stored.name, &one.json(), &visit.app.core.base)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::search::criterion::Surroundings;
    use crate::fhir::search::query::{Faulty, read_as};

    #[test]
    fn each_way_is_a_search_that_there_is() {
        let around = Surroundings { base: "http://here/fhir", now: 0, labels: None };
        for who in ["Practitioner/d", "PractitionerRole/r"] {
            for (kind, by) in ways(&Name::parse(who).unwrap(), jiff::civil::date(2026, 3, 1)) {
                let pairs: Vec<_> = by.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
                let read = read_as(TypeName::parse(kind).unwrap(), &pairs, &around, Faulty::Refused).unwrap();
                assert_eq!((read.filters.len(), read.unknown.len()), (by.len(), 0), "{kind}");
            }
        }
    }
}
