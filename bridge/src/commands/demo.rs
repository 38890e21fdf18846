//! `medseal demo`: the first minute. Everything in it is the real thing on a fresh temporary data directory: what it shows is
//! what `medseal serve` does.

mod apps;
mod call;
mod neighbour;
mod people;
mod upkeep;
mod visitor;

pub use apps::{APP, APP_REDIRECT};
pub use neighbour::Neighbour;
pub use people::{Guest, Houses, seed};

use super::send::{Target, Totals, progress, send_all, split};
use super::serve::{self, Running};
use super::temporary::Directory;
use super::{Failed, token::duration};
use crate::config::{Apps, Config};
use bytes::Bytes;
use call::{anchored, json, send};
use notary::receipt::Receipt;
use notary::verify::{Policy, verify};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The samples: the project's own cases.
const MESSAGES: &[(&str, &str)] = &[
    ("ADT^A04", include_str!("../../../mappings/cases/ADT_A04/register.hl7")),
    ("ADT^A01", include_str!("../../../mappings/cases/ADT_A01/admit.hl7")),
    ("ADT^A08", include_str!("../../../mappings/cases/ADT_A08/update.hl7")),
    ("ORU^R01", include_str!("../../../mappings/cases/ORU_R01/lab.hl7")),
    ("ORU^R01", include_str!("../../../mappings/cases/ORU_R01/multi_order.hl7")),
    ("ADT^A40", include_str!("../../../mappings/cases/ADT_A40/merge.hl7")),
    ("ADT^A03", include_str!("../../../mappings/cases/ADT_A03/discharge.hl7")),
];
const BUNDLE: &str = include_str!("demo-bundle.json");

/// Runs the demo; with `once` it ends after the last step.
pub async fn run(once: bool) -> Result<(), Failed> {
    let signals = serve::stop_signal()?;
    let directory = Directory::new(&std::env::temp_dir(), "medseal-demo")?;
    let other = Directory::new(&std::env::temp_dir(), "medseal-demo-next-door")?;
    let look = Look { color: std::io::stdout().is_terminal() };
    let (running, next_door) = start(&directory.0, &other.0).await?;
    let demo = Demo { token: token(&running)?, running, next_door, look, directory: directory.0.clone() };
    demo.story().await?;
    let guests = demo.people().await?;
    if !once {
        demo.addresses(&guests);
        signals.await;
    }
    demo.next_door.stop().await;
    demo.running.stop().await;
    Ok(())
}

/// The house, and the one next door.
async fn start(data: &Path, next_door: &Path) -> Result<(Running, Running), Failed> {
    let neighbour = Neighbour::introduced(quick(next_door)).await?;
    let own = open(neighbour.beside(quick(data))?).await?;
    let next_door = neighbour.open(&own).await?;
    Ok((own, next_door))
}

/// A configuration by which nobody waits long for an anchor.
fn quick(data: &Path) -> Config {
    let mut config = Config { data: data.to_owned(), ..Config::default() };
    config.log.checkpoint_ms = 100;
    config.log.anchor_ms = 200;
    config
}

async fn open(mut config: Config) -> Result<Running, Failed> {
    config.custodian = "urn:oid:2.16.840.1.113883.19.5.99".into();
    config.feed.zone = Some("Europe/Berlin".into());
    // Both ways to let an app in are to be seen.
    config.consent.apps = Apps::Approved;
    // The app to try asks from its page.
    config.cors = vec![APP_REDIRECT.trim_end_matches('/').to_owned()];
    // Where people are invited to: passkeys know names alone, and apps are to send people to the very same.
    config.base_url = Some(format!("http://localhost:{}/fhir", config.http.port()));
    match serve::start(config.clone()).await {
        Ok(running) => Ok(running),
        // The usual ports are taken: any others will do.
        Err(_) => {
            config.base_url = None;
            config.http.set_port(0);
            config.mllp.set_port(0);
            serve::start(config).await
        }
    }
}

fn token(running: &Running) -> Result<String, Failed> {
    let now = running.app.core.clock.now().as_second().max(0) as u64;
    let life = duration("8h")?;
    running.app.token_key.mint("demo", "system/*.cruds", now, life).map_err(Failed::from_error)
}

struct Demo {
    running: Running,
    next_door: Running,
    token: String,
    look: Look,
    directory: PathBuf,
}

