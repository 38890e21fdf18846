//! Dates and times: HL7 v2 DTM, TS, DT and TM into FHIR's date, dateTime, instant and time. Precision is
//! kept as sent. A zone comes from the value or from the feed's configured zone; it is never invented.

use jiff::Span;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

/// The parts of a v2 timestamp `YYYY[MM[DD[HH[MM[SS[.S[S[S[S]]]]]]]]][+/-ZZZZ]` (v2.8.2 chapter 2.A.22).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp<'a> {
    year: &'a str,
    month: Option<&'a str>,
    day: Option<&'a str>,
    hour: Option<&'a str>,
    minute: Option<&'a str>,
    second: Option<&'a str>,
    fraction: Option<&'a str>,
    zone: Option<&'a str>,
}

/// Why a v2 timestamp has no FHIR form, or what of it has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    #[error("not a date or time")]
    Malformed,
    #[error("a time of day without a zone, and the feed has no default zone")]
    NoZone,
    #[error("not precise enough")]
    Imprecise,
    #[error("not a duration")]
    Duration,
    #[error("an hour without minutes has no FHIR form: the day was kept")]
    Hour,
    #[error("a time of day has no place in a FHIR date: the day was kept")]
    Clock,
    #[error("a zone has no place here: it was left out")]
    Zone,
    #[error("the clocks of the zone skip this time: it was read as if they had not been put forward")]
    Skipped,
    #[error("the clocks of the zone show this time twice: the first was taken")]
    Twice,
}

impl TimeError {
    /// Whether something that was sent is gone; else it was read in one of two ways.
    pub fn is_loss(self) -> bool {
        !matches!(self, Self::Skipped | Self::Twice)
    }
}

/// A FHIR value, and what of the v2 value is not in it.
pub type Told = (String, Option<TimeError>);

/// A FHIR date: the day, month or year that was sent. Senders fill a date up with zeros, which is no time of day.
pub fn date(v2: &str) -> Result<Told, TimeError> {
    let stamp = Stamp::read(v2)?;
    let midnight = [stamp.hour, stamp.minute, stamp.second].iter().flatten().all(|part| *part == "00");
    let told = match (stamp.hour, stamp.minute) {
        (Some(_), None) if !midnight => Some(TimeError::Hour),
        (Some(_), Some(_)) if !midnight => Some(TimeError::Clock),
        _ => None,
    };
    Ok((stamp.date(), told))
}

/// A FHIR dateTime with the precision that was sent. FHIR's time of day always carries a zone: sent without one, and
/// without a zone for the feed, the day is kept and the rest is told. FHIR has no hour or minute precision either: an
/// hour alone falls back to the day, a missing second is written `:00`.
pub fn date_time(v2: &str, zone: Option<&TimeZone>) -> Result<Told, TimeError> {
    let stamp = Stamp::read(v2)?;
    let lost = match (stamp.hour, stamp.minute, stamp.zone) {
        (None, _, None) => None,
        (None, _, Some(_)) => Some(TimeError::Zone),
        (Some(_), None, _) => Some(TimeError::Hour),
        (_, _, None) if zone.is_none() => Some(TimeError::NoZone),
        _ => return stamp.instant(zone),
    };
    Ok((stamp.date(), lost))
}

/// A FHIR instant: at least seconds, and a zone.
pub fn instant(v2: &str, zone: Option<&TimeZone>) -> Result<Told, TimeError> {
    let stamp = Stamp::read(v2)?;
    if stamp.minute.is_none() {
        return Err(TimeError::Imprecise);
    }
    stamp.instant(zone)
}

/// A FHIR time from TM `HH[MM[SS[.SSSS]]]`. The zone has no place in FHIR's time.
pub fn time(v2: &str) -> Result<Told, TimeError> {
    let clock = v2.split(['+', '-']).next().unwrap_or("");
    let told = (clock.len() < v2.len()).then_some(TimeError::Zone);
    let stamp = Stamp::read_clock("2000", Some("01"), Some("01"), clock, None)?;
    let (Some(hour), Some(minute)) = (stamp.hour, stamp.minute) else {
        return Err(TimeError::Imprecise);
    };
    Ok((format!("{hour}:{minute}:{}{}", stamp.second.unwrap_or("00"), stamp.decimals()), told))
}

/// The v2 timestamp that lies a duration after another; the unit is a code of UCUM or ISO 1000, or a v2 word for it.
pub fn plus(v2: &str, number: &str, unit: &str) -> Result<String, TimeError> {
    let stamp = Stamp::read(v2)?;
    let number = number.trim().parse::<i64>().ok().filter(|n| n.unsigned_abs() < 1_000_000);
    let span = number.and_then(|number| span(number, unit.trim())).ok_or(TimeError::Duration)?;
    let civil = stamp.civil().ok_or(TimeError::Malformed)?;
    let later = civil.checked_add(span).map_err(|_| TimeError::Duration)?;
    let form = if stamp.minute.is_none() { "%Y%m%d" } else { "%Y%m%d%H%M%S" };
    Ok(format!("{}{}", later.strftime(form), stamp.zone.unwrap_or("")))
}

