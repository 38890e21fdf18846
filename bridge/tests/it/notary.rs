//! Log, checkpoints, anchors, receipts: what holds and what is refused.

use super::world::{World, admission};
use notary::checkpoint::LogKey;
use notary::commitment::{ENTRY_BYTES, Entry};
use notary::receipt::Receipt;
use notary::tree::{LeafHash, MemoryTree, root};
use notary::verify::{Grade, Policy, Refusal, verify};

async fn receipt_of_an_admission(world: &World) -> (Receipt, Vec<u8>, Vec<u8>) {
    let message = admission("C1", "77", "Lovelace").replace('\n', "\r");
    world.send(&message).await;
    let patient = world.only("/fhir/Patient?identifier=77").await;
    let path = format!("/fhir/Patient/{}", patient["id"].as_str().unwrap());
    let receipt = Receipt::parse(&world.anchored_receipt(&format!("{path}/$receipt")).await).unwrap();
    (receipt, world.bytes(&path).await.to_vec(), message.into_bytes())
}

#[tokio::test]
async fn a_receipt_proves_the_resource_and_the_message() {
    let world = World::new().await;
    let (receipt, resource, raw) = receipt_of_an_admission(&world).await;
    let policy = Policy { log_keys: vec![world.running.app.core.signer.key().to_string()], ..Policy::default() };
    let verdict = verify(&receipt, Some(&resource), Some(&raw), &policy).unwrap();
    assert_eq!(verdict.grade, Grade::AnchoredLocal);
    assert!(verdict.resource_checked && verdict.raw_checked);
    let pretty = serde_json::to_vec_pretty(&serde_json::from_slice::<serde_json::Value>(&resource).unwrap()).unwrap();
    assert!(verify(&receipt, Some(&pretty), None, &policy).is_ok(), "white space and order are not content");
}

#[tokio::test]
async fn a_receipt_is_filed_as_a_provenance() {
    use base64::Engine;
    let world = World::new().await;
    let (receipt, resource, _) = receipt_of_an_admission(&world).await;
    let path = format!("/fhir/{}/$receipt?_format=application/fhir%2Bjson", receipt.reference);
    let (status, provenance) = world.get(&path).await;
    assert_eq!((status, provenance["resourceType"].as_str()), (200, Some("Provenance")), "{provenance}");
    let data = provenance["signature"][0]["data"].as_str().unwrap();
    let filed = base64::engine::general_purpose::STANDARD.decode(data).unwrap();
    verify(&Receipt::parse(&filed).unwrap(), Some(&resource), None, &Policy::default()).unwrap();
    let (status, kept) = world.call("POST", "/fhir/Provenance", &provenance.to_string()).await;
    assert_eq!(status, 201, "{kept}");
    assert_eq!(kept["signature"][0]["data"].as_str(), Some(data), "it comes back as it was filed");
}

#[tokio::test]
async fn a_receipt_is_shared_without_its_opening() {
    let world = World::new().await;
    let (receipt, resource, _) = receipt_of_an_admission(&world).await;
    let path = format!("/fhir/{}/$receipt", receipt.reference);
    let bare = Receipt::parse(&world.anchored_receipt(&format!("{path}?opening=false")).await).unwrap();
    assert!(bare.opening.is_none() && !bare.to_json().contains(&receipt.opening.unwrap().salt));
    assert_eq!((&bare.entry, &bare.reference), (&receipt.entry, &receipt.reference));
    assert!(verify(&bare, None, None, &Policy::default()).is_ok());
    assert_eq!(verify(&bare, Some(&resource), None, &Policy::default()), Err(Refusal::NoOpening));
    for unknown in ["openning=false", "opening=no", "salt=false"] {
        assert_eq!(world.get(&format!("{path}?{unknown}")).await.0, 400, "{unknown}");
    }
}