impl Demo {
    async fn story(&self) -> Result<(), Failed> {
        let (http, mllp) = (self.running.http, self.running.mllp);
        self.look.step(1, &format!("serving: FHIR on http://{http}/fhir, HL7 v2 on mllp://{mllp}"));
        self.feed().await?;
        self.post_bundle().await?;
        let (name, patient) = self.show_patient().await?;
        let receipt = self.receipt(&name).await?;
        self.verify(&receipt, &patient)?;
        self.tamper(&receipt, &patient)
    }

    async fn feed(&self) -> Result<(), Failed> {
        self.look.step(2, "an integration engine sends HL7 v2 over MLLP");
        let messages: Vec<Vec<u8>> =
            MESSAGES.iter().flat_map(|(_, text)| split(text)).map(String::into_bytes).collect();
        let bar = progress(messages.len() as u64);
        let totals = Arc::new(Totals::default());
        let count = messages.len();
        // In order: the discharge comes after the admission.
        send_all(&Target::plain(&self.running.mllp.to_string()), messages, 1, &totals, &bar, true).await?;
        bar.finish_and_clear();
        let accepted = totals.accepted.load(Ordering::Relaxed);
        let kinds = MESSAGES.iter().map(|(kind, _)| *kind).collect::<Vec<_>>().join(", ");
        self.look
            .line(&format!("{accepted} of {count} acknowledged with AA or CA, each only after its commit: {kinds}"));
        if accepted == count { Ok(()) } else { Err(Failed("a sample message was refused".into())) }
    }

    async fn post_bundle(&self) -> Result<(), Failed> {
        self.look.step(3, "an EHR posts a FHIR transaction");
        let answer = self.call("POST", "/fhir", Some(BUNDLE)).await?;
        let answer = json(&answer)?;
        for entry in answer["entry"].as_array().into_iter().flatten() {
            let location = entry["response"]["location"].as_str().unwrap_or("");
            let short = location.split("/fhir/").nth(1).unwrap_or(location);
            self.look.line(&format!("{}  {short}", entry["response"]["status"].as_str().unwrap_or("?")));
        }
        Ok(())
    }

    async fn show_patient(&self) -> Result<(String, Bytes), Failed> {
        self.look.step(4, "the Patient that came out of the admission message");
        let query = "/fhir/Patient?identifier=urn:oid:2.16.840.1.113883.19.5.1.3%7C4417008";
        let found = json(&self.call("GET", query, None).await?)?;
        let resource = &found["entry"][0]["resource"];
        let id = resource["id"].as_str().ok_or_else(|| Failed("the patient was not found".into()))?;
        let name = format!("Patient/{id}");
        let bytes = self.call("GET", &format!("/fhir/{name}"), None).await?;
        let family = resource["name"][0]["family"].as_str().unwrap_or("?");
        let given = resource["name"][0]["given"][0].as_str().unwrap_or("?");
        let text = |name: &str| resource[name].as_str().unwrap_or("?").to_owned();
        self.look.line(&format!("{given} {family}, {}, born {}", text("gender"), text("birthDate")));
        self.look.line(&format!("{name}, version {}", resource["meta"]["versionId"].as_str().unwrap_or("?")));
        self.look.line("on disk it is AES-256-GCM under this patient's own key; the index holds keyed hashes");
        Ok((name, bytes))
    }

    async fn receipt(&self, name: &str) -> Result<Receipt, Failed> {
        self.look.step(5, "its commitment goes into the log, the log's root onto the ledger");
        let receipt = anchored(&self.running, &self.token, name).await?;
        let progress = crate::anchor::progress(&self.running.app.core).map_err(Failed::from_error)?;
        self.look.line(&format!("{} entries in the log, {} anchored", progress.log, progress.anchored));
        self.look.line(&format!(
            "contract {} on the embedded ledger",
            receipt.anchor.as_ref().map_or(String::new(), |a| a.contract.to_string())
        ));
        Ok(receipt)
    }

    fn verify(&self, receipt: &Receipt, resource: &[u8]) -> Result<(), Failed> {
        self.look.step(6, "an auditor verifies the receipt offline");
        let verdict = verify(receipt, Some(resource), None, &Policy::default()).map_err(Failed::from_error)?;
        self.look.good(&verdict.grade.to_string());
        for line in &verdict.rests_on {
            self.look.line(&format!("rests on: {line}"));
        }
        self.write("receipt.json", receipt.to_json().as_bytes())?;
        self.write("patient.json", resource)
    }

