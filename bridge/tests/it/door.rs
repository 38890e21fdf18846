//! A browser of the tests, with a passkey and a wallet made of software: what real ones send, and what thieves would.

use super::world::World;
use alloy_signer_local::PrivateKeySigner;
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bridge::ids::Name;
use bridge::people::enrol::invite;
use bridge::people::{Person, Role};
use bridge::secret::system_random;
use bytes::Bytes;
use notary::commitment::Digest;
use serde_json::{Value, json};
use warp::http::Response;

pub fn text(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn bytes(value: &Value) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(value.as_str().unwrap()).unwrap()
}

/// A code that invites somebody.
pub fn invitation(world: &World, role: Role, resource: Option<&str>, organisation: Option<&str>) -> String {
    let core = &world.running.app.core;
    let name = |text: &str| Name::parse(text).unwrap();
    let person = Person::new(role, resource.map(name), organisation.map(name)).unwrap();
    invite(&core.store, &person, core.clock.now(), &system_random).unwrap().expose().to_owned()
}

/// One browser: what it sends with each request, and its cookie.
pub struct Browser<'w> {
    pub world: &'w World,
    pub origin: String,
    pub cookie: Option<String>,
    /// What it bears while it is at an outside provider.
    pub journey: Option<String>,
}

impl<'w> Browser<'w> {
    pub fn new(world: &'w World) -> Self {
        Self { world, origin: format!("http://localhost:{}", world.running.http.port()), cookie: None, journey: None }
    }

    pub async fn send(&mut self, method: &str, path: &str, more: &[(&str, &str)], body: &str) -> Response<Bytes> {
        let host = format!("localhost:{}", self.world.running.http.port());
        let cookie = [&self.cookie, &self.journey].into_iter().flatten().cloned().collect::<Vec<_>>().join("; ");
        let mut headers = vec![("host", host.as_str()), ("cookie", cookie.as_str())];
        headers.extend(more);
        let reply = self.world.request(method, path, &headers, body.as_bytes()).await;
        for set in reply.headers().get_all("set-cookie") {
            let pair = set.to_str().unwrap().split(';').next().unwrap().to_owned();
            let kept = if pair.starts_with("__Host-medseal-openid=") { &mut self.journey } else { &mut self.cookie };
            *kept = Some(pair).filter(|pair| !pair.ends_with('='));
        }
        reply
    }

    pub async fn get(&mut self, path: &str) -> Response<Bytes> {
        self.send("GET", path, &[], "").await
    }

    pub async fn post(&mut self, path: &str, body: &Value) -> (u16, Value) {
        let origin = self.origin.clone();
        let headers = [("origin", origin.as_str()), ("content-type", "application/json")];
        let reply = self.send("POST", path, &headers, &body.to_string()).await;
        (reply.status().as_u16(), serde_json::from_slice(reply.body()).unwrap_or(Value::Null))
    }

    pub async fn form(&mut self, path: &str, body: &str) -> Response<Bytes> {
        let origin = self.origin.clone();
        let headers = [("origin", origin.as_str()), ("content-type", "application/x-www-form-urlencoded")];
        self.send("POST", path, &headers, body).await
    }

    /// The token of the session's forms, from the page.
    pub async fn token(&mut self) -> String {
        let page = self.page("/me").await;
        let (_, rest) = page.split_once("name=\"token\" value=\"").expect("a form with a token");
        rest.split('"').next().unwrap().to_owned()
    }

    pub async fn page(&mut self, path: &str) -> String {
        let reply = self.get(path).await;
        assert_eq!(reply.status(), 200, "{path}");
        String::from_utf8(reply.body().to_vec()).unwrap()
    }

    pub async fn is_signed_in(&mut self) -> bool {
        self.get("/me").await.status() == 200
    }

