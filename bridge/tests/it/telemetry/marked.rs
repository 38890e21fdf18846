//! No patient data in what the service tells of itself: messages, resources and requests are full of marked values, good ones and
//! bad ones, with everything on, and no mark is found in a span, a metric, a log or the text of an error.

use super::{Receiver, Told, eventually, typed};
use crate::world::msa;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use prost::Message;
use warp::http::Response;

/// In every value. Replies that refuse do not have it either.
pub const VALUE: &str = "zqxjk";
/// In names that a client makes up, of parameters and elements: a reply may name them to him, but nothing else does.
const NAME: &str = "wvkqz";

pub fn messages() -> Vec<(String, &'static str)> {
    let admission = format!(
        "MSH|^~\\&|ADT|NORTH|MED|SEAL|20260302081500||ADT^A01^ADT_A01|{VALUE}-1|P|2.5.1\n\
         EVN|A01|20260302081500\n\
         PID|1||{VALUE}-mrn^^^NQ&1.2.3.4&ISO^MR~{VALUE}-ssn^^^^SS||{VALUE}^Ada^^^^^L||19800229|F|||{VALUE} street^^Town^^{VALUE}||{VALUE}-phone|||||{VALUE}-account\n\
         NK1|1|{VALUE}^Kin|SPO\n\
         PV1|1|I|{VALUE}^1^2^NQ||||{VALUE}^Doctor|||||||||||V{VALUE}^^^NQ&1.2.3.5&ISO^VN\n\
         AL1|1|DA|{VALUE}^penicillin^L||{VALUE} rash\n\
         DG1|1||{VALUE}^diagnosis^I10|||A\n"
    );
    let result = format!(
        "MSH|^~\\&|LAB|NORTH|MED|SEAL|20260302081500||ORU^R01^ORU_R01|{VALUE}-2|P|2.5.1\n\
         PID|1||{VALUE}-mrn^^^NQ&1.2.3.4&ISO^MR||{VALUE}^Ada||19800229|F\n\
         OBR|1|{VALUE}-order|{VALUE}-filler|{VALUE}^panel^L|||20260302081500\n\
         OBX|1|ST|{VALUE}^test^L||{VALUE} value|{VALUE}||||F\n\
         NTE|1||{VALUE} note\n"
    );
    let header =
        |kind: &str, id: &str| format!("MSH|^~\\&|LAB|NORTH|MED|SEAL|20260302081500||{kind}|{VALUE}-{id}|P|2.5.1\n");
    vec![
        (admission.clone(), "AA"),
        (admission, "AA"),
        (result, "AA"),
        (format!("{}PID|1||{VALUE}\n", header(&format!("{NAME}^{NAME}"), "3")), "AE"),
        (format!("{}PID|1||{VALUE}-m^^^NQ^MR||{VALUE}||{VALUE}19800229|{VALUE}\n", header("ADT^A01^ADT_A01", "4")), ""),
        (format!("{}{VALUE}|1\nPID|{VALUE}\n", header("ADT^A01^ADT_A01", "5")), ""),
        (format!("{VALUE}|1|2\n"), "AR"),
        (format!("MSH|^~\\&|LAB|NORTH|MED|SEAL|20260302081500||ADT^A01^ADT_A01||P|2.5.1\nPID|1||{VALUE}\n"), "AE"),
        (
            format!(
                "MSH|^~\\&|LAB|NORTH|MED|SEAL|20260302081500||ADT^A01|{VALUE}-6|P|2.5.1||||||{VALUE}\nPID|1||{VALUE}\n"
            ),
            "",
        ),
    ]
}

fn patient() -> String {
    format!(
        r#"{{"resourceType":"Patient","identifier":[{{"system":"urn:{VALUE}","value":"{VALUE}-9"}}],
            "name":[{{"family":"{VALUE}","given":["{VALUE}"]}}],"telecom":[{{"value":"{VALUE}"}}],
            "address":[{{"line":["{VALUE}"]}}],"birthDate":"1980-02-29",
            "text":{{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">{VALUE}</div>"}}}}"#
    )
}

