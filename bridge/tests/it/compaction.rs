//! Many small packs become few, and nothing that was stored changes by it.

use super::erasure::{medseal, out};
use super::recovery::{Everything, anchored, everything, filled, is_whole, stopped};
use super::storage::is_intact;
use super::stores;
use super::world::{World, admission, config, msa};
use bridge::app::keep::Keep;
use bridge::clock::SystemClock;
use bridge::commands::serve;
use bridge::ids::{Owner, ResourceId};
use bridge::secret::system_random;
use bridge::upkeep::compact::{Ages, Report, round};
use bridge::upkeep::key_objects;
use bridge::vault::pack::{PackWriter, Record, read_pack};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3_600);
/// What was just written is joined; nothing is removed.
const JOIN: Ages = Ages { settle: Duration::ZERO, replaced: DAY, never: DAY };
/// What was replaced before the round is removed.
const COLLECT: Ages = Ages { replaced: Duration::ZERO, ..JOIN };

const MANY: usize = 8;

async fn compact(keep: &Keep, ages: Ages) -> Report {
    round(keep, ages, &|_, _, _| ()).await.unwrap()
}

async fn names(keep: &Keep, folder: &str) -> Vec<String> {
    keep.objects.list(folder, "", 9_999).await.unwrap().into_iter().map(|found| found.name).collect()
}

async fn records(keep: &Keep) -> Vec<Record> {
    let mut all = Vec::new();
    for name in names(keep, "packs/").await {
        let pack = read_pack(&keep.objects.read_all(&name).await.unwrap()).unwrap();
        all.extend(pack.into_iter().map(|(_, record)| record));
    }
    all
}

/// Everything there is, and some patients more.
async fn many() -> (World, String) {
    let (world, gone) = filled().await;
    for n in 0..MANY {
        assert_eq!(msa(&world.send(&admission(&format!("M{n}"), &format!("9{n}"), "Meitner")).await).0, "AA");
    }
    (world, gone)
}

