//! What people of each role type into pages and into the addresses of pages while they are signed in: marked values, all of them.

use super::Told;
use super::marked::{VALUE, holds, is_discreet, messages};
use crate::commands::MEDSEAL;
use crate::door::Passkey;
use crate::stores;
use bridge::http::query::encode;
use bytes::Bytes;
use serde_json::{Value, json};
use std::process::Command;
use warp::http::Response;

const FORM: &str = "application/x-www-form-urlencoded";

/// Somebody in a browser, who is signed in.
struct Visitor<'t> {
    told: &'t Told,
    origin: String,
    cookie: String,
    /// Of the session's forms.
    token: String,
}

impl<'t> Visitor<'t> {
    async fn new(told: &'t Told, who: &[&str]) -> Self {
        let code = invited(told, who);
        let origin = format!("http://localhost:{}", told.served.http.rsplit(':').next().unwrap());
        let mut visitor = Self { told, origin, cookie: String::new(), token: String::new() };
        let options = visitor.post("/auth/join/options", &json!({"code": code})).await;
        let answer = Passkey::new(&visitor.origin, &options).made(&options);
        visitor.post("/auth/join/passkey", &json!({"code": code, "answer": answer})).await;
        let me = visitor.page("/me").await;
        let (_, rest) = me.split_once("name=\"token\" value=\"").expect("a form with a token");
        visitor.token = rest.split('"').next().unwrap().to_owned();
        visitor
    }

    async fn send(&mut self, method: &str, path: &str, kind: &str, body: &str) -> Response<Bytes> {
        let host = self.origin.trim_start_matches("http://");
        let (cookie, origin) = (self.cookie.as_str(), self.origin.as_str());
        let headers = [("host", host), ("cookie", cookie), ("origin", origin), ("content-type", kind)];
        let reply = self.told.request(method, path, &headers, body.as_bytes()).await;
        let set = reply.headers().get_all("set-cookie").iter().filter_map(|set| set.to_str().ok());
        let own = set.filter_map(|set| set.split(';').next()).find(|pair| pair.starts_with("__Host-medseal="));
        if let Some(own) = own {
            self.cookie = own.to_owned();
        }
        reply
    }

    async fn post(&mut self, path: &str, body: &Value) -> Value {
        let reply = self.send("POST", path, "application/json", &body.to_string()).await;
        assert_eq!(reply.status(), 200, "{path}");
        serde_json::from_slice(reply.body()).unwrap_or(Value::Null)
    }

    async fn page(&mut self, path: &str) -> String {
        let reply = self.send("GET", path, FORM, "").await;
        assert_eq!(reply.status(), 200, "{path}");
        String::from_utf8(reply.body().to_vec()).unwrap()
    }

    /// Fills a form in, and sends it.
    async fn fills(&mut self, path: &str, form: &str) -> Response<Bytes> {
        let body = format!("token={}&{form}", self.token);
        self.send("POST", path, FORM, &body).await
    }

    /// Goes to pages and fills forms in. What a page says of it, it says to who typed it.
    async fn types(&mut self, addresses: &[String], forms: &[(&str, String)]) {
        for address in addresses {
            assert_ne!(self.send("GET", address, FORM, "").await.status(), 401, "{address}");
        }
        for (path, form) in forms {
            assert_ne!(self.fills(path, form).await.status(), 401, "{path}");
        }
    }
}

/// The code of an invitation that is made at the machine.
fn invited(told: &Told, who: &[&str]) -> String {
    let place = stores::arguments(&told.directory.path().join("data"));
    let done = Command::new(MEDSEAL).args(["user", "invite"]).args(place).args(who).output().unwrap();
    let (link, error) = (String::from_utf8(done.stdout).unwrap(), String::from_utf8_lossy(&done.stderr));
    link.trim().split_once("/auth/join?code=").unwrap_or_else(|| panic!("{error}")).1.to_owned()
}

