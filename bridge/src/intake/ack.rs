//! Acknowledgements (HL7 v2.8.2 chapter 2.9): original mode AA, AE, AR; enhanced mode CA, CE, CR by MSH-15 and the
//! application's own by MSH-16. A positive code only after the commit. Pure.

use crate::clock::hl7;
use crate::error::{IngestError, Issue};
use crate::ingest::Answered;
use jiff::Timestamp;
use mappings::parse::{Message, Separators, part};

/// How the acknowledgement travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Over MLLP every message is answered, also where it asks for nothing: a sender that waits must not wait for ever.
    Mllp,
    /// Over HTTP the answer is the response: one acknowledgement, the application's.
    Http,
}

/// The acknowledgement, or both of enhanced mode one after the other, each as its own message.
pub fn acknowledge(answer: &Answered, number: usize, now: Timestamp, mode: Mode) -> String {
    acknowledgements(answer, number, now, mode).concat()
}

/// The acknowledgements that a message asks for, at least one. `number`: which message of its batch it is.
pub fn acknowledgements(answer: &Answered, number: usize, now: Timestamp, mode: Mode) -> Vec<String> {
    // Where the whole cannot be parsed its header may still say who waits for an answer to what.
    let first = answer.text.trim_start().split(['\r', '\n']).next().unwrap_or("");
    let message = Message::parse(&answer.text).or_else(|_| Message::parse(first)).ok();
    let header = Header::of(message.as_ref(), number);
    let error = answer.outcome.as_ref().err();
    let verdict = error.map_or(Verdict::Accept, verdict);
    let accept = wanted(header.accept, verdict);
    let application = wanted(header.application, verdict);
    let original = header.accept.is_empty() && header.application.is_empty();
    let issues = error.map(IngestError::issues).unwrap_or_default();
    let one = |family: char| header.print(family, verdict, &issues, now);
    match mode {
        _ if original => vec![one('A')],
        Mode::Http if header.application.is_empty() => vec![one('C')],
        Mode::Http => vec![one('A')],
        Mode::Mllp => {
            let mut acks = Vec::new();
            if accept || !application {
                acks.push(one('C'));
            }
            if application {
                acks.push(one('A'));
            }
            acks
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Accept,
    Error,
    Reject,
}

fn verdict(error: &IngestError) -> Verdict {
    match error {
        IngestError::Unparsable(_) => Verdict::Reject,
        _ => Verdict::Error,
    }
}

/// Table 0155: always, never, on error, on success.
fn wanted(condition: &str, verdict: Verdict) -> bool {
    match condition {
        "AL" => true,
        "ER" => verdict != Verdict::Accept,
        "SU" => verdict == Verdict::Accept,
        _ => false,
    }
}

/// What an acknowledgement takes from the message it answers.
struct Header<'m> {
    separators: Separators,
    sender: [&'m str; 2],
    receiver: [&'m str; 2],
    event: &'m str,
    control_id: &'m str,
    processing: &'m str,
    version: &'m str,
    accept: &'m str,
    application: &'m str,
    number: usize,
}

impl<'m> Header<'m> {
    fn of(message: Option<&Message<'m>>, number: usize) -> Self {
        let field = |n: usize| message.map_or("", |m| m.header(n));
        let separators = message.map_or_else(Separators::default, Message::separators);
        Self {
            separators,
            sender: [field(3), field(4)],
            receiver: [field(5), field(6)],
            event: part(field(9), Some(separators.component), 2),
            control_id: field(10),
            processing: field(11),
            version: field(12),
            accept: field(15).trim(),
            application: field(16).trim(),
            number,
        }
    }

    fn print(&self, family: char, verdict: Verdict, issues: &[Issue], now: Timestamp) -> String {
        let s = &self.separators;
        let (field, component) = (char::from(s.field), char::from(s.component));
        let code = match verdict {
            Verdict::Accept => 'A',
            Verdict::Error => 'E',
            Verdict::Reject => 'R',
        };
        let event = if self.event.is_empty() { String::new() } else { format!("{component}{}", self.event) };
        let kind = format!("ACK{event}{component}ACK");
        let kind = if self.event.is_empty() { "ACK".to_owned() } else { kind };
        let id = format!("{}.{}{family}", now.as_microsecond(), self.number);
        let version = if self.version.is_empty() { "2.5.1" } else { self.version };
        let processing = if self.processing.is_empty() { "P" } else { self.processing };
        let encoding: String =
            [Some(s.component), Some(s.repetition).filter(|b| *b != 0), s.escape, s.subcomponent, s.truncation]
                .into_iter()
                .flatten()
                .map(char::from)
                .collect();
        let msh = [
            encoding,
            self.receiver[0].to_owned(),
            self.receiver[1].to_owned(),
            self.sender[0].to_owned(),
            self.sender[1].to_owned(),
            hl7(now),
            String::new(),
            kind,
            id,
            processing.to_owned(),
            version.to_owned(),
            String::new(),
            String::new(),
            String::new(),
            String::new(),
            String::new(),
            "UNICODE UTF-8".to_owned(),
        ];
        let msh = format!("MSH{field}{}\r", msh.join(&field.to_string()));
        let msa = format!("MSA{field}{family}{code}{field}{}\r", self.control_id);
        let errors: String = issues.iter().map(|issue| self.error(issue)).collect();
        format!("{msh}{msa}{errors}")
    }

    /// ERR: location (2), HL7 code (3), severity (4), text for the user (8).
    fn error(&self, issue: &Issue) -> String {
        let s = &self.separators;
        let (field, component) = (char::from(s.field), char::from(s.component));
        let location = issue.source.as_ref().map_or(String::new(), |(segment, occurrence, place)| {
            let mut parts = vec![segment.clone(), occurrence.to_string()];
            if place.field > 0 {
                parts.extend([place.field.to_string(), (place.repetition + 1).to_string()]);
            }
            if place.field > 0 && place.component > 0 {
                parts.push(place.component.to_string());
            }
            parts.join(&component.to_string())
        });
        let (code, name) = condition(issue.code);
        let code = [code, name, "HL70357"].join(&component.to_string());
        let mut text = issue.text.clone();
        if let Some(expression) = &issue.expression {
            text = format!("{expression}: {text}");
        }
        let text = self.escaped(&text);
        format!("ERR{field}{field}{location}{field}{code}{field}E{field}{field}{field}{field}{text}\r")
    }

    /// Our own words, with the message's separators taken out.
    fn escaped(&self, text: &str) -> String {
        let s = &self.separators;
        let marks = [
            (Some(s.field), 'F'),
            (Some(s.component), 'S'),
            (Some(s.repetition), 'R'),
            (s.escape, 'E'),
            (s.subcomponent, 'T'),
        ];
        text.chars()
            .map(|c| match marks.iter().find(|(mark, _)| mark.map(char::from) == Some(c)) {
                Some((_, letter)) => s.escape.map_or(" ".to_owned(), |e| format!("{0}{letter}{0}", char::from(e))),
                None if c.is_control() => " ".to_owned(),
                None => c.to_string(),
            })
            .collect()
    }
}

/// HL7 table 0357 for an issue type.
fn condition(code: &str) -> (&'static str, &'static str) {
    match code {
        "required" => ("101", "Required field missing"),
        "value" => ("102", "Data type error"),
        "code-invalid" => ("103", "Table value not found"),
        "not-supported" => ("200", "Unsupported message type"),
        "duplicate" | "multiple-matches" => ("205", "Duplicate key identifier"),
        "structure" | "invariant" => ("100", "Segment sequence error"),
        _ => ("207", "Application internal error"),
    }
}

/// Logs a failure that is not the sender's: the acknowledgement says only that it was ours.
pub fn log_ours(answer: &Answered) {
    if let Some(error) = answer.outcome.as_ref().err().filter(|e| e.is_news()) {
        tracing::error!(%error, "a message could not be taken");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mappings::path::Place;

    fn answer(header: &str, outcome: Result<(), IngestError>) -> Answered {
        let committed = crate::commit::Committed { done: Vec::new(), message: None, duplicate: false };
        let taken = crate::ingest::Taken { committed, report: Default::default(), held: false };
        Answered { text: header.to_owned(), outcome: outcome.map(|()| taken) }
    }

    fn acks(header: &str, outcome: Result<(), IngestError>, mode: Mode) -> Vec<String> {
        acknowledgements(&answer(header, outcome), 0, Timestamp::UNIX_EPOCH, mode)
    }

    #[test]
    fn original_mode_answers_once_to_the_sender() {
        let acks = acks("MSH|^~\\&|LAB|HOSP|MED|SEAL|2026||ORU^R01^ORU_R01|C7|P|2.5.1", Ok(()), Mode::Mllp);
        assert_eq!(
            acks,
            [
                "MSH|^~\\&|MED|SEAL|LAB|HOSP|19700101000000.000+0000||ACK^R01^ACK|0.0A|P|2.5.1||||||UNICODE UTF-8\rMSA|AA|C7\r"
            ]
        );
    }

    #[test]
    fn enhanced_mode_gives_what_is_asked_for() {
        let header = |accept: &str, application: &str| {
            format!("MSH|^~\\&|A|B|C|D|2026||ADT^A01|1|P|2.5|||{accept}|{application}")
        };
        let codes = |accept: &str, application: &str, good: bool, mode: Mode| {
            let outcome = if good { Ok(()) } else { Err(IngestError::Busy) };
            acks(&header(accept, application), outcome, mode)
                .iter()
                .map(|a| Message::parse(a).unwrap().first("MSA").unwrap().field(1).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(codes("AL", "NE", true, Mode::Mllp), ["CA"]);
        assert_eq!(codes("AL", "AL", true, Mode::Mllp), ["CA", "AA"]);
        assert_eq!(codes("NE", "AL", false, Mode::Mllp), ["AE"]);
        assert_eq!(codes("ER", "SU", false, Mode::Mllp), ["CE"]);
        assert_eq!(codes("NE", "NE", true, Mode::Mllp), ["CA"], "a waiting sender is not left waiting");
        assert_eq!(codes("AL", "AL", true, Mode::Http), ["AA"]);
    }

    #[test]
    fn errors_name_segment_field_and_code() {
        let place = Place { field: 7, repetition: 1, component: 2, ..Place::default() };
        let issue = Issue { source: Some(("PID".into(), 1, place)), ..Issue::new("value", "not a date | at all") };
        let acks = acks("MSH|^~\\&|A|B|C|D|2026||ADT^A01|1|P|2.5", Err(IngestError::Invalid(vec![issue])), Mode::Mllp);
        assert!(acks[0].contains("MSA|AE|1\r"));
        assert!(
            acks[0].ends_with("ERR||PID^1^7^2^2|102^Data type error^HL70357|E||||not a date \\F\\ at all\r"),
            "{}",
            acks[0]
        );
    }

    #[test]
    fn what_cannot_be_read_is_rejected_in_default_separators() {
        let error = IngestError::Unparsable(Issue::new("structure", "no MSH"));
        let acks = acks("garbage", Err(error), Mode::Mllp);
        assert!(acks[0].starts_with("MSH|^~\\&|") && acks[0].contains("MSA|AR|\r"), "{}", acks[0]);
    }
}
