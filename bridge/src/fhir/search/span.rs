//! Dates and times as spans (R4 3.1.1.4.7): `2026-03` is the whole month. Microseconds since 1970; what has no zone is
//! read in UTC.

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};

/// From inclusive, to exclusive; the ends of [`i64`] stand for open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub from: i64,
    pub to: i64,
}

/// How a search compares (R4 3.1.1.4.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    Eq,
    Ne,
    Gt,
    Lt,
    Ge,
    Le,
    Sa,
    Eb,
    Ap,
}

const SECOND: i64 = 1_000_000;
/// A day in UTC.
pub const DAY: i64 = 86_400 * SECOND;

impl Prefix {
    /// Splits the prefix off a search value.
    pub fn split(text: &str) -> (Self, &str) {
        let prefix = match text.get(..2) {
            Some("eq") => Self::Eq,
            Some("ne") => Self::Ne,
            Some("gt") => Self::Gt,
            Some("lt") => Self::Lt,
            Some("ge") => Self::Ge,
            Some("le") => Self::Le,
            Some("sa") => Self::Sa,
            Some("eb") => Self::Eb,
            Some("ap") => Self::Ap,
            _ => return (Self::Eq, text),
        };
        (prefix, &text[2..])
    }
}

impl Span {
    /// Whether `value` fits the comparison with this, the span that was asked for. `now` widens `ap`.
    pub fn accepts(self, prefix: Prefix, value: Self, now: i64) -> bool {
        let contains = self.from <= value.from && value.to <= self.to;
        match prefix {
            Prefix::Eq => contains,
            Prefix::Ne => !contains,
            Prefix::Gt => value.to > self.to,
            Prefix::Lt => value.from < self.from,
            Prefix::Ge => value.to > self.to || contains,
            Prefix::Le => value.from < self.from || contains,
            Prefix::Sa => value.from >= self.to,
            Prefix::Eb => value.to <= self.from,
            Prefix::Ap => {
                let wide = self.widened(now);
                wide.from < value.to && value.from < wide.to
            }
        }
    }

    /// By a tenth of the distance from now, as the standard recommends.
    pub fn widened(self, now: i64) -> Self {
        let by = now.saturating_sub(self.from).saturating_abs() / 10;
        Self { from: self.from.saturating_sub(by), to: self.to.saturating_add(by) }
    }
}

/// Reads a date, a dateTime or an instant of any precision.
pub fn moment(text: &str) -> Option<Span> {
    let (day_text, clock) = text.split_once('T').map_or((text, None), |(d, c)| (d, Some(c)));
    match clock {
        None => days(day_text),
        Some(clock) => clocked(day_text, clock),
    }
}

/// A period; an open end has no end.
pub fn period(start: Option<&str>, end: Option<&str>) -> Option<Span> {
    let (start, end) = (start.and_then(moment), end.and_then(moment));
    if start.is_none() && end.is_none() {
        return None;
    }
    Some(Span { from: start.map_or(i64::MIN, |s| s.from), to: end.map_or(i64::MAX, |s| s.to) })
}

fn days(text: &str) -> Option<Span> {
    let start = match text.len() {
        4 => format!("{text}-01-01"),
        7 => format!("{text}-01"),
        10 => text.to_owned(),
        _ => return None,
    };
    let start: Date = start.parse().ok()?;
    let end = match text.len() {
        4 => start.checked_add(1.year()),
        7 => start.checked_add(1.month()),
        _ => start.checked_add(1.day()),
    };
    Some(Span { from: micros(start)?, to: end.ok().and_then(micros).unwrap_or(i64::MAX) })
}

fn micros(date: Date) -> Option<i64> {
    let days = jiff::civil::date(1970, 1, 1).until(date).ok()?.get_days();
    Some(i64::from(days) * DAY)
}

/// `10:30`, `10:30:05.25`, each with a zone or in UTC.
fn clocked(day: &str, clock: &str) -> Option<Span> {
    let zone_at = clock.find(['Z', '+', '-']);
    let (time, zone) = zone_at.map_or((clock, "Z"), |at| clock.split_at(at));
    // A query string may have turned `+` into a space.
    let (time, zone) = match time.split_once(' ') {
        Some((time, rest)) if zone_at.is_none() => (time, format!("+{rest}")),
        _ => (time, zone.to_owned()),
    };
    let (whole, length) = match time.len() {
        5 => (format!("{time}:00"), 60 * SECOND),
        8 => (time.to_owned(), SECOND),
        _ => (time.to_owned(), fraction(time)?),
    };
    let from = format!("{day}T{whole}{zone}").parse::<Timestamp>().ok()?.as_microsecond();
    Some(Span { from, to: from + length })
}

/// How long the last given digit of a second lasts.
fn fraction(time: &str) -> Option<i64> {
    let digits = time.split_once('.')?.1.len().min(6) as u32;
    Some(SECOND / 10_i64.pow(digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precision_makes_the_span() {
        for (text, length) in [
            ("2023", 365 * DAY),
            ("2024-02", 29 * DAY),
            ("2024-02-29", DAY),
            ("2024-02-29T10:30Z", 60 * SECOND),
            ("2024-02-29T10:30:05+02:00", SECOND),
            ("2024-02-29T10:30:05.25Z", 10_000),
            ("2024-02-29T10:30:05", SECOND),
        ] {
            let span = moment(text).unwrap();
            assert_eq!(span.to - span.from, length, "{text}");
        }
        assert_eq!(moment("2024-01-01T01:00:00+01:00").unwrap().from, moment("2024-01-01").unwrap().from);
        assert_eq!(moment("2024-01-01T01:00:00 01:00"), moment("2024-01-01T01:00:00+01:00"));
        for bad in ["", "24", "2024-13", "2024-02-30", "2024-01-01T25:00Z", "x", "2024-01-01T"] {
            assert_eq!(moment(bad), None, "{bad}");
        }
        assert!(moment("9999-12-31").is_some());
    }

    #[test]
    fn each_prefix_compares_as_the_standard_says() {
        let asked = moment("2024-03").unwrap();
        let value = |text| moment(text).unwrap();
        let open = period(Some("2024-02-10"), None).unwrap();
        let now = value("2024-04-01").from;
        for (prefix, text, expected) in [
            (Prefix::Eq, "2024-03-05", true),
            (Prefix::Eq, "2024", false),
            (Prefix::Ne, "2024", true),
            (Prefix::Gt, "2024-04-01", true),
            (Prefix::Gt, "2024-03-31", false),
            (Prefix::Ge, "2024-03-31", true),
            (Prefix::Lt, "2024-02-29", true),
            (Prefix::Le, "2024-03-01", true),
            (Prefix::Sa, "2024-03-31", false),
            (Prefix::Sa, "2024-04-01", true),
            (Prefix::Eb, "2024-02-29", true),
            (Prefix::Ap, "2024-02-29", true),
            (Prefix::Ap, "2023", false),
        ] {
            assert_eq!(asked.accepts(prefix, value(text), now), expected, "{prefix:?} {text}");
        }
        let expected =
            [(Prefix::Gt, true), (Prefix::Ge, true), (Prefix::Lt, true), (Prefix::Sa, false), (Prefix::Eb, false)];
        for (prefix, expected) in expected {
            assert_eq!(asked.accepts(prefix, open, now), expected, "{prefix:?} a period that began before and goes on");
        }
        assert_eq!(Prefix::split("ge2024"), (Prefix::Ge, "2024"));
        assert_eq!(Prefix::split("2024"), (Prefix::Eq, "2024"));
    }
}
