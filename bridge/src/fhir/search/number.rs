//! Numbers and quantities in searches (R4 3.1.1.4.5): `5.40` asks for what rounds to it, prefixes compare exactly.

use super::span::Prefix;
use rust_decimal::Decimal;
use rust_decimal::prelude::FromPrimitive;
use std::str::FromStr;

/// Both ends inclusive; none is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    pub low: Option<Decimal>,
    pub high: Option<Decimal>,
}

/// A number that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    pub exact: Decimal,
    /// Half a unit of its last digit.
    half: Decimal,
}

impl Interval {
    /// One number.
    pub fn point(lexeme: &str) -> Option<Self> {
        match decimal(lexeme) {
            Some(number) => Some(Self { low: Some(number), high: Some(number) }),
            None => beyond(lexeme),
        }
    }

    /// A range with one or two ends.
    pub fn between(low: Option<&str>, high: Option<&str>) -> Option<Self> {
        if low.is_none() && high.is_none() {
            return None;
        }
        let end = |lexeme: Option<&str>| lexeme.map_or(Some(None), |l| Self::point(l).map(Some));
        let (low, high) = (end(low)?, end(high)?);
        Some(Self { low: low.and_then(|end| end.low), high: high.and_then(|end| end.high) })
    }

    /// A number with a quantity's comparator: `<5` is everything below.
    pub fn compared(comparator: Option<&str>, lexeme: &str) -> Option<Self> {
        let number = Self::point(lexeme)?;
        Some(match comparator {
            Some("<" | "<=") => Self { low: None, ..number },
            Some(">" | ">=") => Self { high: None, ..number },
            _ => number,
        })
    }
}

impl Asked {
    /// Reads a search number.
    pub fn parse(lexeme: &str) -> Option<Self> {
        let exact = decimal(lexeme)?;
        let (mantissa, exponent) =
            lexeme.split_once(['e', 'E']).map_or((lexeme, 0), |(m, e)| (m, e.parse().unwrap_or(0)));
        let decimals = mantissa.split_once('.').map_or(0, |(_, d)| d.len() as i32);
        let half = decimal(&format!("0.5e{}", exponent - decimals))?;
        Some(Self { exact, half })
    }

    /// The span that rounds to it, or for `ap` a tenth of it to both sides: from inclusive, to exclusive.
    pub fn span(&self, prefix: Prefix) -> (Decimal, Decimal) {
        let half = if prefix == Prefix::Ap { (self.exact.abs() / Decimal::TEN).max(self.half) } else { self.half };
        (self.exact.saturating_sub(half), self.exact.saturating_add(half))
    }

    /// Whether a value fits the comparison.
    pub fn accepts(&self, prefix: Prefix, value: Interval) -> bool {
        let (from, to) = self.span(prefix);
        let contains = value.low.is_some_and(|low| from <= low) && value.high.is_some_and(|high| high < to);
        let above = value.high.is_none_or(|high| high > self.exact);
        let below = value.low.is_none_or(|low| low < self.exact);
        let equal = value.low == Some(self.exact) && value.high == Some(self.exact);
        match prefix {
            Prefix::Eq => contains,
            Prefix::Ne => !contains,
            Prefix::Gt => above,
            Prefix::Lt => below,
            Prefix::Ge => above || equal,
            Prefix::Le => below || equal,
            Prefix::Sa => value.low.is_some_and(|low| low > self.exact),
            Prefix::Eb => value.high.is_some_and(|high| high < self.exact),
            Prefix::Ap => value.low.is_none_or(|low| low <= to) && value.high.is_none_or(|high| high >= from),
        }
    }
}

