//! Both object stores keep the same promises: the directory, and an S3 API in process.

use super::bucket::{Bucket, Spoil};
use super::commands::{MEDSEAL, Served};
use super::world::{admission, msa};
use aws_sdk_s3::config::Credentials;
use bridge::vault::objects::s3::{Bounds, Checksum, S3Settings, Sse};
use bridge::vault::objects::{ObjectError, Objects, Part};
use bridge::vault::pack::Extent;
use std::process::Command;
use std::time::Duration;

/// Longer than what is sent whole.
const IN_PARTS: usize = (128 << 10) + 77;

fn content(length: usize) -> Vec<u8> {
    (0..length as u32 / 4 + 1).flat_map(u32::to_be_bytes).take(length).collect()
}

async fn names(objects: &Objects, folder: &str) -> Vec<String> {
    objects.list(folder, "", 9_999).await.unwrap().into_iter().map(|found| found.name).collect()
}

async fn keeps_its_promises(objects: &Objects) {
    let small = content(100_000);
    objects.put("packs/a", small.clone()).await.unwrap();
    objects.put("packs/b", b"x".to_vec()).await.unwrap();
    objects.put("keys/a", b"k".to_vec()).await.unwrap();
    assert_eq!(objects.read_all("packs/a").await.unwrap(), small);
    assert_eq!(objects.read("packs/a", 1_000, 77).await.unwrap(), small[1_000..1_077]);
    assert!(matches!(objects.read("packs/a", 99_990, 20).await, Err(ObjectError::Short { name }) if name == "packs/a"));
    assert!(matches!(objects.read("packs/a", 100_000, 1).await, Err(ObjectError::Short { .. })));
    assert_eq!(names(objects, "packs/").await, ["packs/a", "packs/b"]);
    let listed = objects.list("packs/", "packs/a", 9).await.unwrap();
    assert_eq!(listed.iter().map(|f| (f.name.as_str(), f.length)).collect::<Vec<_>>(), [("packs/b", 1)]);
    assert!(listed[0].changed > 1_600_000_000_000, "when it was written");
    assert_eq!(objects.find("packs/b").await.unwrap().as_ref(), listed.first());
    assert_eq!(objects.find("packs/c").await.unwrap(), None);
    objects.replace("keys/a", b"other".to_vec()).await.unwrap();
    assert_eq!(objects.read_all("keys/a").await.unwrap(), b"other");
    objects.remove("packs/b").await.unwrap();
    objects.remove("packs/b").await.unwrap();
    assert_eq!(names(objects, "packs/").await, ["packs/a"]);
    let large = content(IN_PARTS);
    objects.put("packs/large", large.clone()).await.unwrap();
    assert!(objects.read_all("packs/large").await.unwrap() == large);
    assert!(matches!(objects.read_all("packs/none").await, Err(ObjectError::Missing { name }) if name == "packs/none"));
}

#[tokio::test]
async fn the_directory_and_s3_keep_the_same_promises() {
    let directory = tempfile::tempdir().unwrap();
    keeps_its_promises(&Objects::directory(&directory.path().join("objects")).unwrap()).await;
    let bucket = Bucket::serve(&directory.path().join("s3")).await;
    for (checksum, fence) in [(Checksum::Crc32c, true), (Checksum::Sha256, true), (Checksum::None, false)] {
        let settings = S3Settings {
            prefix: format!("{checksum:?}"),
            checksum,
            conditional_writes: Some(fence),
            ..bucket.settings()
        };
        keeps_its_promises(&bucket.objects(&settings)).await;
        let seen = bucket.seen();
        let puts =
            seen.iter().filter(|s| s.method == "PUT" && s.uri.contains("/packs/") && !s.uri.contains("partNumber"));
        assert!(puts.clone().count() >= 2);
        assert!(puts.clone().all(|s| s.headers.contains_key("if-none-match") == fence), "{checksum:?}");
        for (header, sent) in [
            ("x-amz-checksum-crc32c", checksum == Checksum::Crc32c),
            ("x-amz-checksum-sha256", checksum == Checksum::Sha256),
        ] {
            assert!(puts.clone().all(|s| s.headers.contains_key(header) == sent), "{checksum:?} {header}");
        }
    }
    let wrong = Credentials::new("key", "wrong", None, None, "test");
    let refused =
        Objects::s3_with(&bucket.settings(), wrong, Bounds::default(), None).read_all("packs/a").await.unwrap_err();
    assert!(matches!(refused, ObjectError::Refused { .. }), "{refused}");
    assert!(refused.to_string().contains("packs/a") && !refused.to_string().contains("wrong"), "{refused}");
}