async fn same(world: &World, before: &Everything) {
    assert_eq!(&everything(world).await, before);
    assert_eq!(world.get("/fhir/Patient?family=meitner&_total=accurate").await.1["total"], MANY);
    is_intact(&world.directory.path().join("data")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_packs_become_few_and_everything_stays_as_it_was() {
    let (world, gone) = many().await;
    let (before, keep) = (everything(&world).await, world.running.app.core.keep());
    let messages = async || {
        let sql = "SELECT id FROM record WHERE type = 'Message' AND deleted = 0 ORDER BY row";
        let mut all = Vec::new();
        for id in stores::rows(&world.directory.path().join("data"), sql).concat() {
            all.push(world.bytes(&format!("/hl7v2/messages/{id}")).await);
        }
        all
    };
    let received = messages().await;
    // That it was read is told now, and not while packs are counted.
    bridge::audit::worker::flush(&world.running.app).await.unwrap();
    let (packs, keys) = (names(&keep, "packs/").await, names(&keep, "keys/").await);
    let joined = compact(&keep, JOIN).await;
    assert_eq!((joined.joined, joined.written, joined.removed), (packs.len() as u64 - 1, 1, 0), "{joined:?}");
    let named_by_time = keys.iter().filter(|name| !name.starts_with("keys/system")).count() as u64;
    assert_eq!((joined.keys_joined, joined.keys_written), (named_by_time, 1));
    assert_eq!(names(&keep, "packs/").await.len(), packs.len() + 1, "readers may still be at the old ones");
    same(&world, &before).await;
    let again = compact(&keep, JOIN).await;
    assert_eq!(again.removed, 0, "nothing is old enough: {again:?}");
    let collected = compact(&keep, COLLECT).await;
    assert!(collected.removed >= packs.len() as u64 - 1, "{collected:?}");
    let left = names(&keep, "packs/").await;
    let (newest, old) = packs.split_last().unwrap();
    assert!(old.iter().all(|pack| !left.contains(pack)) && left[0][..19] == packs[0][..19], "of the time of the first");
    assert!(left.len() < packs.len() && newest > &left[0], "few");
    assert_eq!(names(&keep, "keys/").await.len() as u64, keys.len() as u64 - named_by_time + 1);
    same(&world, &before).await;
    assert_eq!(messages().await, received);
    let owner = Owner::from_stored(&format!("Patient/{gone}"));
    let erased: Vec<_> = records(&keep).await.into_iter().filter(|r| r.sealed.label.owner == owner).collect();
    assert!(erased.len() > 2 && erased.iter().all(|record| record.sealed.body.is_empty()), "nobody can open it");
    assert!(erased.iter().any(|record| record.entry.is_some()));
    drop(keep);
    let (directory, data) = stopped(world).await;
    stores::lose_index(&data);
    let recovered = medseal(&data, &["recover"]).await;
    assert!(recovered.status.success(), "{}", out(&recovered));
    let world = World::with(directory, config(&data)).await;
    same(&world, &before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_lost_between_joining_and_removing_is_recovered_from_both() {
    let (world, gone) = filled().await;
    let (before, keep) = (everything(&world).await, world.running.app.core.keep());
    assert!(compact(&keep, JOIN).await.joined >= 8);
    drop(keep);
    let (directory, data) = stopped(world).await;
    stores::lose_index(&data);
    let recovered = medseal(&data, &["recover"]).await;
    assert!(recovered.status.success(), "{}", out(&recovered));
    let world = World::with(directory, config(&data)).await;
    is_intact(&data).await;
    is_whole(&world, &before, &gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_writing_and_moving_leaves_garbage() {
    let (world, _) = many().await;
    let (before, keep) = (everything(&world).await, world.running.app.core.keep());
    let packs = names(&keep, "packs/").await;
    let mut writer = PackWriter::default();
    records(&keep).await.iter().for_each(|record| _ = writer.add(record));
    let left = format!("{}-0000000000000000", &packs[0][..19]);
    keep.objects.put_pack(&left, writer.finish(), Vec::new()).await.unwrap();
    same(&world, &before).await;
    let collected = compact(&keep, COLLECT).await;
    assert!(collected.removed >= 1 && collected.joined >= packs.len() as u64 - 1, "{collected:?}");
    assert!(!names(&keep, "packs/").await.contains(&left));
    same(&world, &before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_short_anywhere_it_goes_on() {
    let (world, _) = many().await;
    let before = everything(&world).await;
    let mut cut = 0;
    for wait in std::iter::successors(Some(1), |wait| Some(wait * 4 / 3 + 1)) {
        let keep = world.running.app.core.keep();
        let working = tokio::spawn(async move { compact(&keep, COLLECT).await });
        let abort = working.abort_handle();
        tokio::time::sleep(Duration::from_millis(wait)).await;
        abort.abort();
        match working.await {
            Ok(report) if report == Report::default() => break,
            Ok(_) => {}
            Err(_) => cut += 1,
        }
    }
    assert!(cut > 0);
    assert_eq!(names(&world.running.app.core.keep(), "packs/").await.len(), 2);
    same(&world, &before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_and_writes_go_on_meanwhile() {
    let world = Arc::new(World::new().await);
    assert_eq!(msa(&world.send(&admission("A", "A1", "Curie")).await).0, "AA");
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let feed = tokio::spawn({
        let (world, stop, done) = (world.clone(), stop.clone(), done.clone());
        async move {
            while !stop.load(Ordering::SeqCst) {
                let n = done.fetch_add(1, Ordering::SeqCst);
                let ack = world.send(&admission(&format!("B{n}"), &format!("{n}"), "Hopper")).await;
                assert_eq!(msa(&ack).0, "AA", "{ack}");
            }
        }
    });
    let reader = tokio::spawn({
        let (world, stop) = (world.clone(), stop.clone());
        async move {
            let mut reads = 0;
            while !stop.load(Ordering::SeqCst) {
                for path in ["/fhir/Patient?identifier=A1", "/fhir/Patient?family=hopper", "/fhir/_history?_count=30"] {
                    let (status, told) = world.get(path).await;
                    assert_eq!(status, 200, "{path}: {told}");
                    reads += 1;
                }
            }
            reads
        }
    });
    let (keep, mut joined) = (world.running.app.core.keep(), 0);
    for _ in 0..8 {
        joined += compact(&keep, JOIN).await.joined;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    stop.store(true, Ordering::SeqCst);
    feed.await.unwrap();
    assert!(reader.await.unwrap() > 0 && joined >= 8, "{joined}");
    anchored(&world).await;
    let sent = done.load(Ordering::SeqCst);
    assert_eq!(world.get("/fhir/Patient?_total=accurate").await.1["total"], sent + 1);
    compact(&keep, COLLECT).await;
    compact(&keep, COLLECT).await;
    assert_eq!(world.get("/fhir/Patient?family=hopper&_total=accurate").await.1["total"], sent);
    is_intact(&world.directory.path().join("data")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_committed_goes_when_it_is_old_and_what_was_stays_though_no_row_is_there() {
    let (world, _) = filled().await;
    anchored(&world).await;
    let keep = world.running.app.core.keep();
    let some = records(&keep).await.into_iter().find(|record| record.entry.is_some()).unwrap();
    let mut lost = Vec::new();
    for (n, entry) in [Some(vec![9; 35]), some.entry.clone(), None].into_iter().enumerate() {
        let mut record = Record { entry, ..some.clone() };
        record.sealed.label.id = ResourceId::parse(&format!("lost{n}")).unwrap();
        let name = format!("packs/{:013x}-000000000000000{n}", record.time - 1);
        let mut writer = PackWriter::default();
        writer.add(&record);
        keep.objects.put_pack(&name, writer.finish(), Vec::new()).await.unwrap();
        lost.push(name);
    }
    assert_eq!(compact(&keep, COLLECT).await.removed, 0, "they are not old enough");
    let removed = compact(&keep, Ages { never: Duration::ZERO, settle: DAY, ..COLLECT }).await;
    assert_eq!(removed.removed, 0, "what is new is not looked at");
    let old = Ages { never: Duration::ZERO, ..COLLECT };
    compact(&keep, old).await;
    let left = names(&keep, "packs/").await;
    let stays: Vec<_> = lost.iter().map(|name| left.contains(name)).collect();
    assert_eq!(stays, [false, true, true], "the log has the second's entry, and nothing tells of the third");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_from_before_is_put_back() {
    let (world, gone) = filled().await;
    let before = everything(&world).await;
    let (data, copy) = (world.directory.path().join("data"), world.directory.path().join("copy.sqlite"));
    if stores::needs_sqlite() || stores::s3(&data).is_some() {
        return;
    }
    let made = medseal(&data, &["backup", copy.to_str().unwrap()]).await;
    assert!(made.status.success(), "{}", out(&made));
    compact(&world.running.app.core.keep(), JOIN).await;
    let (directory, data) = stopped(world).await;
    let put_back = || {
        stores::lose_index(&data);
        std::fs::copy(&copy, data.join("index.sqlite")).unwrap();
    };
    put_back();
    let world = World::with(directory, config(&data)).await;
    is_intact(&data).await;
    assert_eq!(everything(&world).await, before, "nothing that it knows was removed");
    let keep = world.running.app.core.keep();
    compact(&keep, JOIN).await;
    while compact(&keep, COLLECT).await != Report::default() {}
    drop(keep);
    let (directory, data) = stopped(world).await;
    put_back();
    let refused = serve::start(config(&data)).await.err().unwrap().to_string();
    assert!(refused.contains("medseal recover"), "{refused}");
    let recovered = medseal(&data, &["recover"]).await;
    assert!(recovered.status.success(), "{}", out(&recovered));
    let world = World::with(directory, config(&data)).await;
    is_intact(&data).await;
    is_whole(&world, &before, &gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_keys_the_one_of_the_index_stays_and_a_destroyed_one_does_not_come_back() {
    let (world, gone) = many().await;
    let keep = world.running.app.core.keep();
    let stays = Owner::from_stored(&format!(
        "Patient/{}",
        world.only("/fhir/Patient?identifier=77").await["id"].as_str().unwrap()
    ));
    let gone = Owner::from_stored(&format!("Patient/{gone}"));
    let stranger = Owner::from_stored("Patient/stranger");
    let root = keep.keys.newest().await.unwrap();
    let (mut other, mut n) = (Vec::new(), 0);
    // A writer that was not first, a backup from before the erasure, and somebody of whom the index knows nothing: twice each.
    for owner in [&stays, &gone, &stranger, &stays, &gone, &stranger] {
        let (_, wrapped) = root.generate(owner, &system_random).unwrap();
        n += 1;
        let named: Vec<_> = names(&keep, "keys/").await.into_iter().filter(|name| !name.contains("system")).collect();
        // The last one is the last of all: what cannot be told apart parts its neighbours.
        let time = &if n < 6 { named.first() } else { named.last() }.unwrap()[5..18];
        let object = key_objects::to_bytes(&[(owner.clone(), wrapped.clone())]);
        keep.objects.put(&format!("keys/{time}-ffffffffffffff{n:02}"), object).await.unwrap();
        other.push(wrapped);
    }
    let done = compact(&keep, JOIN).await;
    assert!(done.keys_written > 0, "{done:?}");
    let mut all = Vec::new();
    for name in names(&keep, "keys/").await {
        all.extend(key_objects::read(&keep.objects, &name).await.unwrap());
    }
    let of = |owner: &Owner| all.iter().filter(|(of, _)| of == owner).map(|(_, key)| key.clone()).collect::<Vec<_>>();
    assert_eq!(of(&stays), [keep.store.key(&stays).unwrap().unwrap()]);
    assert_eq!(of(&stranger).len(), 2, "nothing tells which is right");
    assert!(of(&gone).is_empty());
}

#[tokio::test]
async fn the_command_says_what_it_did_and_waits_for_others() {
    let (world, _) = filled().await;
    let data = world.directory.path().join("data");
    let done = medseal(&data, &["storage", "compact"]).await;
    assert!(done.status.success() && out(&done).contains("0 packs joined into 0"), "all is new: {}", out(&done));
    let keep = Keep::open(&config(&data), Arc::new(SystemClock)).await.unwrap();
    let _alone = keep.alone().await.unwrap();
    let busy = medseal(&data, &["storage", "check"]).await;
    assert!(!busy.status.success() && out(&busy).contains("another piece of upkeep"), "{}", out(&busy));
}
