//! The only place that asks what time it is.

use jiff::Timestamp;
use std::sync::Mutex;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock that stands where it was put.
#[derive(Debug)]
pub struct FixedClock(pub Mutex<Timestamp>);

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A FHIR instant in UTC with milliseconds.
pub fn instant(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// HTTP's date (RFC 9110 section 5.6.7), which has no fractions of a second.
pub fn http_date(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// Reads HTTP's preferred date form; the two obsolete ones are not sent by anyone any more.
pub fn parse_http_date(text: &str) -> Option<Timestamp> {
    let plain = text.trim().strip_suffix(" GMT")?;
    jiff::civil::DateTime::strptime("%a, %d %b %Y %H:%M:%S", plain)
        .ok()?
        .to_zoned(jiff::tz::TimeZone::UTC)
        .ok()
        .map(|z| z.timestamp())
}

/// An HL7 v2 timestamp in UTC.
pub fn hl7(time: Timestamp) -> String {
    time.strftime("%Y%m%d%H%M%S%.3f+0000").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_the_standards() {
        let time = Timestamp::from_millisecond(1_790_000_000_007).unwrap();
        assert_eq!(instant(time), "2026-09-21T14:13:20.007Z");
        assert!(mappings::time::is_instant(&instant(time)));
        assert_eq!(http_date(time), "Mon, 21 Sep 2026 14:13:20 GMT");
        assert_eq!(parse_http_date(&http_date(time)).unwrap().as_second(), time.as_second());
        assert_eq!(parse_http_date("yesterday"), None);
        assert_eq!(hl7(time), "20260921141320.007+0000");
    }
}
