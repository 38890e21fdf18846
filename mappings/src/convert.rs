//! Turns the text of a v2 value into a FHIR primitive. What has no FHIR form is refused with a reason,
//! never bent: the digits of a number stay as sent.

use crate::r4::is_valid_text;
use crate::time;
use crate::tree::Scalar;
use jiff::tz::TimeZone;

/// Why a value has no FHIR form. No variant carries the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    #[error("not a number")]
    Number,
    #[error("not a whole number in the range of FHIR's {0}")]
    Integer(&'static str),
    #[error("neither yes nor no")]
    Boolean,
    #[error("{0}")]
    Time(#[from] time::TimeError),
    #[error("not a valid {0}")]
    Invalid(&'static str),
    #[error("not one of the codes that the element requires")]
    Code,
}

/// Converts decoded text to the primitive type; `codes` is the element's required code list.
pub fn primitive(
    text: &str,
    type_name: &'static str,
    codes: Option<&[&str]>,
    zone: Option<&TimeZone>,
) -> Result<Scalar, ConvertError> {
    let text = text.trim();
    match type_name {
        "decimal" => decimal(text).map(Scalar::Number).ok_or(ConvertError::Number),
        "integer" | "positiveInt" | "unsignedInt" => integer(text, type_name),
        "boolean" => boolean(text).map(Scalar::Bool).ok_or(ConvertError::Boolean),
        "date" => Ok(Scalar::Text(time::date(text)?)),
        "dateTime" => Ok(Scalar::Text(time::date_time(text, zone)?)),
        "instant" => Ok(Scalar::Text(time::instant(text, zone)?)),
        "time" => Ok(Scalar::Text(time::time(text)?)),
        _ if codes.is_some_and(|codes| !codes.contains(&text)) => Err(ConvertError::Code),
        _ => {
            let text = match type_name {
                // A space is written `%20` in a URI; dropping the whole name for it would lose the sender.
                "uri" | "url" => text.replace(' ', "%20"),
                _ => without_controls(text),
            };
            if is_valid_text(type_name, &text) { Ok(Scalar::Text(text)) } else { Err(ConvertError::Invalid(type_name)) }
        }
    }
}

/// FHIR strings hold no control characters but tab and line ends; CR alone becomes a line feed.
fn without_controls(text: &str) -> String {
    if !text.contains(|c: char| c.is_control() && c != '\n' && c != '\t') {
        return text.to_owned();
    }
    text.replace("\r\n", "\n")
        .replace('\r', "\n")
        .chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect()
}

/// An NM value (v2.8.2 chapter 2.A.45) as a JSON number with the same digits: `+5` is `5`, `.5` is `0.5`,
/// `5.` is `5`, `007` is `7`; NM knows no exponent.
pub fn decimal(text: &str) -> Option<String> {
    let (sign, body) = match text.as_bytes().first()? {
        b'+' => ("", &text[1..]),
        b'-' => ("-", &text[1..]),
        _ => ("", text),
    };
    let (whole, fraction) = body.split_once('.').unwrap_or((body, ""));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    Some(if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
}

fn integer(text: &str, type_name: &'static str) -> Result<Scalar, ConvertError> {
    let number = text.trim_start_matches('+').parse::<i32>();
    let least = match type_name {
        "positiveInt" => 1,
        "unsignedInt" => 0,
        _ => i32::MIN,
    };
    match number {
        Ok(n) if n >= least => Ok(Scalar::Number(n.to_string())),
        _ => Err(ConvertError::Integer(type_name)),
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "Y" | "y" | "YES" | "Yes" => Some(true),
        "false" | "N" | "n" | "NO" | "No" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_keep_their_digits() {
        for (v2, expected) in [
            ("1769.859285", "1769.859285"),
            ("1.00", "1.00"),
            ("+5", "5"),
            (".5", "0.5"),
            ("-007.10", "-7.10"),
            ("5.", "5"),
            ("0", "0"),
        ] {
            assert_eq!(decimal(v2).as_deref(), Some(expected));
        }
        for bad in ["", "-", ".", "1e5", "5 mg", "<5", "1,5", "NaN", "٣"] {
            assert_eq!(decimal(bad), None, "{bad}");
        }
    }

    #[test]
    fn each_type_refuses_what_it_is_not() {
        let to = |text, kind| primitive(text, kind, None, None);
        assert_eq!(to("Y", "boolean"), Ok(Scalar::Bool(true)));
        assert_eq!(to("maybe", "boolean"), Err(ConvertError::Boolean));
        assert_eq!(to("0", "positiveInt"), Err(ConvertError::Integer("positiveInt")));
        assert_eq!(to("99999999999", "integer"), Err(ConvertError::Integer("integer")));
        assert_eq!(to("a  b", "code"), Err(ConvertError::Invalid("code")));
        assert_eq!(primitive("F", "code", Some(&["female"]), None), Err(ConvertError::Code));
        assert_eq!(to("EMR SYSTEM", "url"), Ok(Scalar::Text("EMR%20SYSTEM".into())));
        assert_eq!(to("a\rb\u{1}", "string"), Ok(Scalar::Text("a\nb".into())));
    }

    proptest! {
        #[test]
        fn every_decimal_is_a_json_number(text in "[+-]?[0-9]{0,12}\\.?[0-9]{0,12}") {
            if let Some(lexeme) = decimal(&text) {
                let json: serde_json::Value = serde_json::from_str(&lexeme).unwrap();
                prop_assert_eq!(json.to_string(), lexeme);
            }
        }
    }
}
