//! Turns the text of a v2 value into a FHIR primitive. What has no FHIR form is refused with a reason,
//! never bent: the digits of a number stay as sent.

use crate::r4::{self, is_valid_text};
use crate::time;
use crate::tree::Scalar;
use jiff::tz::TimeZone;
use std::borrow::Cow;

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
    #[error("an end before the start")]
    Reversed,
    #[error("more than the text has room for")]
    Full,
}

/// FHIR's primitives as far as they are converted differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Primitive {
    Decimal,
    /// integer, positiveInt, unsignedInt: the name and the least value.
    Integer(&'static str, i32),
    Boolean,
    Date,
    DateTime,
    Instant,
    Time,
    /// uri and url.
    Uri(&'static str),
    /// string and markdown.
    Text,
    Other(&'static str),
}

impl Primitive {
    /// The primitive of that name; none for a structure.
    pub fn of(type_name: &'static str) -> Option<Self> {
        Some(match type_name {
            "decimal" => Self::Decimal,
            "integer" => Self::Integer(type_name, i32::MIN),
            "positiveInt" => Self::Integer(type_name, 1),
            "unsignedInt" => Self::Integer(type_name, 0),
            "boolean" => Self::Boolean,
            "date" => Self::Date,
            "dateTime" => Self::DateTime,
            "instant" => Self::Instant,
            "time" => Self::Time,
            "uri" | "url" => Self::Uri(type_name),
            "string" | "markdown" => Self::Text,
            other if r4::model().is_primitive(other) => Self::Other(other),
            _ => return None,
        })
    }
}

/// Converts decoded text to a primitive; `codes` is the element's required code list. Beside a time stands what of it
/// FHIR has no form for.
pub fn primitive<'a>(
    text: Cow<'a, str>,
    kind: Primitive,
    codes: Option<&[&str]>,
    zone: Option<&TimeZone>,
) -> Result<(Scalar<'a>, Option<time::TimeError>), ConvertError> {
    let plain = is_plain(&text);
    let text = if plain { text } else { trimmed(text) };
    let timed = |(text, told)| (Scalar::Text(Cow::Owned(text)), told);
    let scalar = match kind {
        Primitive::Date => return Ok(timed(time::date(&text)?)),
        Primitive::DateTime => return Ok(timed(time::date_time(&text, zone)?)),
        Primitive::Instant => return Ok(timed(time::instant(&text, zone)?)),
        Primitive::Time => return Ok(timed(time::time(&text)?)),
        Primitive::Decimal => decimal(text).map(Scalar::Number).ok_or(ConvertError::Number),
        Primitive::Integer(name, least) => integer(text, name, least),
        Primitive::Boolean => boolean(&text).map(Scalar::Bool).ok_or(ConvertError::Boolean),
        _ if codes.is_some_and(|codes| !codes.contains(&text.as_ref())) => Err(ConvertError::Code),
        // A space is written `%20` in a URI; dropping the whole name for it would lose the sender.
        Primitive::Uri(name) if text.contains(' ') => valid(Cow::Owned(text.replace(' ', "%20")), name),
        Primitive::Uri(_) if text.strip_prefix("urn:oid:").is_some_and(|oid| !r4::is_oid(oid)) => {
            Err(ConvertError::Invalid("OID"))
        }
        Primitive::Uri(name) => valid(text, name),
        Primitive::Text if plain => Ok(Scalar::Text(text)),
        Primitive::Text => valid(without_controls(text), "string"),
        Primitive::Other(name) => valid(without_controls(text), name),
    }?;
    Ok((scalar, None))
}

fn valid<'a>(text: Cow<'a, str>, name: &'static str) -> Result<Scalar<'a>, ConvertError> {
    if is_valid_text(name, &text) { Ok(Scalar::Text(text)) } else { Err(ConvertError::Invalid(name)) }
}

/// Printable ASCII with no blank at its ends, as most texts are: there is nothing to trim or to take out. All bytes are
/// looked at, many at a time.
fn is_plain(text: &str) -> bool {
    let graphic = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_graphic);
    let bytes = text.as_bytes();
    graphic(bytes.first())
        && graphic(bytes.last())
        && bytes.iter().fold(true, |all, byte| all & (b' '..0x7f).contains(byte))
}

