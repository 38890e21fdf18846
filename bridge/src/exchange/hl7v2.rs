//! A push to a system that takes HL7 v2 over MLLP: the maps to v2 make messages of what is pushed. Each has a control id that follows from
//! the push and what it carries, so that the same is the same message whenever it is sent again, and what was acknowledged is not.

use super::deliver::{Done, Going, tell};
use super::error::ExchangeError;
use super::letters::{Left, Letter, letters};
use super::of;
use super::order::Order;
use super::respond::derived;
use crate::app::{App, StartError};
use crate::clock::instant;
use crate::config::{Config, Hl7Receiver};
use crate::index::pushes::Push;
use crate::limits::{EXCHANGE_TIMEOUT, MAX_LETTERS, MAX_UNCARRIED};
use crate::outgoing::SendError;
use crate::outgoing::mllp::Line;
use crate::read::{Opened, in_background};
use crate::tls;
use mappings::charset::{Charset, decode};
use mappings::parse::{Message as Parsed, Segment};
use mappings::to_v2::{Envelope, Party, Set, ToV2Error, message};
use serde_json::Value;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

/// What may pass: somebody else has the record open, and an error of the receiver's own (table 0357).
const PASSING: [&str; 2] = ["206", "207"];

/// The maps to v2, where there is a receiver: those of the configuration, where they have any.
pub fn maps(config: &Config) -> Result<Option<Set>, StartError> {
    if config.exchange.as_ref().is_none_or(|exchange| exchange.hl7v2.is_empty()) {
        return Ok(None);
    }
    let own = config.maps.as_deref().filter(|maps| maps.join("to_v2").is_dir());
    let set = own.map_or_else(Set::embedded, Set::load);
    set.map(Some).map_err(|error| StartError::Config(format!("maps: {error}")))
}

/// A message as it is sent.
struct Ready {
    name: &'static str,
    control_id: String,
    bytes: Vec<u8>,
    /// Which of the resources it carries.
    carries: Vec<usize>,
}

/// All messages of a push, and what none of them carries.
#[derive(Default)]
struct Mail {
    ready: Vec<Ready>,
    uncarried: Vec<String>,
}

/// Sends what has not been acknowledged yet.
pub(super) async fn send(
    app: &Arc<App>,
    to: &Hl7Receiver,
    push: &Push,
    order: &mut Order,
    going: Going,
) -> Result<Done, ExchangeError> {
    let Going { opened, caller, places } = going;
    let opened = Arc::new(opened);
    let mut mail = written(app, to, push, &opened).await?;
    order.uncarried = std::mem::take(&mut mail.uncarried);
    mail.ready.retain(|message| !order.taken.contains(&message.control_id));
    // Only what leaves is told: what was opened and is in no message does not.
    let (_, leaves) = (caller.seen.take(), mail.ready.iter().flat_map(|message| &message.carries));
    let leaves = leaves.filter_map(|n| opened.get(*n));
    caller.seen.shows(leaves.map(|one| (one.owner.clone(), one.stored.name.clone(), one.stored.version)));
    tell(app, &caller).await?;
    if post(app, to, &mail.ready, order).await? {
        return Ok(Done::NotYet);
    }
    Ok(Done::Delivered { receipt: None, withheld: order.places.len() - places.len() })
}

/// Writes them, where others do not wait for it.
async fn written(
    app: &Arc<App>,
    to: &Hl7Receiver,
    push: &Push,
    opened: &Arc<Vec<Opened>>,
) -> Result<Mail, ExchangeError> {
    let (app, to, push, opened) = (app.clone(), to.clone(), push.clone(), opened.clone());
    // Either a result, or why there is none: the index has nothing to do with it.
    in_background(move || Ok(write(&app, &to, &push, &opened))).await?
}

