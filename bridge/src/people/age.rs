//! Whether somebody else acts for a patient: until the patient is of age, as the record says. What it does not say is no leave. Pure.

use jiff::ToSpan;
use jiff::civil::Date;
use notary::canonical::Json;

/// What of a Patient ends that somebody acts for it, or forbids that it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAWard {
    #[error("the record has no birth date: nobody knows when this would end")]
    Unknown,
    #[error("the patient is of age, and acts for himself or herself")]
    OfAge,
    #[error("the patient has died")]
    Dead,
}

/// The last day on which somebody may act for a patient, if that is not over. `patients`: what there is of him, which is more than one
/// where records were merged: each may end it, and one of them must say when it ends. `majority`: the age in years.
pub fn is_ward(patients: &[Json], majority: u8, today: Date) -> Result<Date, NotAWard> {
    if patients.iter().any(has_died) {
        return Err(NotAWard::Dead);
    }
    let of_age = patients.iter().filter_map(|patient| of_age(patient, majority)).min().ok_or(NotAWard::Unknown)?;
    if today < of_age { of_age.yesterday().map_err(|_| NotAWard::Unknown) } else { Err(NotAWard::OfAge) }
}

/// The first day on which a patient decides alone.
fn of_age(patient: &Json, majority: u8) -> Option<Date> {
    let born = patient.text("birthDate").and_then(earliest)?;
    born.checked_add(i64::from(majority).years()).ok()
}

/// The first day that a birth date may mean: of a year alone, the first of it. Who is perhaps of age decides alone.
fn earliest(text: &str) -> Option<Date> {
    let whole = match text.len() {
        4 => format!("{text}-01-01"),
        7 => format!("{text}-01"),
        _ => text.to_owned(),
    };
    whole.parse().ok()
}

/// Whether the record says that the patient has died.
pub fn has_died(patient: &Json) -> bool {
    patient.get("deceasedDateTime").is_some() || patient.get("deceasedBoolean") == Some(&Json::Bool(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_acts_for_a_patient_until_the_birthday() {
        let today: Date = "2026-06-15".parse().unwrap();
        for (patient, majority, expected) in [
            (r#"{"birthDate":"2008-06-16"}"#, 18, Ok(())),
            (r#"{"birthDate":"2008-06-15"}"#, 18, Err(NotAWard::OfAge)),
            (r#"{"birthDate":"2008-06-15"}"#, 21, Ok(())),
            (r#"{"birthDate":"2009"}"#, 18, Ok(())),
            (r#"{"birthDate":"2008"}"#, 18, Err(NotAWard::OfAge)),
            (r#"{"birthDate":"2008-07"}"#, 18, Ok(())),
            (r#"{"birthDate":"2008-06"}"#, 18, Err(NotAWard::OfAge)),
            (r#"{"birthDate":"1950-01-01"}"#, 18, Err(NotAWard::OfAge)),
            (r#"{"birthDate":"9999-01-01"}"#, 18, Err(NotAWard::Unknown)),
            (r#"{"birthDate":"soon"}"#, 18, Err(NotAWard::Unknown)),
            (r#"{"birthDate":"20080615"}"#, 18, Err(NotAWard::OfAge)),
            (r#"{}"#, 18, Err(NotAWard::Unknown)),
            (r#"{"birthDate":"2020-01-01","deceasedBoolean":true}"#, 18, Err(NotAWard::Dead)),
            (r#"{"birthDate":"2020-01-01","deceasedDateTime":"2026"}"#, 18, Err(NotAWard::Dead)),
            (r#"{"birthDate":"2020-01-01","deceasedBoolean":false}"#, 18, Ok(())),
        ] {
            let json = Json::parse(patient.as_bytes()).unwrap();
            assert_eq!(is_ward(&[json], majority, today).map(|_| ()), expected, "{patient}, {majority}");
        }
        let leap = [Json::parse(br#"{"birthDate":"2008-02-29"}"#).unwrap()];
        let day = |text: &str| text.parse::<Date>().unwrap();
        assert_eq!(is_ward(&leap, 18, day("2026-02-27")), Ok(day("2026-02-27")), "the last day");
        assert_eq!(is_ward(&leap, 18, day("2026-02-28")), Err(NotAWard::OfAge));
    }

    #[test]
    fn of_records_that_were_merged_each_may_end_it() {
        let today: Date = "2026-06-15".parse().unwrap();
        let child = r#"{"birthDate":"2020-01-01"}"#;
        for (other, expected) in [
            ("{}", Ok("2037-12-31".parse().unwrap())),
            (r#"{"birthDate":"2019-01-01"}"#, Ok("2036-12-31".parse().unwrap())),
            (r#"{"birthDate":"1990-01-01"}"#, Err(NotAWard::OfAge)),
            (r#"{"birthDate":"2020-01-01","deceasedBoolean":true}"#, Err(NotAWard::Dead)),
        ] {
            let both = [child, other].map(|text| Json::parse(text.as_bytes()).unwrap());
            assert_eq!(is_ward(&both, 18, today), expected, "{other}");
        }
        assert_eq!(is_ward(&[], 18, today), Err(NotAWard::Unknown), "of nobody");
    }
}
