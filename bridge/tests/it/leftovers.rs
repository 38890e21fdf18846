//! What a recovery finds among the packs that is in no order: what a refused commit left, what was put back afterwards.

use super::erasure::{medseal, out};
use super::recovery::{everything, filled, is_whole, stopped};
use super::stores;
use super::world::{World, config};
use bridge::vault::pack::{PackWriter, Record, read_pack};
use bridge::vault::seal::RecordKind;

/// Each pack with what it holds, in the order of the names.
async fn packs(world: &World) -> Vec<(String, Vec<Record>)> {
    let objects = &world.running.app.core.objects;
    let mut all = Vec::new();
    for found in objects.list("packs/", "", 9_999).await.unwrap() {
        let pack = read_pack(&objects.read_all(&found.name).await.unwrap()).unwrap();
        all.push((found.name, pack.into_iter().map(|(_, record)| record).collect()));
    }
    all
}

/// An erasure tries again when a group comes before it; a crash may leave the pack of its first try.
#[tokio::test]
async fn what_a_refused_erasure_left_stops_no_recovery() {
    let (world, gone) = filled().await;
    let packs = packs(&world).await;
    let records = packs.iter().flat_map(|(_, records)| records);
    let tombstone = records.clone().find(|record| record.sealed.label.kind == RecordKind::Erasure).unwrap();
    let name = |time: i64| format!("packs/{time:013x}-ffffffffffffffff");
    // Named after a pack that was committed later.
    let times = packs.iter().map(|(pack, records)| (pack, records[0].time - 1));
    let Some((_, time)) = times.clone().find(|(pack, time)| name(*time) > **pack) else {
        return println!("skipped: names are not made ahead here");
    };
    let mut writer = PackWriter::default();
    writer.add(&Record { time, ..tombstone.clone() });
    world.running.app.core.objects.put_pack(&name(time), writer.finish(), Vec::new()).await.unwrap();
    let before = everything(&world).await;
    let (directory, data) = stopped(world).await;
    stores::lose_index(&data);
    let recovered = medseal(&data, &["recover"]).await;
    assert!(recovered.status.success(), "{}", out(&recovered));
    let world = World::with(directory, config(&data)).await;
    is_whole(&world, &before, &gone).await;
}

#[tokio::test]
async fn what_is_put_back_after_a_recovery_without_it_is_told_of_and_comes_back_from_the_beginning() {
    let (world, gone) = filled().await;
    let before = everything(&world).await;
    let pack = packs(&world).await[2].0.clone();
    let (directory, data) = stopped(world).await;
    let Some(objects) = stores::folder(&data) else { return };
    let (place, away) = (objects.join(pack), directory.path().join("away"));
    stores::lose_index(&data);
    std::fs::rename(&place, &away).unwrap();
    let without = medseal(&data, &["recover"]).await;
    assert!(!without.status.success() && out(&without).contains("put it back"), "{}", out(&without));
    std::fs::rename(&away, &place).unwrap();
    let late = medseal(&data, &["recover"]).await;
    assert!(!late.status.success() && out(&late).contains("older than what was put into this index"), "{}", out(&late));
    stores::lose_index(&data);
    let anew = medseal(&data, &["recover"]).await;
    assert!(anew.status.success(), "{}", out(&anew));
    let world = World::with(directory, config(&data)).await;
    is_whole(&world, &before, &gone).await;
}
