//! Hospitals on one chain: each a real service with its own data, its own anchor and its own account in the directory.

use super::cutter::Cutter;
use crate::anvil::{Anvil, KEY};
use crate::recovery::stopped;
use crate::world::{World, config};
use bridge::commands::participants::{Act, Word, apply, say};
use bridge::config::{Config, ParticipantId};
use bridge::exchange::document::beside;
use bridge::exchange::signed::{B2b, Draft};
use notary::chain::Contract;
use notary::chain::evm::{Deployed, Node, SenderKey, deploy, local_key};
use serde_json::{Value, json};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// More of anvil's well-known accounts: the anchors' first, then the organisations', then those that register grants.
const ACCOUNTS: [&str; 9] = [
    "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    "7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
    "47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a",
    "8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba",
    "92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e",
    "4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356",
    "dbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97",
    "2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6",
];
const NAMES: [&str; 3] = ["Northquay", "Southfield", "Eastmoor"];
pub const TREAT: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason#TREAT";

/// A chain, a directory, its steward, and the hospitals.
pub struct Network {
    pub hospitals: Vec<Hospital>,
    steward: PathBuf,
    _anvil: Anvil,
    _keys: TempDir,
}

pub struct Hospital {
    pub world: World,
    pub id: ParticipantId,
    /// As it runs.
    pub config: Config,
    /// Before it, where it has one.
    pub cutter: Option<Cutter>,
}

fn key_file(path: &Path, key: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).unwrap();
    std::io::Write::write_all(&mut file, hex::encode(key).as_bytes()).unwrap();
}

fn account(n: usize) -> SenderKey {
    local_key(&hex::decode(ACCOUNTS[n]).unwrap().try_into().unwrap()).unwrap()
}

async fn put_up(node: &Node, contract: Contract, key: &SenderKey) -> Deployed {
    let input = contract.creation(key.address()).unwrap();
    deploy(node, key, input, 300_000_000_000).await.unwrap()
}

/// A registry of grants, as the configuration names it.
async fn registry(n: usize, node: &Node) -> String {
    let Deployed { address, code_hash, .. } = put_up(node, Contract::ConsentRegistry, &account(n + 6)).await;
    format!("[chain.registry]\ncontract = '{address}'\ncode_hash = '{code_hash}'\nfrom_block = 0\npoll_ms = 100\n")
}

impl Network {
    /// So many of them, admitted. Before the second there is something that cuts connections.
    pub async fn of(count: usize) -> Option<Self> {
        Self::beside(count, "").await
    }

    /// The same, with more in their configuration. `THE-NEXT` in it is who comes after, and after the last one the first.
    pub async fn beside(count: usize, more: &str) -> Option<Self> {
        Self::built(count, more, false).await
    }

    /// So many, where patients give access with their own keys.
    pub async fn that_grants(count: usize) -> Option<Self> {
        Self::built(count, "", true).await
    }

    async fn built(count: usize, more: &str, grants: bool) -> Option<Self> {
        let anvil = Anvil::start(&[]).await?;
        let node = Node::new(&anvil.url()).unwrap();
        let keys = tempfile::tempdir().unwrap();
        let steward = keys.path().join("steward.key");
        key_file(&steward, &KEY);
        let directory = put_up(&node, Contract::Participants, &local_key(&KEY).unwrap()).await;
        let mut network = Self { hospitals: Vec::new(), steward, _anvil: anvil, _keys: keys };
        for n in 0..count {
            let registry = if grants { registry(n, &node).await } else { String::new() };
            let next = ParticipantId::of(account((n + 1) % count + 3).address());
            let more = format!("{}\n{registry}", more.replace("THE-NEXT", next.as_str()));
            let hospital = Hospital::start(n, &network._anvil, &node, &directory, &more).await;
            apply(&hospital.config, None).await.unwrap();
            network.say(&hospital, Act::Admit).await;
            network.hospitals.push(hospital);
        }
        Some(network)
    }

    /// The steward's word.
    pub async fn say(&self, on: &Hospital, act: Act) {
        let word = Word { account: on.id.to_string(), key: Some(self.steward.clone()) };
        say(&on.config, act, &word).await.unwrap();
    }
}