#[tokio::test]
async fn a_name_is_written_once_and_the_same_bytes_twice_are_no_harm() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = Bucket::serve(directory.path()).await;
    let objects = bucket.objects(&bucket.settings());
    for length in [5, IN_PARTS] {
        let name = format!("packs/{length}");
        objects.put(&name, content(length)).await.unwrap();
        objects.put(&name, content(length)).await.unwrap();
        let mut other = content(length);
        other[3] ^= 1;
        let taken = objects.put(&name, other).await;
        // s3s-fs looks at the condition of whole objects only: the fence is a second one, and never relied on.
        if length == 5 {
            assert!(matches!(taken, Err(ObjectError::Taken { .. })), "{taken:?}");
            assert_eq!(objects.read_all(&name).await.unwrap(), content(length));
        }
    }
}

#[tokio::test]
async fn large_objects_go_in_parts_and_come_back_whole() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = Bucket::serve(directory.path()).await;
    // The smallest part that S3 takes. Hashing it takes a test build seconds.
    let bounds =
        Bounds { whole_bytes: 5 << 20, part_bytes: 5 << 20, attempt: Duration::from_secs(60), ..Bounds::default() };
    let bounds = Bounds { operation: Duration::from_secs(120), ..bounds };
    let credentials = Credentials::new("key", "secret", None, None, "test");
    let objects = Objects::s3_with(&bucket.settings(), credentials, bounds, None);
    let large = content((5 << 20) + 77);
    objects.put("packs/large", large.clone()).await.unwrap();
    let seen = bucket.seen();
    for part in ["partNumber=1&", "partNumber=2&"] {
        let sent: Vec<_> = seen.iter().filter(|s| s.uri.contains(part)).collect();
        assert!(!sent.is_empty() && sent.iter().all(|s| s.headers.contains_key("x-amz-checksum-crc32c")), "{part}");
    }
    assert!(objects.read_all("packs/large").await.unwrap() == large);
    assert!(objects.read("packs/large", 5 << 20, 77).await.unwrap() == large[5 << 20..]);
}

#[tokio::test]
async fn encryption_by_the_server_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = Bucket::serve(directory.path()).await;
    let settings = S3Settings { sse: Some(Sse::Kms), sse_kms_key: Some("alias/records".into()), ..bucket.settings() };
    let objects = bucket.objects(&settings);
    for length in [5, IN_PARTS] {
        // s3s-fs may refuse what it cannot do: what was asked for is what counts.
        let _ = objects.put("packs/a", content(length)).await;
    }
    let seen = bucket.seen();
    let asked = seen.iter().filter(|s| s.headers.get("x-amz-server-side-encryption").is_some_and(|v| v == "aws:kms"));
    let asked: Vec<_> =
        asked.filter(|s| s.headers["x-amz-server-side-encryption-aws-kms-key-id"] == "alias/records").collect();
    assert!(asked.iter().any(|s| s.method == "PUT"), "whole objects");
    assert!(asked.iter().any(|s| s.method == "POST" && s.uri.contains("uploads")), "objects in parts");
}

#[tokio::test]
async fn what_a_server_may_do_is_ridden_out() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = Bucket::serve(directory.path()).await;
    let objects = bucket.objects(&bucket.settings());
    let (small, large) = (content(100_000), content(IN_PARTS));
    use Spoil::{Half, Reset, ResetAfter, Silence, Status, Truncated};
    for (n, how) in [Status(500), Status(503), Silence, Reset, ResetAfter, Truncated].into_iter().enumerate() {
        let (name, parts) = (format!("packs/{n}"), format!("packs/{n}-parts"));
        for (word, twice) in
            [("PUT", true), ("POST", false), ("partNumber=1", true), ("POST /records/one/two/packs", false)]
        {
            bucket.spoil(word, &vec![how; if twice && how != Silence { 2 } else { 1 }]);
            if word == "PUT" {
                objects.put(&name, small.clone()).await.unwrap_or_else(|e| panic!("{how:?}: {e}"));
            } else {
                objects.replace(&parts, large.clone()).await.unwrap_or_else(|e| panic!("{how:?} {word}: {e}"));
            }
            assert!(bucket.spoiled_all(), "{how:?} {word}");
        }
        assert!(objects.read_all(&name).await.unwrap() == small && objects.read_all(&parts).await.unwrap() == large);
    }
    for how in [Status(500), Status(503), Silence, Reset, ResetAfter, Truncated, Half] {
        bucket.spoil("GET", &[how, how]);
        assert_eq!(objects.read("packs/0", 500, 1_000).await.unwrap(), small[500..1_500], "{how:?}");
        bucket.spoil("GET", &[how]);
        // Nothing tells a whole object of half the length from a shorter one: its sum does, when the pack is read.
        if how != Half {
            assert!(objects.read_all("packs/0").await.unwrap() == small, "{how:?}");
            bucket.spoil("GET", &[how]);
            assert_eq!(names(&objects, "packs/").await.len(), 12, "{how:?}");
        }
    }
}

