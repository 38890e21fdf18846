//! No page of this service stands in a frame of another one, and none runs what is not ours.

use super::door::Browser;
use super::guardians::link;
use super::launch::register;
use super::portal::{filled, person};
use super::world::{World, admission, config, msa};
use bridge::config::OnError;
use bridge::index::clients::Keys;
use bridge::people::Role;
use bytes::Bytes;
use serde_json::json;
use warp::http::Response;

const ANYBODY: &[&str] = &["/", "/verify", "/ledger", "/withdraw", "/auth/login"];
const PATIENT: &[&str] = &[
    "/me",
    "/auth/logout",
    "/me/records",
    "/me/records/Observation",
    "/me/records/Observation/g1",
    "/me/records/access",
    "/me/records/apps",
    "/me/records/summary",
    "/me/access",
    "/me/access/new",
    "/me/explain",
    "/me/shares",
    "/me/wards/kid",
    "/me/wards/kid/Observation",
    "/me/wards/kid/Patient/kid",
    "/me/wards/kid/access",
    "/me/wards/kid/summary",
    "/me/wards/kid/grants",
    "/me/wards/kid/grants/new",
];
const CLINICIAN: &[&str] = &[
    "/me/patients",
    "/me/patients/ada",
    "/me/patients/ada/Observation",
    "/me/patients/ada/Observation/g1",
    "/me/patients/ada/apps",
    "/me/patients/ada/summary",
    "/me/patients/ada/grant",
    "/me/hospitals",
    "/me/emergency",
];
const AUDITOR: &[&str] = &["/me/log", "/me/explain"];
const ADMINISTRATOR: &[&str] = &[
    "/me/feeds",
    "/me/quarantine",
    "/me/people",
    "/me/guardians",
    "/me/emergencies",
    "/me/clients",
    "/me/clients/app/remove",
    "/me/keys",
    "/me/backups",
    "/me/network",
];
/// What other tests look at: an invitation and who lets an app in have tests of their own, a look needs another hospital; and from an outside
/// provider one is sent on.
const ELSEWHERE: &[&str] = &["/auth/join", "/auth/authorize", "/me/hospitals/look/x", "/auth/openid"];

/// Whether a page's policy lets nobody frame it, and lets it run and load nothing by default.
pub fn is_ours_alone(reply: &Response<Bytes>, path: &str) {
    assert_eq!(reply.headers()["content-type"], "text/html; charset=utf-8", "{path}");
    let policy = reply.headers()["content-security-policy"].to_str().unwrap();
    let parts: Vec<&str> = policy.split(';').map(str::trim).collect();
    for part in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"] {
        assert!(parts.contains(&part), "{path}: {policy}");
    }
    assert!(
        parts.iter().any(|part| part.starts_with("form-action '")) && !policy.contains("unsafe"),
        "{path}: {policy}"
    );
}

async fn look(browser: &mut Browser<'_>, paths: &[&str], status: u16) {
    for path in paths {
        let reply = browser.get(path).await;
        assert_eq!(reply.status().as_u16(), status, "{path}");
        is_ours_alone(&reply, path);
    }
}

/// Where a message waits in quarantine, an app is registered, and a child is linked to Ada.
async fn world() -> World {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(&directory.path().join("data"));
    config.feed.on_error = Some(OnError::Quarantine);
    let world = filled(World::with(directory, config).await).await;
    register(&world, "app", Keys::None);
    let kid = json!({"resourceType": "Patient", "id": "kid", "birthDate": "2999-01-01"});
    assert_eq!(world.call("PUT", "/fhir/Patient/kid", &kid.to_string()).await.0, 201);
    // A visit without a patient: nothing can be made of it.
    let faulty = admission("H", "77", "Nightingale").replace("PID|1", "ZZZ|1");
    assert_eq!(msa(&world.send(&faulty).await).0, "AA");
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_of_anybody_stands_in_a_frame() {
    let world = world().await;
    look(&mut Browser::new(&world), ANYBODY, 200).await;
    let mut ada = person(&world, Role::Patient).await;
    let mut chief = person(&world, Role::Administrator).await;
    assert_eq!(link(&mut chief, "ada", "kid").await, 303);
    look(&mut ada, PATIENT, 200).await;
    look(&mut person(&world, Role::Clinician).await, CLINICIAN, 200).await;
    look(&mut person(&world, Role::Auditor).await, AUDITOR, 200).await;
    look(&mut chief, ADMINISTRATOR, 200).await;
    let held = world.running.app.core.store.held(false, i64::MAX, 10).unwrap();
    look(&mut chief, &[&format!("/me/quarantine/{}", held[0].id)], 200).await;
    // What is refused is a page, too.
    look(&mut ada, &["/me/records/Observation/none", "/me/wards/none", "/me/nothing"], 404).await;
    look(&mut ada, &["/me/patients", "/me/log", "/me/keys"], 403).await;
}

/// Whether a path is of a pattern of `paths.rs`.
fn fits(pattern: &str, path: &str) -> bool {
    let mut segments = path.trim_start_matches('/').split('/');
    for part in pattern.split(", ") {
        if part.contains("..") {
            return true;
        }
        let Some(segment) = segments.next() else { return false };
        if part.starts_with('"') && part.trim_matches('"') != segment {
            return false;
        }
    }
    segments.next().is_none()
}

#[test]
fn each_page_that_there_is_was_looked_at() {
    let source = include_str!("../../src/http/people/paths.rs");
    let shown = source.split("async fn show(").nth(1).unwrap().split("_ => Err(").next().unwrap();
    let patterns: Vec<&str> =
        shown.lines().filter_map(|line| line.trim().strip_prefix('[')?.split(']').next()).collect();
    assert!(patterns.len() > 30, "the pages were found");
    let paths = [ANYBODY, PATIENT, CLINICIAN, AUDITOR, ADMINISTRATOR, ELSEWHERE, &["/me/quarantine/x"]].concat();
    let missed: Vec<&str> =
        patterns.into_iter().filter(|pattern| !paths.iter().any(|path| fits(pattern, path))).collect();
    assert!(missed.is_empty(), "{missed:?}");
}