/// The span that a number lies in which is too large, too small or too long to reckon with: R4 sets its decimals no bounds. It
/// is found by what is greater and less.
fn beyond(lexeme: &str) -> Option<Interval> {
    const NEXT_TO_NOTHING: f64 = 1e-27;
    let about: f64 =
        lexeme.parse().ok().filter(|_| lexeme.starts_with(['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']))?;
    let near = |number: f64| Decimal::from_f64(number);
    Some(match (near(about * (1.0 - 1e-15)), near(about * (1.0 + 1e-15))) {
        _ if about.abs() < NEXT_TO_NOTHING && lexeme.starts_with('-') => {
            Interval { low: near(-NEXT_TO_NOTHING), high: Some(Decimal::ZERO) }
        }
        _ if about.abs() < NEXT_TO_NOTHING => Interval { low: Some(Decimal::ZERO), high: near(NEXT_TO_NOTHING) },
        (Some(a), Some(b)) => Interval { low: Some(a.min(b)), high: Some(a.max(b)) },
        _ if about > 0.0 => Interval { low: Some(Decimal::MAX), high: None },
        _ => Interval { low: None, high: Some(Decimal::MIN) },
    })
}

/// Up to 28 digits.
fn decimal(lexeme: &str) -> Option<Decimal> {
    if lexeme.contains(['e', 'E']) { Decimal::from_scientific(lexeme).ok() } else { Decimal::from_str(lexeme).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precision_is_part_of_what_is_asked() {
        for (asked, prefix, value, expected) in [
            ("100", Prefix::Eq, "100.4", true),
            ("100", Prefix::Eq, "100.5", false),
            ("100.00", Prefix::Eq, "100.01", false),
            ("5.40", Prefix::Eq, "5.4", true),
            ("1e2", Prefix::Eq, "130", true),
            ("1e2", Prefix::Eq, "160", false),
            ("5.4", Prefix::Gt, "5.4", false),
            ("5.4", Prefix::Gt, "5.41", true),
            ("5.4", Prefix::Ge, "5.40", true),
            ("5.4", Prefix::Le, "-3", true),
            ("5.4", Prefix::Ap, "5.8", true),
            ("5.4", Prefix::Ap, "6.5", false),
            ("5.4", Prefix::Ne, "5.42", false),
        ] {
            let value = Interval::point(value).unwrap();
            assert_eq!(Asked::parse(asked).unwrap().accepts(prefix, value), expected, "{prefix:?} {asked}: {value:?}");
        }
    }

    #[test]
    fn what_is_stored_is_found_by_its_own_value() {
        let held = [
            "0",
            "-0.0",
            "1.00",
            "9007199254740993",
            "1.5e3",
            "6.02214076e23",
            "0.000000000000000000000000001",
            "1234567890123456789012345678",
            "0.1234567890123456789012345",
            "5e-27",
            "0.0002374119e-5",
        ];
        for lexeme in held {
            let value = Interval::point(lexeme).unwrap();
            assert!(Asked::parse(lexeme).unwrap().accepts(Prefix::Eq, value), "{lexeme}");
        }
    }

    #[test]
    fn what_cannot_be_reckoned_with_is_found_by_what_is_greater_and_less() {
        let zero = Asked::parse("0").unwrap();
        for lexeme in [
            "12345678901234567890123456789012345.5",
            "1e29",
            "1e400",
            "1.5e99999999999",
            "99999999999999999999999999999.5",
            "1e-28",
            "1e-400",
        ] {
            let above = Interval::point(lexeme).unwrap();
            assert!(zero.accepts(Prefix::Gt, above) && !zero.accepts(Prefix::Lt, above), "{lexeme}");
            let below = Interval::point(&format!("-{lexeme}")).unwrap();
            assert!(zero.accepts(Prefix::Lt, below) && !zero.accepts(Prefix::Gt, below), "-{lexeme}");
        }
        assert_eq!(Interval::point("inf"), None);
    }

    #[test]
    fn open_ends_reach_as_far_as_they_say() {
        let asked = Asked::parse("5").unwrap();
        let above = Interval::compared(Some(">"), "4").unwrap();
        assert!(asked.accepts(Prefix::Gt, above) && !asked.accepts(Prefix::Eq, above));
        let range = Interval::between(Some("6"), None).unwrap();
        assert!(asked.accepts(Prefix::Sa, range) && !asked.accepts(Prefix::Lt, range));
        assert_eq!(Interval::between(None, None), None);
        for bad in ["", "x", "1e999999999", "--1", "1e"] {
            assert!(Asked::parse(bad).is_none(), "{bad}");
        }
    }
}