/// A duration in whole minutes.
pub fn minutes(number: &str, unit: &str) -> Option<String> {
    let number = number.trim().parse::<i64>().ok().filter(|n| (0..1_000_000).contains(n))?;
    let span = span(number, unit.trim())?;
    let days_are_24_hours = jiff::SpanRelativeTo::days_are_24_hours();
    let minutes = span.total((jiff::Unit::Minute, days_are_24_hours)).ok().filter(|m| m.fract() == 0.0)?;
    Some(format!("{minutes:.0}"))
}

fn span(number: i64, unit: &str) -> Option<Span> {
    let span = Span::new();
    let span = match unit.to_ascii_lowercase().as_str() {
        "s" | "sec" | "second" | "seconds" => span.try_seconds(number),
        "" | "min" | "m" | "minute" | "minutes" => span.try_minutes(number),
        "h" | "hr" | "hour" | "hours" => span.try_hours(number),
        "d" | "day" | "days" => span.try_days(number),
        "w" | "wk" | "week" | "weeks" => span.try_weeks(number),
        "l" | "mo" | "month" | "months" => span.try_months(number),
        "a" | "y" | "yr" | "year" | "years" => span.try_years(number),
        _ => return None,
    };
    span.ok()
}

impl<'a> Stamp<'a> {
    fn read(v2: &'a str) -> Result<Self, TimeError> {
        let v2 = v2.trim();
        if !v2.is_ascii() {
            return Err(TimeError::Malformed);
        }
        let (body, zone) = match v2.find(['+', '-', 'Z']) {
            // Not in HL7 v2, yet sent, and it has one meaning.
            Some(at) if at > 8 && &v2[at..] == "Z" => (&v2[..at], Some("+0000")),
            Some(at) if at >= 4 => (&v2[..at], Some(&v2[at..])),
            Some(_) => return Err(TimeError::Malformed),
            None => (v2, None),
        };
        if zone.is_some_and(|z| z.len() != 5 || !digits(&z[1..])) {
            return Err(TimeError::Malformed);
        }
        let take = |from: usize, to: usize| body.get(from..to);
        let year = take(0, 4).ok_or(TimeError::Malformed)?;
        let clock = take(8, body.len()).unwrap_or("");
        match body.len() {
            4 => Self::read_clock(year, None, None, "", zone),
            6 => Self::read_clock(year, take(4, 6), None, "", zone),
            8.. => Self::read_clock(year, take(4, 6), take(6, 8), clock, zone),
            _ => Err(TimeError::Malformed),
        }
    }

    fn read_clock(
        year: &'a str,
        month: Option<&'a str>,
        day: Option<&'a str>,
        clock: &'a str,
        zone: Option<&'a str>,
    ) -> Result<Self, TimeError> {
        let (whole, fraction) = match clock.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (clock, None),
        };
        let at = |n: usize| whole.get(n..n + 2);
        let stamp = Self { year, month, day, hour: at(0), minute: at(2), second: at(4), fraction, zone };
        let odd = !whole.len().is_multiple_of(2) || whole.len() > 6 || (fraction.is_some() && whole.len() != 6);
        let fraction_ok = fraction.is_none_or(|f| !f.is_empty() && f.len() <= 9 && digits(f));
        if odd || !fraction_ok || !digits(year) || !digits(whole) || !stamp.exists() {
            return Err(TimeError::Malformed);
        }
        Ok(stamp)
    }

    fn civil(&self) -> Option<DateTime> {
        let number = |part: Option<&str>, default: i8| match part {
            Some(text) if digits(text) => text.parse::<i8>().ok(),
            Some(_) => None,
            None => Some(default),
        };
        let year = self.year.parse::<i16>().ok().filter(|y| *y > 0)?;
        // A leap second is a true one; calendars know 59.
        let second = number(self.second, 0)?;
        DateTime::new(
            year,
            number(self.month, 1)?,
            number(self.day, 1)?,
            number(self.hour, 0)?,
            number(self.minute, 0)?,
            if second == 60 { 59 } else { second },
            0,
        )
        .ok()
    }

    fn exists(&self) -> bool {
        self.civil().is_some()
    }

    fn date(&self) -> String {
        let mut out = String::with_capacity(32);
        out.push_str(self.year);
        for part in [self.month, self.day].into_iter().flatten() {
            out.push('-');
            out.push_str(part);
        }
        out
    }

    fn decimals(&self) -> String {
        self.fraction.map_or(String::new(), |f| format!(".{f}"))
    }

    fn instant(&self, zone: Option<&TimeZone>) -> Result<Told, TimeError> {
        let (offset, told) = match self.zone {
            Some(zone) => (sent_offset(zone)?, None),
            None => self.configured_offset(zone.ok_or(TimeError::NoZone)?)?,
        };
        let mut out = self.date();
        for (sign, part) in [("T", self.hour), (":", self.minute), (":", self.second)] {
            out.push_str(sign);
            out.push_str(part.unwrap_or("00"));
        }
        out.push_str(&self.decimals());
        out.push_str(&offset);
        Ok((out, told))
    }

    /// A clock that is put forward skips an hour, one that is put back shows it twice: both are read by the offset that
    /// holds before, and told.
    fn configured_offset(&self, zone: &TimeZone) -> Result<Told, TimeError> {
        let civil = self.civil().ok_or(TimeError::Malformed)?;
        let (offset, told) = match zone.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } => (offset, None),
            AmbiguousOffset::Gap { before, .. } => (before, Some(TimeError::Skipped)),
            AmbiguousOffset::Fold { before, .. } => (before, Some(TimeError::Twice)),
        };
        let minutes = offset.seconds() / 60;
        if minutes == 0 {
            return Ok(("Z".to_owned(), told));
        }
        let sign = if minutes < 0 { '-' } else { '+' };
        Ok((format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60), told))
    }
}

