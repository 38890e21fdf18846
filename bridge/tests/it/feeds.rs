//! Feeds: whose message it is, what it is read by, over TLS with certificates; quarantine; reading the configuration anew; limits.

mod replays;
mod strict;

use super::door::{Browser, invitation};
use super::world::{World, admission, config, msa};
use bridge::commands::Failed;
use bridge::commands::send::{Connection, Target};
use bridge::config::{Config, NamedFeed, OnError, Tls};
use bridge::control::{Ask, ask};
use bridge::feeds::Listener;
use bridge::ids::{Name, ResourceId};
use bridge::people::Role;
use bridge::tls;
use notary::commitment::Digest;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An authority of the tests, and the files that it makes.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: PathBuf,
    name: &'static str,
}

/// A certificate and its key.
pub struct Identity {
    serial: Vec<u8>,
    pub certificate: PathBuf,
    pub key: PathBuf,
    fingerprint: String,
}

impl Authority {
    pub fn new(folder: &Path, name: &'static str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        std::fs::write(folder.join(format!("{name}.pem")), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), folder: folder.to_owned(), name }
    }

    pub fn pem(&self) -> PathBuf {
        self.folder.join(format!("{}.pem", self.name))
    }

    fn issue(&self, host: &str, usage: ExtendedKeyUsagePurpose) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let serial = [&[1], &Digest::of(host.as_bytes()).0[..8]].concat();
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = |end: &str| self.folder.join(format!("{}-{host}.{end}", self.name));
        std::fs::write(file("crt"), certificate.pem()).unwrap();
        std::fs::write(file("key"), key.serialize_pem()).unwrap();
        let fingerprint = format!("sha256:{}", Digest::of(certificate.der()));
        Identity { serial, certificate: file("crt"), key: file("key"), fingerprint }
    }

    /// Writes the list of those that are revoked, in force until the end of a year.
    fn revoke(&self, revoked: &[&Identity], until: i32) -> PathBuf {
        let long_ago = rcgen::date_time_ymd(2020, 1, 1);
        let one = |identity: &&Identity| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&identity.serial),
            revocation_time: long_ago,
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: long_ago,
            next_update: rcgen::date_time_ymd(until, 12, 31),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(one).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let path = self.folder.join(format!("{}.crl", self.name));
        std::fs::write(&path, params.signed_by(&self.issuer).unwrap().pem().unwrap()).unwrap();
        path
    }

    fn server(&self) -> Identity {
        self.issue("127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth)
    }

    pub fn sender(&self, host: &str) -> Identity {
        self.issue(host, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// TLS of a server, which asks for certificates of this authority.
    pub fn tls(&self) -> Tls {
        let Identity { certificate, key, .. } = self.server();
        Tls { certificate, key, clients: Some(self.pem()), revoked: None, http: false, mllp: true }
    }
}

/// Speaks TLS, trusts an authority, and shows a certificate.
fn target(address: SocketAddr, trusted: &Authority, shown: Option<&Identity>) -> Target {
    let own = shown.map(|identity| (identity.certificate.as_path(), identity.key.as_path()));
    Target::over_tls(&address.to_string(), tls::client(&trusted.pem(), own).unwrap())
}

async fn exchange(target: &Target, message: &str) -> Result<String, Failed> {
    Connection::to(target).await?.exchange(message.replace('\n', "\r").as_bytes()).await
}

fn feed(name: &str) -> NamedFeed {
    NamedFeed { name: name.into(), ..NamedFeed::default() }
}

fn quarantining(name: &str) -> NamedFeed {
    NamedFeed { on_error: Some(OnError::Quarantine), ..feed(name) }
}

fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn world(change: impl FnOnce(&Path, &mut Config)) -> World {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(&directory.path().join("data"));
    change(directory.path(), &mut config);
    World::with(directory, config).await
}

/// A message that nothing can be made of: a visit without a patient.
fn faulty(control: &str) -> String {
    admission(control, "77", "Nightingale").replace("PID|1", "ZZZ|1")
}

fn code(ack: &str) -> String {
    msa(ack).0
}

#[tokio::test]
async fn a_feed_reads_by_its_own_zone_charset_and_overlay_whichever_way_it_comes() {
    let world = world(|directory, config| {
        let overlays = directory.join("overlays");
        std::fs::create_dir(&overlays).unwrap();
        let overlay = "overlay: w\napplies: {sender: [NOBODY]}\ntables: [{table: AdministrativeSex, rows: [{from: W, to: female}]}]";
        std::fs::write(overlays.join("w.yaml"), overlay).unwrap();
        config.overlays = Some(overlays);
        let overlay = Some("w".into());
        config.feeds = vec![
            NamedFeed { mllp: Some(any()), overlay, zone: Some("America/New_York".into()), charset: Some("8859/1".into()), ..feed("own") },
            NamedFeed { senders: vec!["ADT|*".into()], ..feed("shared") },
        ];
    })
    .await;
    let own = world.running.listeners.address(Listener::Own(any())).unwrap();
    let text = admission("1", "1", "M\u{fc}ller").replace("|F\n", "|W\n").replace('\n', "\r");
    let latin: Vec<u8> = text.chars().map(|c| c as u8).collect();
    let mut connection = Connection::open(&own.to_string()).await.unwrap();
    assert_eq!(code(&connection.exchange(&latin).await.unwrap()), "AA");
    let patient = world.only("/fhir/Patient?identifier=1").await;
    assert_eq!(
        (patient["gender"].as_str(), patient["name"][0]["family"].as_str()),
        (Some("female"), Some("M\u{fc}ller"))
    );
    let visit = world.only("/fhir/Encounter?patient.identifier=1").await;
    assert_eq!(visit["period"]["start"], "2026-03-02T08:00:00-05:00");

    assert_eq!(code(&world.send(&admission("2", "2", "Okafor").replace("|F\n", "|W\n")).await), "AA");
    assert_eq!(world.only("/fhir/Patient?identifier=2").await["gender"], serde_json::Value::Null);
    let visit = world.only("/fhir/Encounter?patient.identifier=2").await;
    assert_eq!(visit["period"]["start"], "2026-03-02T08:00:00+01:00", "what a feed leaves out is as `[feed]` says");

    let stranger = world.send(&admission("3", "3", "Weiss").replace("|ADT|", "|LAB|")).await;
    assert!(code(&stranger) == "AE" && stranger.contains("no feed"), "{stranger}");
    let feeds = world.running.app.core.feeds();
    let count = |name: &str| feeds.find(name).unwrap().meter.read(0).total;
    assert_eq!((count("own").accepted, count("shared").accepted, count("default").all()), (1, 1, 0));
}

#[tokio::test]
async fn a_certificate_speaks_for_its_own_feed_and_nobody_speaks_without() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Authority::new(directory.path(), "ours"), Authority::new(directory.path(), "theirs"));
    let [lab, ward, spare] = ["lab.example", "ward.example", "spare.example"].map(|host| ours.sender(host));
    let mut config = config(&directory.path().join("data"));
    config.tls = Some(ours.tls());
    config.feeds = vec![
        NamedFeed { certificates: Some(vec!["lab.example".into()]), senders: vec!["LAB|*".into()], ..feed("lab") },
        NamedFeed { certificates: Some(vec![ward.fingerprint.clone()]), senders: vec!["ADT|*".into()], ..feed("ward") },
    ];
    let world = World::with(directory, config).await;
    let at = world.running.mllp;
    let of_lab = |control: &str| admission(control, "5", "Lovelace").replace("|ADT|", "|LAB|");
    let of_ward = |control: &str| admission(control, "5", "Lovelace");
    assert_eq!(code(&exchange(&target(at, &ours, Some(&lab)), &of_lab("1")).await.unwrap()), "AA");
    assert_eq!(code(&exchange(&target(at, &ours, Some(&ward)), &of_ward("2")).await.unwrap()), "AA");
    let crossed = exchange(&target(at, &ours, Some(&ward)), &of_lab("3")).await.unwrap();
    assert!(code(&crossed) == "AE" && crossed.contains("MSH^1^3"), "{crossed}");
    for (what, shown) in [
        ("no certificate", None),
        ("another authority's", Some(&theirs.sender("lab.example"))),
        ("a server's", Some(&ours.server())),
        ("no feed's", Some(&spare)),
    ] {
        assert!(exchange(&target(at, &ours, shown), &of_lab("4")).await.is_err(), "{what}");
    }
    assert!(exchange(&target(at, &theirs, Some(&lab)), &of_lab("5")).await.is_err(), "a sender trusts whom it trusts");
    assert_eq!(world.get("/fhir/Patient?identifier=5&_summary=count").await.1["total"], 1);
    let feeds = world.running.app.core.feeds();
    assert_eq!(feeds.find("lab").unwrap().meter.read(0).total.accepted, 1);
    assert_eq!(feeds.find("ward").unwrap().meter.read(0).total.accepted, 1);

    // Whose last certificate is taken away is out with his next message: an empty list is nobody's.
    let mut open = Connection::to(&target(at, &ours, Some(&lab))).await.unwrap();
    let mut fresh = world.running.app.config.clone();
    fresh.feeds[0].certificates = Some(Vec::new());
    world.running.reloader.take(fresh).await.unwrap();
    let told = open.exchange(of_lab("6").replace('\n', "\r").as_bytes()).await.unwrap();
    assert!(code(&told) == "AE" && told.contains("no feed"), "{told}");
    assert!(exchange(&target(at, &ours, Some(&lab)), &of_lab("7")).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_no_tls_or_does_not_go_on_is_left_and_holds_up_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let ours = Authority::new(directory.path(), "ours");
    let lab = ours.sender("lab.example");
    let mut config = config(&directory.path().join("data"));
    config.tls = Some(ours.tls());
    let world = World::with(directory, config).await;
    let at = world.running.mllp;
    assert!(exchange(&Target::plain(&at.to_string()), &admission("1", "1", "Plain")).await.is_err());
    let mut stalled = Vec::new();
    for begun in [&b""[..], &[0x16, 0x03, 0x01, 0x02]] {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(begun).await.unwrap();
        stalled.push(stream);
    }
    assert_eq!(code(&exchange(&target(at, &ours, Some(&lab)), &admission("2", "2", "Secure")).await.unwrap()), "AA");
    for mut stream in stalled {
        let mut rest = Vec::new();
        _ = stream.read_to_end(&mut rest).await;
        assert!(!rest.starts_with(b"\x0b"), "it is left within the bound for handshakes");
    }
    assert_eq!(world.get("/fhir/Patient?family=Plain&_summary=count").await.1["total"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_mapped_waits_sealed_in_quarantine_and_is_replayed_once_its_map_is_mended() {
    let directory = tempfile::tempdir().unwrap();
    let overlays = directory.path().join("overlays");
    std::fs::create_dir(&overlays).unwrap();
    std::fs::write(overlays.join("x.yaml"), "overlay: x\npolicy: refuse").unwrap();
    let mut config = config(&directory.path().join("data"));
    config.overlays = Some(overlays.clone());
    config.feeds = vec![quarantining("ward")];
    let world = World::with(directory, config).await;
    let odd = admission("1", "8", "Secretname").replace("EVN|", "ZZZ|what no map has\nEVN|");
    assert_eq!(code(&world.send(&odd).await), "AA");
    assert_eq!(code(&world.send(&odd).await), "AA", "sent again");
    assert_eq!(code(&world.send("MSH|nothing").await), "AR", "what is no message is not kept");
    let (app, data) = (&world.running.app, world.directory.path().join("data"));
    let held = app.core.store.held(false, i64::MAX, 10).unwrap();
    assert_eq!(held.len(), 1, "stored once");
    let id = held[0].id.clone();
    assert_eq!(world.get("/fhir/Patient?_summary=count").await.1["total"], 0);
    let (status, head) = world.get(&format!("/hl7v2/messages/{id}")).await;
    assert_eq!((status, &head["held"]["feed"]), (200, &"ward".into()), "{head}");
    assert!(head["held"]["issues"][0]["text"].as_str().unwrap().starts_with("ZZZ"), "{head}");
    assert!(!head.to_string().contains("Secretname"));
    assert!(!contains(&data, b"Secretname"), "sealed like all else");

    let replay = || Ask::Replay { id: id.to_string(), text: None, over_newer: false };
    let refused = ask(&data, &replay()).await.unwrap_err();
    assert!(refused.contains("ZZZ"), "the map is not mended yet: {refused}");
    std::fs::write(overlays.join("x.yaml"), "overlay: x\npolicy: extension").unwrap();
    ask(&data, &Ask::Reload).await.unwrap();
    let (one, two) = tokio::join!(async { ask(&data, &replay()).await }, async { ask(&data, &replay()).await });
    assert!(one.is_ok() ^ two.is_ok(), "once: {one:?} {two:?}");
    assert!(one.and(two).unwrap_err().contains("replayed before"));
    let patient = world.only("/fhir/Patient?identifier=8").await;
    assert_eq!(patient["name"][0]["family"], "Secretname");
    assert_eq!(code(&world.send(&odd).await), "AA");
    assert_eq!(world.get("/fhir/Encounter?_summary=count").await.1["total"], 1, "it is still recognised");
    assert!(app.core.store.held(false, i64::MAX, 10).unwrap().is_empty());
    assert_eq!(app.core.feeds().find("ward").unwrap().meter.read(0).total.quarantined, 2);

    let shown = bridge::quarantine::find(&app.core.keep(), &id).await.unwrap().unwrap();
    let replayed = shown.replayed.unwrap();
    assert!(!replayed.edited && replayed.by == "administrator");
    let (_, head) = world.get(&format!("/hl7v2/messages/{}", replayed.message)).await;
    assert_eq!(head["replayOf"], id.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mended_text_is_stored_beside_the_one_that_came_and_both_outlive_the_index() {
    let world = world(|_, config| config.feeds = vec![quarantining("ward")]).await;
    let data = world.directory.path().join("data");
    for control in ["1", "2"] {
        assert_eq!(code(&world.send(&faulty(control)).await), "AA");
    }
    let store = world.running.app.core.store.clone();
    let ids: Vec<String> = store.held(false, i64::MAX, 10).unwrap().iter().map(|held| held.id.to_string()).collect();
    let text = Some(admission("1", "77", "Nightingale"));
    let told = ask(&data, &Ask::Replay { id: ids[1].clone(), text, over_newer: false }).await.unwrap();
    assert!(told.contains("Patient/"), "{told}");
    let missing = Ask::Replay { id: "nobody".into(), text: None, over_newer: false };
    assert!(ask(&data, &missing).await.unwrap_err().contains("no such message"));
    let empty = Ask::Replay { id: ids[0].clone(), text: Some(" ".into()), over_newer: false };
    assert!(ask(&data, &empty).await.unwrap_err().contains("1 to"));

    if super::stores::on_postgres() {
        return;
    }
    let World { running, directory, .. } = world;
    let config = running.app.config.clone();
    drop(store);
    running.stop().await;
    for end in ["", "-wal", "-shm"] {
        _ = std::fs::remove_file(data.join(format!("index.sqlite{end}")));
    }
    bridge::commands::recover::run(&config).await.unwrap();
    let world = World::with(directory, config).await;
    let keep = world.running.app.core.keep();
    let open = keep.store.held(false, i64::MAX, 10).unwrap();
    assert_eq!(open.iter().map(|held| held.id.to_string()).collect::<Vec<_>>(), [ids[0].clone()]);
    let id = ResourceId::parse(&ids[1]).unwrap();
    let shown = bridge::quarantine::find(&keep, &id).await.unwrap().unwrap();
    assert!(shown.replayed.unwrap().edited);
    assert!(String::from_utf8_lossy(&shown.kept.bytes).contains("ZZZ|1"), "what came is kept");
    assert_eq!(code(&world.send(&faulty("2")).await), "AA");
    assert_eq!(keep.store.held(true, i64::MAX, 10).unwrap().len(), 2, "it is still recognised");
    bridge::commands::storage::check(&world.running.app.config, false).await.unwrap();

    let unknown = Name::parse(&format!("Patient/{}", ids[0])).unwrap();
    bridge::upkeep::erase::erase(&keep, &unknown, "by letter", &|_| ()).await.unwrap().unwrap();
    let id = ResourceId::parse(&ids[0]).unwrap();
    assert!(bridge::quarantine::find(&keep, &id).await.unwrap().is_none(), "it has a key of its own");
    assert!(keep.store.held(false, i64::MAX, 10).unwrap().is_empty());
    let erased = Ask::Replay { id: ids[0].clone(), text: None, over_newer: false };
    assert!(ask(&data, &erased).await.unwrap_err().contains("no such message"));
}

/// The status of a reply, and whether it says when to come back; nothing where the connection was closed.
async fn answered(http: SocketAddr, token: &str) -> Option<(u16, bool)> {
    let bearer = format!("Bearer {token}");
    let request = warp::http::Request::get("/fhir/Patient?_summary=count").header("authorization", bearer);
    let body = http_body_util::Full::new(bytes::Bytes::new());
    let reply = bridge::commands::client::send(http, request.body(body).unwrap()).await.ok()?;
    let again = reply.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    Some((reply.status().as_u16(), again.is_some_and(|seconds| seconds > 0)))
}

/// Whether a file of a directory has these bytes.
fn contains(directory: &Path, bytes: &[u8]) -> bool {
    let entries = std::fs::read_dir(directory).unwrap().flatten();
    entries.map(|entry| entry.path()).any(|path| match path.is_dir() {
        true => contains(&path, bytes),
        false => std::fs::read(&path).is_ok_and(|content| content.windows(bytes.len()).any(|window| window == bytes)),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn feeds_and_certificates_are_read_anew_and_no_connection_notices() {
    let directory = tempfile::tempdir().unwrap();
    let (old, new) = (Authority::new(directory.path(), "old"), Authority::new(directory.path(), "new"));
    let (before, after) = (old.sender("lab.example"), new.sender("lab.example"));
    let mut config = config(&directory.path().join("data"));
    config.tls = Some(old.tls());
    let world = World::with(directory, config.clone()).await;
    let (at, reloader) = (world.running.mllp, &world.running.reloader);
    let mut open = Connection::to(&target(at, &old, Some(&before))).await.unwrap();
    let send = |control: &str| admission(control, "6", "Steady").replace('\n', "\r").into_bytes();
    assert_eq!(code(&open.exchange(&send("1")).await.unwrap()), "AA");

    let own = NamedFeed { mllp: Some(any()), ..feed("late") };
    for (what, wrong) in [
        ("a missing key", Config { tls: Some(Tls { key: "/nowhere.pem".into(), ..old.tls() }), ..config.clone() }),
        ("another's key", Config { tls: Some(Tls { key: after.key.clone(), ..old.tls() }), ..config.clone() }),
        (
            "no overlay",
            Config { feeds: vec![NamedFeed { overlay: Some("x".into()), ..own.clone() }], ..config.clone() },
        ),
        ("a port in use", Config { feeds: vec![NamedFeed { mllp: Some(at), ..own.clone() }], ..config.clone() }),
        ("HTTP over TLS", Config { tls: Some(Tls { http: true, ..old.tls() }), ..config.clone() }),
    ] {
        let told = reloader.take(wrong).await.unwrap_err();
        assert!(!told.is_empty() && world.running.app.core.feeds().find("late").is_none(), "{what}: {told}");
        assert_eq!(
            code(&exchange(&target(at, &old, Some(&before)), &admission(what, "6", "Steady")).await.unwrap()),
            "AA"
        );
    }

    let fresh = Config { tls: Some(new.tls()), feeds: vec![feed("shared"), own], ..config.clone() };
    reloader.take(fresh).await.unwrap();
    assert_eq!(code(&open.exchange(&send("2")).await.unwrap()), "AA", "the connection goes on");
    assert!(exchange(&target(at, &old, Some(&before)), &admission("3", "6", "Steady")).await.is_err());
    assert_eq!(code(&exchange(&target(at, &new, Some(&after)), &admission("4", "6", "Steady")).await.unwrap()), "AA");
    let late = world.running.listeners.address(Listener::Own(any())).unwrap();
    let mut own = Connection::to(&target(late, &new, Some(&after))).await.unwrap();
    assert_eq!(code(&own.exchange(&send("5")).await.unwrap()), "AA");

    reloader.take(Config { tls: Some(new.tls()), feeds: vec![feed("shared")], ..config }).await.unwrap();
    let mut gone = false;
    for _ in 0..2_000 {
        gone = TcpStream::connect(late).await.is_err();
        if gone {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(gone, "its listener is closed");
    assert_eq!(code(&own.exchange(&send("6")).await.unwrap()), "AE", "its connection is answered: no feed is meant");
    let total = world.running.app.core.feeds().find("shared").unwrap().meter.read(0).total;
    assert_eq!(total.accepted, 2, "counts go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_revoked_is_out_at_once_and_lists_that_do_not_count_let_nobody_in() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Authority::new(directory.path(), "ours"), Authority::new(directory.path(), "theirs"));
    let (lab, ward) = (ours.sender("lab.example"), ours.sender("ward.example"));
    let mut config = config(&directory.path().join("data"));
    config.tls = Some(Tls { revoked: Some(ours.revoke(&[], 2099)), ..ours.tls() });
    let doors = tls::Doors::load(config.tls.as_ref()).unwrap();
    assert_eq!((doors.ends.is_some(), doors.lists_end), (true, Some(4_102_358_400)), "the last day of 2099");
    let world = World::with(directory, config.clone()).await;
    let (at, reloader) = (world.running.mllp, &world.running.reloader);
    let sent = async |shown: &Identity, control: &str| {
        let acknowledged = exchange(&target(at, &ours, Some(shown)), &admission(control, "8", "Steady")).await;
        acknowledged.ok().map(|ack| code(&ack))
    };
    let good = Some("AA".to_owned());
    let mut open = Connection::to(&target(at, &ours, Some(&lab))).await.unwrap();
    let raw = |control: &str| admission(control, "8", "Steady").replace('\n', "\r").into_bytes();
    assert_eq!(code(&open.exchange(&raw("1")).await.unwrap()), "AA");
    assert_eq!((sent(&lab, "2").await, sent(&ward, "3").await), (good.clone(), good.clone()));
    let mut steady = Connection::to(&target(at, &ours, Some(&ward))).await.unwrap();
    assert_eq!(code(&steady.exchange(&raw("w1")).await.unwrap()), "AA");

    ours.revoke(&[&lab], 2099);
    assert_eq!(sent(&lab, "4").await, good, "a list counts once it was read");
    reloader.take(config.clone()).await.unwrap();
    assert_eq!((sent(&lab, "5").await, sent(&ward, "6").await), (None, good.clone()));
    let told = open.exchange(&raw("7")).await.unwrap();
    assert!(code(&told) == "AE" && told.contains("is revoked"), "who is connected already is out, too: {told}");

    ours.revoke(&[], 2021);
    reloader.take(config.clone()).await.unwrap();
    assert_eq!(sent(&ward, "8").await, None, "a list that is past its time");
    for connection in [&mut open, &mut steady] {
        let told = connection.exchange(&raw("over")).await.unwrap();
        assert_eq!(
            code(&told),
            "AE",
            "nor is anybody let in who is connected already, and least of all who was revoked: {told}"
        );
    }
    let other = theirs.revoke(&[], 2099);
    let tls = |path: PathBuf| Config { tls: Some(Tls { revoked: Some(path), ..ours.tls() }), ..config.clone() };
    reloader.take(tls(other)).await.unwrap();
    assert_eq!(sent(&ward, "9").await, None, "a list of another authority");
    ours.revoke(&[], 2099);
    reloader.take(config.clone()).await.unwrap();
    assert_eq!((sent(&lab, "10").await, sent(&ward, "11").await), (good.clone(), good));
    assert_eq!(code(&steady.exchange(&raw("w2")).await.unwrap()), "AA");
    assert_eq!(code(&open.exchange(&raw("12")).await.unwrap()), "AE", "who was revoked connects anew");
    // Nobody has to say that a list was renewed: it is seen, and taken once it is whole.
    assert!(reloader.look().await.is_none(), "nothing was replaced");
    let list = std::fs::read(ours.revoke(&[&ward], 2099)).unwrap();
    assert!(reloader.look().await.is_none(), "it may be written still");
    std::fs::write(ours.revoke(&[], 2099), &list[..list.len() / 2]).unwrap();
    assert!(reloader.look().await.is_none(), "as it is");
    assert!(reloader.look().await.unwrap().unwrap_err().contains("crl"), "half a list is none");
    assert!(reloader.look().await.is_none(), "and that is told once");
    assert_eq!(sent(&ward, "13").await, Some("AA".to_owned()), "what was read goes on");
    ours.revoke(&[&ward], 2099);
    assert!(reloader.look().await.is_none());
    assert!(reloader.look().await.unwrap().is_ok());
    assert_eq!((sent(&lab, "14").await, sent(&ward, "15").await), (Some("AA".to_owned()), None));
    let counted = world.running.app.core.metrics.text().unwrap();
    let lines =
        ["medseal_tls_refused_total{reason=\"revoked\"} 2", "medseal_tls_refused_total{reason=\"list_expired\"} 1"];
    assert!(lines.iter().all(|line| counted.contains(line)), "{counted}");
    let unasked = Tls { mllp: false, ..ours.tls() };
    let told = Config::parse(&format!(
        "[tls]\ncertificate = {:?}\nkey = {:?}\nclients = {:?}\nmllp = false",
        unasked.certificate,
        unasked.key,
        unasked.clients.unwrap()
    ));
    assert!(told.unwrap_err().contains("tls.clients"), "senders would be let in unasked");
    for wrong in [ours.pem(), "/nowhere.crl".into()] {
        let told = reloader.take(tls(wrong.clone())).await.unwrap_err();
        assert!(told.contains(&wrong.display().to_string()), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_with_a_fault_is_told_of_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("medseal.toml");
    std::fs::write(&file, "[[feeds]]\nname = \"lab\"\n").unwrap();
    let mut config = config(&directory.path().join("data"));
    config.file = Some(file.clone());
    config.telemetry.metrics = Some(any());
    let world = World::with(directory, config.clone()).await;
    let told = world.running.reloader.take(config).await.unwrap();
    assert!(!told.contains("other keys"), "any port is the one that it became: {told}");
    let data = world.directory.path().join("data");
    ask(&data, &Ask::Reload).await.unwrap();
    assert!(world.running.app.core.feeds().find("lab").is_some());
    for (wrong, part) in [
        ("[[feeds]]\nnme = \"lab\"", "did you mean `name`"),
        ("[[feeds]]\nname = \"lab\"\nzone = \"Mars/Base\"", "no time zone"),
        ("[[feeds]]\nname = \"lab\"\noverlay = \"none\"", "no overlay `none`"),
    ] {
        std::fs::write(&file, wrong).unwrap();
        let told = ask(&data, &Ask::Reload).await.unwrap_err();
        assert!(told.contains(part), "{told}");
        assert!(world.running.app.core.feeds().find("lab").is_some());
    }
    std::fs::remove_file(&file).unwrap();
    assert!(ask(&data, &Ask::Reload).await.unwrap_err().contains("medseal.toml"));
}

#[tokio::test(flavor = "multi_thread")]
async fn http_speaks_tls_where_it_is_told_to() {
    let directory = tempfile::tempdir().unwrap();
    let ours = Authority::new(directory.path(), "ours");
    let mut config = config(&directory.path().join("data"));
    config.tls = Some(Tls { clients: None, http: true, mllp: false, ..ours.tls() });
    let world = World::with(directory, config).await;
    let http = world.running.http;
    assert!(world.running.app.core.base.starts_with("https://"));
    let connector = tokio_rustls::TlsConnector::from(tls::client(&ours.pem(), None).unwrap());
    let stream = TcpStream::connect(http).await.unwrap();
    let mut stream = connector.connect("127.0.0.1".try_into().unwrap(), stream).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 OK"), "{reply}");
    assert!(reply.contains("strict-transport-security: max-age="), "{reply}");
    let mut plain = TcpStream::connect(http).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut reply = Vec::new();
    _ = plain.read_to_end(&mut reply).await;
    assert!(!reply.starts_with(b"HTTP"), "{reply:?}");
    assert_eq!(code(&world.send(&admission("1", "1", "Plain")).await), "AA", "MLLP does not, where it is told not to");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_of_one_address_have_a_rate_and_neither_clients_nor_probes_share_it() {
    let world = world(|_, config| config.limits.strangers_per_second = Some(1)).await;
    let (http, token) = (world.running.http, world.token.clone());
    let asked = async |path: &str, token: Option<&str>| {
        let mut request = warp::http::Request::builder().uri(path);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let reply = bridge::commands::client::send(http, request.body(Default::default()).unwrap()).await.unwrap();
        (reply.status().as_u16(), reply.headers().contains_key("retry-after"))
    };
    let mut refused = 0;
    for path in ["/log/key", "/auth/jwks", "/fhir/metadata", "/me", "/nothing/here"].iter().cycle().take(50) {
        let (status, again) = asked(path, None).await;
        assert_eq!(status == 429, again, "{path} {status}");
        refused += u32::from(again);
    }
    assert!(refused > 0, "fifty at once are too many");
    for path in ["/healthz", "/readyz"] {
        for _ in 0..10 {
            assert_eq!(asked(path, None).await, (200, false), "{path}");
        }
    }
    for _ in 0..10 {
        assert_eq!(asked("/fhir/Patient", Some(&token)).await, (200, false));
    }
    assert_eq!(asked("/fhir/Patient", Some("of nobody")).await.0 / 100, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_several_times_the_capacity_refusals_are_clean_and_nothing_acknowledged_is_lost() {
    const SENDERS: usize = 40;
    let world = world(|_, config| {
        config.limits.mllp_connections = SENDERS / 4;
        config.limits.http_connections = SENDERS / 4;
        config.limits.http_connections_per_address = SENDERS / 4;
        config.limits.mllp_connections_per_address = SENDERS / 4;
        config.limits.requests_per_second = Some(5);
        config.feed.messages_per_second = Some(20);
    })
    .await;
    let mut senders = tokio::task::JoinSet::new();
    for n in 0..SENDERS {
        let address = world.running.mllp.to_string();
        senders.spawn(async move {
            let (mut acknowledged, mut turned_away) = (Vec::new(), 0);
            let Ok(mut connection) = Connection::open(&address).await else { return (acknowledged, 1) };
            for m in 0..3 {
                let id = format!("{n}-{m}");
                match connection.exchange(admission(&id, &id, "Crowd").replace('\n', "\r").as_bytes()).await {
                    Ok(ack) if code(&ack) == "AA" => acknowledged.push(id),
                    Ok(ack) => assert!(ack.contains("try again"), "{ack}"),
                    Err(_) => {
                        turned_away += 1;
                        break;
                    }
                }
            }
            (acknowledged, turned_away)
        });
    }
    let done = senders.join_all().await;
    let acknowledged: Vec<&String> = done.iter().flat_map(|(ids, _)| ids).collect();
    assert!(done.iter().any(|(_, turned_away)| *turned_away > 0) && acknowledged.len() >= SENDERS / 4);

    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..SENDERS {
        let (http, token) = (world.running.http, world.token.clone());
        clients.spawn(async move {
            let mut replies = Vec::new();
            for _ in 0..5 {
                replies.extend(answered(http, &token).await);
            }
            replies
        });
    }
    let replies: Vec<(u16, bool)> = clients.join_all().await.into_iter().flatten().collect();
    for (status, again) in &replies {
        assert!(*status == 200 || ([429, 503].contains(status) && *again), "{replies:?}");
    }
    assert!(replies.iter().any(|(status, _)| *status == 429), "{replies:?}");

    // It recovers by itself; what was acknowledged is there, all of it.
    let ids: Vec<&str> = acknowledged.iter().map(|id| id.as_str()).collect();
    let found = loop {
        match world.get(&format!("/fhir/Patient?identifier={}&_summary=count", ids.join(","))).await {
            (200, found) => break found,
            (status, _) => assert_eq!(status, 429),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(found["total"], ids.len());
    assert_eq!(code(&world.send(&admission("after", "after", "Crowd")).await), "AA");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_sees_each_feed_and_replays_an_edited_message_and_both_are_told() {
    let world = world(|_, config| config.feeds = vec![quarantining("ward")]).await;
    for message in [faulty("1"), admission("2", "2", "Okafor")] {
        assert_eq!(code(&world.send(&message).await), "AA");
    }
    let mut admin = Browser::new(&world);
    admin.join(&invitation(&world, Role::Administrator, None, None)).await;
    let feeds = admin.page("/me/feeds").await;
    for word in ["ward", "<svg", "50.0 %", "In quarantine: 1", "2 messages in the last hour"] {
        assert!(feeds.contains(word), "{word}: {feeds}");
    }
    let own = format!("(process {}, http {})", std::process::id(), world.running.http);
    assert_eq!(feeds.contains(&own), crate::stores::on_postgres(), "which of several: {feeds}");
    let list = admin.page("/me/quarantine").await;
    let (_, rest) = list.split_once("href=\"/me/quarantine/").expect("a link");
    let id = rest.split('"').next().unwrap().to_owned();
    assert!(!list.contains("Nightingale"), "a list shows nobody");
    let at = format!("/me/quarantine/{id}");
    let page = admin.page(&at).await;
    assert!(page.contains("ZZZ|1") && page.contains("Nightingale^Ada") && !page.contains("<script"), "{page}");

    let replay = format!("{at}/replay");
    let encoded = |text: &str| bridge::http::query::encode(&text.replace('\n', "\r\n"));
    let mended = encoded(&admission("1", "77", "Nightingale"));
    assert_eq!(admin.form(&replay, &format!("text={mended}")).await.status(), 403, "without the session's token");
    let token = admin.token().await;
    let still = admin.form(&replay, &format!("token={token}&text={}", encoded(&faulty("1")))).await;
    assert_eq!(still.status(), 422);
    assert!(String::from_utf8_lossy(still.body()).contains("Not replayed"));
    let done = admin.form(&replay, &format!("token={token}&text={mended}")).await;
    assert_eq!(done.status(), 303);
    let page = admin.page(&at).await;
    assert!(page.contains("with an edited text") && page.contains("ZZZ|1"), "what came is shown still: {page}");
    assert_eq!(admin.form(&replay, &format!("token={token}&text={mended}")).await.status(), 422, "once");
    assert_eq!(world.only("/fhir/Patient?identifier=77").await["name"][0]["family"], "Nightingale");
    assert!(admin.page("/me/quarantine").await.contains("Nothing waits"));
    assert!(admin.page("/me/quarantine?all=yes").await.contains("replayed"));

    let mut told = 0;
    for _ in 0..2_000 {
        told = world.get(&format!("/fhir/AuditEvent?patient=Patient/{id}&_summary=count")).await.1["total"]
            .as_u64()
            .unwrap();
        if told > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(told > 0, "who opened it is told");
    let mut auditor = Browser::new(&world);
    auditor.join(&invitation(&world, Role::Auditor, None, None)).await;
    for path in ["/me/feeds", "/me/quarantine", at.as_str()] {
        assert_eq!(auditor.get(path).await.status(), 403, "{path}");
        assert_eq!(Browser::new(&world).get(path).await.status(), 303, "{path}");
    }
}
