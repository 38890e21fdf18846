//! What should never have been sent: each with its status, and an outcome that says where.

use super::world::World;
use bridge::limits::{BODY_TIMEOUT, MAX_BODY_BYTES, MAX_HEADER_BYTES};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const JSON: &str = "application/fhir+json";

/// A request, its status, and the code and expression of its first issue.
struct Case {
    method: &'static str,
    path: String,
    media: &'static str,
    encoding: Option<&'static str>,
    body: Vec<u8>,
    expected: (u16, &'static str, Option<&'static str>),
}

fn case(method: &'static str, path: &str, body: impl Into<Vec<u8>>, expected: (u16, &'static str)) -> Case {
    let expected = (expected.0, expected.1, None);
    Case { method, path: path.to_owned(), media: JSON, encoding: None, body: body.into(), expected }
}

/// A new Patient that is faulty somewhere.
fn patient(body: &str, status: u16, code: &'static str, expression: &'static str) -> Case {
    Case { expected: (status, code, Some(expression)), ..case("POST", "/fhir/Patient", body, (status, code)) }
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn cases() -> Vec<Case> {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_patient = format!(r#"{{"resourceType":"Patient","name":{deep}}}"#);
    let long_id = "x".repeat(65);
    let script =
        r#"{"resourceType":"Patient","text":{"status":"generated","div":"<div><script>alert(1)</script></div>"}}"#;
    let handler = r#"{"resourceType":"Patient","text":{"status":"generated","div":"<div><img src='x' onerror='alert(1)'/></div>"}}"#;
    let plain = r#"{"resourceType":"Patient"}"#;
    let observation = r#"{"resourceType":"Observation","status":"final","code":{"text":"x"}}"#;
    vec![
        // Not JSON, or JSON with two meanings.
        case("POST", "/fhir/Patient", "{", (400, "structure")),
        case("POST", "/fhir/Patient", "", (400, "structure")),
        case("POST", "/fhir/Patient", "<Patient/>", (400, "structure")),
        case("POST", "/fhir/Patient", r#"{"resourceType":"Patient","id":"1","id":"2"}"#, (400, "structure")),
        case(
            "POST",
            "/fhir/Patient",
            r#"{"resourceType":"Patient","name":[{"text":"a","text":"b"}]}"#,
            (400, "structure"),
        ),
        case("POST", "/fhir/Patient", deep.clone(), (400, "structure")),
        case("POST", "/fhir/Patient", deep_patient.clone(), (400, "structure")),
        case("POST", "/fhir", deep_patient, (400, "structure")),
        case("PATCH", "/fhir/Patient/1", deep, (400, "structure")),
        case(
            "POST",
            "/fhir/Patient",
            b"{\"resourceType\":\"Patient\",\"name\":[{\"text\":\"a\0b\"}]}",
            (400, "structure"),
        ),
        case(
            "POST",
            "/fhir/Patient",
            b"{\"resourceType\":\"Patient\",\"name\":[{\"text\":\"a\x1bb\"}]}",
            (400, "structure"),
        ),
        case(
            "POST",
            "/fhir/Patient",
            b"{\"resourceType\":\"Patient\",\"name\":[{\"text\":\"\xff\"}]}",
            (400, "structure"),
        ),
        // JSON, and no valid resource.
        patient("[]", 422, "structure", ""),
        patient(r#"{"resourceType":"Patient","nme":1}"#, 422, "structure", "Patient.nme"),
        patient(r#"{"resourceType":"Patient","name":[{"given":[1]}]}"#, 422, "value", "Patient.name[0].given[0]"),
        patient(r#"{"resourceType":"Patient","name":[{"text":"a\u0000b"}]}"#, 422, "value", "Patient.name[0].text"),
        patient(r#"{"resourceType":"Patient","name":[{"text":"a\u001bb"}]}"#, 422, "value", "Patient.name[0].text"),
        patient(r#"{"resourceType":"Patient","name":[]}"#, 422, "structure", "Patient.name"),
        patient(r#"{"resourceType":"Patient","link":[{"type":"refer"}]}"#, 422, "required", "Patient.link[0].other"),
        patient(&format!(r#"{{"resourceType":"Patient","id":"{long_id}"}}"#), 422, "value", "Patient.id"),
        patient(
            r##"{"resourceType":"Patient","contained":[{"resourceType":"Patient","id":"a","contained":[{"resourceType":"Patient","id":"b"}]}],"link":[{"other":{"reference":"#a"},"type":"refer"}]}"##,
            422,
            "invariant",
            "Patient.contained[0].contained",
        ),
        patient(script, 422, "invariant", "Patient.text.div"),
        patient(handler, 422, "invariant", "Patient.text.div"),
        patient(observation, 400, "value", "resourceType"),
        case("POST", "/fhir/Klingon", "{}", (404, "not-found")),
        // An id that is none, or another.
        case("PUT", &format!("/fhir/Patient/{long_id}"), "{}", (404, "not-found")),
        case("GET", &format!("/fhir/Patient/{long_id}"), "", (404, "not-found")),
        case("GET", "/fhir/Patient/%00", "", (404, "not-found")),
        case("DELETE", "/fhir/Patient/a%2Fb", "", (404, "not-found")),
        case("PUT", "/fhir/Patient/1", r#"{"resourceType":"Patient","id":"2"}"#, (400, "value")),
        case("PUT", "/fhir/Patient/1", plain, (400, "required")),
        case("PUT", "/fhir/Patient/.", r#"{"resourceType":"Patient","id":"."}"#, (404, "not-found")),
        case("PUT", "/fhir/Patient/..", r#"{"resourceType":"Patient","id":".."}"#, (404, "not-found")),
        case(
            "POST",
            "/fhir",
            r#"{"resourceType":"Bundle","type":"transaction","entry":[{"resource":{"resourceType":"Patient","id":".."},"request":{"method":"PUT","url":"Patient/.."}}]}"#,
            (422, "value"),
        ),
        case("GET", "/fhir/Patient/none", "", (404, "not-found")),
        case("GET", "/fhir/Patient/none/_history", "", (404, "not-found")),
        case("GET", "/fhir/Patient/none/_history/0", "", (404, "not-found")),
        // Queries and Bundles.
        case("GET", "/fhir/Patient?identifier=%zz", "", (400, "value")),
        case("GET", "/fhir/Patient?_format=xml", "", (406, "not-supported")),
        case("GET", "/fhir/Patient/none?_summary=some", "", (400, "value")),
        case("GET", "/fhir/Patient/none?_summary=count", "", (400, "value")),
        case("GET", "/fhir/_history?_cursor=x", "", (400, "value")),
        case("DELETE", "/fhir/Patient", "", (400, "not-supported")),
        case("POST", "/fhir", r#"{"resourceType":"Bundle","type":"searchset"}"#, (422, "value")),
        case("POST", "/fhir", r#"{"resourceType":"Bundle","type":"transaction","entry":{}}"#, (422, "structure")),
        // Addresses and methods.
        case("DELETE", "/fhir/metadata", "", (405, "not-supported")),
        case("GET", "/nothing/here", "", (404, "not-found")),
        case("POST", "/healthz", "", (405, "not-supported")),
        // Bodies that are not what they say, and too long ones.
        Case { media: "application/fhir+xml", ..case("POST", "/fhir/Patient", "<Patient/>", (415, "not-supported")) },
        Case { media: "text/plain", ..case("POST", "/fhir", plain, (415, "not-supported")) },
        Case { media: "application/json-patch+json", ..case("POST", "/fhir/Patient", plain, (415, "not-supported")) },
        Case { media: JSON, ..case("POST", "/fhir/Patient/_search", "identifier=1", (415, "not-supported")) },
        case("POST", "/fhir/Patient", vec![b' '; MAX_BODY_BYTES + 1], (413, "too-long")),
        Case {
            encoding: Some("gzip"),
            ..case("POST", "/fhir/Patient", packed(&vec![b' '; MAX_BODY_BYTES + 1]), (413, "too-long"))
        },
        Case { encoding: Some("gzip"), ..case("POST", "/fhir/Patient", plain, (400, "structure")) },
        Case { encoding: Some("br"), ..case("POST", "/fhir/Patient", plain, (415, "not-supported")) },
    ]
}

#[tokio::test]
async fn hostile_input_gets_the_right_refusal() {
    let world = World::new().await;
    let token = format!("Bearer {}", world.token);
    for Case { method, path, media, encoding, body, expected } in cases() {
        let mut headers = vec![("authorization", token.as_str()), ("content-type", media)];
        headers.extend(encoding.map(|encoding| ("content-encoding", encoding)));
        let reply = world.request(method, &path, &headers, &body).await;
        let shown: String = String::from_utf8_lossy(&body).chars().take(100).collect();
        let outcome: Value = serde_json::from_slice(reply.body()).unwrap();
        let issue = &outcome["issue"][0];
        assert_eq!(outcome["resourceType"], "OperationOutcome");
        let found = (reply.status().as_u16(), issue["code"].as_str().unwrap(), issue["expression"][0].as_str());
        let expression = expected.2.map_or(found.2, |place| Some(place).filter(|place| !place.is_empty()));
        assert_eq!(found, (expected.0, expected.1, expression), "{method} {path} {shown}: {outcome}");
    }
    assert_eq!(world.get("/fhir/_history").await.1.get("entry"), None, "nothing of it was stored");
}

/// What is answered to who sends a byte a second behind a beginning, until his connection ends.
async fn dripped(address: SocketAddr, beginning: &str) -> String {
    let (mut read, mut write) = TcpStream::connect(address).await.unwrap().into_split();
    write.write_all(beginning.as_bytes()).await.unwrap();
    let drip = tokio::spawn(async move {
        while write.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let mut answer = Vec::new();
    // Its end may be a reset: there is more on the way that nobody reads.
    _ = tokio::time::timeout(2 * BODY_TIMEOUT, read.read_to_end(&mut answer))
        .await
        .expect("it is waited for without end");
    drip.abort();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_head_is_bounded() {
    let world = World::new().await;
    let asked = async |length: usize| {
        let mut stream = TcpStream::connect(world.running.http).await.unwrap();
        let head =
            format!("GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx: {}\r\n\r\n", "y".repeat(length));
        // Who is refused may be cut off before all of it is sent.
        _ = stream.write_all(head.as_bytes()).await;
        let mut answer = Vec::new();
        _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).chars().take(12).collect::<String>()
    };
    assert_eq!(asked(MAX_HEADER_BYTES / 2).await, "HTTP/1.1 200");
    // The last piece that is read may go beyond. Who sends on when he is refused may be cut off before he has read why.
    assert!(["HTTP/1.1 431", ""].contains(&asked(3 * MAX_HEADER_BYTES).await.as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_or_a_body_that_does_not_end_is_not_waited_for() {
    let world = World::new().await;
    let token = &world.token;
    let head =
        format!("POST /fhir/Patient HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: {JSON}\r\n");
    let body = format!("{head}content-length: 1000\r\n\r\n");
    let (header, body) = tokio::join!(dripped(world.running.http, &head), dripped(world.running.http, &body));
    assert!(header.is_empty() || header.starts_with("HTTP/1.1 408"), "{header}");
    assert!(body.starts_with("HTTP/1.1 413"), "{body}");
}