fn sent_offset(zone: &str) -> Result<String, TimeError> {
    let offset = format!("{}:{}", &zone[..3], &zone[3..]);
    if is_offset(&offset) { Ok(offset) } else { Err(TimeError::Malformed) }
}

fn digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

fn is_offset(text: &str) -> bool {
    let number = |range| text.get(range).filter(|t: &&str| digits(t)).and_then(|t| t.parse::<u8>().ok());
    text == "Z"
        || (text.len() == 6
            && matches!(text.as_bytes()[0], b'+' | b'-')
            && text.as_bytes()[3] == b':'
            && match (number(1..3), number(4..6)) {
                (Some(14), Some(minute)) => minute == 0,
                (Some(hour), Some(minute)) => hour < 14 && minute < 60,
                _ => false,
            })
}

/// A FHIR date: YYYY, YYYY-MM or YYYY-MM-DD, a day that exists.
pub fn is_date(text: &str) -> bool {
    let shape = |n: usize| match n {
        4 | 7 => b'-',
        _ => b'0',
    };
    matches!(text.len(), 4 | 7 | 10)
        && text.bytes().enumerate().all(|(i, b)| match shape(i) {
            b'-' => b == b'-',
            _ => b.is_ascii_digit(),
        })
        && Stamp::read(&text.replace('-', "")).is_ok()
}

/// A FHIR dateTime.
pub fn is_date_time(text: &str) -> bool {
    match text.split_once('T') {
        None => is_date(text),
        Some(_) => is_instant(text),
    }
}

/// A FHIR instant.
pub fn is_instant(text: &str) -> bool {
    let Some((day, rest)) = text.split_once('T') else { return false };
    let Some(cut) = rest.find(['Z', '+', '-']) else { return false };
    day.len() == 10 && is_date(day) && is_time(&rest[..cut]) && is_offset(&rest[cut..])
}

