//! Groups of the committer, one gathered while the other is written.

use super::stores;
use super::world::World;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const ROUNDS: usize = 30;
const AT_ONCE: usize = 16;

fn bundle(value: &str) -> String {
    let patient = json!({"resourceType": "Patient", "identifier": [{"system": "urn:a", "value": value}]});
    let request = json!({"method": "POST", "url": "Patient", "ifNoneExist": format!("identifier=urn:a|{value}")});
    json!({"resourceType": "Bundle", "type": "transaction", "entry": [{"resource": patient, "request": request}]})
        .to_string()
}

/// Sends until it is stored, and tells which patient it is.
async fn insist(world: &World, bundle: &str, refused: &AtomicUsize) -> String {
    loop {
        match world.call("POST", "/fhir", bundle).await {
            (200, answer) => break location(&answer),
            (500.., _) => _ = refused.fetch_add(1, Ordering::Relaxed),
            (status, answer) => panic!("{status} {answer}"),
        }
    }
}

fn location(answer: &Value) -> String {
    answer["entry"][0]["response"]["location"].as_str().unwrap().split("/_history").next().unwrap().to_owned()
}

/// Makes the folder of the packs a link, which can lead elsewhere from one moment to the other.
fn linked(packs: &Path) {
    std::fs::rename(packs, packs.with_extension("folder")).unwrap();
    std::fs::write(packs.with_extension("file"), "").unwrap();
    lead(packs, "folder");
}

fn lead(packs: &Path, to: &str) {
    let link = packs.with_extension("link");
    symlink(packs.with_extension(to), &link).unwrap();
    std::fs::rename(link, packs).unwrap();
}

/// Now and then the folder of the packs is none.
fn disturb(packs: &Path, done: &AtomicBool) {
    while !done.load(Ordering::SeqCst) {
        lead(packs, "file");
        std::thread::sleep(Duration::from_millis(3));
        lead(packs, "folder");
        std::thread::sleep(Duration::from_millis(12));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gathered_behind_a_group_that_is_lost_is_gathered_anew() {
    let world = World::new().await;
    let data = world.directory.path().join("data");
    let (Some(objects), true) = (stores::folder(&data), stores::s3(&data).is_none()) else {
        return println!("skipped: it is about a folder");
    };
    let (done, refused) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut patients = BTreeSet::new();
    patients.insert(insist(&world, &bundle("first"), &refused).await);
    let packs = objects.join("packs");
    linked(&packs);
    std::thread::scope(|scope| {
        let disturbing = scope.spawn(|| disturb(&packs, &done));
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                for round in 0..ROUNDS {
                    let bundle = bundle(&format!("r{round}"));
                    let all = (0..AT_ONCE).map(|_| insist(&world, &bundle, &refused));
                    let made: BTreeSet<_> = futures_util::future::join_all(all).await.into_iter().collect();
                    assert_eq!(made.len(), 1, "{made:?}");
                    patients.extend(made);
                }
            });
        });
        done.store(true, Ordering::SeqCst);
        disturbing.join().unwrap();
    });
    assert!(refused.load(Ordering::Relaxed) > 0, "no group was lost");
    assert_eq!(patients.len(), 1 + ROUNDS);
    for round in 0..ROUNDS {
        let stored = world.only(&format!("/fhir/Patient?identifier=urn:a%7Cr{round}")).await;
        assert!(patients.iter().any(|one| one.ends_with(stored["id"].as_str().unwrap())));
    }
}
