//! What an attacker tried: another feed's name, a door that a reload opens, memory that one takes for himself, noise.

use super::*;
use bridge::limits::{MAX_BODIES_OF_ONE, MAX_BODY_BYTES};
use bridge::rooms::Room;
use tokio::task::block_in_place;
use tokio::time::Instant;

/// A service that asks for certificates, and its authority with two senders: lab and ward.
struct Mutual {
    ours: Authority,
    lab: Identity,
    ward: Identity,
    directory: tempfile::TempDir,
    config: Config,
}

impl Mutual {
    fn new(feeds: Vec<NamedFeed>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ours = Authority::new(directory.path(), "ours");
        let [lab, ward] = ["lab.example", "ward.example"].map(|host| ours.sender(host));
        let mut config = config(&directory.path().join("data"));
        (config.tls, config.feeds) = (Some(ours.tls()), feeds);
        Self { ours, lab, ward, directory, config }
    }
}

fn of(host: &str, feed: NamedFeed) -> NamedFeed {
    NamedFeed { certificates: Some(vec![host.into()]), ..feed }
}

fn own(feed: NamedFeed) -> NamedFeed {
    NamedFeed { mllp: Some(any()), ..feed }
}

fn bytes(message: &str) -> Vec<u8> {
    message.replace('\n', "\r").into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_one_listeners_feed_opens_no_other_listener() {
    for shared in [vec![of("ward.example", feed("ward"))], Vec::new(), vec![feed("open")]] {
        let feeds: Vec<_> = [own(of("lab.example", feed("lab")))].into_iter().chain(shared).collect();
        let pinned = feeds.get(1).is_some_and(|ward| ward.certificates.is_some());
        let Mutual { ours, lab, ward, directory, config } = Mutual::new(feeds);
        let world = World::with(directory, config).await;
        let at = world.running.listeners.address(Listener::Own(any())).unwrap();
        let message = |n: &str| admission(n, "5", "Lovelace");
        assert_eq!(code(&exchange(&target(at, &ours, Some(&lab)), &message("1")).await.unwrap()), "AA");
        assert!(exchange(&target(at, &ours, Some(&ward)), &message("2")).await.is_err());
        let at = world.running.mllp;
        assert!(exchange(&target(at, &ours, Some(&lab)), &message("3")).await.is_err(), "it is lab's alone");
        let known = exchange(&target(at, &ours, Some(&ward)), &message("4")).await;
        assert_eq!(known.is_ok_and(|ack| code(&ack) == "AA"), pinned, "nobody's where a feed names certificates");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_taken_out_of_a_feeds_list_becomes_no_other_feed() {
    let Mutual { ours, lab, directory, config, .. } = Mutual::new(vec![of("lab.example", feed("lab")), feed("open")]);
    let world = World::with(directory, config.clone()).await;
    let target = target(world.running.mllp, &ours, Some(&lab));
    let mut open = Connection::to(&target).await.unwrap();
    assert_eq!(code(&open.exchange(&bytes(&admission("1", "5", "Lovelace"))).await.unwrap()), "AA");
    let mut fresh = config;
    fresh.feeds[0].certificates = Some(Vec::new());
    world.running.reloader.take(fresh).await.unwrap();
    let told = open.exchange(&bytes(&admission("2", "5", "Lovelace"))).await.unwrap();
    assert!(code(&told) == "AE" && told.contains("no feed"), "{told}");
    assert!(exchange(&target, &admission("3", "5", "Lovelace")).await.is_err());
    let accepted = |name: &str| world.running.app.core.feeds().find(name).unwrap().meter.read(0).total.accepted;
    assert_eq!((accepted("lab"), accepted("open")), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_takes_neither_tls_nor_the_asking_for_certificates_away() {
    let Mutual { ours, lab, directory, config, .. } = Mutual::new(vec![own(feed("own")), feed("shared")]);
    let world = World::with(directory, config.clone()).await;
    let tls = config.tls.clone().unwrap();
    let mut plain = config.clone();
    plain.feeds[0].tls = Some(false);
    for (what, wrong, part) in [
        ("cut short", Config { tls: None, ..config.clone() }, "without TLS"),
        ("off", Config { tls: Some(Tls { mllp: false, ..tls.clone() }), ..config.clone() }, "without TLS"),
        ("of one feed", plain, "without TLS"),
        ("no authorities", Config { tls: Some(Tls { clients: None, ..tls }), ..config.clone() }, "certificates"),
    ] {
        let told = world.running.reloader.take(wrong).await.unwrap_err();
        assert!(told.contains(part), "{what}: {told}");
        for at in [world.running.mllp, world.running.listeners.address(Listener::Own(any())).unwrap()] {
            let message = admission(what, "5", "Lovelace");
            assert!(exchange(&Target::plain(&at.to_string()), &message).await.is_err(), "{what}");
            assert!(exchange(&target(at, &ours, None), &message).await.is_err(), "{what}");
            assert_eq!(code(&exchange(&target(at, &ours, Some(&lab)), &message).await.unwrap()), "AA", "{what}");
        }
    }
    world.running.reloader.take(config).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_connection_speaks_for_nobody_once_certificates_are_asked_for() {
    let Mutual { ours, lab, directory, config, .. } = Mutual::new(Vec::new());
    let world = World::with(directory, Config { tls: None, ..config.clone() }).await;
    let mut plain = world.mllp().await;
    assert_eq!(code(&plain.exchange(&bytes(&admission("1", "5", "Lovelace"))).await.unwrap()), "AA");
    world.running.reloader.take(config).await.unwrap();
    let told = plain.exchange(&bytes(&admission("2", "5", "Lovelace"))).await.unwrap();
    assert!(code(&told) == "AE" && told.contains("no feed"), "{told}");
    let known = exchange(&target(world.running.mllp, &ours, Some(&lab)), &admission("3", "5", "Lovelace")).await;
    assert_eq!(code(&known.unwrap()), "AA");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_feeds_is_counted_and_noise_is_rejected() {
    let world =
        world(|_, config| config.feeds = vec![NamedFeed { senders: vec!["LAB|*".into()], ..feed("lab") }]).await;
    assert_eq!(code(&world.send(&admission("1", "1", "Weiss")).await), "AE");
    for noise in ["", "nothing of HL7", "MSH"] {
        assert_eq!(code(&world.send(noise).await), "AR", "{noise}");
    }
    let mut stream = TcpStream::connect(world.running.mllp).await.unwrap();
    stream.write_all(&b"x\x0b\x1c\r".repeat(50)).await.unwrap();
    let mut acks = Vec::new();
    while acks.iter().filter(|byte| **byte == 0x0b).count() < 50 {
        assert!(stream.read_buf(&mut acks).await.unwrap() > 0);
    }
    let told = block_in_place(|| world.running.app.core.metrics.text().unwrap());
    for line in
        ["medseal_message_duration_seconds_count{feed=\"\",outcome=\"unclaimed\"} 54", "medseal_mllp_garbage_total 50"]
    {
        assert!(told.contains(line), "{line}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feeds_pace_is_no_failure() {
    let world = world(|_, config| config.feed.messages_per_second = Some(1)).await;
    let feed = world.running.app.core.feeds().unnamed().clone();
    for _ in 0..600 {
        feed.pace.as_ref().unwrap().turn(Instant::now(), Duration::from_secs(3_600)).unwrap();
    }
    let told = world.send(&admission("1", "1", "Weiss")).await;
    assert!(code(&told) == "AE" && told.contains("try again"), "{told}");
    let told = block_in_place(|| world.running.app.core.metrics.text().unwrap());
    assert!(told.contains("medseal_message_duration_seconds_count{feed=\"default\",outcome=\"paced\"} 1"), "{told}");
    assert!(!told.contains("try_again"), "{told}");
}

/// Takes nearly all the room for bodies, as several clients would: what has come of others has its own.
async fn crowd(world: &World) -> Vec<Room> {
    let mut rooms: Vec<Room> = ["one", "two"].iter().map(|who| world.running.app.bodies.room(who)).collect();
    for room in &mut rooms {
        assert!(room.grow(MAX_BODIES_OF_ONE - LEFT, Duration::from_secs(30)).await);
    }
    rooms
}

/// Room that each of the crowd leaves.
const LEFT: usize = 1 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_announced_and_do_not_come_take_no_room() {
    let world = World::new().await;
    let reader = super::super::world::mint(&world.running, "system/*.rs");
    let header = format!(
        "POST /fhir/Patient HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {reader}\r\nContent-Type: application/fhir+json\r\n\
         Content-Length: {MAX_BODY_BYTES}\r\n\r\n{{"
    );
    let mut stalled = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(world.running.http).await.unwrap();
        stream.write_all(header.as_bytes()).await.unwrap();
        stalled.push(stream);
    }
    let patient = &format!("{{\"resourceType\": \"Patient\"{}}}", " ".repeat(3 * LEFT));
    let token = format!("Bearer {}", world.token);
    let headers = [("authorization", token.as_str()), ("content-type", "application/fhir+json")];
    assert_eq!(world.call("POST", "/fhir/Patient", patient).await.0, 201);

    let crowd = crowd(&world).await;
    let full = world.request("POST", "/fhir/Patient", &headers, patient.as_bytes()).await;
    assert_eq!((full.status().as_u16(), full.headers().contains_key("retry-after")), (503, true));
    assert_eq!(world.get("/fhir/Patient?_summary=count").await.0, 200, "who brings nothing needs no room");
    drop(crowd);
    assert_eq!(world.call("POST", "/fhir/Patient", patient).await.0, 201);
    drop(stalled);
}