/// Method, path, body: writes and reads that are taken and that are refused.
fn requests() -> Vec<(&'static str, String, String)> {
    let (v, n) = (VALUE, NAME);
    let json = |text: &str| text.replace('\'', "\"");
    vec![
        ("POST", "/fhir/Patient".into(), patient()),
        ("PUT", format!("/fhir/Patient/{v}-id"), patient()),
        ("PUT", format!("/fhir/Patient/{v}-id"), patient().replacen('{', &format!("{{\"id\":\"{v}-id\","), 1)),
        ("GET", format!("/fhir/Patient/{v}-id"), String::new()),
        ("GET", format!("/fhir/Patient/{v}-none"), String::new()),
        ("GET", format!("/fhir/Patient/{v}-id/_history/9"), String::new()),
        ("GET", format!("/fhir/Patient/{v}-id/$everything"), String::new()),
        ("GET", format!("/fhir/Patient/{v}-id/$receipt"), String::new()),
        ("GET", format!("/fhir/Patient?name={v}&identifier=urn:{v}|{v}&_sort=family"), String::new()),
        ("GET", format!("/fhir/Observation?subject:Patient.name={v}"), String::new()),
        ("GET", format!("/fhir/Patient?birthdate={v}"), String::new()),
        ("GET", format!("/fhir/Patient?{n}={v}"), String::new()),
        ("GET", format!("/fhir/Patient?name:{n}={v}"), String::new()),
        ("GET", format!("/fhir/Observation?value-quantity={v}"), String::new()),
        ("GET", format!("/fhir/Patient?_count={v}"), String::new()),
        ("GET", format!("/fhir/Patient?_filter={v}"), String::new()),
        ("GET", format!("/fhir/Patient?page={v}"), String::new()),
        ("GET", format!("/fhir/{n}?name={v}"), String::new()),
        ("GET", format!("/fhir/{n}/{v}"), String::new()),
        ("GET", format!("/{n}/{v}"), String::new()),
        ("GET", format!("/fhir/Patient/{v}-id/${n}?a={v}"), String::new()),
        ("POST", "/fhir/Patient".into(), json(&format!("{{'resourceType':'Patient','birthDate':'{v}'}}"))),
        ("POST", "/fhir/Patient".into(), json(&format!("{{'resourceType':'Patient','gender':'{v}','{n}':'{v}'}}"))),
        ("POST", "/fhir/Patient".into(), json(&format!("{{'resourceType':'{n}','id':'{v}'}}"))),
        ("POST", "/fhir/Patient".into(), format!("{{\"resourceType\":\"Patient\",\"name\":\"{v}")),
        ("POST", "/fhir/Observation".into(), json(&format!("{{'resourceType':'Observation','status':'{v}'}}"))),
        (
            "POST",
            "/fhir".into(),
            json(&format!(
                "{{'resourceType':'Bundle','type':'transaction','entry':[{{'fullUrl':'urn:{v}','resource':{{'resourceType':'Patient',\
             'name':[{{'family':'{v}'}}],'gender':'{v}'}},'request':{{'method':'POST','url':'Patient?identifier={v}'}}}}]}}"
            )),
        ),
        (
            "PATCH",
            format!("/fhir/Patient/{v}-id"),
            json(&format!("[{{'op':'replace','path':'/name/0/{n}','value':'{v}'}}]")),
        ),
        (
            "POST",
            "/fhir/Patient/$match".into(),
            json(&format!(
                "{{'resourceType':'Parameters','parameter':[{{'name':'resource','resource':{{'resourceType':'Patient','name':[{{'family':'{v}'}}]}}}}]}}"
            )),
        ),
        ("POST", "/fhir/Patient/$validate".into(), json(&format!("{{'resourceType':'Patient','gender':'{v}'}}"))),
        (
            "POST",
            "/fhir/Subscription".into(),
            json(&format!(
                "{{'resourceType':'Subscription','status':'requested','reason':'{v}','criteria':'Patient?name={v}',\
             'channel':{{'type':'rest-hook','endpoint':'https://{v}.invalid/{v}'}}}}"
            )),
        ),
        (
            "POST",
            "/exchange/push".into(),
            json(&format!("{{'to':'plain','patient':'Patient/{v}-id','purpose':'TREAT'}}")),
        ),
        ("POST", "/exchange/push".into(), json(&format!("{{'to':'{v}','patient':'Patient/{v}-id','purpose':'{v}'}}"))),
        (
            "POST",
            "/exchange/pull".into(),
            json(&format!("{{'from':'plain','patient':'urn:{v}|{v}','purpose':'TREAT'}}")),
        ),
        ("POST", "/exchange/view".into(), json(&format!("{{'from':'{n}','patient':'{v}','{n}':'{v}'}}"))),
        ("GET", format!("/exchange/push/{v}"), String::new()),
        (
            "POST",
            format!("/fhir/Patient/{v}-id/$emergency-access"),
            json(&format!(
                "{{'resourceType':'Parameters','parameter':[{{'name':'reason','valueString':'{v}'}},{{'name':'role','valueString':'{v}'}}]}}"
            )),
        ),
        ("DELETE", format!("/fhir/Patient/{v}-none"), String::new()),
        ("GET", format!("/fhir/Patient?name={v}&_format={v}"), String::new()),
        ("GET", format!("/hl7v2/messages/{v}"), String::new()),
        ("GET", format!("/me/records/{v}?q={v}"), String::new()),
        ("GET", format!("/auth/join/{v}"), String::new()),
        ("GET", format!("/log/tile/{v}"), String::new()),
    ]
}