#[tokio::test]
async fn what_is_read_ahead_or_again_is_not_asked_for_again() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = Bucket::serve(directory.path()).await;
    let objects = bucket.objects(&bucket.settings());
    let pack = content(50_000);
    objects.put("packs/a", pack.clone()).await.unwrap();
    bucket.seen();
    let part = |n: usize| Part { name: "packs/a".into(), offset: n as u64 * 1_000, length: 700 };
    objects.read_ahead((0..40).rev().map(part).collect()).await;
    assert_eq!(bucket.seen().len(), 1, "neighbours are one request");
    for _ in 0..2 {
        for n in 0..41 {
            let at = n * 1_000;
            assert!(objects.read("packs/a", at as u64, 700).await.unwrap() == pack[at..at + 700]);
        }
    }
    assert_eq!(bucket.seen().len(), 1, "the one that was not read ahead, once");
    let records = vec![Extent { offset: 15, length: 700 }, Extent { offset: 715, length: 9 }];
    objects.put_pack("packs/b", pack.clone(), records).await.unwrap();
    bucket.seen();
    assert_eq!(objects.read("packs/b", 715, 9).await.unwrap(), pack[715..724]);
    assert_eq!(bucket.seen().len(), 0, "what was just written is at hand");
    bucket.spoil("GET", &[Spoil::Status(500); 8]);
    objects.read_ahead(vec![part(42), part(43)]).await;
    assert!(objects.read("packs/a", 42_000, 700).await.is_err(), "a failure ahead is told when it matters");
    assert!(objects.read("packs/a", 42_000, 700).await.unwrap() == pack[42_000..42_700]);
}

#[tokio::test]
async fn what_does_not_end_is_told_and_leaves_no_parts() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = Bucket::serve(directory.path()).await;
    let objects = bucket.objects(&bucket.settings());
    let again = |error: ObjectError| bridge::error::VaultError::Object(error).fault();
    bucket.spoil("PUT", &[Spoil::Status(503); 4]);
    let error = objects.put("packs/a", b"x".to_vec()).await.unwrap_err();
    assert!(error.to_string().contains("packs/a"), "{error}");
    assert_eq!(again(error), bridge::error::Fault::RetryLater);
    objects.put("packs/a", b"x".to_vec()).await.unwrap();
    bucket.spoil("GET", &[Spoil::Half; 4]);
    let error = objects.read("packs/a", 0, 1).await.unwrap_err();
    assert!(matches!(error, ObjectError::S3 { .. }), "{error}");
    bucket.seen();
    bucket.spoil("partNumber=1", &[Spoil::Status(500); 4]);
    let error = objects.put("packs/b", content(IN_PARTS)).await.unwrap_err();
    assert_eq!(again(error), bridge::error::Fault::RetryLater);
    assert!(bucket.seen().iter().any(|s| s.method == "DELETE" && s.uri.contains("uploadId")), "given up");
    assert_eq!(names(&objects, "packs/").await, ["packs/a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_over_s3_stores_reads_and_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let Bucket { endpoint, .. } = Bucket::serve(&directory.path().join("s3")).await;
    let config = directory.path().join("medseal.toml");
    let text =
        format!("[s3]\nbucket = \"records\"\nendpoint = \"{endpoint}\"\npath_style = true\nprefix = \"hospital\"\n");
    std::fs::write(&config, text).unwrap();
    let data = directory.path().join("data");
    for round in 0..2 {
        let mut command = Command::new(MEDSEAL);
        command
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .arg("--data")
            .arg(&data);
        let served = tokio::task::spawn_blocking(move || Served::spawn(command)).await.unwrap();
        let mut connection = bridge::commands::send::Connection::open(&served.mllp).await.unwrap();
        let message = admission(&format!("C{round}"), "77", "Lovelace").replace('\n', "\r");
        assert_eq!(msa(&connection.exchange(message.as_bytes()).await.unwrap()).0, "AA");
        let request = warp::http::Request::builder().uri("/readyz").body(Default::default()).unwrap();
        let reply = bridge::commands::client::send(served.http.parse().unwrap(), request).await.unwrap();
        assert_eq!(reply.status(), 200);
        assert_eq!(tokio::task::spawn_blocking(move || served.terminate()).await.unwrap(), 0);
    }
    assert!(std::fs::read_dir(directory.path().join("s3/records/hospital/packs")).unwrap().count() >= 2);
    assert!(!data.join("objects").exists(), "nothing of it lies in the data directory");
    let without = Command::new(MEDSEAL)
        .env_remove("AWS_ACCESS_KEY_ID")
        .args(["serve", "--http", "127.0.0.1:0", "--mllp", "127.0.0.1:0"])
        .arg("--config")
        .arg(&config)
        .arg("--data")
        .arg(directory.path().join("d2"))
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&without.stderr).contains("AWS_ACCESS_KEY_ID"));
}