impl Hospital {
    async fn start(n: usize, anvil: &Anvil, node: &Node, participants: &Deployed, more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = config(&directory.path().join("data"));
        // Where there is a PostgreSQL, the first has it and the others have SQLite.
        config.index.postgres = config.index.postgres.filter(|_| n == 0);
        let anchor = put_up(node, Contract::NotaryAnchor, &account(n)).await;
        key_file(&config.data.join("anchor.key"), &hex::decode(ACCOUNTS[n]).unwrap());
        key_file(&config.data.join("participant.key"), &hex::decode(ACCOUNTS[n + 3]).unwrap());
        key_file(&config.data.join("registrar.key"), &hex::decode(ACCOUNTS[n + 6]).unwrap());
        let (chain_id, genesis) = node.identity().await.unwrap();
        let (id, name) = (ParticipantId::of(account(n + 3).address()), NAMES[n]);
        let parsed = Config::parse(&format!(
            "custodian = 'urn:{name}'\n[log]\norigin = '{name}.example/log'\n\
             [outgoing]\nallow_private = true\nallow_http = true\n\
             [chain]\nrpc = ['{}']\nkind = 'consortium'\nchain_id = {chain_id}\ngenesis = '{genesis}'\n\
             contract = '{}'\ncode_hash = '{}'\nfinality = 'latest'\n\
             [exchange]\nid = '{id}'\nname = 'Hospital {name}'\nplace = '{name}'\nservices = ['Cardiology']\n\
             identifiers = ['urn:oid:1.2.3|{name}']\n\
             [exchange.directory]\ncontract = '{}'\ncode_hash = '{}'\n{more}",
            anvil.url(),
            anchor.address,
            anchor.code_hash,
            participants.address,
            participants.code_hash,
        ));
        let parsed = parsed.unwrap();
        (config.custodian, config.log.origin) = (parsed.custodian, parsed.log.origin);
        (config.outgoing, config.chain, config.exchange) = (parsed.outgoing, parsed.chain, parsed.exchange);
        config.consent = parsed.consent;
        let cutter = if n == 1 { Some(Cutter::start().await) } else { None };
        config.base_url = cutter.as_ref().map(|cutter| format!("http://127.0.0.1:{}/fhir", cutter.port));
        let world = World::with(directory, config).await;
        cutter.iter().for_each(|cutter| cutter.lead_to(world.running.http));
        let config = world.running.app.config.clone();
        Self { world, id, config, cutter }
    }

    /// Starts again with another key, and applies with it.
    pub async fn with_another_key(self) -> Self {
        let (directory, data) = stopped(self.world).await;
        std::fs::remove_file(data.join("token.key")).unwrap();
        let world = World::with(directory, self.config).await;
        let config = world.running.app.config.clone();
        apply(&config, None).await.unwrap();
        Self { world, config, ..self }
    }

    /// Starts again, and does not connect to addresses within the network but where the configuration names them.
    pub async fn guarded(self) -> Self {
        let (directory, _) = stopped(self.world).await;
        let mut config = self.config;
        config.outgoing.allow_private = false;
        let world = World::with(directory, config.clone()).await;
        Self { world, config, ..self }
    }

