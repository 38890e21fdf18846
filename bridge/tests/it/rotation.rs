//! A new root key while the service goes on.

use super::erasure::{medseal, out};
use super::stores;
use super::world::{World, admission, config, msa};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_wrapped_anew_under_load_and_the_old_root_is_not_needed() {
    let world = Arc::new(World::new().await);
    for n in 0..5 {
        assert_eq!(msa(&world.send(&admission(&format!("A{n}"), &format!("{n}"), "Lovelace")).await).0, "AA");
    }
    let data = world.directory.path().join("data");
    let old = std::fs::read_to_string(data.join("root.key")).unwrap();
    let (stop, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let feed = {
        let (world, stop, taken) = (world.clone(), stop.clone(), taken.clone());
        tokio::spawn(async move {
            for n in 100.. {
                let message = admission(&format!("B{n}"), &format!("{n}"), "Hopper");
                // As a feed does: what is to be tried again is sent again.
                while msa(&world.send(&message).await).0 != "AA" {
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
                taken.fetch_add(1, Ordering::SeqCst);
                if stop.load(Ordering::SeqCst) {
                    return;
                }
            }
        })
    };
    // Cut short once in the middle: the next one goes on with the same root.
    let mut command = Command::new(super::commands::MEDSEAL);
    command.args(["keys", "rotate"]).args(stores::arguments(&data)).stdout(Stdio::null()).stderr(Stdio::null());
    let mut cut = command.spawn().unwrap();
    for _ in 0..2_000 {
        if data.join("root.key.next").exists() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    cut.kill().unwrap();
    cut.wait().unwrap();
    let next = std::fs::read_to_string(data.join("root.key.next")).unwrap();
    let done = medseal(&data, &["keys", "rotate"]).await;
    assert!(done.status.success() && out(&done).contains("root.key.old-"), "{}", out(&done));
    stop.store(true, Ordering::SeqCst);
    feed.await.unwrap();
    let taken = taken.load(Ordering::SeqCst);
    assert!(taken > 0, "the feed went on");
    assert_eq!(world.get("/fhir/Patient?_total=accurate").await.1["total"], 5 + taken);
    let now = std::fs::read_to_string(data.join("root.key")).unwrap();
    assert!(now == next && now != old, "the one that the first attempt made");
    let World { running, directory, .. } = Arc::into_inner(world).unwrap();
    running.stop().await;
    for entry in std::fs::read_dir(&data).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("root.key.old-") {
            assert_eq!(std::fs::read_to_string(entry.path()).unwrap(), old);
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    let world = World::with(directory, config(&data)).await;
    assert_eq!(world.get("/fhir/Patient?identifier=3").await.1["total"], 1);
    let World { running, directory, .. } = world;
    running.stop().await;
    // The objects, too: recovery has nothing else.
    stores::lose_index(&data);
    let recovered = medseal(&data, &["recover"]).await;
    assert!(recovered.status.success(), "{}", out(&recovered));
    let world = World::with(directory, config(&data)).await;
    assert_eq!(world.get("/fhir/Patient?_total=accurate").await.1["total"], 5 + taken);
}