fn trimmed(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) if text.trim().len() == text.len() => Cow::Owned(text),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    }
}

/// FHIR strings hold no control characters but tab and line ends; CR alone becomes a line feed.
pub(crate) fn without_controls(text: Cow<'_, str>) -> Cow<'_, str> {
    let odd = |c: char| c.is_control() && c != '\n' && c != '\t';
    let plain = text.bytes().all(|b| (b' '..0x7f).contains(&b) || b == b'\n' || b == b'\t') || !text.contains(odd);
    if plain {
        return text;
    }
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    Cow::Owned(text.chars().filter(|c| !odd(*c)).collect())
}

/// An NM value (v2.8.2 chapter 2.A.45) as a JSON number with the same digits: `+5` is `5`, `.5` is `0.5`,
/// `5.` is `5`, `007` is `7`; NM knows no exponent.
pub fn decimal(text: Cow<'_, str>) -> Option<Cow<'_, str>> {
    let (sign, body) = match text.as_bytes().first()? {
        b'+' => ("", &text[1..]),
        b'-' => ("-", &text[1..]),
        _ => ("", &text[..]),
    };
    let (whole, fraction) = body.split_once('.').unwrap_or((body, ""));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !digits(whole) || !digits(fraction) {
        return None;
    }
    let least = whole.trim_start_matches('0');
    let least = if least.is_empty() { "0" } else { least };
    let as_sent = least.len() == whole.len() && !body.ends_with('.') && !text.starts_with('+');
    Some(match (as_sent, fraction) {
        (true, _) => text,
        (false, "") => Cow::Owned(format!("{sign}{least}")),
        (false, fraction) => Cow::Owned(format!("{sign}{least}.{fraction}")),
    })
}

/// Whether a text is an NM value.
pub fn is_decimal(text: &str) -> bool {
    decimal(Cow::Borrowed(text.trim())).is_some()
}

fn integer<'a>(text: Cow<'a, str>, name: &'static str, least: i32) -> Result<Scalar<'a>, ConvertError> {
    match text.trim_start_matches('+').parse::<i32>() {
        Ok(n) if n >= least => Ok(Scalar::Number(Cow::Owned(n.to_string()))),
        _ => Err(ConvertError::Integer(name)),
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
            assert_eq!(decimal(v2.into()).as_deref(), Some(expected));
        }
        for bad in ["", "-", ".", "1e5", "5 mg", "<5", "1,5", "NaN", "٣"] {
            assert_eq!(decimal(bad.into()), None, "{bad}");
        }
    }

    #[test]
    fn each_type_refuses_what_it_is_not() {
        let to = |text: &'static str, kind| {
            primitive(text.into(), Primitive::of(kind).unwrap(), None, None).map(|(scalar, _)| scalar)
        };
        assert_eq!(to("Y", "boolean"), Ok(Scalar::Bool(true)));
        assert_eq!(to("maybe", "boolean"), Err(ConvertError::Boolean));
        assert_eq!(to("0", "positiveInt"), Err(ConvertError::Integer("positiveInt")));
        assert_eq!(to("99999999999", "integer"), Err(ConvertError::Integer("integer")));
        assert_eq!(to("a  b", "code"), Err(ConvertError::Invalid("code")));
        assert_eq!(primitive("F".into(), Primitive::Other("code"), Some(&["female"]), None), Err(ConvertError::Code));
        assert_eq!(to("urn:oid:1.2.3.x", "uri"), Err(ConvertError::Invalid("OID")));
        assert_eq!(to("EMR SYSTEM", "url"), Ok(Scalar::Text("EMR%20SYSTEM".into())));
        assert_eq!(to("a\rb\u{1}", "string"), Ok(Scalar::Text("a\nb".into())));
    }

    proptest! {
        #[test]
        fn every_decimal_is_a_json_number(text in "[+-]?[0-9]{0,12}\\.?[0-9]{0,12}") {
            if let Some(lexeme) = decimal(text.into()) {
                let json: serde_json::Value = serde_json::from_str(&lexeme).unwrap();
                prop_assert_eq!(json.to_string(), lexeme.into_owned());
            }
        }
    }
}
