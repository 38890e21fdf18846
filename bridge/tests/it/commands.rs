//! The program itself, as people start it.

use super::door::Browser;
use super::stores;
use super::world::{World, admission, config, msa};
use bridge::commands::demo::{Houses, Neighbour, seed};
use bridge::commands::serve::Running;
use bridge::people::Role;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

pub const MEDSEAL: &str = env!("CARGO_BIN_EXE_medseal");

/// `medseal serve` as a process of its own.
pub struct Served {
    pub child: Child,
    pub http: String,
    pub mllp: String,
}

impl Served {
    pub fn start(data: &Path) -> Self {
        let mut command = Command::new(MEDSEAL);
        command.arg("serve").args(stores::arguments(data));
        Self::spawn(command)
    }

    /// Starts a `medseal serve` that has its other arguments already.
    pub fn spawn(mut command: Command) -> Self {
        command.stderr(Stdio::null());
        Self::ready(command)
    }

    /// The same, where it is said what becomes of its log.
    pub fn ready(mut command: Command) -> Self {
        let mut child =
            command.args(["--http", "127.0.0.1:0", "--mllp", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = |name: &str| {
            let found = line.split_whitespace().find_map(|w| w.strip_prefix(name));
            found.unwrap_or_else(|| panic!("not ready: {line}")).to_owned()
        };
        assert!(line.starts_with("ready "), "{line}");
        Self { child, http: address("http="), mllp: address("mllp=") }
    }

    pub fn terminate(mut self) -> i32 {
        let status = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

fn medseal(arguments: &[&str]) -> Output {
    Command::new(MEDSEAL).args(arguments).output().unwrap()
}

/// A token for everything, as an operator makes it.
pub fn token(data: &Path) -> String {
    let place = stores::arguments(data);
    let place: Vec<&str> = place.iter().map(String::as_str).collect();
    let made = medseal(&[&["token", "--scope", "system/*.cruds"], &place[..]].concat());
    assert!(made.status.success(), "{}", text(&made.stderr));
    text(&made.stdout).trim().to_owned()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn serve_send_token_receipt_verify() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let served = Served::start(&data);
    let file = directory.path().join("in.hl7");
    let both = format!("{}{}", admission("C1", "77", "Lovelace"), admission("C2", "78", "Hopper"));
    std::fs::File::create(&file).unwrap().write_all(both.as_bytes()).unwrap();
    let sent = medseal(&["send", "--to", &format!("mllp://{}", served.mllp), file.to_str().unwrap()]);
    let out = text(&sent.stdout);
    assert!(sent.status.success() && out.contains("AA  C1") && out.contains("2 accepted, 0 refused"), "{out}");
    let place = stores::arguments(&data);
    let place: Vec<&str> = place.iter().map(String::as_str).collect();
    let token = medseal(&[&["token", "--scope", "system/*.rs"], &place[..]].concat());
    assert_eq!(text(&token.stdout).trim().split('.').count(), 3);
    let url = format!("http://{}/fhir/Patient?identifier=77", served.http);
    let curl = Command::new("curl")
        .args(["-s", "-H", &format!("Authorization: Bearer {}", text(&token.stdout).trim()), &url])
        .output()
        .unwrap();
    let found: serde_json::Value = serde_json::from_slice(&curl.stdout).unwrap();
    let name = format!("Patient/{}", found["entry"][0]["resource"]["id"].as_str().unwrap());
    assert_eq!(served.terminate(), 0, "SIGTERM drains and ends well");
    let (receipt, resource) = (directory.path().join("receipt.json"), directory.path().join("resource.json"));
    let out = ["-o", receipt.to_str().unwrap(), "--resource", resource.to_str().unwrap()];
    let written = medseal(&[&["receipt", name.as_str()], &place[..], &out].concat());
    assert!(written.status.success(), "{}", text(&written.stderr));
    let receipt = notary::receipt::Receipt::parse(&std::fs::read(receipt).unwrap()).unwrap();
    let verdict =
        notary::verify::verify(&receipt, Some(&std::fs::read(resource).unwrap()), None, &Default::default()).unwrap();
    assert_eq!(verdict.grade, notary::verify::Grade::AnchoredLocal);
    let bare = medseal(&[&["receipt", name.as_str(), "--without-opening"], &place[..]].concat());
    let bare = notary::receipt::Receipt::parse(&bare.stdout).unwrap();
    assert!(bare.opening.is_none() && notary::verify::verify(&bare, None, None, &Default::default()).is_ok());
}

#[test]
fn mistakes_are_told_in_one_line_that_helps() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("medseal.toml");
    std::fs::write(&config, "[log]\nanchor_mz = 5\n").unwrap();
    let data = directory.path().join("data");
    let (config, data) = (config.to_str().unwrap(), data.to_str().unwrap());
    for (arguments, part) in [
        (vec!["serve", "--config", config], "did you mean `anchor_ms`?"),
        (vec!["serve", "--config", "/nowhere.toml"], "/nowhere.toml"),
        (vec!["token", "--scope", "everything", "--data", data], "system/*.rs"),
        (vec!["token", "--scope", "system/*.rs", "--ttl", "1y", "--data", data], "--ttl"),
        (vec!["receipt", "Patient/none", "--data", data], "not stored here"),
        (vec!["receipt", "nonsense", "--data", data], "Type/id"),
        (vec!["send", "--to", "nowhere", "x"], "mllp://HOST:PORT"),
        (vec!["send", "--to", "mllp://127.0.0.1:1", "/nowhere.hl7"], "/nowhere.hl7"),
    ] {
        let out = medseal(&arguments);
        let error = text(&out.stderr);
        assert!(!out.status.success() && error.contains(part), "{arguments:?}: {error}");
        assert_eq!(error.trim().lines().count(), 1, "{error}");
    }
}

#[test]
fn who_stops_reading_breaks_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(MEDSEAL);
    let data = directory.path().join("data");
    assert_eq!(Served::start(&data).terminate(), 0);
    command.args(["token", "--scope", "system/*.rs"]).args(stores::arguments(&data));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success() && !text(&out.stderr).contains("panicked"), "{}", text(&out.stderr));
}

#[test]
fn the_demo_runs_through() {
    let out = medseal(&["demo", "--once"]);
    let told = text(&out.stdout);
    assert!(out.status.success(), "{told}{}", text(&out.stderr));
    for part in [
        "7 of 7 acknowledged",
        "201 Created",
        "Maren Lindqvist",
        "ANCHORED-LOCAL",
        "REFUSED RESOURCE-CHANGED",
        "Runa Halvorsen",
        "Eastmoor Hospital",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert!(!told.contains('\x1b'), "plain when it is no terminal");
}

/// The demo's two houses, as it opens them.
async fn houses() -> (World, Running) {
    let directory = tempfile::tempdir().unwrap();
    let mut theirs = config(&directory.path().join("next-door"));
    // Where there is a PostgreSQL, one of the two has it.
    theirs.index.postgres = None;
    let neighbour = Neighbour::introduced(theirs).await.unwrap();
    let own = neighbour.beside(config(&directory.path().join("data"))).unwrap();
    let world = World::with(directory, own).await;
    let next_door = neighbour.open(&world.running).await.unwrap();
    (world, next_door)
}

/// A look at the record next door: what its page shows.
async fn look(doctor: &mut Browser<'_>) -> String {
    let token = doctor.token().await;
    let form = format!("token={token}&patient=demo-runa&purpose=TREAT&look=eastmoor");
    let opened = doctor.form("/me/hospitals/ask", &form).await;
    assert_eq!(opened.status(), 303);
    doctor.page(opened.headers()["location"].to_str().unwrap()).await
}

/// What each role's pages must have something to tell on.
const PAGES: &[(&str, &[&str])] = &[
    (
        "patient",
        &[
            "/me/records",
            "/me/access",
            "/me/records/access",
            "/me/records/summary",
            "/me/records/apps",
            "/me/shares",
            "/me/wards/demo-kim",
            "/me",
        ],
    ),
    (
        "clinician",
        &[
            "/me/patients",
            "/me/patients/demo-runa",
            "/me/patients/demo-runa/MedicationRequest",
            "/me/hospitals?patient=demo-runa",
        ],
    ),
    ("auditor", &["/me/log"]),
    (
        "administrator",
        &[
            "/me/people",
            "/me/guardians",
            "/me/clients",
            "/me/feeds",
            "/me/emergencies",
            "/me/network",
            "/me/quarantine",
            "/me/backups",
        ],
    ),
];

/// Every page of the demo has something to tell.
#[tokio::test(flavor = "multi_thread")]
async fn the_demos_people_fill_their_pages() {
    let (world, next_door) = houses().await;
    let all = Houses { own: &world.running, token: &world.token, next_door: &next_door };
    let guests = seed(&all).await.unwrap();
    bridge::audit::worker::flush(&world.running.app).await.unwrap();
    let mut pages = std::collections::HashMap::new();
    for guest in &guests {
        let mut browser = Browser::new(&world);
        let (at, code) = guest.link.split_once("/auth/join?code=").unwrap();
        assert_eq!(at, browser.origin);
        browser.join(code).await;
        let (_, of) = PAGES.iter().find(|(role, _)| *role == guest.role.as_str()).unwrap();
        for page in *of {
            pages.insert(*page, browser.page(page).await);
        }
        if guest.role == Role::Clinician {
            pages.insert("a look", look(&mut browser).await);
            bridge::audit::worker::flush(&world.running.app).await.unwrap();
            pages.insert("/me/hospitals", browser.page("/me/hospitals").await);
        }
    }
    for (page, words) in [
        ("/me/records", "Runa Halvorsen"),
        ("/me/records", "Metformin"),
        ("/me/records", "Eye examination"),
        ("/me/records", "Letter about the knee"),
        ("/me/records", "Vaccinations"),
        ("/me/records", "<svg"),
        ("/me/records", "found unconscious at the tram stop"),
        ("/me/records", "Ejection fraction"),
        ("/me/records/access", "Ilse Weiss"),
        ("/me/records/access", "Eastmoor Hospital"),
        ("/me/records/summary", "Halvorsen"),
        ("/me/records/apps", "Open An app on my machine"),
        ("/me/access", "Northquay Clinic"),
        ("/me/access", "Eastmoor Hospital"),
        ("/me/access", "Sign it myself"),
        ("/me/shares", "research"),
        ("/me/shares", "Eastmoor Hospital (eastmoor)"),
        ("/me/shares", "Allergies, Vaccinations"),
        ("/me/shares", "Results and measurements"),
        ("/me/shares", "Another hospital: Eastmoor Hospital"),
        ("/me/wards/demo-kim", "Measles"),
        ("/me", "/me/wards/demo-kim/grants"),
        ("/me", "An app on my machine"),
        ("/me/patients/demo-runa", "Diabetes mellitus type 2"),
        ("/me/patients/demo-runa/MedicationRequest", "Ibuprofen"),
        ("/me/hospitals?patient=demo-runa", "Cardiology"),
        ("/me/hospitals", "Eastmoor Hospital (eastmoor): opened for a look"),
        ("a look", "Harmless extra beats of the heart"),
        ("/me/log", "Practitioner/demo-weiss"),
        ("/me/people", "Patient/demo-runa"),
        ("/me/guardians", "that Patient/demo-runa acts for Patient/demo-kim"),
        ("/me/emergencies", "Practitioner/demo-weiss"),
        ("/me/clients", "An app on my machine"),
        ("/me/network", "eastmoor"),
        ("/me/network", "refused"),
        ("/me/network", "Try now"),
        ("/me/quarantine", "waits"),
        ("/me/backups", "everything was proved"),
    ] {
        assert!(pages[page].contains(words), "{words} on {page}: {}", pages[page]);
    }
    assert!(!pages["/me/shares"].contains("Nobody asks.") && !pages["/me/quarantine"].contains("Nothing waits."));
    next_door.stop().await;
}

#[tokio::test]
async fn a_refused_file_makes_send_fail() {
    let world = World::new().await;
    let ack = world.send(&admission("C1", "1", "A").replace("ADT^A01^ADT_A01", "QQQ^Q99")).await;
    assert_eq!(msa(&ack).0, "AE");
    let file = world.directory.path().join("bad.hl7");
    std::fs::write(&file, admission("C2", "1", "A").replace("ADT^A01^ADT_A01", "QQQ^Q99")).unwrap();
    let to = format!("mllp://{}", world.running.mllp);
    let out =
        tokio::task::spawn_blocking(move || medseal(&["send", "--to", &to, file.to_str().unwrap()])).await.unwrap();
    assert!(!out.status.success() && text(&out.stderr).contains("1 messages were not accepted"));
}

// meets smart 24 297 316
#[test]
fn clients_are_registered_listed_and_removed_beside_a_running_service() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let place = stores::arguments(&data);
    let client = |arguments: &[&str]| {
        let place: Vec<&str> = place.iter().map(String::as_str).collect();
        let made = medseal(&[&["client"], arguments, &place[..]].concat());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        (made.status.success(), text(&made.stdout), text(&made.stderr))
    };
    // A database that others share may be there before the service.
    assert!(stores::on_postgres() || !client(&["list"]).0, "there is nothing yet");
    let served = Served::start(&data);
    let (keys, private) = (directory.path().join("keys.json"), directory.path().join("private.json"));
    let part = "A".repeat(64);
    let jwk = format!(r#""kty":"EC","crv":"P-384","kid":"a","x":"{part}","y":"{part}""#);
    std::fs::write(&keys, format!(r#"{{"keys":[{{{jwk}}}]}}"#)).unwrap();
    std::fs::write(&private, format!(r#"{{"keys":[{{{jwk},"d":"{part}"}}]}}"#)).unwrap();
    let (keys, private) = (keys.to_str().unwrap(), private.to_str().unwrap());
    let add = |scope, by: &[&str]| client(&[&["add", "--name", "Lab", "--scope", scope], by].concat());
    for (scope, by, why) in [
        ("patient/*.rs", ["--jwks", keys], "system scopes"),
        ("system/Cat.rs", ["--jwks", keys], "no scope"),
        ("system/*.rs", ["--jwks", private], "a private or shared key"),
        ("system/*.rs", ["--jwks", "/nowhere"], "/nowhere"),
        ("system/*.rs", ["--jwks-uri", "http://keys.example/"], "must be https"),
        ("system/*.rs", ["--jwks-uri", "https://127.0.0.1/"], "private, local or reserved"),
        ("system/*.rs", ["--jwks-uri", "https://[::ffff:169.254.169.254]/"], "private, local or reserved"),
        ("system/*.rs", ["--jwks-uri", "file:///etc/passwd"], "absolute URL"),
    ] {
        let (done, _, told) = add(scope, &by);
        assert!(!done && told.contains(why), "{scope} {by:?}: {told}");
    }
    let (done, id, told) = add("system/Patient.read", &["--jwks", keys]);
    assert!(done && id.len() == 32, "{told}");
    let (_, listed, _) = client(&["list"]);
    assert!(listed.starts_with(&id) && listed.ends_with("\tsystem/Patient.rs\tinline\tLab"), "{listed}");
    assert!(client(&["remove", &id]).0 && !client(&["remove", &id]).0);
    assert_eq!(client(&["list"]).1, "");
    assert_eq!(served.terminate(), 0);
}