/// By everybody. The people themselves have marked ids and names, too.
pub async fn everywhere(told: &Told) {
    let v = VALUE;
    for resource in [
        json!({"resourceType": "Practitioner", "id": format!("{v}-doc"), "name": [{"family": v}]}),
        json!({"resourceType": "Organization", "id": format!("{v}-clinic"), "name": v}),
    ] {
        let path = format!("/fhir/{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
        assert_eq!(told.call("PUT", &path, &resource.to_string()).await.status(), 201, "{path}");
    }
    by_a_patient(told).await;
    by_a_clinician(told).await;
    by_an_auditor(told).await;
    by_an_administrator(told).await;
    by_an_app(told).await;
}

async fn by_a_patient(told: &Told) {
    let v = VALUE;
    let mut patient = Visitor::new(told, &["--role", "patient", "--for", &format!("Patient/{v}-id")]).await;
    let addresses = [
        format!("/me/records/{v}"),
        format!("/me/records?after={v}"),
        format!("/me/records/Observation/{v}"),
        format!("/me/explain?record=Patient/{v}-id&actor=Practitioner/{v}&purpose={v}"),
        format!("/me/access/new?instead={v}"),
        format!("/me/access/new?request={v}"),
        format!("/me/wards/{v}"),
    ];
    let forms = [
        ("/me/access/new", format!("who={v}&purpose={v}&what=some&kind-{v}=on&until={v}")),
        ("/me/access/revoke", format!("grant={v}")),
        ("/me/shares/refuse", format!("request={v}")),
        ("/me/emergency/seen", format!("emergency={v}")),
        ("/auth/apps/end", format!("grant={v}")),
        ("/auth/keys/remove", format!("key={v}")),
        ("/withdraw", format!("code={v}")),
    ];
    patient.types(&addresses, &forms).await;
}

async fn by_a_clinician(told: &Told) {
    let v = VALUE;
    let (doctor, clinic) = (format!("Practitioner/{v}-doc"), format!("Organization/{v}-clinic"));
    let mut doctor = Visitor::new(told, &["--role", "clinician", "--for", &doctor, "--organisation", &clinic]).await;
    let found = doctor.fills("/me/patients", &format!("name={v}&birthdate=1980-02-29")).await;
    assert!(found.status() == 200 && holds(found.body(), v), "who is found is shown");
    let addresses = [
        format!("/me/patients/{v}"),
        format!("/me/patients/{v}-id"),
        format!("/me/patients/{v}-id/Observation/{v}"),
        format!("/me/hospitals?name={v}&place={v}&service={v}"),
        format!("/me/hospitals?patient={v}-id"),
        format!("/me/hospitals/look/{v}"),
        format!("/me/emergency?patient={v}"),
    ];
    let patient = format!("patient={v}-id&purpose=TREAT");
    let forms = [
        ("/me/patients", format!("identifier={v}")),
        ("/me/patients", format!("name={v}&birthdate={v}")),
        ("/me/emergency", format!("identifier={v}&role={v}&reason={v}")),
        ("/me/emergency", format!("name={v}&birthdate={v}&role={v}&reason={v}")),
        ("/me/emergency", format!("patient={v}-none&role={v}&reason={v}")),
        ("/me/emergency", format!("patient={v}-id&role={v}&reason={v}")),
        ("/me/emergency/end", format!("emergency={v}")),
        ("/me/hospitals/ask", format!("identifier={v}&purpose={v}&from-{v}=on")),
        ("/me/hospitals/ask", format!("{patient}&from-{v}=on&kind-{v}=on")),
        ("/me/hospitals/ask", format!("{patient}&look={v}")),
    ];
    doctor.types(&addresses, &forms).await;
}

async fn by_an_auditor(told: &Told) {
    let v = VALUE;
    let mut auditor = Visitor::new(told, &["--role", "auditor"]).await;
    let addresses = [
        format!("/me/log?patient={v}&who={v}"),
        format!("/me/log?who=Practitioner/{v}-doc&outcome={v}&from={v}"),
        format!("/me/explain?record=Patient/{v}-id&actor=Practitioner/{v}"),
        format!("/me/explain?record={v}&actor={v}"),
    ];
    auditor.types(&addresses, &[]).await;
}

async fn by_an_administrator(told: &Told) {
    let v = VALUE;
    let mut chief = Visitor::new(told, &["--role", "administrator"]).await;
    let addresses =
        [format!("/me/quarantine?before={v}"), format!("/me/quarantine/{v}"), format!("/me/clients/{v}/remove")];
    let replay = format!("/me/quarantine/{v}/replay");
    let forms = [
        ("/me/people/invite", format!("role={v}&for={v}")),
        ("/me/people/invite", format!("role=patient&for=Patient/{v}-none")),
        ("/me/people/invite", format!("role=patient&for=Patient/{v}-id")),
        ("/me/people/close", format!("account={v}&close=yes")),
        ("/me/guardians/link", format!("guardian=Patient/{v}&patient=Patient/{v}-id")),
        ("/me/guardians/unlink", format!("account={v}&patient=Patient/{v}-id")),
        ("/me/network/retry", format!("delivery={v}")),
        (replay.as_str(), format!("text={v}")),
    ];
    chief.types(&addresses, &forms).await;
    // One that waits: with a text of which nothing can be made either.
    let waiting = chief.page("/me/quarantine").await;
    let id = waiting.split_once("/me/quarantine/").expect("a message").1.split('"').next().unwrap().to_owned();
    assert!(chief.page(&format!("/me/quarantine/{id}")).await.contains(v), "it is shown");
    let text = format!("text={}", encode(&messages()[3].0));
    assert_eq!(chief.fills(&format!("/me/quarantine/{id}/replay"), &text).await.status(), 422);
}

/// An app that nobody has let in: what is refused does not say what was sent.
async fn by_an_app(told: &Told) {
    let v = VALUE;
    for form in [
        format!(
            "grant_type=authorization_code&code={v}&redirect_uri=https://{v}.invalid/&client_id={v}&code_verifier={v}"
        ),
        format!("grant_type=refresh_token&refresh_token={v}&client_id={v}"),
        format!("grant_type={v}&code={v}"),
    ] {
        let reply = told.request("POST", "/auth/token", &[("content-type", FORM)], form.as_bytes()).await;
        assert!(reply.status().is_client_error());
        is_discreet(&form, &reply);
    }
}
