//! Turns a FHIR primitive into the text of a v2 value. Precision, offset and digits stay as they are: what v2 cannot say
//! is told, never bent.

use super::look::plain;
use super::report::Finding;
use crate::r4::is_valid_text;
use serde_json::Value;

/// The most decimals of a second that a DTM or TM has (v2.8.2 chapter 2.A.22).
const SECOND_DECIMALS: usize = 4;
/// The largest power of ten that a decimal with an exponent is written out to: NM has no exponent.
const MAX_EXPONENT: i32 = 30;

/// The v2 text of a primitive, and whether it says less than FHIR did.
pub(crate) fn v2(value: &Value, type_name: &'static str) -> Result<(String, bool), Finding> {
    let text = plain(value).ok_or(Finding::NotPrimitive)?;
    match (type_name, value) {
        ("date" | "dateTime" | "instant", Value::String(text)) => date_time(text, type_name),
        ("time", Value::String(text)) => time(text),
        ("boolean", Value::Bool(yes)) => Ok((if *yes { "Y" } else { "N" }.to_owned(), false)),
        ("decimal", Value::Number(number)) => decimal(&number.to_string()).map(|digits| (digits, false)),
        _ => Ok((text.into_owned(), false)),
    }
}

/// `2024-05-03T08:00:00.25-04:00` as the DTM `20240503080000.25-0400`.
fn date_time(text: &str, type_name: &'static str) -> Result<(String, bool), Finding> {
    if !is_valid_text(type_name, text) {
        return Err(Finding::Invalid(type_name));
    }
    let (date, clock) = text.split_once('T').unwrap_or((text, ""));
    let (clock, zone) = clock.split_at(clock.find(['Z', '+', '-']).unwrap_or(clock.len()));
    let (clock, cut) = short(clock);
    let zone = if zone == "Z" { "+0000" } else { zone };
    Ok((format!("{}{clock}{}", date.replace('-', ""), zone.replace(':', "")), cut))
}

fn time(text: &str) -> Result<(String, bool), Finding> {
    if is_valid_text("time", text) { Ok(short(text)) } else { Err(Finding::Invalid("time")) }
}

/// A clock without colons, its decimals cut to what v2 can hold.
fn short(clock: &str) -> (String, bool) {
    let clock = clock.replace(':', "");
    match clock.find('.').map(|dot| dot + 1 + SECOND_DECIMALS).filter(|end| *end < clock.len()) {
        Some(end) => (clock[..end].to_owned(), true),
        None => (clock, false),
    }
}

/// A JSON number in plain digits: `1.50e2` is `150`, never more digits than were there.
fn decimal(lexeme: &str) -> Result<String, Finding> {
    let Some((mantissa, exponent)) = lexeme.split_once(['e', 'E']) else { return Ok(lexeme.to_owned()) };
    let exponent =
        exponent.parse::<i32>().ok().filter(|e| e.abs() <= MAX_EXPONENT).ok_or(Finding::Invalid("decimal"))?;
    let (sign, body) = mantissa.strip_prefix('-').map_or(("", mantissa), |body| ("-", body));
    let (whole, fraction) = body.split_once('.').unwrap_or((body, ""));
    let digits = format!("{whole}{fraction}");
    let point = i32::try_from(whole.len()).unwrap_or(i32::MAX).saturating_add(exponent);
    Ok(format!("{sign}{}", pointed(&digits, point)))
}

/// Digits with the point behind the `point`-th, filled with zeros where it lies outside.
fn pointed(digits: &str, point: i32) -> String {
    let length = digits.len();
    match usize::try_from(point) {
        Ok(0) => format!("0.{digits}"),
        Ok(at) if at < length => format!("{}.{}", &digits[..at], &digits[at..]),
        Ok(at) => format!("{digits}{}", "0".repeat(at - length)),
        Err(_) => format!("0.{}{digits}", "0".repeat(usize::try_from(-point).unwrap_or(0))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time;
    use jiff::tz::TimeZone;
    use proptest::prelude::*;
    use serde_json::json;

    fn text(value: Value, type_name: &'static str) -> Result<(String, bool), Finding> {
        v2(&value, type_name)
    }

    #[test]
    fn precision_and_offset_stay() {
        for (kind, fhir, expected) in [
            ("date", "1980", "1980"),
            ("date", "1980-02", "198002"),
            ("dateTime", "1980-02-29", "19800229"),
            ("dateTime", "2024-05-03T08:00:00-04:00", "20240503080000-0400"),
            ("dateTime", "2024-05-03T08:00:00.1200Z", "20240503080000.1200+0000"),
            ("instant", "2024-05-03T08:00:00+05:30", "20240503080000+0530"),
            ("time", "08:10:00", "081000"),
        ] {
            assert_eq!(text(json!(fhir), kind), Ok((expected.to_owned(), false)), "{fhir}");
        }
        let cut = text(json!("2024-05-03T08:00:00.123456Z"), "instant");
        assert_eq!(cut, Ok(("20240503080000.1234+0000".to_owned(), true)), "and it is told");
        assert_eq!(text(json!("2024-02-30"), "date"), Err(Finding::Invalid("date")));
    }

    #[test]
    fn digits_stay_and_exponents_are_written_out() {
        for (json, expected) in [
            ("1.00", "1.00"),
            ("1769.859285", "1769.859285"),
            ("-0.0", "-0.0"),
            ("1.50e2", "150"),
            ("1.5e-3", "0.0015"),
            ("-12.5E1", "-125"),
            ("12e-2", "0.12"),
            ("1.234e1", "12.34"),
        ] {
            let value: Value = serde_json::from_str(json).unwrap();
            assert_eq!(text(value, "decimal"), Ok((expected.to_owned(), false)), "{json}");
        }
        let huge: Value = serde_json::from_str("1e400").unwrap();
        assert_eq!(text(huge, "decimal"), Err(Finding::Invalid("decimal")));
    }

    #[test]
    fn yes_and_no_are_those_of_table_0136() {
        assert_eq!(text(json!(true), "boolean"), Ok(("Y".into(), false)));
        assert_eq!(text(json!({}), "string"), Err(Finding::NotPrimitive));
    }

    proptest! {
        #[test]
        fn a_time_goes_to_fhir_and_back(v2 in "(19|20)[0-9]{2}((0[1-9]|1[0-2])((0[1-9]|1[0-9]|2[0-8])([01][0-9]|2[0-3])[0-5][0-9][0-5][0-9](\\.[0-9]{1,4})?[+-](0[0-9]|1[0-3])[0-5][0-9])?)?") {
            let fhir = time::date_time(&v2, Some(&TimeZone::UTC)).unwrap().0;
            prop_assert_eq!(text(json!(fhir), "dateTime"), Ok((v2, false)));
        }
    }
}