fn write(app: &App, to: &Hl7Receiver, push: &Push, opened: &[Opened]) -> Result<Mail, ExchangeError> {
    const NONE: ExchangeError = ExchangeError::Malformed("the receiver's maps or character set are not there");
    let exchange = of(app)?;
    let (set, charset) = exchange.to_v2.as_ref().zip(to.character_set()).ok_or(NONE)?;
    let now = instant(jiff::Timestamp::from_millisecond(push.made).unwrap_or_default());
    let read = |one: &Opened| serde_json::from_slice(&one.resource);
    let all: Vec<Value> = opened.iter().map(read).collect::<Result<_, _>>().map_err(|_| NONE)?;
    let letters = letters(&all);
    if letters.len() > MAX_LETTERS {
        return Err(ExchangeError::TooMuch);
    }
    let (mut mail, mut left) = (Mail::default(), Left::default());
    for letter in letters {
        let control_id = control_id(push, &letter, opened);
        let envelope = envelope(to, charset, &control_id, &now);
        let parts: Vec<Value> = letter.parts.iter().filter_map(|n| all.get(*n).cloned()).collect();
        match message(set, letter.name, &parts, &envelope) {
            Ok((text, report)) => {
                left.note(&letter, &all, &report.notes);
                mail.ready.push(Ready {
                    name: letter.name,
                    control_id,
                    bytes: charset.encode(&text),
                    carries: letter.parts,
                });
            }
            // What should have been in it nothing carries: that is told.
            Err(ToV2Error::Missing { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    for message in &mut mail.ready {
        message.carries.retain(|n| left.is_carried(*n));
    }
    mail.uncarried = left.told(&all).into_iter().take(MAX_UNCARRIED).collect();
    if mail.ready.is_empty() {
        return Err(ExchangeError::Unmapped(mail.uncarried.join(", ")));
    }
    Ok(mail)
}

/// MSH-10: version 2.5 gives it 20 characters.
fn control_id(push: &Push, letter: &Letter, opened: &[Opened]) -> String {
    let place = |one: &Opened| format!("{}/{}", one.stored.name, one.stored.version);
    let places = letter.parts.iter().filter_map(|n| opened.get(*n)).map(place);
    let parts: Vec<String> = [push.id.clone(), letter.name.to_owned()].into_iter().chain(places).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    derived("letter", &parts).as_str().chars().filter(|c| *c != '-').take(20).collect()
}

fn envelope<'e>(to: &'e Hl7Receiver, charset: Charset, control_id: &'e str, now: &'e str) -> Envelope<'e> {
    let (sending_application, sending_facility) = parties(&to.sender);
    let (receiving_application, receiving_facility) = parties(&to.receiver);
    Envelope {
        sending_application,
        sending_facility,
        receiving_application,
        receiving_facility,
        control_id,
        now,
        version: &to.version,
        processing_id: &to.processing,
        charset,
    }
}

fn parties(text: &str) -> (Party<'_>, Party<'_>) {
    let (application, facility) = text.split_once('|').unwrap_or((text, ""));
    let party = |namespace| Party { namespace, ..Party::default() };
    (party(application), party(facility))
}

/// Sends one after the other over one connection, and notes in the order what was taken. What was refused keeps nothing behind it from
/// being sent. Whether some have to wait for the next turn.
async fn post(app: &App, to: &Hl7Receiver, ready: &[Ready], order: &mut Order) -> Result<bool, ExchangeError> {
    if ready.is_empty() {
        return Ok(false);
    }
    let until = Instant::now() + EXCHANGE_TIMEOUT;
    let charset = to.character_set().unwrap_or(Charset::Utf8);
    let late = |_| SendError::TimedOut;
    let mut line = timeout_at(until, connect(app, to)).await.map_err(late)??;
    let (mut refused, mut again) = (Vec::new(), false);
    let before = order.taken.len();
    for message in ready {
        let Ok(answer) = timeout_at(until, line.ask(&message.bytes)).await else {
            return if order.taken.len() > before { Ok(true) } else { Err(SendError::TimedOut.into()) };
        };
        match verdict(&answer?, charset, &message.control_id)? {
            Verdict::Taken => order.taken.push(message.control_id.clone()),
            Verdict::Refused { said, passing } => {
                refused.push(format!("{} ({said})", message.name));
                again |= passing;
            }
        }
    }
    match refused.is_empty() {
        true => Ok(false),
        false => Err(ExchangeError::Nacked { said: shortened(&refused), again }),
    }
}

async fn connect(app: &App, to: &Hl7Receiver) -> Result<Line, ExchangeError> {
    let door = to.door().ok_or(ExchangeError::Malformed("the receiver's address"))?;
    // Read anew each time: a certificate that was renewed counts at once.
    let own = to.certificate.as_deref().zip(to.key.as_deref());
    let tls = to.authorities.as_deref().map(|authorities| tls::client(authorities, own)).transpose();
    let tls = tls.map_err(|error| {
        tracing::error!(%error, receiver = %to.id, "a receiver of HL7 v2 cannot be spoken to");
        SendError::Tls
    })?;
    Ok(app.receivers.line(&door, tls).await?)
}

fn shortened(refused: &[String]) -> String {
    const TOLD: usize = 10;
    let more = refused.len().saturating_sub(TOLD);
    let told = refused.iter().take(TOLD).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{told}, and {more} more") } else { told }
}

/// What an acknowledgement says.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Taken,
    /// Codes and a place, and none of its words: they may quote the message.
    Refused {
        said: String,
        passing: bool,
    },
}

fn verdict(answer: &[u8], charset: Charset, control_id: &str) -> Result<Verdict, ExchangeError> {
    let text = decode(answer, charset).map_err(|_| ExchangeError::Unacked)?.text;
    let parsed = Parsed::parse(&text).map_err(|_| ExchangeError::Unacked)?;
    let msa = parsed.first("MSA").filter(|msa| msa.field(2) == control_id).ok_or(ExchangeError::Unacked)?;
    match msa.field(1) {
        "AA" | "CA" => Ok(Verdict::Taken),
        code @ ("AE" | "AR" | "CE" | "CR") => {
            let said = parsed.first("ERR").map(faults).unwrap_or_default();
            let passing = said.iter().any(|word| PASSING.contains(&word.as_str()));
            Ok(Verdict::Refused { said: [vec![code.to_owned()], said].concat().join(" "), passing })
        }
        _ => Err(ExchangeError::Unacked),
    }
}

/// The place (ERR-2) and the code (ERR-3.1) of the first error, as far as they are such and no words.
fn faults(err: Segment<'_, '_>) -> Vec<String> {
    let is_place = |text: &str| {
        let mut parts = text.split('^');
        let is_segment = parts.next().is_some_and(|s| s.len() == 3 && s.bytes().all(|c| c.is_ascii_alphanumeric()));
        is_segment && text.len() <= 30 && parts.all(|part| part.bytes().all(|c| c.is_ascii_digit()))
    };
    let is_code = |text: &str| (1..=5).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit());
    let (place, code) = (err.field(2), err.field(3).split('^').next().unwrap_or_default());
    let place = Some(place).filter(|place| is_place(place));
    place.into_iter().chain(Some(code).filter(|code| is_code(code))).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_is_of_the_message_that_was_sent() {
        let ack = |code: &str, id: &str, more: &str| {
            let text = format!("MSH|^~\\&|A|B|C|D|2026||ACK|1|P|2.5.1\rMSA|{code}|{id}|Ada\r{more}");
            verdict(text.as_bytes(), Charset::Utf8, "7").map_err(|error| error.may_pass())
        };
        let refused = |said: &str, passing| Ok(Verdict::Refused { said: said.to_owned(), passing });
        assert_eq!((ack("AA", "7", ""), ack("CA", "7", "")), (Ok(Verdict::Taken), Ok(Verdict::Taken)));
        assert_eq!(ack("AA", "8", ""), Err(true), "of another one");
        assert_eq!(ack("OK", "7", ""), Err(true));
        assert_eq!(verdict(b"HTTP/1.1 400", Charset::Utf8, "7").map_err(|error| error.may_pass()), Err(true));
        assert_eq!(ack("AR", "7", ""), refused("AR", false));
        assert_eq!(ack("AE", "7", "ERR||PID^1^5|102^x^HL70357|E||||Ada\r"), refused("AE PID^1^5 102", false));
        assert_eq!(ack("AE", "7", "ERR|||207|E\r"), refused("AE 207", true));
        assert_eq!(ack("CE", "7", "ERR||Ada Lovelace|Ada|E\r"), refused("CE", false), "its words are not told");
        assert_eq!(ack("AE", "7", "ERR||PID^Ada|101|E\r"), refused("AE 101", false));
    }

    #[test]
    fn of_many_refusals_the_first_are_told() {
        let many: Vec<String> = (0..12).map(|n| n.to_string()).collect();
        assert_eq!(shortened(&many), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, and 2 more");
    }
}