/// A bucket that takes requests and does not answer: who asks whether the service is ready is told, at once, and by one probe.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_hangs_is_not_ready_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = Bucket::serve(&directory.path().join("s3")).await;
    let (config, data) = (directory.path().join("medseal.toml"), directory.path().join("data"));
    let text = format!(
        "[s3]\nbucket = \"records\"\nprefix = \"hospital\"\nendpoint = \"{}\"\npath_style = true\n\
         [log]\ncheckpoint_ms = 3600000\nanchor_ms = 3600000\n",
        bucket.endpoint
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(MEDSEAL);
    command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "secret");
    command.arg("serve").arg("--config").arg(&config).arg("--data").arg(&data);
    let served = tokio::task::spawn_blocking(move || Served::spawn(command)).await.unwrap();
    let address = served.http.parse().unwrap();
    let asked = async |path: &str| {
        let request = warp::http::Request::builder().uri(path).body(Default::default()).unwrap();
        let reply = bridge::commands::client::send(address, request).await.unwrap();
        let said: serde_json::Value = serde_json::from_slice(reply.body()).unwrap_or_default();
        (reply.status().as_u16(), said["write"]["objects"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(asked("/readyz").await, (200, "ok".to_owned()));
    let probes = |bucket: &Bucket| {
        let seen = bucket.seen();
        seen.iter().filter(|seen| seen.method == "PUT" && seen.uri.contains("probe/")).count()
    };
    assert_eq!(probes(&bucket), 1);
    bucket.delay(Duration::from_secs(3_600));
    let until = async |wanted: u16| {
        for tries in 0.. {
            let (status, objects) = asked("/readyz").await;
            if status == wanted {
                return objects;
            }
            assert!(tries < 600, "it stays {status}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        unreachable!()
    };
    assert_eq!(until(503).await, "no answer");
    let all = futures_util::future::join_all((0..50).map(|_| asked("/readyz"))).await;
    assert!(all.iter().all(|(status, objects)| *status == 503 && objects == "no answer"), "{all:?}");
    assert_eq!(asked("/healthz").await.0, 200);
    let health = async || {
        let mut command = Command::new(MEDSEAL);
        command.arg("health").arg("--config").arg(&config).arg("--data").arg(&data);
        let told = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        (told.status.code(), String::from_utf8([told.stdout, told.stderr].concat()).unwrap())
    };
    let (status, told) = health().await;
    assert!(status == Some(1) && told.contains(r#""objects":"no answer""#), "{status:?} {told}");
    bucket.delay(Duration::ZERO);
    assert_eq!(until(200).await, "ok");
    let (status, told) = health().await;
    assert!(status == Some(0) && told.contains(r#""objects":"ok""#), "{status:?} {told}");
    assert_eq!(tokio::task::spawn_blocking(move || served.terminate()).await.unwrap(), 0);
    assert_eq!(health().await.0, Some(1), "nobody is there");
}