    /// Joins with a new passkey.
    pub async fn join(&mut self, code: &str) -> Passkey {
        let (status, options) = self.post("/auth/join/options", &json!({"code": code})).await;
        assert_eq!(status, 200, "{options}");
        let passkey = Passkey::new(&self.origin, &options);
        let (status, told) =
            self.post("/auth/join/passkey", &json!({"code": code, "answer": passkey.made(&options)})).await;
        assert_eq!(status, 200, "{told}");
        passkey
    }

    pub async fn options(&mut self) -> Value {
        self.post("/auth/login/options", &json!({})).await.1
    }

    pub async fn sign_in(&mut self, passkey: &mut Passkey) -> (u16, Value) {
        let options = self.options().await;
        let answer = passkey.sign(&options);
        self.post("/auth/login/passkey", &json!({"answer": answer})).await
    }

    /// What a wallet is asked to sign.
    pub async fn message(&mut self, door: &str, address: &str, more: Value) -> (String, String) {
        let mut body = more;
        body["address"] = address.into();
        let (status, told) = self.post(&format!("/auth/{door}/message"), &body).await;
        assert_eq!(status, 200, "{told}");
        (told["message"].as_str().unwrap().to_owned(), told["nonce"].as_str().unwrap().to_owned())
    }
}

/// An authenticator with one credential.
pub struct Passkey {
    pub keys: EcdsaKeyPair,
    pub id: Vec<u8>,
    pub user: Vec<u8>,
    pub origin: String,
    pub site: String,
    /// User present, user verified, backup eligible, backed up.
    pub flags: u8,
    pub counter: u32,
}

impl Passkey {
    pub fn new(origin: &str, options: &Value) -> Self {
        let mut id = vec![0; 20];
        system_random(&mut id).unwrap();
        Self {
            keys: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap(),
            id,
            user: bytes(&options["user"]["id"]),
            origin: origin.to_owned(),
            site: options["rp"]["id"].as_str().unwrap().to_owned(),
            flags: 0x1d,
            counter: 0,
        }
    }

    pub fn client(&self, kind: &str, options: &Value) -> String {
        json!({"type": kind, "challenge": options["challenge"], "origin": self.origin, "crossOrigin": false})
            .to_string()
    }

    fn authenticator(&self, flags: u8) -> Vec<u8> {
        [&Digest::of(self.site.as_bytes()).0[..], &[flags], &self.counter.to_be_bytes()].concat()
    }

    /// What a browser sends of the new credential.
    pub fn made(&self, options: &Value) -> Value {
        let public: PublicKeyX509Der<'_> = self.keys.public_key().as_der().unwrap();
        let length = (self.id.len() as u16).to_be_bytes();
        let data = [&self.authenticator(self.flags | 0x40)[..], &[0; 16], &length, &self.id, b"COSE"].concat();
        json!({
            "id": text(&self.id),
            "client": text(self.client("webauthn.create", options)),
            "authenticator": text(data),
            "key": text(public.as_ref()),
            "algorithm": -7,
        })
    }

    /// What a browser sends of a signature.
    pub fn sign(&self, options: &Value) -> Value {
        self.sign_client(&self.client("webauthn.get", options))
    }

    pub fn sign_client(&self, client: &str) -> Value {
        let data = self.authenticator(self.flags);
        let signed = [&data[..], &Digest::of(client.as_bytes()).0].concat();
        let signature = self.keys.sign(&SystemRandom::new(), &signed).unwrap();
        json!({
            "id": text(&self.id),
            "client": text(client),
            "authenticator": text(data),
            "signature": text(signature),
            "user": text(&self.user),
        })
    }
}

/// An account of Ethereum's curve.
pub struct Wallet(pub PrivateKeySigner);

impl Wallet {
    pub fn new() -> Self {
        Self(PrivateKeySigner::random())
    }

    pub fn address(&self) -> String {
        self.0.address().to_string()
    }

    pub fn sign(&self, message: &str, nonce: &str) -> Value {
        use alloy_signer::SignerSync;
        let signature = self.0.sign_message_sync(message.as_bytes()).unwrap();
        json!({"address": self.address(), "nonce": nonce, "signature": signature.to_string()})
    }
}