    pub async fn put(&self, resource: &Value) {
        let path = format!("/fhir/{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
        let (status, reply) = self.world.call("PUT", &path, &resource.to_string()).await;
        assert!(matches!(status, 200 | 201), "{path}: {reply}");
    }

    /// Ada, whom each hospital knows by another id and by the same number, with a result and a diagnosis.
    pub async fn knows_ada(&self, id: &str) {
        self.put(&json!({
            "resourceType": "Patient", "id": id, "birthDate": "1980-02-29",
            "identifier": [{"system": "urn:id", "value": "4711"}], "name": [{"family": "Lovelace", "given": ["Ada"]}],
        }))
        .await;
        let subject = json!({"reference": format!("Patient/{id}")});
        self.put(&json!({
            "resourceType": "Observation", "id": format!("o-{id}"), "status": "final", "code": {"text": "x"},
            "subject": subject, "valueQuantity": {"value": 1.50, "unit": "mmol/l"},
        }))
        .await;
        self.put(
            &json!({"resourceType": "Condition", "id": format!("c-{id}"), "subject": subject, "code": {"text": "y"}}),
        )
        .await;
        for path in [format!("Patient/{id}"), format!("Observation/o-{id}"), format!("Condition/c-{id}")] {
            self.world.anchored_receipt(&format!("/fhir/{path}/$receipt")).await;
        }
    }

    /// What a patient lets another hospital see.
    pub async fn consent(&self, id: &str, to: &ParticipantId, status: &str, more: Value) {
        let code = |system: &str, code: &str| json!({"coding": [{"system": system, "code": code}]});
        let role = code("http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "IRCP");
        let who = json!({"identifier": {"system": "urn:medseal:participant", "value": to}});
        let mut provision = json!({"type": "permit", "actor": [{"role": role, "reference": who}]});
        provision.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.put(&json!({
            "resourceType": "Consent", "id": format!("k-{id}"), "status": status,
            "patient": {"reference": format!("Patient/{id}")},
            "scope": code("http://terminology.hl7.org/CodeSystem/consentscope", "patient-privacy"),
            "category": [code("http://loinc.org", "59284-0")],
            "policyRule": code("http://terminology.hl7.org/CodeSystem/v3-ActCode", "OPTIN"),
            "provision": provision,
        }))
        .await;
        self.world.anchored_receipt(&format!("/fhir/Consent/k-{id}/$receipt")).await;
    }

    /// A request of our own clients.
    pub async fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        self.world.call(method, path, &body.to_string()).await
    }

    /// A request that this hospital signs at some second, to another one.
    pub fn signed(&self, to: &Hospital, path: &str, body: &[u8], now: u64, nonce: &str) -> String {
        self.signed_for(to, path, body, now, nonce, TREAT)
    }

    /// The same for some purpose.
    pub fn signed_for(&self, to: &Hospital, path: &str, body: &[u8], now: u64, nonce: &str, purpose: &str) -> String {
        let app = &self.world.running.app;
        let b2b = B2b {
            version: "1".into(),
            subject_id: None,
            organization_id: app.core.base.clone(),
            organization_name: "x".into(),
            purpose_of_use: vec![purpose.into()],
        };
        let address = beside(&to.world.running.app.core.base, path);
        let draft = Draft { by: &self.id, to: &address, body, nonce: nonce.into(), now, re: None, b2b: Some(b2b) };
        draft.sign(&app.token_key).unwrap()
    }

    /// Knocks as another bridge would.
    pub async fn knocked(&self, path: &str, token: &str, body: &[u8]) -> (u16, Value) {
        let token = format!("Bearer {token}");
        let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
        let reply = self.world.request("POST", path, &headers, body).await;
        (reply.status().as_u16(), serde_json::from_slice(reply.body()).unwrap_or(Value::Null))
    }

    pub fn now(&self) -> u64 {
        self.world.running.app.core.clock.now().as_second() as u64
    }

    /// Pushes, and waits for the end.
    pub async fn pushed(&self, push: &Value) -> Value {
        let (status, queued) = self.ask("POST", "/exchange/push", push).await;
        assert_eq!(status, 202, "{queued}");
        self.ended(queued["id"].as_str().unwrap()).await
    }

    /// A push, once it has ended.
    pub async fn ended(&self, id: &str) -> Value {
        for _ in 0..1_500 {
            let (status, state) = self.world.get(&format!("/exchange/push/{id}")).await;
            assert_eq!(status, 200, "{state}");
            if state["state"] != "waiting" {
                return state;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the push does not end");
    }
}

/// The names of the resources in a result, sorted, without where they are.
pub fn names(bundle: &Value) -> Vec<String> {
    let entries = bundle["entry"].as_array().into_iter().flatten().filter(|entry| entry["search"]["mode"] == "match");
    let name = |entry: &Value| {
        let url = entry["fullUrl"].as_str().unwrap();
        url.split_once("/fhir/").unwrap().1.to_owned()
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}

/// What is told beside the result.
pub fn told(answer: &Value) -> String {
    let outcome = |value: &Value| value["issue"].as_array().cloned().unwrap_or_default();
    let entries = answer["entry"].as_array().into_iter().flatten().flat_map(|entry| outcome(&entry["resource"]));
    let issues = outcome(answer).into_iter().chain(entries);
    issues.filter_map(|issue| issue["details"]["text"].as_str().map(str::to_owned)).collect::<Vec<_>>().join("\n")
}
