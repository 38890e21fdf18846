//! One trace a message, from the first byte to its anchor, and traces that go on from and to others.

use super::{Receiver, Told, eventually};
use crate::world::{admission, msa};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::collections::{BTreeSet, HashMap};

fn spans(collector: &Receiver) -> Vec<Span> {
    let bodies = collector.all().into_iter().filter(|got| got.line == "POST /v1/traces");
    let requests = bodies.map(|got| ExportTraceServiceRequest::decode(got.body).unwrap());
    let scopes = requests.flat_map(|request| request.resource_spans).flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

/// The spans of a trace that has one of this name.
fn trace_with(collector: &Receiver, name: &str) -> Option<Vec<Span>> {
    let spans = spans(collector);
    let trace = spans.iter().find(|span| span.name == name)?.trace_id.clone();
    Some(spans.into_iter().filter(|span| span.trace_id == trace).collect())
}

fn names(spans: &[Span]) -> BTreeSet<&str> {
    spans.iter().map(|span| span.name.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_one_trace_until_it_is_anchored() {
    let told = Told::start("").await;
    assert_eq!(msa(&told.send(&admission("T1", "1", "Lovelace")).await).0, "AA");
    let trace = eventually(async || trace_with(&told.collector, "anchor")).await;
    let expected = ["acknowledge", "anchor", "commit", "frame", "log", "map", "message", "parse", "seal", "validate"];
    assert_eq!(names(&trace), BTreeSet::from(expected));
    assert_eq!(trace.len(), expected.len(), "one of each");
    let by_id: HashMap<&[u8], &Span> = trace.iter().map(|span| (&span.span_id[..], span)).collect();
    for span in &trace {
        assert!(span.parent_span_id.is_empty() == (span.name == "frame"), "{}", span.name);
        assert!(span.name == "frame" || by_id.contains_key(&span.parent_span_id[..]), "{}", span.name);
    }
    let end = |name: &str| trace.iter().find(|span| span.name == name).unwrap().end_time_unix_nano;
    let order = ["parse", "map", "validate", "seal", "commit", "acknowledge"];
    assert!(order.windows(2).all(|pair| end(pair[0]) <= end(pair[1])), "{trace:#?}");
    assert!(end("commit") <= end("log") && end("log") <= end("anchor"));
    told.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_comes_with_a_request_and_goes_on_with_a_notification() {
    let told = Told::start("[outgoing]\nallow_private = true\nallow_http = true\n").await;
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{id}-00f067aa0ba902b7-01");
    let bearer = format!("Bearer {}", told.token);
    let headers = [
        ("authorization", bearer.as_str()),
        ("traceparent", parent.as_str()),
        ("content-type", "application/fhir+json"),
    ];
    let made = told.request("POST", "/fhir/Patient", &headers, br#"{"resourceType":"Patient"}"#).await;
    assert_eq!(made.status(), 201);
    let path = made.headers()["location"].to_str().unwrap().split("/_history").next().unwrap().to_owned();
    let path = path[path.find("/fhir/").unwrap()..].to_owned();
    assert_eq!(told.request("GET", &path, &headers, b"").await.status(), 200);
    let own = async || {
        let spans: Vec<Span> = spans(&told.collector).into_iter().filter(|s| hex::encode(&s.trace_id) == id).collect();
        let all = ["/fhir/{type}", "/fhir/{type}/{id}", "seal", "commit", "read", "audit", "log", "anchor"];
        all.iter().all(|name| names(&spans).contains(name)).then_some(spans)
    };
    let spans = eventually(own).await;
    let roots: Vec<&Span> = spans.iter().filter(|s| hex::encode(&s.parent_span_id) == "00f067aa0ba902b7").collect();
    assert!(roots.iter().any(|span| span.name == "/fhir/{type}"), "{spans:#?}");

    let receiver = Receiver::new().await;
    let subscription = serde_json::json!({"resourceType": "Subscription", "status": "requested", "reason": "test",
        "criteria": "Patient?", "channel": {"type": "rest-hook", "endpoint": format!("http://{}/", receiver.address)}});
    assert_eq!(told.call("POST", "/fhir/Subscription", &subscription.to_string()).await.status(), 201);
    let arrived = async || {
        told.call("POST", "/fhir/Patient", r#"{"resourceType":"Patient"}"#).await;
        receiver.all().into_iter().next()
    };
    let notice = eventually(arrived).await;
    let named = notice.headers["traceparent"].to_str().unwrap().to_owned();
    let sent = eventually(async || trace_with(&told.collector, "notify")).await;
    assert!(sent.iter().any(|span| named.contains(&hex::encode(&span.trace_id))), "{named}");
    told.end().await;
}
