//! What a replay must not do, and how a quarantine is emptied.

use super::*;

/// A world whose map refuses a segment until it is mended, and one message that waits for that.
async fn waiting(message: &str) -> (World, String) {
    let directory = tempfile::tempdir().unwrap();
    let overlays = directory.path().join("overlays");
    std::fs::create_dir(&overlays).unwrap();
    std::fs::write(overlays.join("x.yaml"), "overlay: x\npolicy: refuse").unwrap();
    let mut config = config(&directory.path().join("data"));
    (config.overlays, config.feeds) = (Some(overlays), vec![quarantining("ward")]);
    let world = World::with(directory, config).await;
    assert_eq!(code(&world.send(&message.replace("EVN|", "ZZZ|what no map has\nEVN|")).await), "AA");
    let held = world.running.app.core.store.held(false, i64::MAX, 10).unwrap();
    let id = held[0].id.to_string();
    (world, id)
}

async fn mend(world: &World) {
    std::fs::write(world.directory.path().join("overlays/x.yaml"), "overlay: x\npolicy: extension").unwrap();
    ask(&world.directory.path().join("data"), &Ask::Reload).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_writes_over_what_came_later_only_where_that_is_confirmed() {
    let (world, id) = waiting(&admission("1", "8", "Maiden")).await;
    assert_eq!(code(&world.send(&admission("2", "8", "Married")).await), "AA");
    mend(&world).await;
    let data = world.directory.path().join("data");
    let replay = |over_newer| Ask::Replay { id: id.clone(), text: None, over_newer };
    let patient = world.only("/fhir/Patient?identifier=8").await;
    let name = format!(
        "Patient/{}/_history/{}",
        patient["id"].as_str().unwrap(),
        patient["meta"]["versionId"].as_str().unwrap()
    );
    let told = ask(&data, &replay(false)).await.unwrap_err();
    assert!(told.contains(&name) && !told.contains("Married"), "{told}");
    assert_eq!(world.only("/fhir/Patient?identifier=8").await, patient, "nothing was written");
    assert_eq!(code(&world.send(&admission("3", "9", "Elsewhere")).await), "AA", "the committer goes on");

    let mut admin = Browser::new(&world);
    admin.join(&invitation(&world, Role::Administrator, None, None)).await;
    let at = format!("/me/quarantine/{id}/replay");
    let token = admin.token().await;
    let refused = admin.form(&at, &format!("token={token}")).await;
    let page = String::from_utf8_lossy(refused.body()).into_owned();
    assert!(refused.status() == 422 && page.contains(&name) && page.contains("name=\"over_newer\""), "{page}");
    let done = admin.form(&at, &format!("token={token}&over_newer=yes")).await;
    assert_eq!(done.status(), 303);
    assert_eq!(world.only("/fhir/Patient?identifier=8").await["name"][0]["family"], "Maiden");
    assert!(admin.page(&format!("/me/quarantine/{id}")).await.contains("over what came later"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_not_in_the_way_of_itself() {
    let (world, id) = waiting(&admission("1", "8", "Alone")).await;
    assert_eq!(code(&world.send(&admission("2", "9", "Other")).await), "AA", "of the same ward and authority");
    mend(&world).await;
    let data = world.directory.path().join("data");
    ask(&data, &Ask::Replay { id, text: None, over_newer: false }).await.unwrap();
    assert_eq!(world.only("/fhir/Patient?identifier=8").await["name"][0]["family"], "Alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_text_is_edited_on_the_page_and_what_is_not_wanted_is_discarded() {
    let world = world(|_, config| config.feeds = vec![quarantining("ward")]).await;
    let notes = format!("NTE|1||{}\n", "\u{fc}ber ".repeat(3_100));
    for control in ["1", "2"] {
        assert_eq!(code(&world.send(&(faulty(control) + &notes)).await), "AA");
    }
    let store = world.running.app.core.store.clone();
    let ids: Vec<String> = store.held(false, i64::MAX, 10).unwrap().iter().map(|held| held.id.to_string()).collect();
    let mut admin = Browser::new(&world);
    admin.join(&invitation(&world, Role::Administrator, None, None)).await;
    let at = format!("/me/quarantine/{}", ids[1]);
    assert!(admin.page(&at).await.contains("<textarea"));
    let text = admission("1", "77", "Nightingale") + &notes;
    assert!(text.len() > 18_000);
    let encoded = bridge::http::query::encode(&text.replace('\n', "\r\n"));
    let token = admin.token().await;
    let done = admin.form(&format!("{at}/replay"), &format!("token={token}&text={encoded}")).await;
    assert_eq!(done.status(), 303);
    assert_eq!(world.only("/fhir/Patient?identifier=77").await["name"][0]["family"], "Nightingale");

    let config = &world.running.app.config;
    let discard = bridge::commands::quarantine::discard;
    for (id, reason) in [(ids[1].as_str(), "replayed before"), ("nobody", "no such one"), (ids[0].as_str(), " ")] {
        assert!(discard(config, id, reason).await.is_err(), "{id}: {reason}");
    }
    discard(config, &ids[0], "a test of the sender's").await.unwrap();
    assert!(store.held(false, i64::MAX, 10).unwrap().is_empty());
    assert_eq!(admin.get(&format!("/me/quarantine/{}", ids[0])).await.status(), 404);
    assert!(discard(config, &ids[0], "again").await.is_err());
}