/// A FHIR time: HH:MM:SS with optional decimals.
pub fn is_time(text: &str) -> bool {
    let (clock, fraction) = text.split_once('.').map_or((text, None), |(c, f)| (c, Some(f)));
    let parts: Vec<&str> = clock.split(':').collect();
    let below = |part: &str, limit: u8| part.len() == 2 && digits(part) && part.parse::<u8>().is_ok_and(|n| n < limit);
    parts.len() == 3
        && below(parts[0], 24)
        && below(parts[1], 60)
        && below(parts[2], 61)
        && fraction.is_none_or(|f| !f.is_empty() && digits(f))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn berlin() -> TimeZone {
        TimeZone::get("Europe/Berlin").unwrap()
    }

    #[test]
    fn precision_is_kept_as_sent() {
        let utc = TimeZone::UTC;
        for (v2, expected) in [
            ("1980", "1980"),
            ("198002", "1980-02"),
            ("19800229", "1980-02-29"),
            ("1980022913", "1980-02-29"),
            ("198002291305", "1980-02-29T13:05:00Z"),
            ("19800229130507", "1980-02-29T13:05:07Z"),
            ("19800229130507.1200", "1980-02-29T13:05:07.1200Z"),
            ("19800229130507.12-0500", "1980-02-29T13:05:07.12-05:00"),
            ("20240229+0100", "2024-02-29"),
            ("20240229130507Z", "2024-02-29T13:05:07+00:00"),
        ] {
            assert_eq!(date_time(v2, Some(&utc)).unwrap().0, expected);
            assert!(is_date_time(expected));
        }
    }

    #[test]
    fn the_zone_is_sent_or_configured_never_invented() {
        assert_eq!(instant("202607011200", None), Err(TimeError::NoZone));
        assert_eq!(date_time("202607011200", Some(&berlin())).unwrap().0, "2026-07-01T12:00:00+02:00");
        assert_eq!(date_time("202601011200", Some(&berlin())).unwrap().0, "2026-01-01T12:00:00+01:00");
        assert_eq!(instant("20260101", Some(&berlin())), Err(TimeError::Imprecise));
    }

    #[test]
    fn what_is_left_out_of_a_time_is_told() {
        let told = |(text, told): Told| (text, told);
        for (v2, expected, lost) in [
            ("202607011200", "2026-07-01", Some(TimeError::NoZone)),
            ("202607011200+0100", "2026-07-01T12:00:00+01:00", None),
            ("2026070112", "2026-07-01", Some(TimeError::Hour)),
            ("2026030110-0500", "2026-03-01", Some(TimeError::Hour)),
            ("20260701+0100", "2026-07-01", Some(TimeError::Zone)),
            ("20260701", "2026-07-01", None),
        ] {
            assert_eq!(date_time(v2, None).map(told), Ok((expected.to_owned(), lost)), "{v2}");
        }
        for (v2, lost) in [
            ("19800229", None),
            ("19800229000000", None),
            ("198002291305", Some(TimeError::Clock)),
            ("1980022913", Some(TimeError::Hour)),
        ] {
            assert_eq!(date(v2), Ok(("1980-02-29".to_owned(), lost)), "{v2}");
        }
        assert_eq!(time("0830+0100"), Ok(("08:30:00".to_owned(), Some(TimeError::Zone))));
    }

    #[test]
    fn an_hour_that_a_zone_skips_or_has_twice_is_told() {
        for (v2, expected, told) in [
            ("20260329023000", "2026-03-29T02:30:00+01:00", Some(TimeError::Skipped)),
            ("20261025023000", "2026-10-25T02:30:00+02:00", Some(TimeError::Twice)),
            ("20261025033000", "2026-10-25T03:30:00+01:00", None),
            ("20261025023000+0100", "2026-10-25T02:30:00+01:00", None),
        ] {
            let expected = Ok((expected.to_owned(), told));
            assert_eq!(date_time(v2, Some(&berlin())), expected, "{v2}");
            assert_eq!(instant(v2, Some(&berlin())), expected, "{v2}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in [
            "",
            "198",
            "19801",
            "19801301",
            "20230229",
            "20260101250000",
            "2026010112305",
            "today",
            "20260101120000.",
            "20260101120000+25",
            "20260101120000+9900",
            "0000",
            "１９８０",
        ] {
            assert_eq!(date_time(bad, Some(&TimeZone::UTC)), Err(TimeError::Malformed), "{bad}");
        }
        assert_eq!(time("1305"), Ok(("13:05:00".to_owned(), None)));
        assert_eq!(time("130507.25+0100").unwrap().0, "13:05:07.25");
        assert_eq!(time("13"), Err(TimeError::Imprecise));
        for bad in ["2023-02-29", "2024-1-01", "2024-01-01T10:00Z", "2024-01-01T24:00:00Z", "2024-01-01T10:00:00"] {
            assert!(!is_date_time(bad), "{bad}");
        }
    }

    #[test]
    fn durations_are_added_in_the_clock_of_the_zone() {
        assert_eq!(plus("202603011200", "30", "min").as_deref(), Ok("20260301123000"));
        assert_eq!(plus("20260301120000-0500", "2", "H").as_deref(), Ok("20260301140000-0500"));
        assert_eq!((minutes("2", "h").as_deref(), minutes("90", "s")), (Some("120"), None));
        assert_eq!(plus("20260131", "1", "mo").as_deref(), Ok("20260228"));
        for (v2, n, unit, error) in [
            ("202603011200", "x", "min", TimeError::Duration),
            ("202603011200", "1", "fortnight", TimeError::Duration),
            ("", "1", "min", TimeError::Malformed),
        ] {
            assert_eq!(plus(v2, n, unit), Err(error));
        }
    }

    proptest! {
        #[test]
        fn whatever_converts_is_valid_fhir(v2 in "[0-9]{4,14}(\\.[0-9]{1,4})?([+-][0-9]{4})?") {
            if let Ok((text, _)) = date_time(&v2, Some(&berlin())) {
                prop_assert!(is_date_time(&text), "{} -> {}", v2, text);
            }
        }
    }
}