#[tokio::test]
async fn every_forgery_is_refused_by_name() {
    let world = World::new().await;
    let (receipt, resource, raw) = receipt_of_an_admission(&world).await;
    let none = Policy::default();
    let text = String::from_utf8(resource.clone()).unwrap();
    let refused = |receipt: &Receipt, resource: &str, policy: &Policy| {
        verify(receipt, Some(resource.as_bytes()), None, policy).unwrap_err()
    };
    assert_eq!(refused(&receipt, &text.replace("1980-02-29", "1980-02-28"), &none), Refusal::ResourceChanged);
    let other = text.replace(&receipt.reference["Patient/".len()..], "another");
    assert!(matches!(refused(&receipt, &other, &none), Refusal::ResourceSwapped { .. }));
    assert_eq!(verify(&receipt, Some(&resource), Some(&raw[1..]), &none), Err(Refusal::RawChanged));
    let forged = |change: &dyn Fn(&mut Receipt)| {
        let mut receipt = receipt.clone();
        change(&mut receipt);
        refused(&receipt, &text, &none)
    };
    assert_eq!(forged(&|r| r.opening = None), Refusal::NoOpening);
    assert_eq!(forged(&|r| r.custodian.push('x')), Refusal::Opening);
    assert_eq!(forged(&|r| r.opening.as_mut().unwrap().salt = "00".repeat(32)), Refusal::Opening);
    let proof = receipt.tlog_proof().unwrap();
    let moved = notary::receipt::TlogProof { index: proof.index + 1, ..proof.clone() };
    assert_eq!(forged(&|r| r.proof = moved.to_text()), Refusal::NotIncluded);
    assert!(matches!(
        forged(&|r| r.proof = r.proof.replace("medseal.local/log\n", "medseal.local/log\n9")),
        Refusal::Checkpoint(_)
    ));
    let stranger = notary::checkpoint::LogSigner::from_seed("medseal.local/log", &[9; 32]).unwrap();
    assert!(matches!(forged(&|r| r.log_key = stranger.key().to_string()), Refusal::Checkpoint(_)));
    let checkpoint = LogKey::parse(&receipt.log_key).unwrap().open(&proof.checkpoint).unwrap();
    let signer = &world.running.app.core.signer;
    // The operator signs another history of the same size: the chain contradicts it.
    let mut rewritten = MemoryTree::default();
    let entry = receipt.log_entry().unwrap();
    for n in 0..checkpoint.size {
        let leaf = if n == proof.index { LeafHash::of(&entry.to_bytes()) } else { LeafHash([n as u8; 32]) };
        rewritten.push(leaf).unwrap();
    }
    let note = signer.sign(checkpoint.size, root(checkpoint.size, &rewritten).unwrap()).unwrap();
    let hashes = notary::tree::prove_inclusion(checkpoint.size, proof.index, &rewritten).unwrap();
    let lie = notary::receipt::TlogProof { index: proof.index, hashes, checkpoint: note };
    assert_eq!(forged(&|r| r.proof = lie.to_text()), Refusal::LogRewritten);
    let contract = notary::verify::TrustedContract {
        chain_id: receipt.anchor.as_ref().unwrap().chain_id,
        address: receipt.anchor.as_ref().unwrap().contract,
        code_hash: None,
        kind: notary::anchor::ChainKind::Embedded,
    };
    let pinned = Policy { contracts: vec![contract], ..Policy::default() };
    assert_eq!(verify(&receipt, None, None, &pinned).unwrap().grade, Grade::AnchoredLocal);
    let stripped = Receipt { anchor: None, ..receipt.clone() };
    assert_eq!(verify(&stripped, None, None, &pinned), Err(Refusal::NotAnchored));
    let elsewhere =
        Policy { contracts: vec![notary::verify::TrustedContract { chain_id: 1, ..contract }], ..Policy::default() };
    assert_eq!(verify(&receipt, None, None, &elsewhere), Err(Refusal::UntrustedChain));
    let mut boast = receipt.clone();
    boast.anchor.as_mut().unwrap().kind = notary::anchor::ChainKind::Public;
    let block = verify(&receipt, None, None, &none).unwrap().anchored.unwrap().block_hash;
    let known = Policy { blocks: vec![block], ..Policy::default() };
    assert_eq!(verify(&boast, None, None, &known).unwrap().grade, Grade::Logged, "a receipt's own word lifts no grade");
    let strict = Policy { log_keys: vec![stranger.key().to_string()], ..Policy::default() };
    assert!(matches!(refused(&receipt, &text, &strict), Refusal::UntrustedLog(_)));
}