pub fn holds(bytes: &[u8], mark: &str) -> bool {
    bytes.to_ascii_lowercase().windows(mark.len()).any(|window| window == mark.as_bytes())
}

/// A refusal does not say what was sent.
pub fn is_discreet(what: &str, reply: &Response<bytes::Bytes>) {
    let text = String::from_utf8_lossy(reply.body());
    assert!(reply.status().as_u16() < 400 || !holds(reply.body(), VALUE), "{what}: {text}");
}

async fn say_everything(told: &Told) {
    for (message, expected) in messages() {
        let ack = told.send(&message).await;
        assert!(msa(&ack).0.starts_with(expected), "{message}: {ack}");
        let errors = ack.split('\r').filter(|segment| segment.starts_with("ERR"));
        errors.for_each(|error| assert!(!holds(error.as_bytes(), VALUE), "{error}"));
    }
    for (method, path, body) in requests() {
        is_discreet(&format!("{method} {path} {body}"), &told.call(method, &path, &body).await);
    }
    let bearer = format!("Bearer {}", told.token);
    let odd = [("authorization", format!("Bearer {VALUE}")), ("traceparent", format!("00-{VALUE}-{VALUE}-01"))];
    let known =
        ["tracestate", "x-request-id", "user-agent", "accept", "if-match", "if-none-exist", "prefer", "content-type"];
    let headers = odd.into_iter().chain(known.map(|name| (name, VALUE.to_owned())));
    for (name, value) in headers {
        let parent = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let mut all = vec![(name, value.as_str())];
        all.extend((name != "authorization").then_some(("authorization", bearer.as_str())));
        all.extend((name != "traceparent").then_some(parent));
        is_discreet(name, &told.request("PUT", &format!("/fhir/Patient/{VALUE}-h"), &all, patient().as_bytes()).await);
    }
    let form = [("content-type", "application/x-www-form-urlencoded"), ("authorization", bearer.as_str())];
    told.request("POST", "/fhir/Patient/_search", &form, format!("name={VALUE}&{NAME}={VALUE}").as_bytes()).await;
    let body = format!("grant_type=client_credentials&client_id={VALUE}&client_assertion={VALUE}&scope={VALUE}");
    is_discreet("token", &told.request("POST", "/auth/token", &form[..1], body.as_bytes()).await);
    let hl7 = [("content-type", "application/hl7-v2"), ("authorization", bearer.as_str())];
    told.request("POST", "/hl7v2", &hl7, messages()[0].0.replace('\n', "\r").as_bytes()).await;
}

