//! Two bridges: one cosigns the other's checkpoints, and keeps what contradicts them.

use super::stores;
use super::world::{World, admission};
use bridge::config::{self, Config, WitnessPeer};
use bytes::Bytes;
use notary::receipt::Receipt;
use notary::tree::Root;
use notary::verify::{Grade, Policy, Refusal, verify};
use notary::witness::{AddCheckpoint, Witness, WitnessKey};
use std::time::Duration;
use warp::http::Response;

async fn admit(world: &World, number: &str) -> String {
    world.send(&admission(number, number, "Lovelace")).await;
    let patient = world.only(&format!("/fhir/Patient?identifier={number}")).await;
    format!("/fhir/Patient/{}/$receipt", patient["id"].as_str().unwrap())
}

/// A log, its witness, and the witness's key.
async fn pair() -> (World, World, WitnessKey) {
    pair_after(Vec::new()).await
}

/// The same, where the log asks others before that witness.
async fn pair_after(others: Vec<WitnessPeer>) -> (World, World, WitnessKey) {
    let log = World::new().await;
    let directory = tempfile::tempdir().unwrap();
    let mut settings = super::world::config(&directory.path().join("data"));
    let logs = vec![log.running.app.core.signer.key().to_string()];
    settings.witness = Some(config::Witness { name: "b.example/witness".into(), logs });
    let witness = World::with(directory, settings).await;
    let key = witness.request("GET", "/witness/key", &[], b"").await;
    let key = String::from_utf8(key.body().to_vec()).unwrap().trim().to_owned();
    let url = format!("http://{}/witness", witness.running.http);
    let World { running, directory, .. } = log;
    let mut settings = Config { http: running.http, mllp: running.mllp, ..running.app.config.clone() };
    settings.log.witnesses = others;
    settings.log.witnesses.push(WitnessPeer { url, key: key.clone() });
    running.stop().await;
    (World::with(directory, settings).await, witness, WitnessKey::parse(&key).unwrap())
}