#[tokio::test]
async fn every_flipped_bit_of_a_receipt_is_noticed() {
    let world = World::new().await;
    let (receipt, resource, _) = receipt_of_an_admission(&world).await;
    let policy = Policy { log_keys: vec![receipt.log_key.clone()], ..Policy::default() };
    let bytes = receipt.to_json().into_bytes();
    let honest = verify(&receipt, Some(&resource), None, &policy).unwrap();
    let mut silent = Vec::new();
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        let Ok(changed) = Receipt::parse(&flipped) else { continue };
        if changed == receipt {
            continue;
        }
        if let Ok(verdict) = verify(&changed, Some(&resource), None, &policy) {
            // What is only quoted, not proved, may differ: it must show in the verdict's words.
            if verdict.rests_on == honest.rests_on {
                silent.push(
                    String::from_utf8_lossy(&bytes[at.saturating_sub(20)..(at + 5).min(bytes.len())]).into_owned(),
                );
            }
        }
    }
    assert!(silent.is_empty(), "{silent:?}");
}

#[tokio::test]
async fn tiles_and_checkpoints_tell_the_same_log() {
    let world = World::new().await;
    assert_eq!(world.request("GET", "/log/checkpoint", &[], b"").await.status(), 404);
    let mut connection = world.mllp().await;
    for n in 0..80 {
        connection
            .exchange(admission(&format!("C{n}"), &format!("{n}"), "Many").replace('\n', "\r").as_bytes())
            .await
            .unwrap();
    }
    let patient = world.only("/fhir/Patient?identifier=79").await;
    world.anchored_receipt(&format!("/fhir/Patient/{}/$receipt", patient["id"].as_str().unwrap())).await;
    let note = String::from_utf8(world.request("GET", "/log/checkpoint", &[], b"").await.into_body().to_vec()).unwrap();
    let checkpoint = world.running.app.core.signer.key().open(&note).unwrap();
    assert!(checkpoint.size > 256, "several tiles: {}", checkpoint.size);
    let mut tree = MemoryTree::default();
    for tile in 0..checkpoint.size.div_ceil(256) {
        let width = (checkpoint.size - tile * 256).min(256);
        let suffix = if width == 256 { String::new() } else { format!(".p/{width}") };
        let reply = world.request("GET", &format!("/log/tile/entries/{tile:03}{suffix}"), &[], b"").await;
        assert_eq!(reply.status(), 200);
        let hashes = world.request("GET", &format!("/log/tile/0/{tile:03}{suffix}"), &[], b"").await;
        for (entry, hash) in reply.body().chunks(2 + ENTRY_BYTES).zip(hashes.body().chunks(32)) {
            let entry = Entry::from_bytes(&entry[2..]).unwrap();
            let leaf = LeafHash::of(&entry.to_bytes());
            assert_eq!(leaf.0, hash);
            tree.push(leaf).unwrap();
        }
    }
    assert_eq!(root(checkpoint.size, &tree).unwrap(), checkpoint.root);
    assert_eq!(
        world.request("GET", "/log/tile/1/000", &[], b"").await.status(),
        404,
        "a partial tile has its width in its name"
    );
    assert_eq!(world.request("GET", "/log/tile/1/000.p/1", &[], b"").await.status(), 200);
    assert_eq!(world.request("GET", "/log/tile/9/000", &[], b"").await.status(), 400);
}

#[tokio::test]
async fn log_and_anchor_go_on_after_a_restart() {
    let world = World::new().await;
    let (old, resource, _) = receipt_of_an_admission(&world).await;
    let world = world.restarted().await;
    world.send(&admission("C2", "78", "Second")).await;
    let patient = world.only("/fhir/Patient?identifier=78").await;
    let path = format!("/fhir/Patient/{}/$receipt", patient["id"].as_str().unwrap());
    let new = Receipt::parse(&world.anchored_receipt(&path).await).unwrap();
    assert_eq!(new.log_key, old.log_key);
    assert!(new.anchor.unwrap().size > old.anchor.as_ref().unwrap().size);
    assert!(verify(&old, Some(&resource), None, &Policy::default()).is_ok(), "an old receipt stays good");
}
