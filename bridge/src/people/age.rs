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

/// Whether somebody may act for this patient today; `majority`: the age in years.
pub fn is_ward(patient: &Json, majority: u8, today: Date) -> Result<(), NotAWard> {
    if has_died(patient) {
        return Err(NotAWard::Dead);
    }
    let born = patient.text("birthDate").and_then(earliest).ok_or(NotAWard::Unknown)?;
    let of_age = born.checked_add(i64::from(majority).years()).map_err(|_| NotAWard::Unknown)?;
    if today < of_age { Ok(()) } else { Err(NotAWard::OfAge) }
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
            assert_eq!(is_ward(&json, majority, today), expected, "{patient}, {majority}");
        }
        let leap = Json::parse(br#"{"birthDate":"2008-02-29"}"#).unwrap();
        assert_eq!(is_ward(&leap, 18, "2026-02-27".parse().unwrap()), Ok(()));
        assert_eq!(is_ward(&leap, 18, "2026-02-28".parse().unwrap()), Err(NotAWard::OfAge));
    }
}