async fn cosigned(log: &World, path: &str, key: &WitnessKey) -> Receipt {
    for _ in 0..250 {
        let receipt = Receipt::parse(&log.anchored_receipt(path).await).unwrap();
        if key.cosigned(&receipt.tlog_proof().unwrap().checkpoint).is_some() {
            return receipt;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no cosignature came");
}

async fn ask(witness: &World, body: &str) -> Response<Bytes> {
    witness.request("POST", "/witness/add-checkpoint", &[], body.as_bytes()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_are_cosigned_before_they_are_anchored() {
    let (log, _witness, key) = pair().await;
    for number in ["9101", "9102"] {
        let path = admit(&log, number).await;
        let receipt = cosigned(&log, &path, &key).await;
        let by = |witnesses: &[&str], needed| Policy {
            witnesses: witnesses.iter().map(|key| (*key).to_owned()).collect(),
            witnesses_needed: needed,
            ..Policy::default()
        };
        let ours = key.to_string();
        assert_eq!(verify(&receipt, None, None, &by(&[], None)).unwrap().grade, Grade::AnchoredLocal);
        assert_eq!(verify(&receipt, None, None, &by(&[&ours, &ours], None)).unwrap().grade, Grade::Witnessed);
        let stranger = Witness::from_seed("b.example/witness", &[9; 32]).unwrap().key().to_string();
        let few = |found, wanted| Err(Refusal::NotWitnessed { found, wanted });
        assert_eq!(verify(&receipt, None, None, &by(&[&stranger], None)), few(0, 1));
        assert_eq!(
            verify(&receipt, None, None, &by(&[&ours, &ours, &stranger], Some(2))),
            few(1, 2),
            "each counts once"
        );
    }
}

/// Takes every connection and never says a word.
async fn hanging(seed: u8) -> WitnessPeer {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/witness", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let key = Witness::from_seed("hanging.example/w", &[seed; 32]).unwrap().key().to_string();
    WitnessPeer { url, key }
}

#[tokio::test(flavor = "multi_thread")]
async fn witnesses_that_hang_hold_up_no_other() {
    // One after the other they would take longer than a cosignature is waited for here.
    let (log, _witness, key) = pair_after(vec![hanging(7).await, hanging(8).await, hanging(9).await]).await;
    let path = admit(&log, "9401").await;
    let receipt = cosigned(&log, &path, &key).await;
    assert!(receipt.anchor.is_some(), "and it is anchored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_history_is_refused_and_kept_as_evidence() {
    let (log, witness, key) = pair().await;
    let path = admit(&log, "9201").await;
    cosigned(&log, &path, &key).await;
    let signer = &log.running.app.core.signer;
    let (size, honest) = settled(&log, &witness, signer.key().origin()).await;
    let again = ask(&witness, &AddCheckpoint { old: size, proof: Vec::new(), note: honest }.to_text()).await;
    assert_eq!(again.status(), 200);
    // A longer lie has no proof.
    let longer = signer.sign(size + 5, Root([9; 32])).unwrap();
    let lie = AddCheckpoint { old: size, proof: vec![[1; 32]], note: longer.clone() }.to_text();
    assert_eq!(ask(&witness, &lie).await.status(), 422);
    let other = ask(&witness, &AddCheckpoint { old: 0, proof: Vec::new(), note: longer }.to_text()).await;
    assert_eq!(other.status(), 409);

    let forged = signer.sign(size, Root([9; 32])).unwrap();
    let fork = ask(&witness, &AddCheckpoint { old: size, proof: Vec::new(), note: forged.clone() }.to_text()).await;
    assert_eq!((fork.status().as_u16(), fork.body().as_ref()), (409, format!("{size}\n").as_bytes()));
    let state: serde_json::Value =
        serde_json::from_slice(witness.request("GET", "/log/status.json", &[], b"").await.body()).unwrap();
    let evidence = &state["evidence"][0];
    assert_eq!((evidence["size"].as_u64(), evidence["other"].as_str()), (Some(size), Some(forged.as_str())));
    for note in ["one", "other"] {
        assert_eq!(signer.key().open(evidence[note].as_str().unwrap()).unwrap().size, size, "it proves itself");
    }
    assert_eq!(ask(&witness, &lie).await.status(), 409, "a log that was convicted is cosigned no more");

    // An index that has lost it: the log is convicted by what lies beside the packs.
    let data = witness.directory.path().join("data");
    for table in ["witnessed", "evidence"] {
        assert_eq!(stores::rows(&data, &format!("DELETE FROM {table} RETURNING origin")).len(), 1);
    }
    let witness = witness.restarted().await;
    assert_eq!(ask(&witness, &lie).await.status(), 409);
    assert_eq!(witness.running.app.core.store.evidence().unwrap()[0].other, forged);
}

/// The newest checkpoint that the witness knows, once it is the log's newest: nothing more comes.
async fn settled(log: &World, witness: &World, origin: &str) -> (u64, String) {
    bridge::audit::worker::flush(&log.running.app).await.unwrap();
    for _ in 0..1_500 {
        let nothing_waits = log.running.app.core.store.waiting().unwrap() == 0;
        let known = witness.running.app.core.store.witnessed(origin).unwrap();
        if let Some((size, note)) =
            known.filter(|(size, _)| nothing_waits && *size == log.running.app.core.store.log_size().unwrap())
        {
            return (size, note);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the witness does not follow");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_whose_index_was_put_back_has_not_forgotten() {
    let (log, witness, key) = pair().await;
    let path = admit(&log, "9301").await;
    cosigned(&log, &path, &key).await;
    let signer = &log.running.app.core.signer;
    let (size, _) = settled(&log, &witness, signer.key().origin()).await;
    // The index is that of a witness that has seen nothing; the objects are not.
    let data = witness.directory.path().join("data");
    assert_eq!(stores::rows(&data, "DELETE FROM witnessed RETURNING origin").len(), 1);
    let witness = witness.restarted().await;
    let forged = signer.sign(size, Root([9; 32])).unwrap();
    let fork = ask(&witness, &AddCheckpoint { old: 0, proof: Vec::new(), note: forged }.to_text()).await;
    assert_eq!(fork.status(), 409, "two histories of one size");
}

#[tokio::test]
async fn requests_that_are_none_and_logs_of_strangers_are_refused() {
    let (log, witness, _) = pair().await;
    for (body, status) in
        [("", 400), ("old 0\n\nelsewhere/log\n1\nAAAA\n\n", 404), ("old 0\n\nmedseal.local/log\n1\n", 400)]
    {
        assert_eq!(ask(&witness, body).await.status(), status, "{body:?}");
    }
    let stranger = notary::checkpoint::LogSigner::from_seed("medseal.local/log", &[8; 32]).unwrap();
    let note = stranger.sign(3, Root([9; 32])).unwrap();
    assert_eq!(ask(&witness, &AddCheckpoint { old: 0, proof: Vec::new(), note }.to_text()).await.status(), 403);
    assert_eq!(log.request("GET", "/witness/key", &[], b"").await.status(), 404, "it is the witness of none");
    assert_eq!(log.request("POST", "/witness/add-checkpoint", &[], b"old 0").await.status(), 404);
}