/// A feed that keeps what is faulty, and one for all others; and a receiver that nobody reaches.
const CONFIG: &str = "[[feeds]]\nname = \"held\"\nsenders = [\"HELD|*\"]\non_error = \"quarantine\"\n[[feeds]]\nname = \"rest\"\n\
    [exchange]\nid = \"north\"\nname = \"North\"\n[[exchange.fhir]]\nid = \"plain\"\nendpoint = \"http://127.0.0.1:9/fhir\"\n";

/// One waits in quarantine, several come as a batch, and all of it goes out again.
async fn hold_and_export(told: &Told) {
    let faulty = messages()[0].0.replace("|ADT|NORTH|", "|HELD|NORTH|").replace("PID|1", "ZZZ|1");
    assert_eq!(msa(&told.send(&faulty).await).0, "AA");
    let batch = format!("BHS|^~\\&|{VALUE}|{VALUE}\n{}{}{faulty}BTS|3\n", messages()[0].0, messages()[2].0);
    assert!(told.send(&batch).await.contains("MSA|"));
    let bearer = format!("Bearer {}", told.token);
    let wish = [("authorization", bearer.as_str()), ("accept", "application/fhir+json"), ("prefer", "respond-async")];
    let begun = told.request("GET", "/fhir/$export", &wish, b"").await;
    assert_eq!(begun.status(), 202);
    let path = |url: &str| url.splitn(4, '/').nth(3).map(|path| format!("/{path}")).unwrap();
    let status = path(begun.headers()["content-location"].to_str().unwrap());
    let done = eventually(async || {
        let reply = told.request("GET", &status, &wish[..1], b"").await;
        (reply.status() == 200).then_some(reply)
    })
    .await;
    let manifest: serde_json::Value = serde_json::from_slice(done.body()).unwrap();
    let files = manifest["output"].as_array().unwrap().iter().map(|file| path(file["url"].as_str().unwrap()));
    let mut sent = Vec::new();
    for file in files {
        sent.extend(told.request("GET", &file, &wish[..1], b"").await.into_body());
    }
    assert!(holds(&sent, VALUE), "what was exported is marked");
}

/// Whether how long messages took has come, with a message that was counted.
fn is_measured(collector: &Receiver) -> bool {
    let bodies = collector.all().into_iter().filter(|got| got.line == "POST /v1/metrics");
    let requests = bodies.map(|got| ExportMetricsServiceRequest::decode(got.body).unwrap());
    let scopes = requests.flat_map(|request| request.resource_metrics).flat_map(|resource| resource.scope_metrics);
    let mut named = scopes.flat_map(|scope| scope.metrics).filter(|metric| metric.name == "medseal_message_duration");
    named.any(|metric| match metric.data {
        Some(Data::Histogram(told)) => told.data_points.iter().any(|point| point.count > 0),
        _ => false,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn no_marked_value_is_in_a_span_a_metric_a_log_or_an_error() {
    let told = Told::start(CONFIG).await;
    say_everything(&told).await;
    hold_and_export(&told).await;
    typed::everywhere(&told).await;
    // Something of each was told before it is said that nothing is in it.
    let got = |line: &str| told.collector.all().into_iter().any(|got| got.line == line);
    eventually(async || (got("POST /v1/traces") && got("POST /v1/metrics")).then_some(())).await;
    eventually(async || told.collector.all().iter().any(|got| holds(&got.body, "anchor")).then_some(())).await;
    eventually(async || is_measured(&told.collector).then_some(())).await;
    let log = told.directory.path().join("log");
    let (collector, _directory) = told.end().await;
    let log = std::fs::read(log).unwrap();
    assert!(holds(&log, "\"message\":\"anchored\""), "the log is written, and as JSON");
    assert!(collector.all().iter().any(|got| holds(&got.body, "/fhir/{type}/{id}")), "spans name routes");
    for mark in [VALUE, NAME] {
        let line = log.split(|byte| *byte == b'\n').find(|line| holds(line, mark));
        assert!(line.is_none(), "the log: {}", String::from_utf8_lossy(line.unwrap()));
        for got in collector.all() {
            let text = || String::from_utf8_lossy(&got.body).into_owned();
            assert!(!holds(&got.body, mark), "{}: {}", got.line, text());
        }
    }
}