    fn tamper(&self, receipt: &Receipt, resource: &[u8]) -> Result<(), Failed> {
        self.look.step(7, "somebody changes one digit of the birth date");
        let changed = change_digit(resource).ok_or_else(|| Failed("the patient has no birth date".into()))?;
        match verify(receipt, Some(&changed), None, &Policy::default()) {
            Ok(_) => Err(Failed("a changed resource was taken for the sealed one".into())),
            Err(refusal) => {
                self.look.bad(&format!("REFUSED {refusal}"));
                self.write("patient-changed.json", &changed)
            }
        }
    }

    async fn people(&self) -> Result<Vec<Guest>, Failed> {
        self.look.step(8, "people: Runa Halvorsen, a patient, and Dr. Ilse Weiss, who has looked at the record");
        let houses = Houses { own: &self.running, token: &self.token, next_door: &self.next_door };
        let guests = seed(&houses).await?;
        self.look.line("visits, results over a year, prescriptions, appointments, a letter; an access that was written down for her; an emergency that was declared");
        self.look.line("a child for whom she acts, an app that she has let in; for the administrator a message in quarantine, a backup, a drill that proved it");
        self.look.line(&format!(
            "next door: Eastmoor Hospital, a second medseal at http://{}; it read, got and gave entries, and asks her for more",
            self.next_door.http
        ));
        Ok(guests)
    }

    fn addresses(&self, guests: &[Guest]) {
        let http = self.running.http;
        let directory = self.directory.display();
        say!("");
        say!("  open      http://{http}/              what is here");
        say!("            http://{http}/log/checkpoint   the signed head of the log");
        say!("            http://{http}/openapi.yaml     every address");
        say!("  sign in   with a passkey that you make, one browser profile for each; each link counts once");
        for Guest { role, link } in guests {
            say!("            {:14} {link}", role.as_str());
        }
        say!("  an app    client_id={APP}, a public one, called back at {APP_REDIRECT}; it finds the way by");
        say!("            {}/.well-known/smart-configuration", self.running.app.core.base);
        say!("  try       export TOKEN={}", self.token);
        say!("            curl -H \"Authorization: Bearer $TOKEN\" 'http://{http}/fhir/Observation?_count=3'");
        say!("            cargo run --release -p notary -- {directory}/receipt.json {directory}/patient.json");
        say!("  stop      Ctrl-C; the data directory {directory} is removed then");
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Failed> {
        let path = self.directory.join(name);
        std::fs::write(&path, bytes).map_err(|e| Failed(format!("{}: {e}", path.display())))
    }

    async fn call(&self, method: &str, path: &str, body: Option<&'static str>) -> Result<Bytes, Failed> {
        send(&self.running, &self.token, (method, path), body.unwrap_or_default().to_owned()).await
    }
}

/// The last digit of the birth date, one further.
fn change_digit(resource: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(resource).ok()?;
    let start = text.find("\"birthDate\":\"")? + "\"birthDate\":\"".len();
    let end = start + text[start..].find('"')?;
    let mut changed = resource.to_vec();
    let digit = changed.get_mut(end - 1)?;
    *digit = if *digit == b'9' { b'1' } else { *digit + 1 };
    Some(changed)
}

/// Colours on a terminal, plain text elsewhere.
struct Look {
    color: bool,
}

impl Look {
    fn paint(&self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn step(&self, number: u8, text: &str) {
        say!("\n{} {}", self.paint("1;36", &format!("{number}.")), self.paint("1", text));
    }

    fn line(&self, text: &str) {
        say!("   {text}");
    }

    fn good(&self, text: &str) {
        say!("   {}", self.paint("1;32", text));
    }

    fn bad(&self, text: &str) {
        say!("   {}", self.paint("1;31", text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_digit_changes_and_no_more() {
        let changed = change_digit(br#"{"birthDate":"1980-02-29","id":"1"}"#).unwrap();
        assert_eq!(changed, br#"{"birthDate":"1980-02-21","id":"1"}"#);
        assert_eq!(change_digit(b"{}"), None);
    }
}
